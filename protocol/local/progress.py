"""Progress of long work: one line that moves on a terminal, plain lines in a log; always on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cohortmix.protocol.local.terminal import Terminal, styled, visible

MOST_LINES = 10  # of one part in a log, or some more

_QUIET = ContextVar("quiet", default=False)


def hush(quiet: bool) -> bool:
    """From now on show no progress, or show it again."""
    _QUIET.set(quiet)
    return quiet


Quiet = Annotated[bool, typer.Option("--quiet", callback=hush, help="Show no progress.")]
"""An option of commands that take a while."""


@contextmanager
def step(text: str, console: Terminal | None = None) -> Iterator[None]:
    """Print that `text` is going on, and at its end, on a terminal, how long it took."""
    console = console or Terminal(stderr=True)
    start = monotonic()
    if _QUIET.get():
        yield
    elif console.is_terminal:
        with console.status(styled(f"{text} ...")):
            yield
        console.print(styled("✓", "green"), text, styled(f"{monotonic() - start:.1f} s", "dim"))
    else:
        console.print(f"{text} ...")
        yield


@contextmanager
def steps(console: Terminal | None = None) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function to which work in several parts reports its progress: report(part, done, total)."""
    console = console or Terminal(stderr=True)
    if _QUIET.get():
        yield lambda part, done, total: None
        return
    if not console.is_terminal:

        def tell(part: str, done: int, total: int) -> None:
            if done % max(1, total // MOST_LINES) == 0 or done == total:
                console.print(f"{part}: {done} of {total}")

        yield tell
        return
    parts = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*parts, console=console) as progress:
        tasks = {}

        def report(part: str, done: int, total: int) -> None:
            if part not in tasks:
                tasks[part] = progress.add_task(visible(part), total=total)
            progress.update(tasks[part], completed=done, total=total)

        yield report
