"""Where utility is lost: by the encoding, by the model, or by noise? And how much of the last would epsilon buy?

    python tests/benchmarks/losses.py [--data D ...] [--splits N] [--jobs N] [--table]

Cells that are not stored yet are computed; then results/utility/losses.png and LOSSES.md are written. Boosted
trees on as many records as there are patients, one site, delta 1/N, keyed noise.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from cells import RESULTS, Cell, read, run
from matplotlib import pyplot as plt
from tables import Facts, figure, spread

DATA = {"adult": "UCI Adult", "stroke": "stroke trial", "heart": "UCI heart"}
SPLITS = {"adult": 1, "stroke": 1, "heart": 2}  # more of the smallest, whose splits differ most
EPSILONS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
LADDER = {
    "real": "real records",
    "on-cells": "on fine cells",
    "on-groups": "on the release's groups",
    "no-noise": "release, exact answers (not private)",
    "ours": "release, epsilon 1",
    "ours-more": "more rows of it",
}
FIGURES = {
    "declared target": ("figures", "trees", "declared"),
    "mean of all targets": ("figures", "trees", "mean"),
    "TVD of pairs": ("figures", "tvd2"),
}


def main() -> int:
    """Compute what is not stored, and show it; 1 if a cell failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--splits", type=int, default=max(SPLITS.values()), help="how many of those")
    parser.add_argument("--jobs", type=int, default=1, help="cells that are computed at once")
    parser.add_argument("--table", action="store_true", help="show what is stored, and compute nothing")
    asked = parser.parse_args()
    wanted = [
        cell
        for split in range(asked.splits)
        for data in asked.data
        if split < SPLITS[data]
        for cell in cells(data, split)
    ]
    command = shlex.join(["python", "tests/benchmarks/losses.py", *sys.argv[1:]])
    well = asked.table or run(wanted, command, jobs=asked.jobs)
    stored = read()
    text = markdown(stored)
    (RESULTS / "LOSSES.md").write_text(text + "\n", encoding="utf-8")
    draw(stored)
    print(text)
    return 0 if well else 1


def cells(data: str, split: int) -> Iterator[Cell]:
    """The ladder, and the release at each epsilon."""
    for method in LADDER:
        yield Cell(data, "one", method, None if method == "real" else 1.0, split)
    for epsilon in EPSILONS:
        yield Cell(data, "one", "ours", epsilon, split)


def row(stored: Mapping[Cell, Facts], data: str, method: str, epsilon: float = 1.0) -> list[Facts]:
    """What is stored of the shown splits."""
    budget = None if method == "real" else epsilon
    asked = [Cell(data, "one", method, budget, split) for split in range(SPLITS[data])]
    return [stored[cell] for cell in asked if cell in stored]


def markdown(stored: Mapping[Cell, Facts]) -> str:
    """A line for each step and each epsilon; mean +- sd over the splits."""
    lines = [f"| data | records | splits | {' | '.join(FIGURES)} |", "|" + "---|" * (3 + len(FIGURES))]
    for data in DATA:
        told = [(LADDER[method], row(stored, data, method)) for method in LADDER]
        told += [(f"release, epsilon {epsilon:g}", row(stored, data, "ours", epsilon)) for epsilon in EPSILONS]
        for name, facts in dict(told).items():
            if facts:
                figures = " | ".join(spread(facts, path) for path in FIGURES.values())
                lines.append(f"| {data} | {name} | {len(facts)} | {figures} |")
    return "\n".join(lines)


def draw(stored: Mapping[Cell, Facts]) -> None:
    """For each data set the ladder, and the curve over epsilon beside it."""
    mpl.use("Agg")
    picture, axes = plt.subplots(len(DATA), 2, figsize=(10, 3.2 * len(DATA)), width_ratios=(3, 2), sharey="row")
    for (data, name), (ladder, curve) in zip(DATA.items(), axes, strict=True):
        for told, colour in (("declared target", "#1b4f72"), ("mean of all targets", "#b9770e")):
            steps = [_mean(row(stored, data, method), FIGURES[told]) for method in LADDER]
            ladder.plot(range(len(LADDER)), steps, "o-", color=colour, label=told)
            for at, value in enumerate(steps):
                ladder.annotate(
                    f"{value:.3f}", (at, value), (0, 6), textcoords="offset points", ha="center", fontsize=8
                )
            rows = [_mean(row(stored, data, "ours", epsilon), FIGURES[told]) for epsilon in EPSILONS]
            curve.plot(EPSILONS, rows, "o-", color=colour)
            curve.axhline(steps[list(LADDER).index("no-noise")], color=colour, linestyle=":")
        ladder.set(title=name, ylabel="AUC on held-out patients", xticks=range(len(LADDER)))
        ladder.set_xticklabels([fill(each, 14) for each in LADDER.values()], fontsize=7)
        for panel in (ladder, curve):
            panel.margins(y=0.15)
        curve.set(xscale="log", xlabel="epsilon (dotted: exact answers)", xticks=EPSILONS)
        curve.set_xticklabels([f"{epsilon:g}" for epsilon in EPSILONS])
        curve.minorticks_off()
    axes[0, 0].legend(loc="lower left", fontsize=8)
    picture.tight_layout()
    picture.savefig(RESULTS / "losses.png", dpi=110, metadata={"Software": None})


def _mean(facts: list[Facts], path: tuple[str, ...]) -> float:
    """NaN where nothing is stored, which leaves a gap."""
    values: list[Any] = [figure(each, path) for each in facts]
    return float(np.mean(values)) if values else float("nan")


if __name__ == "__main__":
    sys.exit(main())
