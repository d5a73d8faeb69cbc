"""Running the command that prints a token: without a shell, bounded in time and in what is read of it.

Nothing of its standard output is ever shown. Of a failure, its status and the last line of its standard error are,
with everything masked that may be a secret: rather a word too many than one too few.
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
from reconciler.gateway.answers import Secrets, presentable, redacted
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

_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # colours and the cursor
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # texts for the terminal itself
    r"|\x1b[ -/]*[0-~]?"
)
"""What acts on a terminal (ECMA-48), as a whole: what is left of one would split a secret, or look like a word."""
_JWT = re.compile(r"eyJ[\w-]+(?:\.[\w-]*)*", re.ASCII)
_LOGIN = re.compile(r"(?<=://)[^/\s@]{1,1000}@")
_PARAMETER = re.compile(r"([?&][\w.~%-]{1,60}=)[^&\s\"']+")
_NAME = (
    r"[\w.-]{0,40}(?:token|bearer|pass(?:word|wd|phrase|code)?|pwd|secret|assertion|key|credential|signature|cookie"
    r"|authorization)[\w.-]{0,40}"
)
_VALUE = r"(?:(?:bearer|basic)\s+)?(?:\\?\"(?:[^\"\\]|\\.)*\"?|\\?'(?:[^'\\]|\\.)*'?|[^\s\"',;}\]]+)"
_ASSIGNED = re.compile(rf"({_NAME}\\?[\"']?\s*[:=]\s*){_VALUE}", re.IGNORECASE)
"""What stands behind the name of a secret and a sign, quoted or not, whatever it looks like."""
_OPTION = re.compile(rf"((?<!\S)--?{_NAME}\s+|(?<!\S)-[pPkKtuU]\s*){_VALUE}", re.IGNORECASE)
_SPOKEN = re.compile(
    r"((?<![a-z])(?:bearer|password|passwd|passphrase|secret|token|key)\s+)"
    r"(?!(?:is|are|was|were|has|have|had|not|no|for|of|from|by|in|to|at|on|and|or|with|could|cannot|must|may|expired|"
    r"invalid|missing|required|request|refused|rejected|cache|endpoint|file|store|vault|type|issuer|failed|being|value|"
    rf"provided)\b){_VALUE}",
    re.IGNORECASE,
)
"""The word behind such a name, unless it goes on with the sentence."""
_MIXED = re.compile(r"([=:]\s*[\"']?)(?=[^\s\"']*[0-9])(?=[^\s\"']*[A-Za-z])[^\s\"']{8,}")
"""Letters and digits behind any sign that gives a value."""
_LONG = re.compile(r"[A-Za-z0-9+/=_.~%!@#$^&*-]{16,}")
_PIECES = re.compile(r"[/_.=~@-]+")
_PLAIN = re.compile(r"(?!.*[bcdfghjklmnpqrstvwxz]{6})(?:[a-z]{0,15}|(?:[A-Z][a-z]{2,14}){1,6}|[A-Z]{1,10})")
_WORD = re.compile(r"[^\s\"',:{}\[\]]{8,}")
_LATEST = 8192
"""Characters of standard error that are looked at: the name of a secret may stand lines before it."""


async def token_of_command(arguments: Sequence[str], folder: Path, longest: float, wall: Callable[[], float]) -> Token:
    """Return the token that a command prints; raises `NoToken`."""
    name = f"the token_command {shown(arguments[0])}"  # what follows may be a secret
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
    said = err.decode("utf-8", "replace")
    cut = said[-_LATEST:]
    if len(cut) < len(said):
        cut = cut.partition("\n")[2] or cut.partition(" ")[2]  # what was cut may be the end of a secret
    lines = [line for line in _without_secrets(cut, out).splitlines() if line.strip()]
    last = presentable(lines[-1], "", _SAID) if lines else ""
    return f": {last}" if last else " and no word of why"


def masked(line: str, printed: bytes = b"") -> str:
    """Return a line that a command said fit to be shown, without what may be a secret, or was `printed` by it."""
    return presentable(_without_secrets(line, printed), "", _SAID)


def _without_secrets(said: str, printed: bytes) -> str:
    said = _SEQUENCES.sub("", said)
    secrets = Secrets(*_WORD.findall(printed.decode("utf-8", "replace")))
    said = redacted(said.encode("utf-8", "replace"), secrets).decode("utf-8", "replace")
    for form in FORMATS:
        said = form.pattern.sub("***", said)
    said = _LOGIN.sub("***@", _JWT.sub("***", said))
    for named in (_PARAMETER, _ASSIGNED, _OPTION, _SPOKEN, _MIXED):
        said = named.sub(r"\1***", said)
    return _LONG.sub(lambda found: found[0] if _is_plain(found[0]) else "***", said)


def _is_plain(text: str) -> bool:
    """Tell whether a long text is made of words alone, such as the name of a host, a file or an option."""
    return all(_PLAIN.fullmatch(piece) for piece in _PIECES.split(text))
