"""Tables and figures as every command prints them."""

from __future__ import annotations

from collections.abc import Sequence

from cohortmix.protocol.local.terminal import Terminal, compact_table

UNDEFINED = "-"  # in place of a figure that there is not


def print_rows(console: Terminal, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a compact table; None is a figure that is not defined."""
    table = compact_table(header)
    for row in rows:
        table.add_row(*(UNDEFINED if cell is None else str(cell) for cell in row))
    console.print(table)


def figure(value: float | None, places: int = 3) -> str:
    """A figure of a report with a fixed number of decimals.

    >>> figure(0.71649), figure(None)
    ('0.716', '-')
    """
    return UNDEFINED if value is None else f"{value:.{places}f}"
