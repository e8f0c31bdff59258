"""Does the guarantee hold? Record and replay on neighbours, and lower bounds on mu from what is drawn.

For public tables: an audit looks at exact answers. It speaks of the mechanism, at one version of it, and never
of a release that somebody else made.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import sqrt

import pyarrow as pa

from cohortmix.core.audit.lower_bound import (
    DRAWS_PER_PIPELINE,
    PLACING,
    RUNS,
    LowerBound,
    log_likelihood_ratios,
    lower_bound,
)
from cohortmix.core.audit.neighbours import MANY_ROWS, Cohort, worst
from cohortmix.core.audit.one_run import OneRun, one_run
from cohortmix.core.audit.pairs import (
    Map,
    furthest,
    level_questions,
    on_vault,
    questions,
    replay_random,
    replay_worst,
)
from cohortmix.core.audit.replay import Mechanism, Replays, Run, ask, run
from cohortmix.core.audit.whole import MU as LOUD
from cohortmix.core.audit.whole import measure_whole
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.gaussian import model as gaussian
from cohortmix.core.privacy.budget import MIN_PATIENTS, Budget
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.single_release import Release, Variant
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.anonymize import sum_query
from cohortmix.core.steps.plan import Plan
from cohortmix.core.synthesis import synthesize
from cohortmix.core.utility.checks.check import Checked

MU = Fraction(3, 10)  # the claim that is replayed and, on the vault's answers, bounded
RANDOM_PAIRS = 200
WHOLE = (
    "label flip",
    "outlier far from everything",
    "between two clusters",
    f"{MANY_ROWS} rows",
    "missing everywhere",
)
"""The neighbours on which all three steps run; on the others, the vault alone answers the same questions."""
ASKED: Mapping[Variant, tuple[str, ...]] = {
    "cells": ("sum", "second moment", "sign products"),
    "scores": ("sum", "score moment"),
    "gaussian": ("level sum", "level sum", "class second moment"),
}
"""What the questions of a pipeline are called, in order."""
WIDE = ("level sum", "level sum", "level second moment", "level sum", "class second moment")
"""The same, of the Gaussian variant of a wide table."""
PAIRED = 4  # features of the second moment of which noise is drawn: Q(Q-1) numbers of each draw differ
PARTS = ("random pairs", "noise drawn", "pipelines drawn", "canaries placed")
"""What is reported, in order, after the replays of each variant."""

Report = Callable[[str, int, int], None]


def _silent(part: str, done: int, total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes
    ----------
    patients, noise : N of the table; name of the noise source.
    whole, named, at_random : replays of all three steps on worst pairs, by variant; and of the vault alone on all
        worst pairs and on random ones.
    furthest : the worst pair whose answers lie furthest apart.
    bound : on mu of the vault's answers about that pair.
    pipelines : on mu of whole pipelines, at a larger claim.
    one_run : on mu of the vault's answers to one table with canaries, at that claim too.
    """

    patients: int
    noise: str
    whole: Mapping[Variant, Replays]
    named: Replays
    at_random: Replays
    furthest: str
    bound: LowerBound
    pipelines: LowerBound
    one_run: OneRun

    @property
    def violations(self) -> tuple[str, ...]:
        """A sentence for each; none where the guarantee was not seen to fail."""
        replays = (*self.whole.values(), self.named, self.at_random)
        found = [text for each in replays for text in each.violations]
        bounds: dict[str, LowerBound | OneRun] = {
            "the vault's answers": self.bound,
            "whole pipelines": self.pipelines,
            "one run": self.one_run,
        }
        for name, bound in bounds.items():
            if not bound.holds:
                found.append(f"{name}: claimed mu {bound.claimed:.4g}, measured at least {bound.measured:.4g}")
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
    each: Map = map,
) -> Audit:
    """Audit the mechanism on a public table.

    Replayed are the questions about cells and those about signed numbers. The lower bounds are on the questions
    about cells, also for a table wide enough to be released as numbers; on the vault's answers they are asked at
    half of mu^2 each, the second one about the first PAIRED features, so that its noise can be drawn thousands of
    times.

    Parameters
    ----------
    cohort : at least 50 patients; all their exact answers are looked at.
    noise : the source that is audited with the vault.
    mu : of the budget of replays and of the vault's bound; a few hundred pipelines, or one run, need LOUD.
    random_pairs, whole : how many random neighbours; on which named ones the whole pipeline runs.
    runs : draws a side for the lower bound; of pipelines, one for DRAWS_PER_PIPELINE of them.
    seed : of the choice of patients, replacements, pairs and coins.
    report : told part, done and total.
    each : `map`, or one that spreads calls over processes.

    Raises
    ------
    InputError
        If there is no release of this table, for want of patients or otherwise.
    """
    if len(cohort.patients) < MIN_PATIENTS:
        raise InputError(f"{len(cohort.patients)} patients are too few: a release needs at least {MIN_PATIENTS}")
    rng = random.Random(seed)
    part = [partial(report, name) for name in PARTS]
    patient = rng.choice(cohort.patients)
    tables = {name: cohort.replaced(patient, records) for name, records in worst(cohort, patient).items()}
    steps: dict[Variant, Replays] = {}
    for variant in _variants(cohort, mu):
        worst_few = {name: tables[name] for name in whole if name in tables}  # one class has no label to flip
        steps[variant] = replay_steps(
            cohort, worst_few, variant, mu, noise, partial(report, f"{variant} replayed")
        )
    groups = _groups(cohort, mu, noise)
    released = questions(cohort.schema, groups, mu)
    asked = (*released, *level_questions(cohort.schema, mu))
    named, versions = replay_worst(tables, cohort.schema, asked, noise)
    at_chance = replay_random(cohort, asked, noise, random_pairs, rng, part[0], each)
    few = questions(cohort.schema, Groups(groups.of_cells[:PAIRED]), mu)
    pair = furthest(versions, len(released))
    one, other = (run(on_vault(tables[name], cohort.schema, few), noise) for name in pair)
    bound = measure(one, other, noise, runs, part[1])
    pipelines = max(PLACING, runs // DRAWS_PER_PIPELINE)
    whole_bound = measure_whole(cohort, noise, pipelines, rng, report=part[2], each=each)
    coins = one_run(cohort, questions(cohort.schema, groups, LOUD), noise, rng, part[3], each)
    replays = steps, named, at_chance
    return Audit(len(cohort.patients), noise.name, *replays, " / ".join(pair), bound, whole_bound, coins)


def replay_steps(
    cohort: Cohort,
    neighbours: Mapping[str, pa.Table],
    variant: Variant,
    mu: Fraction,
    noise: NoiseSource,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Replays:
    """All three steps on the table and, given its released answers, on neighbours."""
    recorded = run(_pipeline(cohort.table, cohort.schema, variant, mu), noise)
    if recorded.fault is not None:
        raise InputError(f"there is no release of this table to audit: {recorded.fault}")
    asked = ASKED[variant]
    replays = Replays(asked if len(recorded.answers) <= len(asked) else WIDE)
    report(1, len(neighbours) + 1)
    for done, (name, table) in enumerate(neighbours.items(), start=2):
        replays.compare(name, recorded, run(_pipeline(table, cohort.schema, variant, mu), noise, recorded))
        report(done, len(neighbours) + 1)
    return replays


def measure(
    one: Run,
    other: Run,
    noise: NoiseSource,
    runs: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> LowerBound:
    """A lower bound on mu of the questions that two runs asked, against what they paid."""
    sides = log_likelihood_ratios(one.entries, other.entries, noise, runs, report)
    return lower_bound(*sides, sqrt(sum(answer.mu2 for answer in one.answers)))


def _pipeline(table: pa.Table, schema: Schema, variant: Variant, mu: Fraction) -> Mechanism:
    def mechanism(noise: NoiseSource) -> tuple[Sequence[Answer], Release]:
        release = synthesize(
            table,
            schema,
            Budget.from_mu(float(mu)),
            noise=noise,
            variant=variant,
            accept_degraded=True,
            checked=Checked({}),  # a neighbour may hold anything
        )
        return release.answers, release

    return mechanism


def _variants(cohort: Cohort, mu: Fraction) -> tuple[Variant, ...]:
    """What it would be released as, and the Gaussian variant."""
    plan = Plan(cohort.schema, mu**2, len(cohort.patients))
    if gaussian.suits(plan):
        return ("gaussian",)
    return ("scores" if plan.by_scores else "cells", "gaussian")


def _groups(cohort: Cohort, mu: Fraction, noise: NoiseSource) -> Groups:
    """What the second question of a release of cells is about: it follows from an answer to the first one."""
    plan = Plan(cohort.schema, mu**2, len(cohort.patients))
    first = (sum_query(Encoding.of(cohort.schema)), plan.mu2_sums)
    return pipeline.common([plan], ask(cohort.table, cohort.schema, [first], noise)).groups
