"""Does the guarantee hold? Record and replay on neighbours, and a lower bound on mu from draws.

For public tables: an audit looks at exact answers. It speaks of the mechanism, at one version of it, and never
of a release that somebody else made.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import sqrt

import pyarrow as pa

from cohortmix.core import pipeline
from cohortmix.core.anonymize import Groups, sum_query
from cohortmix.core.budget import MIN_PATIENTS, Budget
from cohortmix.core.encoding import Encoding
from cohortmix.core.lower_bound import RUNS, LowerBound, log_likelihood_ratios, lower_bound
from cohortmix.core.meter import Answer
from cohortmix.core.neighbours import MANY_ROWS, Cohort, at_random, worst
from cohortmix.core.noise import NoiseSource
from cohortmix.core.query import MomentQuery
from cohortmix.core.replay import Mechanism, Queries, Replays, Run, ask, distance2, run
from cohortmix.core.schema import Schema
from cohortmix.core.synthesis import Release, synthesize
from cohortmix.core.table import InputError

MU = Fraction(3, 10)  # the claim that is audited
RANDOM_PAIRS = 200
WHOLE = (
    "label flip",
    "outlier far from everything",
    "between two clusters",
    f"{MANY_ROWS} rows",
    "missing everywhere",
)
"""The neighbours on which all three steps run; on the others, the vault alone answers the same questions."""
PAIRED = 6  # features of the second moment of which noise is drawn: Q(Q-1) numbers of each draw differ
PARTS = ("whole pipelines", "random pairs", "noise drawn")
"""What is reported, in order."""

Report = Callable[[str, int, int], None]


def _silent(part: str, done: int, total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    patients, noise : N of the table; name of the noise source.
    whole, named, at_random : replays of all three steps on worst pairs, and of the vault alone on all worst
        pairs and on random ones.
    furthest : the worst pair whose answers lie furthest apart.
    bound : on mu of the vault's answers about that pair.
    """

    patients: int
    noise: str
    whole: Replays
    named: Replays
    at_random: Replays
    furthest: str
    bound: LowerBound

    @property
    def violations(self) -> tuple[str, ...]:
        """A sentence for each; none where the guarantee was not seen to fail."""
        found = [text for each in (self.whole, self.named, self.at_random) for text in each.violations]
        if not self.bound.holds:
            found.append(f"claimed mu {self.bound.claimed:.4g}, measured at least {self.bound.measured:.4g}")
        return tuple(found)


def audit(
    cohort: Cohort,
    noise: NoiseSource,
    *,
    mu: Fraction = MU,
    random_pairs: int = RANDOM_PAIRS,
    whole: Sequence[str] = WHOLE,
    runs: int = RUNS,
    seed: int = 0,
    report: Report = _silent,
) -> Audit:
    """Audit the mechanism on a public table.

    The lower bound is on both questions of a release together, at half of mu^2 each; the second one is asked
    about the first PAIRED features, so that its noise can be drawn thousands of times.

    Parameters
    ----------
    cohort : at least 50 patients; all their exact answers are looked at.
    noise : the source that is audited with the vault.
    mu : of the budget.
    random_pairs, whole : how many random neighbours; on which named ones the whole pipeline runs.
    runs : draws a side for the lower bound.
    seed : of the choice of patients, replacements and pairs.
    report : told part, done and total.

    Raises
    ------
    InputError
        If there is no release of this table, for want of patients or otherwise.
    """
    if len(cohort.patients) < MIN_PATIENTS:
        raise InputError(f"{len(cohort.patients)} patients are too few: a release needs at least {MIN_PATIENTS}")
    rng = random.Random(seed)
    patient = rng.choice(cohort.patients)
    tables = {name: cohort.replaced(patient, records) for name, records in worst(cohort, patient).items()}
    recorded, steps = replay_steps(cohort, {name: tables[name] for name in whole}, mu, noise, report)
    groups = _groups(cohort, mu, recorded)
    both = queries(cohort.schema, groups, mu)
    named, furthest = replay_worst(tables, cohort.schema, both, noise)
    at_chance = replay_random(cohort, both, noise, random_pairs, rng, report)
    few = queries(cohort.schema, groups[:PAIRED], mu)
    one, other = (run(_vault(tables[name], cohort.schema, few), noise) for name in furthest)
    bound = measure(one, other, noise, runs, report)
    return Audit(len(cohort.patients), noise.name, steps, named, at_chance, " / ".join(furthest), bound)


