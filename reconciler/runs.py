"""What is recorded of a run: who did what, when, to whom, and what was there before."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from reconciler.model import EMPTY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.bases import Touched
    from reconciler.model import Ref

Images: TypeAlias = "Mapping[Ref, tuple[Touched, ...]]"
"""The before-images of the fields that one run wrote."""
EMPTY_IMAGES: Images = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Server:
    """Whom a target is: how it is addressed, and by which settings file.

    `settings` is the path of that file below the top of the repository (with `/`), `None` without one.
    """

    provider: str
    base_url: str
    organization: str | None
    project: str | None
    settings: str | None


@dataclass(frozen=True, slots=True)
class Run:
    """One recorded run.

    `id` can be sorted by time, `at` is ISO 8601 in UTC, `commit` and `dirty` are those of the work tree then, `tool` is
    our version. `undoes` is, of a rollback, the id of the run that it undid. `outcomes` counts them. `touched` has the
    before-images of the fields written.
    """

    id: str
    kind: str
    at: str
    actor: str
    commit: str | None
    dirty: bool | None
    tool: str
    undoes: str | None = None
    outcomes: Mapping[str, int] = field(default_factory=lambda: EMPTY)
    touched: Images = field(default_factory=lambda: EMPTY_IMAGES)
