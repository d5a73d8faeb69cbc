"""The console script, and `python -m reconciler`."""

import gc
import os
import signal
from typing import NoReturn


def run() -> NoReturn:
    """Run the command line; an interruption while it is still being loaded ends without a trace."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else somebody wants it ignored
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # nothing has begun that could be left half done
    # What a run makes lives to its end, and is looked through again and again by a collector that finds nothing: with
    # 100,000 resources that was a fifth of the time.
    gc.set_threshold(50_000, 20, 20)
    # pydantic would look through all that is installed for plugins of its own: 10 ms, and code that nobody asked for.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from reconciler.cli import main

    main()


if __name__ == "__main__":
    run()
