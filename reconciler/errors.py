"""What can go wrong, drawn as a family; each branch owns one exit code of the contract.

::

    ReconcilerError                 1   operational: network, API, internal
    ├── ConsentRefused              1   the person said no (nothing was written)
    ├── ApiError                    1   the API or the way to it failed; confined to one resource
    │   └── TargetRefused           7   401, 403, or the API is not served here: the run ends
    ├── InvalidInput                3   manifests, settings or a plan file; carries every problem found
    ├── NotRecorded                 4   what was applied could not be recorded (ledger/); not pushed is one kind of it
    ├── GuardRefused                6   a guard refused to apply the plan
    └── WrongUsage                 64   the command line asks for something that makes no sense

Plain outcomes (differences, a stale plan, an apply that did not all succeed, an interruption) are no
exceptions; they have an `ExitCode` all the same, and `worst` tells which one a run ends with.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(enum.IntEnum):
    """The exit codes of the contract, in no particular order; `PRECEDENCE` has the order."""

    DONE = 0
    ERROR = 1
    DIFFERENCES = 2
    INVALID = 3
    INCOMPLETE = 4
    STALE = 5
    GUARDED = 6
    REFUSED = 7
    USAGE = 64
    INTERRUPTED = 130
    TERMINATED = 143


PRECEDENCE: tuple[ExitCode, ...] = (
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.USAGE,
    ExitCode.INVALID,
    ExitCode.REFUSED,
    ExitCode.GUARDED,
    ExitCode.INCOMPLETE,
    ExitCode.STALE,
    ExitCode.ERROR,
    ExitCode.DIFFERENCES,
    ExitCode.DONE,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """Return the code that counts where several hold; `DONE` where there are none."""
    return min(codes, key=PRECEDENCE.index, default=ExitCode.DONE)


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A place in a file; `line` and `column` count from 1, columns in code points."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with what a person wrote: a stable code, a sentence with the fix, the place."""

    code: str
    message: str
    location: Location | None = None

    def __str__(self) -> str:
        return f"{self.location}: {self.message}" if self.location else self.message


@dataclass(frozen=True, slots=True)
class Fault:
    """Why one resource could not be read or written.

    `status` is that of HTTP, `request_id` the API's own (`x-request-id`). `retry_in`: seconds after which another
    attempt may help, `None` where it would not.
    """

    code: str
    message: str
    status: int | None = None
    request_id: str | None = None
    retry_in: float | None = None

    def __str__(self) -> str:
        return f"{self.message} (request {self.request_id})" if self.request_id else self.message


class ReconcilerError(Exception):
    """The root of the family: an operational error."""

    exit_code: ClassVar[ExitCode] = ExitCode.ERROR
    code: str = "error"

    def problems(self) -> tuple[Problem, ...]:
        """Return the entries that stand for this error in a document."""
        return (Problem(self.code, str(self)),)


class Terminated(BaseException):
    """SIGTERM arrived outside of the calls; a sibling of `KeyboardInterrupt`, so that no handler of errors takes it."""


class ConsentRefused(ReconcilerError):
    """The question before an apply was answered with something other than yes."""

    code = "consent_refused"


class ApiError(ReconcilerError):
    """A call did not give a usable answer; the fault says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.code = fault.code


class TargetRefused(ApiError):
    """The target refuses us altogether, or does not serve this kind; going on would only repeat it."""

    exit_code = ExitCode.REFUSED


class InvalidInput(ReconcilerError):
    """Something a person wrote is invalid; all problems found, in the order of their places."""

    exit_code = ExitCode.INVALID
    code = "invalid"

    def __init__(self, *found: Problem) -> None:
        super().__init__("\n".join(map(str, found)))
        self.found = found

    def problems(self) -> tuple[Problem, ...]:
        """Return every problem found."""
        return self.found


class GuardRefused(ReconcilerError):
    """A guard refused the plan; the message names the number and the line that it crossed."""

    exit_code = ExitCode.GUARDED
    code = "guard_refused"


class WrongUsage(ReconcilerError):
    """The command line is wrong; never exit code 2, so that a typo cannot look like drift."""

    exit_code = ExitCode.USAGE
    code = "wrong_usage"


def internal_fault(error: Exception) -> Fault:
    """Return the fault for an error that nothing else has made one of; what is not of our family is our mistake."""
    if isinstance(error, ReconcilerError):
        return Fault(error.code, str(error))
    return Fault("internal", f"internal error, please report it ({type(error).__name__}: {error})")
