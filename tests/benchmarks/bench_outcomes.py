"""How good is a release whose outcome is a time to an event, or a number?

    python tests/benchmarks/bench_outcomes.py [--data D ...] [--method M ...] [--splits N] [--again] [--table]
    python tests/benchmarks/bench_outcomes.py --write

Five fixed splits with the keyed test source, delta 1/N, all patients at one site, but for rows that are named
after so many sites. Models learn from N synthetic records, from the real training records (the ceiling), or from
records whose columns are drawn on their own within each class of the outcome (the floor), and are tested on the
held-out real records. What is stored is not computed again; `--write` puts it into docs/benchmarks.md.
"""

from __future__ import annotations

import shlex
import sys

import pandas as pd
from cell_runs import arguments, measured, run, store, task_of
from outcome_scoring import score_outcome
from outcome_tables import EPSILONS, METHODS, TABLE, cells, markdown, place_of
from public_data import SPLITS, load
from result_cells import Cell, Facts, read
from synthesizers import METHODS as MAKERS


def main() -> int:
    """Compute what is wanted and not stored; show it; 1 if a cell failed."""
    wanted = arguments(__doc__, EPSILONS, METHODS)
    if wanted.write:
        TABLE.write(markdown(stored_of(cells(SPLITS))))
        return 0
    chosen = [
        cell for cell in cells(wanted.splits) if cell.setting in wanted.data and cell.method in wanted.method
    ]
    command = f"python tests/benchmarks/bench_outcomes.py {shlex.join(sys.argv[1:])}".strip()
    succeeded = wanted.table or run(chosen, command, wanted.again, compute=compute, alone=False)
    print(markdown(stored_of(chosen)))
    return 0 if succeeded else 1


def stored_of(wanted: list[Cell]) -> dict[Cell, Facts]:
    """Those of the cells that are stored."""
    return {cell: facts for cell, facts in read().items() if cell in wanted}


def compute(cell: Cell, command: str, again: bool = False) -> list[str]:
    """Compute and store one cell; a line of text for it."""
    place = place_of(cell.setting)
    data = load(place.data, cell.split)
    task, sizes = task_of(cell, data, place.setting)
    made, cost = measured(lambda: MAKERS[cell.method](task))
    del cost["peak GB"]  # of a process that computes many cells
    records = made.records[cell.method]
    assert isinstance(records, pd.DataFrame)
    figures = score_outcome(records, data)
    return [store(cell, {"figures": figures, **cost}, sizes, task.budget, command)]


if __name__ == "__main__":
    sys.exit(main())
