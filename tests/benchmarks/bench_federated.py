"""`make bench-federated`: DistAIM, AugFLAIM and HeteroFedSyn beside this project, at 5, 25 and 100 sites.

    python tests/benchmarks/bench_federated.py [--flaim DIR] [--hetero DIR] [--method M ...] [--sites N ...]
        [--splits N] [--again] [--table]
    python tests/benchmarks/bench_federated.py --write

UCI Adult, epsilon 1, delta 1e-5, as many records at each site. DIR is a git checkout of a rival's repository:
github.com/Samuel-Maddock/flaim, github.com/XiaochenLi-w/Federated-Tabular-Data-Synthesis-Framework. It is copied
and patched, never changed; what is patched and why is printed first. What is stored is not computed again;
`--write` puts it into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from cell_runs import run
from federated_rivals import FILE, METHODS, OURS, PYTHON, RIVALS, SITES, Checkouts, cell_of, compute
from markdown_tables import DOCUMENT, Part
from public_data import SPLITS
from result_cells import Cell, Facts, read

FEDERATED = Part(DOCUMENT, "federated", "bench_federated.py")


def main() -> int:
    """Compute what is wanted and not stored, as far as there are checkouts; show it; 1 if a cell failed."""
    wanted = arguments()
    if wanted.write:
        FEDERATED.write(table(read()))
        return 0
    checkouts = {name: path for name, path in (("flaim", wanted.flaim), ("hetero", wanted.hetero)) if path}
    if checkouts and not PYTHON.exists():
        raise SystemExit(f"expected the rivals' environment at {PYTHON}; run `make bench-federated` first")
    cells = grid(wanted)
    succeeded = True
    if not wanted.table:
        possible = [cell for cell in cells if cell.method in OURS or RIVALS[cell.method].repository in checkouts]
        print_patches({cell.method for cell in possible})
        options = " ".join(f"--{name} DIR" for name in checkouts)
        command = f"python tests/benchmarks/bench_federated.py {options}".strip()
        succeeded = run(possible, command, wanted.again, compute=partial(_compute, checkouts))
    print(table({cell: facts for cell, facts in read().items() if cell in cells}))
    return 0 if succeeded else 1


def _compute(checkouts: Checkouts, cell: Cell, command: str, again: bool) -> list[str]:
    return compute(checkouts, cell, command, again)


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flaim", type=Path, help="a checkout, for DistAIM and AugFLAIM")
    parser.add_argument("--hetero", type=Path, help="a checkout, for HeteroFedSyn")
    parser.add_argument("--method", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--sites", nargs="+", type=int, choices=SITES.values(), default=list(SITES.values()))
    parser.add_argument("--splits", type=int, choices=range(1, SPLITS + 1), default=1, help="how many of the five")
    parser.add_argument("--again", action="store_true", help="compute what is stored already once more")
    parser.add_argument("--table", action="store_true", help="show what is stored, and compute nothing")
    parser.add_argument("--write", action="store_true", help="write what is stored into the page")
    return parser.parse_args()


def grid(wanted: argparse.Namespace) -> list[Cell]:
    """The cells that are wanted, the cheap methods first."""
    return [
        cell_of(setting, method, split)
        for split in range(wanted.splits)
        for method in METHODS
        if method in wanted.method
        for setting, count in SITES.items()
        if count in wanted.sites
    ]


def print_patches(methods: set[str]) -> None:
    """What is changed in the code of others, and why; each once."""
    patches = {patch: None for method in RIVALS if method in methods for patch in RIVALS[method].patches}
    for patch in patches:
        first, *more = patch.old.strip().splitlines()
        print(f"patch {patch.file}, {first.strip()}{' ...' if more else ''}: {patch.reason}")


def table(stored: Mapping[Cell, Facts]) -> str:
    """A row for each method and split: income / mean of six targets (boosted trees); TVD of pairs; CPU seconds."""
    rows = [f"| method | split | {' | '.join(SITES)} |", f"|---|---|{'---|' * len(SITES)}"]
    of_rivals = {(cell.method, cell.split) for cell in stored if cell.data == FILE}
    for method, split in sorted(of_rivals, key=lambda row: row[::-1]):
        cells = [stored.get(cell_of(setting, method, split)) for setting in SITES]
        rows.append(f"| {method} | {split} | {' | '.join(map(_shown, cells))} |")
    return "\n".join(rows)


def _shown(facts: Facts | None) -> str:
    if facts is None:
        return ""
    if "stopped" in facts:
        return str(facts["stopped"])
    trees, pairs = facts["figures"]["trees"], facts["figures"]["tvd2"]
    return f"{trees['targets']['income']:.3f} / {trees['mean']:.3f}; {pairs:.3f}; {facts['cpu seconds']:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
