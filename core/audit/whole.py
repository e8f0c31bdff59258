"""A lower bound on mu from whole pipelines: what an attacker can tell apart from the released centroids alone.

All of `synthesize`, with its own noise, is run again and again on D and on D'. The attack counts the patients of
the released mixture that are like the one record and those that are like the other, so that the steps after the
noise are measured along with it.

A few hundred runs cannot show a small mu: 200 a side show 0.07 of 0.3. The pipelines are therefore run at mu = 2,
of which they can show 1.7, on two columns of a few hundred patients, where a run takes a third of a second.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cohortmix.core.audit.lower_bound import LowerBound, lower_bound
from cohortmix.core.audit.neighbours import KEY, Cohort, Record, worst
from cohortmix.core.audit.pairs import CHUNK, Map
from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.single_release import Release
from cohortmix.core.steps.centroids import Common
from cohortmix.core.synthesis import synthesize
from cohortmix.core.utility.checks.check import Checked

MU = Fraction(2)  # the claim that is audited
# Few patients, columns and inducing points: almost all releases then have arrays of the same shapes, and JAX
# compiles nothing anew.
PATIENTS, FEATURES, SUPPORT = 300, 2, 8
ENDS = ("every column at its first value", "every column at its last value")
"""The neighbours: as far apart as two records can be in both questions."""


@dataclass(frozen=True)
class Again:
    """The same source, with the name of a run in each purpose: a keyed source would repeat its noise otherwise."""

    source: NoiseSource
    run: str

    @property
    def name(self) -> str:
        """That of the source."""
        return self.source.name

    @property
    def private(self) -> bool:
        """That of the source."""
        return self.source.private

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        """Noise of the source."""
        return self.source.add(values, sigma, f"{purpose}:{self.run}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Attack:
    """An attacker who tells from a release which of two neighbours it was made of.

    Attributes
    ----------
    tables : D and D'.
    records : the record of the one patient in whom they differ, in D and in D'.
    schema : of both.
    noise : the source that `synthesize` uses.
    """

    tables: tuple[pa.Table, pa.Table]
    records: tuple[Record, Record]
    schema: Schema
    noise: NoiseSource

    def statistics(self, side_and_runs: tuple[int, range]) -> list[float]:
        """The statistic of a release of D (side 0) or of D' (side 1), for each run."""
        side, runs = side_and_runs
        return [self.statistic(self._release(side, run)) for run in runs]

    def statistic(self, release: Release) -> float:
        """How many more patients are like the record in D' than like the one in D."""
        like_first, like_second = (patients_like(record, release) for record in self.records)
        return like_second - like_first

    def _release(self, side: int, run: int) -> Release:
        noise = Again(self.noise, f"side {side}, run {run}")
        return synthesize(
            self.tables[side],
            self.schema,
            Budget.from_mu(float(MU)),
            noise=noise,
            support=SUPPORT,
            accept_degraded=True,
            checked=Checked({}),
        )


def measure_whole(
    cohort: Cohort,
    noise: NoiseSource,
    runs: int,
    rng: random.Random,
    *,
    report: Callable[[int, int], None] = lambda done, total: None,
    each: Map = map,
) -> LowerBound:
    """Bound mu of `synthesize`, from `runs` releases of each of two neighbours.

    Parameters
    ----------
    rng : chooses the patients that are kept, and the one who is replaced.
    report : is told the numbers of releases made and to make.
    each : `map`, or one that spreads calls over processes.
    """
    small = narrow(cohort, rng)
    patient = rng.choice(small.patients)
    first, second = (worst(small, patient)[name][0] for name in ENDS)
    tables = small.replaced(patient, (first,)), small.replaced(patient, (second,))
    attack = Attack(tables=tables, records=(first, second), schema=small.schema, noise=noise)
    tasks = [(side, range(run, min(run + CHUNK, runs))) for side in (0, 1) for run in range(0, runs, CHUNK)]
    drawn: list[float] = []
    for statistics in each(attack.statistics, tasks):
        drawn += statistics
        report(len(drawn), 2 * runs)
    return lower_bound(np.array(drawn[:runs]), np.array(drawn[runs:]), float(MU))


def narrow(cohort: Cohort, rng: random.Random) -> Cohort:
    """PATIENTS of the patients, and the FEATURES columns with the fewest cells, numbers being cut into two."""
    schema = cohort.schema
    columns = {
        name: column if isinstance(column, Category) else column.model_copy(update={"knots": 2})
        for name, column in schema.columns.items()
    }
    halved = schema.model_copy(update={"columns": columns})
    few = sorted(Encoding.of(halved).features, key=lambda cells: (cells.size, cells.edges is not None))[:FEATURES]
    kept = {*schema.outcome.columns, *(cells.name for cells in few)}
    patients = tuple(rng.sample(cohort.patients, min(PATIENTS, len(cohort.patients))))
    table = cohort.table.filter(pc.is_in(cohort.table[KEY], pa.array(patients))).select([*kept, KEY])
    columns = {name: column for name, column in columns.items() if name in kept}
    return Cohort(table, schema.model_copy(update={"columns": columns}), patients)


def patients_like(record: Record, release: Release) -> float:
    """Patients of the released mixture in the class of a record and, in each feature, in its merged bin."""
    schema, common = release.schema, release.common
    assert isinstance(common, Common)  # two columns are too few for anything but cells
    batch = pa.RecordBatch.from_pylist([dict(record)], schema=pa.schema([(name, pa.string()) for name in record]))
    cells, label = (codes[0] for codes in Encoding.of(schema).codes(batch))
    share = release.site.labels[:, label]
    for block, merged, cell in zip(common.groups.blocks, common.groups, cells, strict=True):
        share = share * release.site.means[:, block][:, merged[cell]]
    return float(release.site.masses @ share)
