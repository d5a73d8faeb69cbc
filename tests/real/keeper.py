"""Run a command for as long as somebody holds the other end of standard input, then end it and all that it started.

A test process that is killed runs no clean-up of its own, but the kernel closes its pipes. So no server outlives the
tests, however they end.
"""

import os
import signal
import subprocess
import sys
import threading

GRACE = 5.0
"""Seconds that a command has for ending by itself."""


def keep(command: list[str]) -> int:
    """Run a command in a process group of its own, and end the group when standard input does."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        threading.Thread(target=_end_after_input, args=(process,), daemon=True).start()
        code = process.wait()
        _send(process.pid, signal.SIGKILL)  # what it started and left behind
    return code


def _end_after_input(process: subprocess.Popen[bytes]) -> None:
    sys.stdin.buffer.read()
    _send(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        _send(process.pid, signal.SIGKILL)


def _send(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # only the end of the input ends it
    sys.exit(keep(sys.argv[1:]))
