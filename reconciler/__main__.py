"""The console script, and `python -m reconciler`."""

import os
import signal
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line; an interruption while it is still being loaded ends without a trace."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody wants it ignored
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # nothing has begun that could be left half done
    from reconciler.cli import main

    main()


if __name__ == "__main__":
    run()
