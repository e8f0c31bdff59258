"""`make bench-utility`: how useful is it, against every anchor? Cells that are missing are computed, and shown.

    python tests/benchmarks/bench_utility.py [--data D ...] [--setting S ...] [--method M ...] [--epsilon E ...]
        [--splits N] [--own-delta] [--real-noise] [--again] [--jobs N] [--table]
    python tests/benchmarks/bench_utility.py --quoted ours | peers [--data D ...] [--method M ...] [--epsilon E
        ...] [--splits N]
    python tests/benchmarks/bench_utility.py --write

Five fixed splits with the keyed test source, and with `--real-noise` the first split with the real one. Every
method sees the same training records, is scored by the same models, and on the same held-out records.
"""

from __future__ import annotations

import argparse
import shlex
import sys

import quoted_tables
from cell_runs import WITHOUT_BUDGET, run
from markdown_tables import markdown
from peer_terms import FEDERATED, PEERS
from public_data import SPLITS
from public_tables import LOADERS
from result_cells import Cell, read
from site_settings import SETTINGS, SINGLE
from synthesizers import BETWEEN, METHODS, ONE_SITE

NAMED = (*PEERS, *FEDERATED, *BETWEEN)  # what is computed only if it is named
QUICK = ["own", *(name for name in METHODS if name not in NAMED)]


def main() -> int:
    """Compute what is wanted and not stored; show it; 1 if a cell failed."""
    wanted = arguments()
    if wanted.write:
        for part, lines in quoted_tables.parts(read()).items():
            part.write(lines)
        return 0
    cells = listed(wanted) if wanted.quoted else grid(wanted)
    command = f"python tests/benchmarks/bench_utility.py {shlex.join(sys.argv[1:])}"
    alone = any(cell.method not in PEERS for cell in cells)  # the memory of a peer is that of its own process
    succeeded = wanted.table or run(cells, command, wanted.again, wanted.jobs, alone=alone)
    rows = {cell.row for cell in cells}
    print(markdown({cell: facts for cell, facts in read().items() if cell.row in rows}))
    return 0 if succeeded else 1


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=["one"])
    parser.add_argument("--method", nargs="+", choices=["own", *METHODS], default=None)
    parser.add_argument("--epsilon", nargs="+", type=float, default=None, help="1 if nothing is quoted")
    parser.add_argument("--splits", type=int, default=SPLITS, help="how many of the five")
    parser.add_argument("--own-delta", action="store_true", help="the product's delta in place of 1/N")
    parser.add_argument("--real-noise", action="store_true", help="the real source, on the first split")
    parser.add_argument("--again", action="store_true", help="compute what is stored already once more")
    parser.add_argument("--jobs", type=int, default=1, help="cells that are computed at once")
    parser.add_argument("--table", action="store_true", help="show what is stored, and compute nothing")
    parser.add_argument("--quoted", choices=["ours", "peers"], help="the cells that docs/benchmarks.md quotes")
    parser.add_argument("--write", action="store_true", help="write what is stored into the documents")
    return parser.parse_args()


def listed(wanted: argparse.Namespace) -> list[Cell]:
    """The cells that documents quote, as far as they are wanted."""
    return [
        cell
        for cell in quoted_tables.cells(wanted.quoted == "peers")
        if cell.data in wanted.data
        and cell.split < wanted.splits
        and cell.method in (wanted.method or [cell.method])
        and (wanted.epsilon is None or cell.epsilon in (None, *wanted.epsilon))
    ]


def grid(wanted: argparse.Namespace) -> list[Cell]:
    """The cells of all combinations that are wanted, the first split of each first."""
    cells = []
    for split in range(1 if wanted.real_noise else wanted.splits):
        for data in wanted.data:
            for setting in wanted.setting:
                for method in wanted.method or QUICK:
                    if method in ({"own", *FEDERATED} if setting in SINGLE else ONE_SITE):
                        continue
                    without = method in WITHOUT_BUDGET
                    for epsilon in [None] if without else wanted.epsilon or [1.0]:
                        delta, noise = wanted.own_delta and not without, wanted.real_noise and not without
                        cells.append(Cell(data, setting, method, epsilon, split, delta, noise))
    return list(dict.fromkeys(cells))


if __name__ == "__main__":
    sys.exit(main())
