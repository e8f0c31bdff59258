"""Progress: what long work says of how far it is, to whoever observes it.

What is said follows from what is public and from released values. Where nobody observes, as at a site that serves,
nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

Observer: TypeAlias = Callable[[str, int, int], None]
"""Is told the name of a part of the work, how many of its steps are done, and how many there are."""

_OBSERVER: ContextVar[Observer | None] = ContextVar("observer", default=None)


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Within it, `observer` is told how far the work of this thread is."""
    token = _OBSERVER.set(observer)
    try:
        yield
    finally:
        _OBSERVER.reset(token)


def report(part: str, done: int, total: int) -> None:
    """Tell the observer, if there is one."""
    observer = _OBSERVER.get()
    if observer is not None:
        observer(part, done, total)
