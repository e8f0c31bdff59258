"""Progress of long work: one line that moves on a terminal, plain lines in a log; always on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def step(text: str, console: Console | None = None) -> Iterator[None]:
    """Say that `text` is going on, and when it is done how long it took."""
    console = console or Console(stderr=True)
    start = monotonic()
    if console.is_terminal:
        with console.status(f"{text} ..."):
            yield
        console.print(f"[green]✓[/green] {text} [dim]{monotonic() - start:.1f} s[/dim]", highlight=False)
    else:
        console.out(f"{text} ...", highlight=False)
        yield


@contextmanager
def steps(console: Console | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Yield what work of several parts reports to, as report(part, done, total)."""
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield lambda part, done, total: console.out(f"{part}: {done} of {total}", highlight=False)
        return
    look = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*look, console=console) as progress:
        tasks = {}

        def report(part: str, done: int, total: int) -> None:
            if part not in tasks:
                tasks[part] = progress.add_task(part, total=total)
            progress.update(tasks[part], completed=done, total=total)

        yield report
