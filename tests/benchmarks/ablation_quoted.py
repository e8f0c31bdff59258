"""What the README says of the ablation, which a command writes between two marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ablation_table import CONDENSED, LESS_WHOLE, SPLITS, STORED, BySplit, by_split, less
from cells import Cell
from quoted import put
from tables import Facts, figure, spread
from variants import VARIANTS, WHOLE

BEGIN, END = "<!-- begin: python tests/benchmarks/ablation.py --readme -->", "<!-- end: ablation -->"
NAMES = {"adult": "Adult", "heart": "UCI heart", "stroke": "stroke trial"}
PARTS = ("class-centroids", "no-mixture", "no-field", "one-fit", "no-smoothing", "share-fixed")
SITES = (("five", "ours"), ("ten", "ours"))
SCALED = (
    "share-05",
    "share-30",
    "groups-half",
    "groups-twice",
    "cells-50",
    "cells-200",
    "sigma-max-0.1",
    "sigma-max-0.4",
)
KIP = (WHOLE.name, "kip-alpha-0", "kip-alpha-1", "kip-labels")
(MEAN, *_) = LESS_WHOLE.values()  # boosted trees, over all targets


def markdown(ablated: Mapping[Cell, Facts], stored: Mapping[Cell, Facts]) -> str:
    """Each part on each data set, by the mean over all targets; then what is said of Adult alone.

    Parameters
    ----------
    ablated, stored : as in `ablation_table.markdown`.

    Raises
    ------
    ValueError
        If a variant that is quoted has no cell on Adult.
    """
    whole = {data: by_split(ablated, data, "one", WHOLE.name) for data in SPLITS}
    at_one = {data: by_split(stored, data, "one", "ours") for data in SPLITS}
    lines = [f"| | {' | '.join(NAMES[data] for data in SPLITS)} |", "|" + "---|" * (len(SPLITS) + 1)]
    shown = [f"{spread(list(of.values()), MEAN)}{_fewer(of, data)}" for data, of in whole.items()]
    lines.append(f"| {WHOLE.told} | {' | '.join(shown)} |")
    for name in PARTS:
        parts = {data: by_split(ablated, data, "one", name) for data in SPLITS}
        lines.append(_row(VARIANTS[name].told, parts, whole))
    for at in SITES:
        lines.append(_row(STORED[at], {data: by_split(stored, data, *at) for data in SPLITS}, at_one))
    told = f"{_scaled(ablated, whole['adult'])} {_kip(ablated)}"
    return "\n".join([*lines, "", f"Commits of the cells: {_commits(ablated)}. {told}"])


def filled(text: str, ablated: Mapping[Cell, Facts], stored: Mapping[Cell, Facts]) -> str:
    """A text with what is said of the ablation between its marks."""
    return put(text, BEGIN, markdown(ablated, stored), END)


def _row(told: str, facts: Mapping[str, BySplit], whole: Mapping[str, BySplit]) -> str:
    gaps = [f"{less(of, whole[data], MEAN)}{_fewer(of, data)}" if of else "" for data, of in facts.items()]
    return f"| {told} | {' | '.join(gaps)} |"


def _fewer(facts: BySplit, data: str) -> str:
    """How many splits, where some are missing."""
    return "" if len(facts) == SPLITS[data] else f" ({len(facts)} of {SPLITS[data]} splits)"


def _commits(ablated: Mapping[Cell, Facts]) -> str:
    found: dict[str, set[str]] = {data: set() for data in SPLITS}
    for cell, facts in ablated.items():
        found[cell.data].add(facts["commit"])
    return "; ".join(f"{NAMES[data]} {', '.join(sorted(commits))}" for data, commits in found.items())


def _scaled(ablated: Mapping[Cell, Facts], whole: BySplit) -> str:
    gaps = [less(by_split(ablated, "adult", "one", name), whole, MEAN) for name in SCALED]
    least, most = min(gaps, key=float), max(gaps, key=float)
    return (
        "Answer A's share, the patients of a group, cells and sigma_max, each a third to twice as large, change "
        f"Adult by {least} to {most}."
    )


def _kip(ablated: Mapping[Cell, Facts]) -> str:
    facts = {name: by_split(ablated, "adult", "one", name) for name in KIP}
    splits = set.intersection(*map(set, facts.values()))
    if not splits:
        raise ValueError(f"expected cells of {', '.join(KIP)} on one split of adult; run ablation.py --data adult")
    facts = {name: {split: of[split] for split in splits} for name, of in facts.items()}
    ridge = {name: f"{_mean(of, CONDENSED['kernel ridge']):.3f}".lstrip("0") for name, of in facts.items()}
    moved = {name: f"{100 * _mean(of, CONDENSED['points moved']):.0f} %" for name, of in facts.items()}
    return (
        f"Kernel ridge on 50 support points of Adult reaches {ridge['kip-alpha-1']} before KIP, "
        f"{ridge['kip-labels']} with adapted labels alone, {ridge[WHOLE.name]} with points and labels; with alpha "
        f"0 {ridge['kip-alpha-0']}, and the points move by {moved['kip-alpha-0']} in place of {moved[WHOLE.name]}."
    )


def _mean(facts: BySplit, path: Sequence[str]) -> float:
    return float(np.mean([value for each in facts.values() if (value := figure(each, path)) is not None]))
