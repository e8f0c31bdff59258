"""Tables: stored cells as Markdown, mean +- standard deviation over splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cells import Cell

Facts = Mapping[str, Any]
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
    "mst": " (a record added or removed)",
    "aim": " (a record added or removed)",
    "dpgan": " (a record added or removed; conditions by exact frequencies, which it does not count)",
    "pategan": " (a record added or removed)",
}


def markdown(cells: Mapping[Cell, Facts]) -> str:
    """One table, a row for each cell but for its split."""
    head = ["data", "setting", "epsilon", "delta", "method", "splits", *COLUMNS]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in sorted({cell.row for cell in cells if cell.method != "own"}, key=_order):
        facts = [each for cell, each in cells.items() if cell.row == row]
        line = [*_names(row, facts), *(spread(facts, path) for path in COLUMNS.values())]
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join(lines)


def spread(facts: Sequence[Facts], path: Sequence[str]) -> str:
    """Mean +- standard deviation of a figure; empty where no cell has it."""
    values = [value for each in facts if (value := figure(each, path)) is not None]
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


def _names(row: Cell, facts: Sequence[Facts]) -> list[str]:
    epsilon = "" if row.epsilon is None else f"{row.epsilon:g}"
    delta = "" if row.epsilon is None else "own" if row.own_delta else "1/N"
    method = row.method + NOTES.get(row.method, "") + (", real noise" if row.real_noise else "")
    return [row.data, row.setting, epsilon, delta, method, str(len(facts))]


def _order(row: Cell) -> tuple[Any, ...]:
    return (row.data, row.setting, row.epsilon or 0, row.own_delta, row.method, row.real_noise)
