"""Methods: each makes records of the same schema from the same training records, and some a condensed set.

`--method` of `bench_utility.py` names them; `bench_losses.py` uses those between the real records and a release.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import clustmix_noised_steps
import floor_baselines
import loss_ladder
import numpy as np
import pandas as pd
import peer_synthesizers
from clustmix_as_published import ClustMix, mix, numbers, ranges
from numpy.typing import NDArray
from peer_terms import FEDERATED, PEERS
from public_data import Dataset
from scoring import SCORERS

from cohortmix.core import Budget
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.budget import ResolvedBudget
from cohortmix.core.privacy.noise import OpenDPNoise
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.release.condensed import PooledSupport
from cohortmix.core.steps.centroids import SiteCentroids
from cohortmix.core.synthesis import synthesize
from cohortmix.core.utility.columns import Values, read
from cohortmix.core.utility.evaluate import train_synthetic_test_real
from cohortmix.deploy.simulation.consortium import Terms
from cohortmix.deploy.simulation.simulation import simulate
from cohortmix.protocol.study import JointNoise
from cohortmix.server.publish.pool import draw, support

BETWEEN = ("on-cells", "on-groups", "no-noise")  # between the real records and ours; none is private
MANY, LEAST = 4, 24_000  # times as many rows, of the same release, and never fewer than so many
MOST = 100_000_000  # values of a table; four times the digits would not fit into memory
SIGMA_MAX = (0.05, 0.1, 0.2)  # that ClustMix as published may choose from, in units of a feature's range
STEPS = 200  # of its kernel inducing points


@dataclass(frozen=True, eq=False)
class Task:
    """What a method is given.

    Attributes
    ----------
    table, site : the training records and the site of each.
    budget : of each site, with its delta resolved for the largest one.
    seed : of the keyed test noise; None for the real source.
    """

    data: Dataset
    table: pd.DataFrame
    site: NDArray[np.str_]
    budget: ResolvedBudget | None
    seed: int | None

    @property
    def mu(self) -> float:
        """Of each site."""
        assert self.budget is not None
        return self.budget.mu

    @property
    def terms(self) -> Budget:
        """The budget as the product's functions take it."""
        assert self.budget is not None
        return Budget.from_mu(self.budget.mu, self.budget.delta, loose_delta=True)

    @property
    def tables(self) -> list[pd.DataFrame]:
        """The records of each site."""
        return [self.table[self.site == name] for name in np.unique(self.site)]

    def noise(self, site: int = 0) -> NoiseSource:
        """The source of a site; each site has a key of its own."""
        return OpenDPNoise() if self.seed is None else KeyedNoise(self.seed + 1_000 * site)


Records: TypeAlias = pd.DataFrame | Values


@dataclass(frozen=True, eq=False)
class Made:
    """What a method has made.

    Attributes
    ----------
    records : by the name of the method; a function draws more of them, which is no part of the cost.
    sites, support : the condensed set that they came from.
    cost : what it took in another process.
    """

    records: Mapping[str, Records | Callable[[], Records]]
    sites: list[SiteCentroids] = field(default_factory=list)
    support: PooledSupport | None = None
    cost: Mapping[str, Any] = field(default_factory=dict)


Method: TypeAlias = Callable[[Task], Made]


def real(task: Task) -> Made:
    """The training records themselves: the ceiling."""
    return Made({"real": task.table})


def label_star(task: Task) -> Made:
    """A floor: label x feature histograms."""
    noise = [task.noise(number) for number in range(len(task.tables))]
    return Made({"label-star": floor_baselines.label_star(task.tables, task.data.schema, task.mu, noise)})


def gaussian_floor(task: Task) -> Made:
    """A floor: class-conditional Gaussians from one second moment."""
    noise = [task.noise(number) for number in range(len(task.tables))]
    return Made({"gaussian-floor": floor_baselines.class_gaussians(task.tables, task.data.schema, task.mu, noise)})


def more(patients: int) -> int:
    """Rows that cost no privacy: what is learned from few of them carries the noise of their drawing as well."""
    return max(MANY * patients, LEAST)


def ours(task: Task) -> Made:
    """This project: `synthesize` for one site, a whole study in one process for several."""
    if len(task.tables) == 1:
        release = synthesize(task.table, task.data.schema, task.terms, noise=task.noise(), accept_degraded=True)
        records: dict[str, Records | Callable[[], Records]] = {"ours": release.records()}
        rows = more(release.patients)
        if rows * len(task.data.schema.columns) < MOST:
            records["ours-more"] = lambda: release.records(rows)
        return Made(records, [release.site], release.support)
    return _study(task, "ours", None)


def joint(task: Task) -> Made:
    """This project, with noise that the sites share."""
    return _study(task, "joint", joint_noise(len(task.tables)))


