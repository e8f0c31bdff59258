"""How many synthetic records a command draws."""

from __future__ import annotations

from typing import Annotated

import typer

MOST_ROWS = 10_000_000
"""Records that one command draws at most. All of them are in memory at once: a million records of 23 columns take
1.1 GiB and a few minutes, so that ten million are what a large workstation holds. The limit is public, and is
looked at before anything is computed or spent."""

Rows = Annotated[
    int | None,
    typer.Option(
        "--rows",
        min=1,
        max=MOST_ROWS,
        help=f"Synthetic records to draw, at most {MOST_ROWS:,}; N by default, and more cost no privacy.",
    ),
]
