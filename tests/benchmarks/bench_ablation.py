"""`make bench-ablation`: what is each part of the mechanism worth? One is changed at a time, all else is equal.

    python tests/benchmarks/bench_ablation.py [--variant V ...] [--data D ...] [--splits N] [--again]
    python tests/benchmarks/bench_ablation.py --table | --write

One site, epsilon 1, delta 1/N, as many rows as patients, keyed noise. Variants that ask the same questions have
the same noise; where cells, groups or an answer's share change it is drawn anew, and is part of the difference.
Where B has hardly room (heart), answer A's share follows sigma_max too. A variant is run where it changes
something: where B is about pair tables, or about scores. Constants were chosen on Adult, UCI heart and SUPPORT2.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from ablation_tables import SPLITS, markdown, parts, variants_of
from cell_runs import measured, resolved, run, store
from mechanism_variants import VARIANTS, Change
from public_data import Dataset, load, patients_of
from result_cells import Cell, read
from scoring import Figures, score_condensed, score_records
from site_settings import SETTINGS
from sklearn.linear_model import LogisticRegression
from synthesizers import Task

from cohortmix.core.release.condensed import PooledSupport
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.support import Support
from cohortmix.core.synthesis import synthesize
from cohortmix.core.utility.columns import read as read_table
from cohortmix.core.utility.evaluate import auc


def main() -> int:
    """Compute what is wanted and not stored, and show the tables; 1 if a cell failed."""
    wanted = arguments()
    if wanted.write:
        for part, lines in parts(read()).items():
            part.write(lines)
        return 0
    cells = [
        Cell(data, "one", name, 1.0, split)
        for split in range(wanted.splits)
        for data in wanted.data
        for name in wanted.variant
        if split < SPLITS[data] and VARIANTS[name] in variants_of(data)
    ]
    command = shlex.join(["python", "tests/benchmarks/bench_ablation.py", *sys.argv[1:]])
    succeeded = wanted.table or run(cells, command, wanted.again, compute=compute, alone=False)
    print(markdown(read()))
    return 0 if succeeded else 1


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--data", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--splits", type=int, default=max(SPLITS.values()), help="how many of those")
    parser.add_argument("--again", action="store_true", help="compute what is stored already once more")
    parser.add_argument("--table", action="store_true", help="show what is stored, and compute nothing")
    parser.add_argument("--write", action="store_true", help="write what is stored into docs/benchmarks.md")
    return parser.parse_args()


def compute(cell: Cell, command: str, again: bool = False) -> list[str]:
    """Compute and store one variant on one split; a line of text for it."""
    data, variant = load(cell.data, cell.split), VARIANTS[cell.method]
    table, site = SETTINGS[cell.setting](data, cell.split)
    patients = len(np.unique(patients_of(table, data.schema)))
    task = Task(data, table, site, resolved(cell, patients), cell.split)
    with variant.applied(), adaptations() as moved:
        release, cost = measured(
            lambda: synthesize(table, data.schema, task.terms, noise=task.noise(), accept_degraded=True)
        )
        figures: Figures = score_records(release.records(), data) if variant.records else {}
        figures["condensed"] = score_condensed([release.site], release.support, data)
        if moved:
            figures["condensed"] |= score_points(release.support, data) | {"moved": moved[0]}
    del cost["peak GB"]  # it is the process's, which computes other cells too
    return [store(cell, {"figures": figures, **cost}, [patients], task.budget, command)]


@contextmanager
def adaptations() -> Iterator[list[float]]:
    """How far `adapt` moves its points, in units of their own norm, call by call: a release does not say so."""
    moved: list[float] = []
    original = vars(pipeline)["adapt"]  # as `pipeline` calls it

    def watched(points: Any, *args: Any, **others: Any) -> Support:
        support: Support = original(points, *args, **others)
        moved.append(float(np.linalg.norm(support.points - points) / np.linalg.norm(points)))
        return support

    with Change(pipeline, "adapt", watched).made():
        yield moved


def score_points(support: PooledSupport, data: Dataset) -> Figures:
    """Logistic regression on the inducing points, which was not what they were adapted for."""
    label = read_table(data.test, data.schema)[data.schema.target_name].astype(np.int64)
    k, classes = np.nonzero(support.labels > 0)
    weights = support.labels[k, classes]
    model = LogisticRegression(max_iter=2000).fit(support.points[k], classes, sample_weight=weights)
    return {"logistic on points": auc(label, model.predict_proba(support.encode(data.test)))}


if __name__ == "__main__":
    sys.exit(main())
