"""How many synthetic records a command draws."""

from __future__ import annotations

from typing import Annotated

import typer

from cohortmix.core.arguments import MOST_ROWS

Rows = Annotated[
    int | None,
    typer.Option(
        "--rows",
        min=1,
        max=MOST_ROWS,
        help=f"Synthetic records to draw, at most {MOST_ROWS:,}; N by default, and more cost no privacy.",
    ),
]
