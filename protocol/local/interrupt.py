"""Ctrl-C during the seconds in which a program loads: nothing was done yet that could be left half done."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STATUS = 130
"""Exit status of a program that was interrupted, as shells have it: 128 and the signal's number."""

_SENTENCE = b"\ncohortmix: interrupted while it was loading; nothing was written\n"


@contextmanager
def loading() -> Iterator[None]:
    """Around imports: an interrupt prints one sentence and ends the process at once.

    KeyboardInterrupt would not do: extension modules such as numpy's print a traceback for an exception while they
    are imported, or drop it.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # whoever started this program has set another, such as to ignore
        yield
        return
    signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def hold() -> None:
    """Keep interrupts back, also in the program that takes this one's place by exec."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def release() -> None:
    """Let through what was held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, _SENTENCE)
    os._exit(STATUS)
