"""Of the members of a rare class, how many does a model find that learned from a release?

    python tests/benchmarks/bench_rare.py [--data D ...] [--method M ...] [--splits N] [--again] [--table]
    python tests/benchmarks/bench_rare.py --write

Readmission within 30 days (`diabetes130`) and sepsis (`physionet2019`), sites and five splits as in the table of
utility, epsilon 1, delta 1/N, keyed noise. A model calls the held-out real records of its highest probabilities
positive, as many of them as the share of the class is among the real training records. What is stored is not
computed again; `--write` puts it into docs/benchmarks.md.
"""

from __future__ import annotations

import shlex
import sys

import pandas as pd
from cell_runs import arguments, measured, run, store, task_of
from public_data import Dataset, load
from rare_tables import FILE, METHODS, MODELS, SETTING, TABLE, cells, markdown
from result_cells import Cell, read
from scoring import SCORERS, Figures
from synthesizers import METHODS as MAKERS

from cohortmix.core.utility.classification import Smallest, auc, figures
from cohortmix.core.utility.columns import read as read_values
from cohortmix.core.utility.evaluate import score_real


def main() -> int:
    """Compute what is wanted and not stored; show it; 1 if a cell failed."""
    wanted = arguments(__doc__, SETTING, METHODS)
    stored = {cell: facts for cell, facts in read().items() if cell.data == FILE}
    if wanted.write:
        TABLE.write(markdown(stored))
        return 0
    chosen = [
        cell for cell in cells(wanted.splits) if cell.setting in wanted.data and cell.method in wanted.method
    ]
    command = f"python tests/benchmarks/bench_rare.py {shlex.join(sys.argv[1:])}".strip()
    succeeded = wanted.table or run(chosen, command, wanted.again, compute=compute, alone=False)
    print(markdown({cell: facts for cell, facts in read().items() if cell in chosen}))
    return 0 if succeeded else 1


def compute(cell: Cell, command: str, again: bool = False) -> list[str]:
    """Compute and store one cell; a line of text for it."""
    data = load(cell.setting, cell.split)
    task, sizes = task_of(cell, data, SETTING[cell.setting])
    made, cost = measured(lambda: MAKERS[cell.method](task))
    del cost["peak GB"]  # of a process that computes many cells
    records = made.records[cell.method]
    assert isinstance(records, pd.DataFrame)
    return [store(cell, {"figures": score_rare(records, data), **cost}, sizes, task.budget, command)]


def score_rare(records: pd.DataFrame, data: Dataset) -> Figures:
    """Figures of the smallest class of the real training records, of models that learned from `records`.

    `share` : of that class; `recall` calls so many held-out records positive. A patient's records weigh 1 in all.
    Of each model `core.utility.classification.figures`, and `auc`.
    """
    schema = data.schema
    made, test, real = (read_values(table, schema) for table in (records, data.test, data.train))
    label = real[schema.target_name].astype(int)
    rare = Smallest.of(label, real.weight, len(schema.classes))
    found: Figures = {"rows": made.rows, "class": schema.classes[rare.number], "share": rare.share}
    for model in MODELS:
        tested = score_real(made, test, schema, scorer=SCORERS[model])
        scored = (tested.label, tested.scores, tested.weight)
        found[model] = {"auc": auc(*scored), **figures(*scored, rare)}
    return found


if __name__ == "__main__":
    sys.exit(main())
