"""Progress of long work: one line that moves on a terminal, plain lines in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console

TEST_BANNER = "NOT PRIVATE: test noise"


@contextmanager
def step(text: str, console: Console | None = None) -> Iterator[None]:
    """Say that `text` is going on, and when it is done how long it took; on standard error by default."""
    console = console or Console(stderr=True)
    start = monotonic()
    if console.is_terminal:
        with console.status(f"{text} ..."):
            yield
        console.print(f"[green]✓[/green] {text} [dim]{monotonic() - start:.1f} s[/dim]", highlight=False)
    else:
        console.out(f"{text} ...", highlight=False)
        yield
