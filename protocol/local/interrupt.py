"""Ctrl-C while a program is loading: the first seconds, in which nothing was done that could be left half done."""

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
    """For imports alone: an interrupt meanwhile is one sentence and the exit status, at once.

    It is no exception here. What numpy and others import in C prints a traceback for one, or goes on without it.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # whoever started this has other wishes, such as to ignore it
        yield
        return
    signal.signal(signal.SIGINT, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def hold() -> None:
    """Keep interrupts back, also through the start of the program that takes this one's place."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def release() -> None:
    """Let through what was held back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, _SENTENCE)
    os._exit(STATUS)
