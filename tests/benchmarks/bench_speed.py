"""`make bench-speed`: seconds and memory over rows, columns and sites, beside AIM, MST and DP-CTGAN.

    python tests/benchmarks/bench_speed.py [--over rows columns sites] [--rows N ...] [--columns D ...]
        [--method M ...] [--limit SECONDS] [--again] [--table]
    python tests/benchmarks/bench_speed.py --write

Tables are generated from a seed (`large_table.py`), one record of each patient; epsilon 1, delta 1/N, keyed noise.
What is stored is not measured again, unless it was stopped by a smaller limit. A method that was stopped is not
tried on what is larger. `--write` puts what is stored into docs/benchmarks.md, docs/speed.svg and README.md.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import large_table
from cell_runs import run
from result_cells import Cell, Facts, read
from speed_cells import METHODS, OWN, PEERS, Size, compute
from speed_tables import FIGURE, USUAL, figure, markdown, parts

LIMIT = 600  # CPU seconds of a cell
ROWS, COLUMNS, SITES = (1_000, 10_000, 100_000, 1_000_000), (10, 20, 50, 100, 200), (8, 25)
LARGEST = 10_000_000  # rows, of which the two answers alone are measured


def main() -> int:
    """Measure what is wanted and not stored, and show it; 1 if a cell failed."""
    wanted = arguments()
    if wanted.write:
        for part, lines in parts(read()).items():
            part.write(lines)
        FIGURE.write_text(figure(read()), encoding="utf-8")
        return 0
    succeeded = wanted.table or measure(wanted)
    print(markdown(read()))
    return 0 if succeeded else 1


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    over = ("rows", "columns", "sites")
    parser.add_argument("--over", nargs="+", choices=over, default=list(over), help="what is varied")
    parser.add_argument("--rows", nargs="+", type=int, choices=(*ROWS, LARGEST), default=[*ROWS, LARGEST])
    parser.add_argument("--columns", nargs="+", type=int, choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--limit", type=int, default=LIMIT, help="CPU seconds after which a cell is stopped")
    parser.add_argument("--again", action="store_true", help="measure what is stored already once more")
    parser.add_argument("--table", action="store_true", help="show what is stored, and measure nothing")
    parser.add_argument("--write", action="store_true", help="write what is stored into the documents")
    return parser.parse_args()


def grid(wanted: argparse.Namespace) -> list[Cell]:
    """The cells that are wanted: this project first, then peers, each from small to large."""
    sizes = [Size(rows, USUAL.columns) for rows in wanted.rows if "rows" in wanted.over]
    sizes += [Size(USUAL.rows, columns) for columns in wanted.columns if "columns" in wanted.over]
    sizes += [Size(USUAL.rows, USUAL.columns, sites) for sites in SITES if "sites" in wanted.over]
    return [
        size.cell(method)
        for method in (*OWN, *PEERS)
        if method in wanted.method
        for size in sizes
        if _suits(method, size)
    ]


def _suits(method: str, size: Size) -> bool:
    """Whether a method is measured at a size."""
    if method == "answers" or size.rows == LARGEST:
        return method == "answers" and size.rows == LARGEST
    return method == "ours" or (method == "joint") == (size.sites > 1)


def is_due(cell: Cell, stored: Mapping[Cell, Facts], limit: int, again: bool = False) -> bool:
    """Whether to measure it: not where the method, with as much time, was stopped on what is no larger."""
    for other, facts in stored.items():
        same = other.data == cell.data and other.method == cell.method and other != cell
        if same and facts.get("stopped", 0) >= limit and Size.of(other).within(Size.of(cell)):
            return False
    return again or cell not in stored or stored[cell].get("stopped", limit) < limit


def measure(wanted: argparse.Namespace) -> bool:
    """One cell after another, and each table once; False if a cell failed."""
    command, succeeded = shlex.join(["python", "tests/benchmarks/bench_speed.py", *sys.argv[1:]]), True
    with TemporaryDirectory() as folder:
        for cell in grid(wanted):
            if is_due(cell, read(), wanted.limit, wanted.again):
                size = Size.of(cell)
                path = Path(folder) / f"{size.rows}x{size.columns}.parquet"
                if not path.exists():
                    large_table.write(path, size.rows, size.columns)
                succeeded &= run([cell], command, again=True, compute=partial(compute, path, wanted.limit))
    return succeeded


if __name__ == "__main__":
    sys.exit(main())
