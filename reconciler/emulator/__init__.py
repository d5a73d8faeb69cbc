"""The emulator: our local stand-in for the API.

`service` is the API as a pure function, `mishaps` what may go wrong on purpose, `store` where objects are kept, and
`server` all of it behind a loopback socket. Here is the door that a target with `provider: emulator` uses: the
same function in this process, without a socket.
"""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.emulator.service import Behaviour, Request, handle, seed
from reconciler.emulator.store import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from reconciler.dialects import Dialect
    from reconciler.emulator.service import Store
    from reconciler.model import Ref


def live_behaviour(writes: Mapping[str, Dialect] | None = None, key: str | None = None) -> Behaviour:
    """Return a behaviour with the system's clock and random tokens."""
    return Behaviour(lambda: int(time.time()), lambda: secrets.token_hex(12), writes or {}, key)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The API in this process."""

    store: Store
    behaviour: Behaviour

    def handle(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Answer a call with status, headers and body; `path` begins with `/v1` and may carry a query string."""
        response = handle(self.store, Request.aimed(method, path, headers, body), self.behaviour)
        return response.status, response.headers, response.body


@contextmanager
def embedded(database: Path, writes: Mapping[str, Dialect], declared: Iterable[Ref]) -> Iterator[Embedded]:
    """Open the API over a database file.

    Declared ids that it never held are created, empty; those deleted in it stay missing. A file that is no
    database of ours is a `ReconcilerError`.
    """
    behaviour = live_behaviour(writes)
    with opened(database) as store:
        seed(store, declared, behaviour)
        yield Embedded(store, behaviour)
