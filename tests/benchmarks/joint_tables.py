"""The table of joint noise in docs/benchmarks.md: the same patients with either noise, and at one site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markdown_tables import DOCUMENT, Part, heading, spread
from public_data import SPLITS
from result_cells import Cell, Facts

JOINT = Part(DOCUMENT, "joint", "bench_utility.py")
HEADING = ("", "noise of each", "joint noise", "one site", "joint, a third may conspire")
FIGURES = (("trees", "declared"), ("trees", "mean"), ("logistic", "mean"), ("tvd2",))


@dataclass(frozen=True)
class Row:
    """Patients of several sites, with a budget; `one` says whether the delta of the one site is the product's."""

    title: str
    data: str
    setting: str
    epsilon: float = 1.0
    own_delta: bool = False
    one_own_delta: bool = False

    @property
    def columns(self) -> tuple[Cell, ...]:
        """The cells of HEADING, of the first split."""
        there = [
            Cell(self.data, self.setting, method, self.epsilon, 0, self.own_delta)
            for method in ("ours", "joint", "joint-third")
        ]
        one = Cell(self.data, "one", "ours", self.epsilon, 0, self.one_own_delta)
        return there[0], there[1], one, there[2]


ROWS = (
    Row("Stroke trial, 8 networks", "stroke", "natural", own_delta=True, one_own_delta=True),
    Row("— epsilon 0.2", "stroke", "natural", 0.2, own_delta=True),
    Row("— epsilon 10", "stroke", "natural", 10.0, own_delta=True),
    Row("Stroke trial, 74 hospitals", "hospitals", "natural", own_delta=True, one_own_delta=True),
    Row("UCI heart, 4 hospitals", "heart", "natural"),
    Row("UCI Adult, 5 IID sites", "adult", "five"),
    Row("UCI Adult, 5 sites skewed by age", "adult", "skew"),
    Row("UCI Adult, 10 IID sites", "adult", "ten"),
    Row("UCI Adult, 25 IID sites", "adult", "twenty-five"),
    Row("UCI Adult, 100 IID sites", "adult", "hundred"),
    Row("PhysioNet 2019, 2 hospitals", "physionet2019", "natural"),
)


def joint_table(stored: Mapping[Cell, Facts]) -> str:
    """A row for each setting with joint noise; trees: declared / mean, logistic: mean, TVD of pairs, splits."""
    lines = heading(HEADING)
    for row in ROWS:
        facts = [[facts for cell, facts in stored.items() if cell.row == column] for column in row.columns]
        if facts[1]:
            lines.append(f"| {row.title} | {' | '.join(map(_shown, facts))} |")
    return "\n".join(lines)


def _shown(facts: Sequence[Facts]) -> str:
    if not facts:
        return ""
    declared, mean, logistic, pairs = (spread(facts, ("figures", *path)) for path in FIGURES)
    fewer = f" ({len(facts)} of {SPLITS} splits)" if len(facts) < SPLITS else ""
    return f"{declared} / {mean}; {logistic}; {pairs}{fewer}"
