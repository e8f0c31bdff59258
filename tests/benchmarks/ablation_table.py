"""The table of the ablation: what records and the condensed set of each variant are worth, beside the whole's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from cells import Cell
from tables import COLUMNS, Facts, figure, spread
from variants import VARIANTS, WHOLE

SPLITS = {"adult": 2, "heart": 5, "stroke": 1}  # more of the smallest, whose splits differ most
STORED = {  # cells of the benchmark of utility: setting, method, in words
    ("five", "ours"): "the same patients at 5 sites",
    ("ten", "ours"): "the same patients at 10 sites",
    ("one", "noised-steps"): "the paper's order, noise in each step",
    ("one", "published"): "the paper's order, noise in the last step (no valid guarantee)",
}
Columns: TypeAlias = Mapping[str, tuple[str, ...]]  # heading: where it stands in a cell
RECORDS: Columns = {name: at for name, at in COLUMNS.items() if at[0] == "figures" and "condensed" not in at}
LESS_WHOLE: Columns = {
    "trees, mean of all, less whole": ("figures", "trees", "mean"),
    "logistic, mean of all, less whole": ("figures", "logistic", "mean"),
    "TVD 2, less whole": ("figures", "tvd2"),
}
CONDENSED: Columns = {
    "kernel ridge": ("figures", "condensed", "kernel ridge"),
    "decision tree on the centroids": ("figures", "condensed", "decision tree"),
    "logistic on the points": ("figures", "condensed", "logistic on points"),
    "points moved": ("figures", "condensed", "moved"),
}
NOTE = "A variant that has the figures of the class centroids has no room for a mixture there."
BySplit: TypeAlias = Mapping[int, Facts]


def markdown(ablated: Mapping[Cell, Facts], stored: Mapping[Cell, Facts]) -> str:
    """A table of the records and one of the condensed set; mean +- sd over splits.

    Parameters
    ----------
    ablated : cells whose method is the name of a variant.
    stored : cells of the benchmark of utility.

    Notes
    -----
    What is less the whole is the mean of the differences of those splits that both have.
    """
    records, condensed = _lines([*RECORDS, *LESS_WHOLE]), _lines(CONDENSED)
    for data in SPLITS:
        rows = {variant: by_split(ablated, data, "one", variant.name) for variant in VARIANTS.values()}
        whole = rows[WHOLE]
        for variant, facts in rows.items():
            if variant.records:
                records += _row(data, variant.told, facts, RECORDS, whole)
            if variant is WHOLE or not variant.records:
                condensed += _row(data, variant.told, facts, CONDENSED)
        at_one = by_split(stored, data, "one", "ours")  # the whole, of the benchmark's own run
        for at, told in STORED.items():
            records += _row(data, told, by_split(stored, data, *at), RECORDS, at_one)
    return "\n".join([*records, "", NOTE, "", *condensed])


def _lines(columns: Sequence[str] | Columns) -> list[str]:
    head = ["data", "variant", "splits", *columns, "commit"]
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]


def by_split(stored: Mapping[Cell, Facts], data: str, setting: str, method: str) -> BySplit:
    """Cells at epsilon 1, delta 1/N, with keyed noise, of the splits that the ablation has."""
    asked = [Cell(data, setting, method, 1.0, split) for split in range(SPLITS[data])]
    return {cell.split: stored[cell] for cell in asked if cell in stored}


def _row(data: str, told: str, facts: BySplit, columns: Columns, whole: BySplit | None = None) -> list[str]:
    """One line, or none where nothing is stored."""
    shown = [spread(list(facts.values()), path) for path in columns.values()]
    if whole is not None:
        shown += [less(facts, whole, path) for path in LESS_WHOLE.values()]
    commits = sorted({each["commit"] for each in facts.values()})
    return [f"| {' | '.join([data, told, str(len(facts)), *shown, ', '.join(commits)])} |"] if facts else []


def less(facts: BySplit, whole: BySplit, path: Sequence[str]) -> str:
    """Mean difference of those splits that both have; nothing where there is none."""
    pairs = [(figure(facts[split], path), figure(whole[split], path)) for split in facts if split in whole]
    gaps = [a - b for a, b in pairs if a is not None and b is not None]
    return f"{np.mean(gaps):+.3f}".replace("0.", ".", 1) if gaps and facts is not whole else ""
