"""Where is utility lost: by the encoding, by the model, or by noise? And how much of the last would epsilon buy?

    python tests/benchmarks/bench_losses.py [--data D ...] [--splits N] [--jobs N] [--table]
    python tests/benchmarks/bench_losses.py --write

Cells that are not stored yet are computed, and shown; `--write` puts what is stored into docs/benchmarks.md and
docs/losses.svg. Boosted trees on as many records as there are patients, one site, delta 1/N, keyed noise.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping

from cell_runs import run
from loss_figure import draw
from markdown_tables import DOCUMENT, Part, heading, mean_of, spread
from result_cells import Cell, Facts, read

SCRIPT = "bench_losses.py"
TABLE = Part(DOCUMENT, "losses", SCRIPT)
FIGURE = DOCUMENT.with_name("losses.svg")
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
AREAS = ("declared target", "mean of all targets")  # what the figure shows


def main() -> int:
    """Compute what is not stored, and show it; 1 if a cell failed."""
    wanted = arguments()
    if wanted.write:
        TABLE.write(markdown(read()))
        FIGURE.write_text(figure(read()), encoding="utf-8")
        return 0
    listed = [
        cell
        for split in range(wanted.splits)
        for data in wanted.data
        if split < SPLITS[data]
        for cell in cells(data, split)
    ]
    command = shlex.join(["python", "tests/benchmarks/bench_losses.py", *sys.argv[1:]])
    succeeded = wanted.table or run(listed, command, jobs=wanted.jobs)
    print(markdown(read()))
    return 0 if succeeded else 1


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--splits", type=int, default=max(SPLITS.values()), help="how many of those")
    parser.add_argument("--jobs", type=int, default=1, help="cells that are computed at once")
    parser.add_argument("--table", action="store_true", help="show what is stored, and compute nothing")
    parser.add_argument("--write", action="store_true", help="write what is stored into docs/")
    return parser.parse_args()


def cells(data: str, split: int) -> Iterator[Cell]:
    """The ladder, and the release at each epsilon."""
    for method in LADDER:
        yield Cell(data, "one", method, None if method == "real" else 1.0, split)
    for epsilon in EPSILONS:
        yield Cell(data, "one", "ours", epsilon, split)


def row(stored: Mapping[Cell, Facts], data: str, method: str, epsilon: float = 1.0) -> list[Facts]:
    """What is stored of the shown splits."""
    budget = None if method == "real" else epsilon
    shown = [Cell(data, "one", method, budget, split) for split in range(SPLITS[data])]
    return [stored[cell] for cell in shown if cell in stored]


def markdown(stored: Mapping[Cell, Facts]) -> str:
    """A line for each step and each epsilon; mean +- sd over the splits."""
    lines = heading(["data", "records", "splits", *FIGURES])
    for data in DATA:
        rows = {LADDER[method]: row(stored, data, method) for method in LADDER}
        rows |= {f"release, epsilon {epsilon:g}": row(stored, data, "ours", epsilon) for epsilon in EPSILONS}
        for name, facts in rows.items():
            if facts:
                shown = " | ".join(spread(facts, path) for path in FIGURES.values())
                lines.append(f"| {data} | {name} | {len(facts)} | {shown} |")
    return "\n".join(lines)


def figure(stored: Mapping[Cell, Facts]) -> str:
    """The text of an SVG file: for each data set the ladder, and the curve over epsilon beside it."""
    ladders = {
        name: {area: [mean_of(row(stored, data, method), FIGURES[area]) for method in LADDER] for area in AREAS}
        for data, name in DATA.items()
    }
    curves = {
        name: {
            area: [mean_of(row(stored, data, "ours", epsilon), FIGURES[area]) for epsilon in EPSILONS]
            for area in AREAS
        }
        for data, name in DATA.items()
    }
    return draw(ladders, curves, tuple(LADDER.values()), EPSILONS, list(LADDER).index("no-noise"))


if __name__ == "__main__":
    sys.exit(main())
