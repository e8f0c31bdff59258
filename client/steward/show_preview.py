"""The release of round 1 on the steward's terminal, before it leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rich.console import Group

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.steps.anonymize import read_sums
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.known import available_cases, known_shares
from cohortmix.core.steps.margins import project
from cohortmix.protocol.local.terminal import Terminal, compact_table, panel, styled
from cohortmix.protocol.local.wording import digits, percent

MOST_VALUES = 4  # of a category: the commonest ones
QUARTILES = (0.25, 0.5, 0.75)


def show_class_sums(console: Terminal, schema: Schema, answer: Answer, patients: int) -> None:
    """Print what a noised answer says of each class, as the coordinator will read it.

    Parameters
    ----------
    answer : the class sums that round 1 releases.
    patients : N of the site.
    """
    encoding = Encoding.of(schema)
    sums = read_sums(encoding, answer.estimate, answer.std)
    sums = available_cases(sums, encoding, known_shares(sums, encoding, patients))
    _show_class_centroids(console, encoding, schema.classes, project(sums, encoding, patients))


def _show_class_centroids(console: Terminal, encoding: Encoding, classes: Sequence[str], margins: Margins) -> None:
    table = compact_table(("", *classes))
    table.add_row("patients", *(f"{mass:.0f}" for mass in margins.masses))
    for cells, block in zip(encoding.features, encoding.blocks, strict=True):
        table.add_row(cells.name, *(_centroid(cells, distribution[block]) for distribution in margins.cells))
    banner = styled("This is what will leave: the release of round 1.", "bold").append(
        " It is differentially private and paid for; one count has noise of "
        f"± {digits(margins.s_a)} patients. Figures of real records are not shown.",
        style="not bold",
    )
    console.print(panel(Group(banner, "", table), border_style="yellow"))


def _centroid(cells: Cells, distribution: NDArray[np.float64]) -> str:
    """One column of a class: a category's commonest values, or the median and quartiles of a number or date."""
    missing = float(distribution[cells.missing]) if cells.missing >= 0 else 0.0
    if isinstance(cells.column, Category):
        text = _commonest(cells.column.values, distribution)
    else:
        text = _quartiles(cells, distribution, missing)
    return text + (f", missing {percent(missing, 0)}" if cells.missing >= 0 else "")


def _commonest(values: Sequence[str], distribution: NDArray[np.float64]) -> str:
    order = np.argsort(-distribution[: len(values)], kind="stable")[:MOST_VALUES]
    parts = [f"{values[code]} {percent(distribution[code], 0)}" for code in order]
    rest = len(values) - len(order)
    return ", ".join([*parts, f"{rest} more"] if rest else parts)


def _quartiles(cells: Cells, distribution: NDArray[np.float64], missing: float) -> str:
    values = np.arange(cells.size - (cells.missing >= 0))
    below = np.cumsum(distribution[values]) / max(1 - missing, 1e-12)  # of those who have a value
    quartiles = [int(np.searchsorted(below, share).clip(0, values[-1])) for share in QUARTILES]
    low, middle, high = (cells.interval(code) for code in quartiles)
    return f"{_short(middle[0])} (half in {_short(low[0])} to {_short(high[1])})"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