def joint_noise(sites: int) -> JointNoise:
    """A tenth of the sites may conspire, and as many drop out.

    No dropout is tolerated below eight sites, of which three conspirators and dropouts together were too many.
    """
    tenth = max(1, sites // 10)
    return JointNoise(conspirators=tenth, tolerated_dropouts=tenth if sites >= 8 else 0)


def joint_third(task: Task) -> Made:
    """The same where a third of the sites may conspire, and none drops out."""
    third = max(1, len(task.tables) // 3)
    return _study(task, "joint-third", JointNoise(conspirators=third, tolerated_dropouts=0))


def _study(task: Task, name: str, noise: JointNoise | None) -> Made:
    terms = Terms(budget=task.terms, seed=task.seed, public_data=True, joint=noise)
    study = simulate(task.table, task.data.schema, list(task.site), terms, accept_degraded=True)
    return Made(
        {name: study.records, f"{name}-more": lambda: draw(study.result, more(len(study.records)))},
        list(study.result.centroids.values()),
        support(study.result),
    )


def noised_steps(task: Task) -> Made:
    """The paper's order made sound: noise in each step that reads records."""
    release = clustmix_noised_steps.synthesize(task.table, task.data.schema, task.terms, task.noise())
    return Made({"noised-steps": release.records()}, [release.site], release.support)


def on_cells(task: Task) -> Made:
    """The training records on fine cells. NOT PRIVATE."""
    return Made({"on-cells": loss_ladder.on_cells(task.table, task.data.schema)})


def on_groups(task: Task) -> Made:
    """The training records on the groups of a release. NOT PRIVATE."""
    return Made({"on-groups": loss_ladder.on_groups(task.table, task.data.schema, task.terms, task.noise())})


def no_noise(task: Task) -> Made:
    """This project with exact answers. NOT PRIVATE."""
    release = loss_ladder.without_noise(task.table, task.data.schema, task.terms)
    return Made({"no-noise": release.records()}, [release.site], release.support)


def published(task: Task) -> Made:
    """ClustMix as published; its noised centroids are the records. NO VALID GUARANTEE.

    Its sigma_max is the one that serves best on the training records, as the paper says.
    """
    schema, rng = task.data.schema, np.random.default_rng(task.seed)
    assert task.budget is not None
    budget = (task.budget.epsilon, task.budget.delta)
    records, tried = numbers(task.table, schema), []
    for sigma_max in SIGMA_MAX:
        mixed = mix(records, schema, ClustMix(sigma_max, *budget, steps=STEPS), int(rng.integers(2**31)))
        low, high = records[0].min(axis=0), records[0].max(axis=0)
        tried.append(_in_units(low + mixed.noised(rng) * (high - low), mixed.labels, schema))
    known = read(task.table, schema)

    def served(made: Values) -> float:
        return sum(
            train_synthetic_test_real(made, known, schema, scorer=scorer) or 0 for scorer in SCORERS.values()
        )

    return Made({"published": max(tried, key=served)})


def _in_units(x: NDArray[np.float64], labels: NDArray[np.int64], schema: Schema) -> Values:
    """Centroids as records; a category is the declared value that is nearest to its position."""
    values = Values({schema.target_name: labels.astype(np.float64)})
    for name, column, low, high in zip(schema.features, x.T, *ranges(schema), strict=True):
        inside = np.clip(column, low, high)
        code = np.where(inside < -0.5, np.nan, np.rint(inside))
        values[name] = code if isinstance(schema.columns[name], Category) else inside
    return values


def peer(name: str) -> Method:
    """A synthesizer of others, or one written here from a paper; see `peer_terms`."""

    def make(task: Task) -> Made:
        assert task.budget is not None
        site = task.site if name in FEDERATED else None
        made, cost = peer_synthesizers.synthesize(
            name, task.table, task.data.schema, task.budget, task.seed or 0, site
        )
        return Made({name: made}, cost=cost)

    return make


METHODS: Mapping[str, Method] = {
    "real": real,
    "label-star": label_star,
    "gaussian-floor": gaussian_floor,
    "published": published,
    "noised-steps": noised_steps,
    "ours": ours,
    "ours-more": ours,
    "joint": joint,
    "joint-more": joint,
    "joint-third": joint_third,
    "joint-third-more": joint_third,
    "on-cells": on_cells,
    "on-groups": on_groups,
    "no-noise": no_noise,
    **{name: peer(name) for name in (*PEERS, *FEDERATED)},
}
RELEASE = {f"{name}-more": name for name in ("ours", "joint", "joint-third")}  # both are drawn from one release
ONE_SITE = ("published", "noised-steps", *BETWEEN, *PEERS)  # what knows one site only
