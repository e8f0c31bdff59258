"""Rows of a spreadsheet, as CSV that no program takes for formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet computes a cell that begins with one of these


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    r"""The rows as text; a text that begins like a formula gets an apostrophe before it, a number does not.

    >>> as_csv([("site", "mu"), ("=1+1", -0.5)])
    "site,mu\n'=1+1,-0.5\n"
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([_guarded(cell) for cell in row] for row in rows)
    return out.getvalue()


def _guarded(cell: object) -> object:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
