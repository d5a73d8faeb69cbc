"""Running the command that prints a token: without a shell, bounded in time and in what is read of it.

Nothing of its standard output is ever shown. Of a failure, its status and the last line of its standard error are,
with everything that may be a token masked.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, TypeVar, cast

from reconciler.credentials import FORMATS
from reconciler.gateway.answers import Secrets, presentable
from reconciler.gateway.tokens import NoToken, Token, token_in
from reconciler.words import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

PRINTED = 64 * 1024
"""Bytes of an output that are kept; the rest is read and dropped, so that the command can go on to its end."""
LINGERING = 1.0
"""Seconds that are waited for the end of an output after that of the command: a child of it may hold it open."""
_SAID = 160
"""Characters of what a command says that are repeated."""

_JWT = re.compile(r"eyJ[\w-]+(?:\.[\w-]*)*", re.ASCII)
_OPAQUE = re.compile(r"[A-Za-z0-9+/=_.~-]{40,}")
"""What may be a token: no word, no UUID and no address of a usual length."""
_ASSIGNED = re.compile(r"(?i)((?:token|bearer|password|secret|assertion|key)[\"']?\s*[:= ]\s*[\"']?)([^\s\"']{8,})")
_WORD = re.compile(r"[^\s\"',:{}\[\]]{8,}")


async def token_of_command(arguments: Sequence[str], folder: Path, longest: float, wall: Callable[[], float]) -> Token:
    """Return the token that a command prints; raises `NoToken`."""
    name = f"the token_command {shown(' '.join(arguments))}"
    # Not asyncio's own processes: waiting for one is waiting for whoever holds on to its outputs.
    try:
        # A group of its own: a terminal's Ctrl-C is for the run, which ends the group itself.
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - waited for in a thread; the environment allows it
            arguments,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its arguments cannot be passed on"
        raise NoToken(f"{name} cannot be run: {reason}") from None
    running = _Running(process)
    try:
        await in_a_thread(lambda: running.wait(longest), "waiting for a token")
    except subprocess.TimeoutExpired:
        raise NoToken(f"{name} did not end within {longest:g} s, and was ended") from None
    finally:
        running.end()
    if process.returncode:
        raise NoToken(f"{name} ended {_how(process.returncode)}{_last_words(bytes(running.err), bytes(running.out))}")
    try:
        return token_in(bytes(running.out), wall())
    except ValueError as error:
        raise NoToken(f"{name} {error}") from None


class _Running:
    """A command that runs: standard output from its beginning, standard error to its end, both bounded."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.out = bytearray()
        self.err = bytearray()
        self._process = process
        self._readers = [
            threading.Thread(target=_read, args=(pipe, into, kept), name="reading a command", daemon=True)
            for pipe, into, kept in (
                (process.stdout, self.out, slice(PRINTED)),
                (process.stderr, self.err, slice(-PRINTED, None)),
            )
        ]
        for reader in self._readers:
            reader.start()

    def wait(self, longest: float) -> None:
        """Wait for its end, and a moment for those of its outputs; raises `TimeoutExpired`, and it is ended."""
        try:
            self._process.wait(longest)
        except subprocess.TimeoutExpired:
            self.end()
            self._process.wait()
            raise
        until = time.monotonic() + LINGERING
        for reader in self._readers:
            reader.join(max(0.0, until - time.monotonic()))

    def end(self) -> None:
        """End what is left of it: itself, and its children where they hold on to its outputs."""
        if self._process.poll() is None or any(reader.is_alive() for reader in self._readers):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _read(pipe: IO[bytes], into: bytearray, kept: slice) -> None:
    with pipe:
        while chunk := os.read(pipe.fileno(), 65536):
            into[:] = (into + chunk)[kept]


async def in_a_thread(work: Callable[[], T], name: str) -> T:
    """Return what `work` returns, in a thread that nobody has to wait for: not the loop at its end, nor the process."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(found: T | None, error: Exception | None) -> None:
        if answer.done():
            return  # nobody waits any more
        if error is None:
            answer.set_result(cast("T", found))
        else:
            answer.set_exception(error)

    def run() -> None:
        found: T | None = None
        failed: Exception | None = None
        try:
            found = work()
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            failed = error
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, found, failed)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await answer


def _how(status: int) -> str:
    if status > 0:
        return f"with status {status}"
    with suppress(ValueError):
        return f"by {signal.Signals(-status).name}"
    return f"by signal {-status}"


def _last_words(err: bytes, out: bytes) -> str:
    lines = [line for line in err.decode("utf-8", "replace").splitlines() if line.strip()]
    said = masked(lines[-1], out) if lines else ""
    return f": {said}" if said else " and no word of why"


def masked(line: str, printed: bytes = b"") -> str:
    """Return a line that a command said fit to be shown, without what may be a token, or was `printed` by it."""
    secrets = Secrets(*_WORD.findall(printed.decode("utf-8", "replace")))
    line = presentable(line, secrets, PRINTED)
    for form in FORMATS:
        line = form.pattern.sub("***", line)
    line = _ASSIGNED.sub(r"\1***", _JWT.sub("***", line))
    return presentable(_OPAQUE.sub("***", line), "", _SAID)
