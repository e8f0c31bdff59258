"""`make bench-utility`: how useful is it, against every anchor? Cells that are missing are computed, and shown.

    python tests/benchmarks/utility.py [--data D ...] [--setting S ...] [--method M ...] [--epsilon E ...]
        [--splits N] [--own-delta] [--real-noise] [--again] [--jobs N] [--table]
    python tests/benchmarks/utility.py --quoted ours | peers [--data D ...] [--method M ...] [--splits N]
    python tests/benchmarks/utility.py --readme

Five fixed splits with the keyed test source, and with `--real-noise` the first split with the real one. Every
method sees the same training records, is scored by the same models, and on the same held-out records.
"""

from __future__ import annotations

import argparse
import shlex
import sys

import quoted
from cells import WITHOUT_BUDGET, Cell, read, run
from datasets import LOADERS, SPLITS
from methods import BETWEEN, METHODS, ONE_SITE, OTHERS
from settings import SETTINGS, SINGLE
from tables import markdown

NAMED = (*OTHERS, *BETWEEN)  # what is computed only if it is named
QUICK = ["own", *(name for name in METHODS if name not in NAMED)]


def main() -> int:
    """Compute what was asked for and is not stored; show it; 1 if a cell failed."""
    asked = arguments()
    if asked.readme:
        text = quoted.README.read_text(encoding="utf-8")
        quoted.README.write_text(quoted.filled(text, read()), encoding="utf-8")
        quoted.TABLE.write_text(markdown(read()) + "\n", encoding="utf-8")
        return 0
    wanted = listed(asked) if asked.quoted else grid(asked)
    command = f"python tests/benchmarks/utility.py {shlex.join(sys.argv[1:])}"
    well = asked.table or run(wanted, command, asked.again, asked.jobs)
    rows = {cell.row for cell in wanted}
    print(markdown({cell: facts for cell, facts in read().items() if cell.row in rows}))
    return 0 if well else 1


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=["one"])
    parser.add_argument("--method", nargs="+", choices=["own", *METHODS], default=None)
    parser.add_argument("--epsilon", nargs="+", type=float, default=[1.0])
    parser.add_argument("--splits", type=int, default=SPLITS, help="how many of the five")
    parser.add_argument("--own-delta", action="store_true", help="the product's delta in place of 1/N")
    parser.add_argument("--real-noise", action="store_true", help="the real source, on the first split")
    parser.add_argument("--again", action="store_true", help="compute what is stored already once more")
    parser.add_argument("--jobs", type=int, default=1, help="cells that are computed at once")
    parser.add_argument("--table", action="store_true", help="show what is stored, and compute nothing")
    parser.add_argument("--quoted", choices=["ours", "peers"], help="the cells of the README")
    parser.add_argument("--readme", action="store_true", help="write what is stored into the README")
    return parser.parse_args()


def listed(asked: argparse.Namespace) -> list[Cell]:
    """The cells of the README, as far as they were asked for."""
    return [
        cell
        for cell in quoted.cells(asked.quoted == "peers")
        if cell.data in asked.data and cell.split < asked.splits and cell.method in (asked.method or [cell.method])
    ]


def grid(asked: argparse.Namespace) -> list[Cell]:
    """The cells that were asked for, the first split of each first."""
    cells = []
    for split in range(1 if asked.real_noise else asked.splits):
        for data in asked.data:
            for setting in asked.setting:
                for method in asked.method or QUICK:
                    if method in ({"own"} if setting in SINGLE else ONE_SITE):
                        continue
                    without = method in WITHOUT_BUDGET
                    for epsilon in [None] if without else asked.epsilon:
                        delta, noise = asked.own_delta and not without, asked.real_noise and not without
                        cells.append(Cell(data, setting, method, epsilon, split, delta, noise))
    return list(dict.fromkeys(cells))


if __name__ == "__main__":
    sys.exit(main())