def replay_steps(
    cohort: Cohort, neighbours: Mapping[str, pa.Table], mu: Fraction, noise: NoiseSource, report: Report = _silent
) -> tuple[Run, Replays]:
    """All three steps on the table and, given its released answers, on neighbours; the first run is returned."""
    recorded, replays = run(_pipeline(cohort.table, cohort.schema, mu), noise), Replays()
    if recorded.fault is not None:
        raise InputError(f"there is no release of this table to audit: {recorded.fault}")
    report(PARTS[0], 1, len(neighbours) + 1)
    for done, (name, table) in enumerate(neighbours.items(), start=2):
        replays.compare(name, recorded, run(_pipeline(table, cohort.schema, mu), noise, recorded))
        report(PARTS[0], done, len(neighbours) + 1)
    return recorded, replays


def replay_worst(
    tables: Mapping[str, pa.Table], schema: Schema, asked: Queries, noise: NoiseSource
) -> tuple[Replays, tuple[str, str]]:
    """The vault alone on tables that all differ in one patient, each against each; the furthest pair's names."""
    versions: dict[str, Run] = {}
    for name, table in tables.items():
        versions[name] = run(_vault(table, schema, asked), noise, next(iter(versions.values()), None))
    replays, furthest = Replays(), (Fraction(-1), ("", ""))
    for one, other in combinations(versions, 2):
        replays.compare(f"{one} / {other}", versions[one], versions[other])
        moved = _moved(versions[one], versions[other])
        furthest = max(furthest, (moved, (one, other)), key=lambda each: each[0])
    return replays, furthest[1]


def replay_random(
    cohort: Cohort, asked: Queries, noise: NoiseSource, pairs: int, rng: random.Random, report: Report = _silent
) -> Replays:
    """The vault alone on the table and on random neighbours."""
    recorded, replays = run(_vault(cohort.table, cohort.schema, asked), noise), Replays()
    for pair in range(pairs):
        table = cohort.replaced(*at_random(cohort, rng))
        replays.compare(f"random pair {pair}", recorded, run(_vault(table, cohort.schema, asked), noise, recorded))
        report(PARTS[1], pair + 1, pairs)
    return replays


def measure(one: Run, other: Run, noise: NoiseSource, runs: int, report: Report = _silent) -> LowerBound:
    """A lower bound on mu of the questions that two runs asked, against what they paid."""
    sides = log_likelihood_ratios(
        one.entries, other.entries, noise, runs, lambda done, total: report(PARTS[2], done, total)
    )
    return lower_bound(*sides, sqrt(sum(answer.mu2 for answer in one.answers)))


def queries(schema: Schema, groups: Groups, mu: Fraction) -> Queries:
    """Both questions, at half of mu^2 each; a fault of either then shows in the bound.

    One feature makes no pairs: then the first question alone, at all of it.
    """
    sums = sum_query(Encoding.of(schema))
    if len(groups) < 2:
        return ((sums, mu**2),)
    return (sums, mu**2 / 2), (MomentQuery(groups), mu**2 / 2)


def _pipeline(table: pa.Table, schema: Schema, mu: Fraction) -> Mechanism:
    def mechanism(noise: NoiseSource) -> tuple[Sequence[Answer], Release]:
        release = synthesize(table, schema, Budget.from_mu(float(mu)), noise=noise)
        return release.answers, release

    return mechanism


def _vault(table: pa.Table, schema: Schema, asked: Queries) -> Mechanism:
    return lambda noise: (ask(table, schema, asked, noise), None)


def _groups(cohort: Cohort, mu: Fraction, recorded: Run) -> Groups:
    """What the second question of a release is about: it follows from the first released answer."""
    plan = pipeline.Plan(cohort.schema, mu**2, len(cohort.patients))
    return pipeline.common([plan], recorded.answers[:1]).groups


def _moved(one: Run, other: Run) -> Fraction:
    """mu^2 of the attack that tells two runs apart."""
    pairs = zip(one.entries, other.entries, strict=False)
    return sum((Fraction(distance2(a.exact, b.exact), a.sigma**2) for a, b in pairs), Fraction(0))
