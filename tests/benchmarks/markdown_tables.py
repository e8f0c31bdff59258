"""Tables: stored cells as Markdown, mean +- standard deviation over splits, and where a document shows them.

`bench_utility.py`, `bench_ablation.py` and `bench_losses.py` write what is stored between marks of a document;
tests hold that it is what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peer_terms import FEDERATED, PEERS
from result_cells import Cell, Facts
from synthesizers import METHODS

ROOT = Path(__file__).parents[2]
README, DOCUMENT = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
COLUMNS: Mapping[str, tuple[str, ...]] = {  # heading: where it stands in a cell's figures
    "trees: declared": ("figures", "trees", "declared"),
    "mean of all": ("figures", "trees", "mean"),
    "logistic: declared": ("figures", "logistic", "declared"),
    "mean of all ": ("figures", "logistic", "mean"),
    "TVD 1": ("figures", "tvd1"),
    "TVD 2": ("figures", "tvd2"),
    "kernel ridge": ("figures", "condensed", "kernel ridge"),
    "decision tree": ("figures", "condensed", "decision tree"),
    "CPU s": ("cpu seconds",),
    "GB": ("peak GB",),
}
NOTES = {
    "published": " (no valid guarantee)",
    **{name: f" ({peer.note})" for name, peer in {**PEERS, **FEDERATED}.items()},
}


@dataclass(frozen=True)
class Part:
    """A part of a document that a command writes; nobody else does.

    Attributes
    ----------
    name : tells the parts of a document apart.
    script : the command's file in this folder; with `--write` it writes the part.
    """

    document: Path
    name: str
    script: str

    @property
    def marks(self) -> tuple[str, str]:
        """What stands before and after it."""
        begin = f"<!-- begin {self.name}: python tests/benchmarks/{self.script} --write -->"
        return begin, f"<!-- end {self.name} -->"

    def filled(self, text: str, lines: str) -> str:
        """The text of a document with these lines, and nothing else, between the marks.

        Raises
        ------
        ValueError
            If the text does not have both marks once, in their order.
        """
        begin, end = self.marks
        if text.count(begin) != 1 or text.count(end) != 1 or text.index(end) < text.index(begin):
            raise ValueError(f"expected {begin} and {end} once each in {self.document.name}; put them back")
        before, after = text[: text.index(begin)], text[text.index(end) :]
        return f"{before}{begin}\n{lines}\n{after}"

    def write(self, lines: str) -> None:
        """Put these lines into the document."""
        text = self.document.read_text(encoding="utf-8")
        self.document.write_text(self.filled(text, lines), encoding="utf-8")


def markdown(cells: Mapping[Cell, Facts]) -> str:
    """All cells of methods that make records, a row for each cell but for its split; not those of speed alone."""
    lines = heading(["data", "setting", "epsilon", "delta", "method", "splits", *COLUMNS])
    shown = {cell.row for cell in cells if cell.method in METHODS and cell.data != "speed"}
    for row in sorted(shown, key=_order):
        facts = [stored for cell, stored in cells.items() if cell.row == row]
        line = [*_names(row, facts), *(spread(facts, path) for path in COLUMNS.values())]
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def heading(names: Sequence[str]) -> list[str]:
    """The first two lines of a table."""
    return [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]


def spread(facts: Sequence[Facts], path: Sequence[str]) -> str:
    """Mean +- standard deviation of a figure; empty where no cell has it."""
    values = [value for stored in facts if (value := figure(stored, path)) is not None]
    if not values:
        return ""
    digits = 0 if path[-1].endswith("seconds") else 1 if path[-1].endswith("GB") else 3
    mean = f"{np.mean(values):.{digits}f}".removeprefix("0" if digits == 3 else "")
    if len(values) == 1 or digits < 3:
        return mean
    return f"{mean} +- {np.std(values, ddof=1):.3f}".replace("+- 0.", "+- .")


def figure(facts: Facts, path: Sequence[str]) -> float | None:
    """One number of a cell; `declared` stands for the first target, of several classes for the accuracy."""
    value: Any = facts
    for key in path:
        if value is None:
            return None
        if key == "declared":
            value = value.get("accuracy", next(iter(value["targets"].values())))
        else:
            value = value.get(key)
    return None if value is None else float(value)


def mean_of(facts: Sequence[Facts], path: Sequence[str]) -> float:
    """Mean of a figure over the cells that have it; NaN where none has."""
    values = [value for stored in facts if (value := figure(stored, path)) is not None]
    return float(np.mean(values)) if values else float("nan")


def _names(row: Cell, facts: Sequence[Facts]) -> list[str]:
    epsilon = "" if row.epsilon is None else f"{row.epsilon:g}"
    delta = "" if row.epsilon is None else "own" if row.own_delta else "1/N"
    method = row.method + NOTES.get(row.method, "") + (", real noise" if row.real_noise else "")
    method += "".join(f": {stored['failed']}".replace("|", "/") for stored in facts if "failed" in stored)
    return [row.data, row.setting, epsilon, delta, method, str(len(facts))]


def _order(row: Cell) -> tuple[Any, ...]:
    return (row.data, row.setting, row.epsilon or 0, row.own_delta, row.method, row.real_noise)
