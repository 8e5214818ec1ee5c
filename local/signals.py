"""Ending in good order: a signal that ends us ends what we have started, too."""

import contextlib
import signal
import sys
from collections.abc import Iterator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave_when_told() -> None:
    """From now on Ctrl-C and its like raise SystemExit, so that every ``finally`` is run."""
    for word in ENDING:
        signal.signal(word, lambda number, _: sys.exit(128 + number))


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Deaf to Ctrl-C and its like: a second one must not leave half of it running."""
    before = [signal.signal(word, signal.SIG_IGN) for word in ENDING]
    try:
        yield
    finally:
        for word, handler in zip(ENDING, before, strict=True):
            signal.signal(word, handler)
