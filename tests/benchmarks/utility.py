"""`make bench-utility`: how useful is it, against every anchor? Cells that are missing are computed, and shown.

    python tests/benchmarks/utility.py [--data D ...] [--setting S ...] [--method M ...] [--epsilon E ...]
        [--splits N] [--own-delta] [--real-noise] [--again] [--table]

Five fixed splits with the keyed test source, and with `--real-noise` the first split with the real one. Every
method sees the same training records, is scored by the same models, and on the same held-out records.
"""

from __future__ import annotations

import argparse
import shlex
import sys

from cells import WITHOUT_BUDGET, Cell, read, run
from datasets import LOADERS, SPLITS
from methods import METHODS, ONE_SITE, OTHERS
from settings import SETTINGS, SINGLE
from tables import markdown

QUICK = ["own", *(name for name in METHODS if name not in OTHERS)]  # what is computed unless it is named


def main() -> None:
    """Compute what was asked for and is not stored; or show what is."""
    asked = arguments()
    if not asked.table:
        run(grid(asked), f"python tests/benchmarks/utility.py {shlex.join(sys.argv[1:])}", asked.again)
    chosen = {
        cell: facts
        for cell, facts in read().items()
        if cell.data in asked.data and cell.setting in asked.setting and cell.method in asked.method
    }
    print(markdown(chosen))


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=LOADERS, default=list(LOADERS))
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=["one"])
    parser.add_argument("--method", nargs="+", choices=["own", *METHODS], default=QUICK)
    parser.add_argument("--epsilon", nargs="+", type=float, default=[1.0])
    parser.add_argument("--splits", type=int, default=SPLITS, help="how many of the five")
    parser.add_argument("--own-delta", action="store_true", help="the product's delta in place of 1/N")
    parser.add_argument("--real-noise", action="store_true", help="the real source, on the first split")
    parser.add_argument("--again", action="store_true", help="compute what is stored already once more")
    parser.add_argument("--table", action="store_true", help="show what is stored, and compute nothing")
    return parser.parse_args()


def grid(asked: argparse.Namespace) -> list[Cell]:
    """The cells that were asked for, the first split of each first."""
    cells = []
    for split in range(1 if asked.real_noise else asked.splits):
        for data in asked.data:
            for setting in asked.setting:
                for method in asked.method:
                    if method in ({"own"} if setting in SINGLE else ONE_SITE):
                        continue
                    without = method in WITHOUT_BUDGET
                    for epsilon in [None] if without else asked.epsilon:
                        delta, noise = asked.own_delta and not without, asked.real_noise and not without
                        cells.append(Cell(data, setting, method, epsilon, split, delta, noise))
    return list(dict.fromkeys(cells))


if __name__ == "__main__":
    main()
