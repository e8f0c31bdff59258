"""`make bench-ablation`: what is each part of the mechanism worth? One is changed at a time, all else is equal.

    python tests/benchmarks/ablation.py [--variant V ...] [--data D ...] [--splits N] [--again]
    python tests/benchmarks/ablation.py --table | --readme

One site, epsilon 1, delta 1/N, as many rows as patients, keyed noise. Variants that ask the same questions have
the same noise; where cells, groups or an answer's share change it is drawn anew, and is part of the difference.
Where B has hardly room (heart), answer A's share follows sigma_max too.
Constants were chosen on Adult and UCI heart, not on the stroke trial.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ablation_quoted
import cells
import numpy as np
from ablation_table import SPLITS, markdown
from cells import Cell, measured, read, resolved, run, store
from datasets import Dataset, load, patients_of
from methods import Task
from quoted import README
from scores import Figures, of_condensed, of_records
from settings import SETTINGS
from sklearn.linear_model import LogisticRegression
from variants import VARIANTS, Change

from cohortmix.core.release.condensed import PooledSupport
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.support import Support
from cohortmix.core.synthesis import synthesize
from cohortmix.core.utility.columns import read as read_table
from cohortmix.core.utility.evaluate import auc

RESULTS = cells.RESULTS.parent / "ablation"
TABLE = RESULTS / "TABLE.md"


@dataclass(frozen=True)
class Ablated(Cell):
    """A cell of the ablation; `method` is the name of a variant."""

    @property
    def path(self) -> Path:
        """Its file."""
        return RESULTS / super().path.relative_to(cells.RESULTS)


def main() -> int:
    """Compute what was asked for and is not stored, and write the table; 1 if a cell failed."""
    asked = arguments()
    if asked.readme:
        text = README.read_text(encoding="utf-8")
        README.write_text(ablation_quoted.filled(text, read(RESULTS), read()), encoding="utf-8")
    wanted = [
        Ablated(data, "one", name, 1.0, split)
        for split in range(asked.splits)
        for data in asked.data
        for name in asked.variant
        if split < SPLITS[data]
    ]
    command = shlex.join(["python", "tests/benchmarks/ablation.py", *sys.argv[1:]])
    well = asked.table or asked.readme or run(wanted, command, asked.again, compute=compute, alone=False)
    text = markdown(read(RESULTS), read())
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if well else 1


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--data", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--splits", type=int, default=max(SPLITS.values()), help="how many of those")
    parser.add_argument("--again", action="store_true", help="compute what is stored already once more")
    parser.add_argument("--table", action="store_true", help="write the table, and compute nothing")
    parser.add_argument("--readme", action="store_true", help="write the table and what the README says of it")
    return parser.parse_args()


def compute(cell: Cell, command: str, again: bool = False) -> list[str]:
    """One variant on one split; stored, and told in a line."""
    data, variant = load(cell.data, cell.split), VARIANTS[cell.method]
    table, site = SETTINGS[cell.setting](data, cell.split)
    patients = len(np.unique(patients_of(table, data.schema)))
    task = Task(data, table, site, resolved(cell, patients), cell.split)
    with variant.applied(), adapted() as seen:
        release, cost = measured(
            lambda: synthesize(table, data.schema, task.terms, noise=task.noise(), accept_degraded=True)
        )
        figures: Figures = of_records(release.records(), data) if variant.records else {}
        figures["condensed"] = of_condensed([release.site], release.support, data)
        if seen:
            figures["condensed"] |= of_points(release.support, data) | {"moved": seen[0]}
    del cost["peak GB"]  # it is the process's, which computes other cells too
    return [store(cell, {"figures": figures, **cost}, [patients], task.budget, command)]


@contextmanager
def adapted() -> Iterator[list[float]]:
    """How far `adapt` moved its points, in units of their own norm, as it does: a release does not say so."""
    own, seen = pipeline.adapt, []

    def watched(points: Any, *args: Any, **others: Any) -> Support:
        found = own(points, *args, **others)
        seen.append(float(np.linalg.norm(found.points - points) / np.linalg.norm(points)))
        return found

    with Change(pipeline, "adapt", watched).made():
        yield seen


def of_points(support: PooledSupport, data: Dataset) -> Figures:
    """Logistic regression on the inducing points, which was not what they were adapted for."""
    label = read_table(data.test, data.schema)[data.schema.target].astype(np.int64)
    k, classes = np.nonzero(support.labels > 0)
    weights = support.labels[k, classes]
    model = LogisticRegression(max_iter=2000).fit(support.points[k], classes, sample_weight=weights)
    return {"logistic on points": auc(label, model.predict_proba(support.encode(data.test)))}


if __name__ == "__main__":
    sys.exit(main())
