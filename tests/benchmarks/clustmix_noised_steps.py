"""ClustMix with the paper's order made sound: noise at every step that reads records, the last mixing included.

A baseline of `bench_utility.py` that measures what the order is worth. Approximate, Adapt and Anonymize stand as
in Algorithm 2, and each looks at records through the vault alone:

1. Approximate: noisy class sums and noisy second moments, the statistics to which the mixture is fitted. EM itself
   would ask for new ones in every iteration, by responsibilities that no frozen query can state; moments once are
   cheaper, so this is the better case for the paper's order.
2. Adapt: kernel inducing points, on records that are drawn from the released mixture.
3. Anonymize: a last noised mixing at the adapted cells, the fine cells merged by where the inducing points lie. A
   query names cells of one feature at a time, so that a record is mixed feature by feature within its class, not
   with the nearest l_min records.

The product (`core.steps.pipeline`) does without the third and gives its share to the first two.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from math import sqrt

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.noise import OpenDPNoise
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.privacy.questions.class_marginals import Block, ClassMarginals
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.single_release import Release
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.bins import choose_groups
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.core.steps.distributions.simplex import simplex
from cohortmix.core.steps.plan import Plan

Array = NDArray[np.float64]

LAST = Fraction(20, 100)  # of mu^2, for the last mixing
UNIT = 1 << 20  # lattice steps per patient


def synthesize(table: pd.DataFrame, schema: Schema, budget: Budget, noise: NoiseSource | None = None) -> Release:
    """A release of one table in the paper's order.

    Guarantee
    ---------
    test_noised_steps_stay_within_their_sensitivity. mu-GDP for the replacement of one patient, mu^2 = the sum over
    three answers of their mu2 <= the budget's mu^2: all else is post-processing of them. Public: the schema, N.
    """
    noise = noise or OpenDPNoise()
    meter = MemoryMeter(Fraction(0))
    vault = Vault(TableSource(table, tuple(schema.columns)), schema, noise.add, meter)
    resolved = budget.resolve(vault.patients)
    meter.limit = Fraction(resolved.mu) ** 2
    plan = Plan(schema, meter.limit * (1 - LAST), vault.patients)
    sums = pipeline.class_sums(vault, plan)
    common = pipeline.common([plan], [sums])
    site = pipeline.centroids(vault, plan, common, sums, hashlib.sha256(sums.values.tobytes()).digest())
    cells = adapted_cells(plan, common, site)
    answer = vault.answer(mixing(cells), meter.limit * LAST)
    common, site = remixed(schema, common, site, cells, answer)
    answers = tuple(meter.answers.values())
    return Release(
        schema=schema,
        common=common,
        site=site,
        answers=answers,
        budget=resolved,
        patients=vault.patients,
        noise=noise.name,
        private=noise.private,
    )


def adapted_cells(plan: Plan, common: Common, site: SiteCentroids) -> Groups:
    """Fine cells, merged until each holds a share of the adapted centroids; values of released answers only."""
    encoding = Encoding.of(plan.schema)
    points, labels = site.support_points, site.support_labels
    if len(points) == 0:
        points, labels = site.means, site.labels
    weights = labels / np.maximum(labels.sum(axis=0), 1e-12)
    fine = raked(common.margins.cells, weights.T @ points, common.groups.membership)
    margins = replace(common.margins, cells=fine)
    return choose_groups(encoding, margins, sqrt(plan.s_b / plan.patients))


def mixing(cells: Groups) -> ClassMarginals:
    """The question of the last step: class sums over the adapted cells, and class masses as in answer A."""
    blocks = tuple(Block(column, groups, UNIT) for column, groups in enumerate(cells))
    return ClassMarginals(blocks, round(sqrt(len(cells) / 4) * UNIT), UNIT)


def remixed(
    schema: Schema, common: Common, site: SiteCentroids, cells: Groups, answer: Answer
) -> tuple[Common, SiteCentroids]:
    """Margins and centroids, moved to the last mixing as far as it is more than noise (James, Stein 1961)."""
    masses = common.margins.masses
    before, at = common.margins.cells, cells.membership
    mixed = answer.estimate.reshape(len(masses), -1)[:, :-1]
    target = before @ at
    for block in cells.blocks:
        for c, mass in enumerate(masses):
            difference = mixed[c, block] / mass - target[c, block]
            noise = len(difference) * (answer.std / mass) ** 2
            kept = max(0.0, 1 - noise / float(difference @ difference))
            target[c, block] = simplex(target[c, block] + kept * difference)
    after = raked(before, target, at)
    groups = common.groups.membership
    ratio = (after @ groups) / np.maximum(before @ groups, 1e-12)
    means = site.means * (site.labels @ ratio)
    for block in common.groups.blocks:
        means[:, block] /= np.maximum(means[:, block].sum(axis=1, keepdims=True), 1e-12)
    return Common(common.groups, replace(common.margins, cells=after)), replace(site, means=means)


def raked(cells: Array, target: Array, member: Array) -> Array:
    """Distributions (C, F), rescaled so that their sums over groups, by `member` (F, G), are the target (C, G)."""
    return np.asarray(cells * ((target / np.maximum(cells @ member, 1e-12)) @ member.T))
