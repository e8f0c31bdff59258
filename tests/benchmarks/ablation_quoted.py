"""What the README says of the ablation, which a command writes between two marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ablation_table import CONDENSED, LESS_WHOLE, SPLITS, STORED, BySplit, by_split, less
from cells import Cell
from tables import Facts, figure, spread
from variants import VARIANTS, WHOLE

README = Path(__file__).parents[2] / "README.md"
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
    """
    whole = {data: by_split(ablated, data, "one", WHOLE.name) for data in SPLITS}
    lines = [f"| | {' | '.join(NAMES[data] for data in SPLITS)} |", "|" + "---|" * (len(SPLITS) + 1)]
    lines.append(f"| {WHOLE.told} | {' | '.join(spread(list(of.values()), MEAN) for of in whole.values())} |")
    parts = {VARIANTS[name].told: (ablated, "one", name) for name in PARTS}
    parts |= {STORED[at]: (stored, *at) for at in SITES}
    for told, (cells, setting, method) in parts.items():
        gaps = [less(by_split(cells, data, setting, method), whole[data], MEAN) for data in SPLITS]
        lines.append(f"| {told} | {' | '.join(gaps)} |")
    return "\n".join([*lines, "", f"{_scaled(ablated, whole['adult'])} {_kip(ablated)}"])


def filled(text: str, ablated: Mapping[Cell, Facts], stored: Mapping[Cell, Facts]) -> str:
    """A text with what is said of the ablation between its marks."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{markdown(ablated, stored)}\n{END}{rest.split(END, 1)[1]}"


def _scaled(ablated: Mapping[Cell, Facts], whole: BySplit) -> str:
    gaps = [less(by_split(ablated, "adult", "one", name), whole, MEAN) for name in SCALED]
    least, most = min(gaps, key=float), max(gaps, key=float)
    return f"Budget share, groups, cells and sigma_max, halved or doubled, change Adult by {least} to {most}."


def _kip(ablated: Mapping[Cell, Facts]) -> str:
    facts = {name: by_split(ablated, "adult", "one", name) for name in KIP}
    ridge = {name: f"{_mean(of, CONDENSED['kernel ridge']):.3f}".lstrip("0") for name, of in facts.items()}
    moved = {name: f"{100 * _mean(of, CONDENSED['points moved']):.0f} %" for name, of in facts.items()}
    return (
        f"Kernel ridge on 50 support points of Adult reaches {ridge['kip-alpha-1']} before KIP, "
        f"{ridge['kip-labels']} with adapted labels alone, {ridge[WHOLE.name]} with points and labels; with alpha "
        f"0 {ridge['kip-alpha-0']}, and the points move by {moved['kip-alpha-0']} in place of {moved[WHOLE.name]}."
    )


def _mean(facts: BySplit, path: Sequence[str]) -> float:
    return float(np.mean([value for each in facts.values() if (value := figure(each, path)) is not None]))
