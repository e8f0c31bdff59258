"""Variants of the mechanism for `bench_ablation.py`: one part of it changed or taken out, all else equal.

A change puts something else under a name of a module or class of the product, and puts the product's own back. It
refuses where the product has no such name, or has the same there: a variant that changes nothing shows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from itertools import product
from math import inf
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from cohortmix.core import single_release, synthesis
from cohortmix.core.data.dictionary import grid
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.release import pool
from cohortmix.core.release.pool import Pool
from cohortmix.core.release.target_tables import TargetTables
from cohortmix.core.steps import bins, margins, pipeline, plan
from cohortmix.core.steps.adapting import descent
from cohortmix.core.steps.bins import choose_groups
from cohortmix.core.steps.centroids import Common, Margins, SiteCentroids
from cohortmix.core.steps.distributions.simplex import simplex
from cohortmix.core.steps.kernel import kernel_ridge
from cohortmix.core.steps.plan import Plan
from cohortmix.core.steps.scores import couplings


@dataclass(frozen=True, eq=False)
class Change:
    """What stands under a name of a module or class, in place of the product's own.

    Attributes
    ----------
    compiled : JAX holds a compiled copy of what uses it, which has to go.
    """

    owner: Any
    name: str
    value: Any
    compiled: bool = False

    @contextmanager
    def made(self) -> Iterator[None]:
        """While it holds."""
        where = f"{self.owner.__name__}.{self.name}"
        assert hasattr(self.owner, self.name), f"the product has no {where} any more: what does its work now?"
        original = getattr(self.owner, self.name)
        assert self.value != original, f"{where}={original} is the product's own: there is nothing to compare"
        self._put(self.value)
        try:
            yield
        finally:
            self._put(original)

    def _put(self, value: Any) -> None:
        setattr(self.owner, self.name, value)
        if self.compiled:
            jax.clear_caches()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class Variant:
    """The mechanism with these changes.

    Attributes
    ----------
    summary : what is changed, for a reader of the table.
    records : whether the records change; if not, the condensed set does.
    scores : whether answer B has to be about scores, or about tables, for the change to change anything; None if
        either will do.
    """

    name: str
    summary: str
    changes: tuple[Change, ...] = ()
    records: bool = True
    scores: bool | None = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While all changes hold."""
        with ExitStack() as stack:
            for change in self.changes:
                stack.enter_context(change.made())
            yield


def planned(**fixed: Any) -> Change:
    """Other values in the plan of a site."""

    def changed_plan(*args: Any, **others: Any) -> Plan:
        original = Plan(*args, **others)
        changed = replace(original, **fixed)
        assert changed != original, f"{fixed} is what the product plans itself: there is nothing to compare"
        return changed

    return Change(synthesis, "Plan", changed_plan)


def grouped_by(factor: float) -> tuple[Change, ...]:
    """Groups that hold so many times as many patients at least, whichever bound of the rule holds."""

    def wider(encoding: Encoding, margins: Margins, smallest: float, most: int | None = None) -> Groups:
        return choose_groups(encoding, margins, factor * smallest, most)

    largest = Change(bins, "LARGEST_GROUP", factor * bins.LARGEST_GROUP)
    return largest, Change(bins, "choose_groups", wider)


class Components:
    """In place of the maximum-entropy model: records stay as they were drawn from the mixture's components."""

    def __init__(self, tables: TargetTables, *args: Any, **others: Any) -> None:
        self.classes = len(tables.masses)

    def settled(self, codes: NDArray[np.int32], *args: Any) -> NDArray[np.int32]:
        """The groups (n, D) of those that were drawn, (n, D + 1) with the site."""
        return codes[:, :-1]

    last = settled


@dataclass(frozen=True, eq=False)
class Measured(SiteCentroids):
    """Class centroids, and `pairs` (C, G, G): the distributions of two features that are nearest to answer B."""

    pairs: NDArray[np.float64]


def measured(plan: Plan, common: Common, sums: Answer, moments: Answer, seed: bytes) -> SiteCentroids:
    """In place of mixture and inducing points: answers A and B themselves."""
    known = pipeline.class_centroids(plan, common, sums)
    pairs = pipeline.moments(plan, common, sums, moments, np.arange(len(known.masses))).pairs
    blocks = common.groups.blocks
    for table, mass in zip(pairs, known.masses, strict=True):
        for rows, columns in product(blocks, blocks):
            part = table[rows, columns]
            table[rows, columns] = simplex(part.ravel() / mass).reshape(part.shape)
    parts = {part.name: getattr(known, part.name) for part in fields(SiteCentroids)}
    paired = {"kind": ("mixture",) * len(known.masses), "noise_std": moments.std}
    return Measured(**{**parts, **paired}, pairs=pairs)


@dataclass(frozen=True, eq=False)
class MeasuredPool(Pool):
    """Of one site whose centroids are `Measured`."""

    measured: NDArray[np.float64]

    @classmethod
    def of(cls, schema: Schema, common: Common, centroids: Mapping[str, SiteCentroids]) -> MeasuredPool:
        """The pool of its class centroids, with its pairs of features."""
        (site,) = centroids.values()
        assert isinstance(site, Measured)
        made = Pool.of(schema, common, centroids)
        return cls(**{part.name: getattr(made, part.name) for part in fields(Pool)}, measured=site.pairs)

    def tables(self) -> TargetTables:
        """Margins of the class centroids, and the pairs of features as they were measured."""
        tables = super().tables()
        feature = np.repeat(np.arange(len(self.sizes)), self.sizes)
        pairs, apart = tables.pairs.copy(), feature[:, None] != feature
        inside = pairs[:, : len(feature), : len(feature)]
        inside[:, apart] = self.measured[:, apart]
        return replace(tables, pairs=pairs)


def still(x: Any, points: Any, labels: Any, depth: int) -> Any:
    """Kernel ridge regression whose points no gradient moves."""
    return kernel_ridge(x, jax.lax.stop_gradient(points), labels, depth)


def plain(counts: NDArray[np.float64], cells: Cells, std: float, weight: float) -> NDArray[np.float64]:
    """The nearest distribution to the noised counts."""
    return simplex(counts)


def same_for_all(second: NDArray[np.float64], pairs: NDArray[np.bool_], std: float) -> NDArray[np.float64]:
    """A variance of .3^2 for every coupling."""
    return np.full_like(second, 0.09)


def no_means(*args: Any) -> None:
    """Class means of scores are left out of the margins."""


def no_grid(low: float, high: float) -> NDArray[np.float64]:
    """No edges besides the equal cells."""
    return np.empty(0)


_STILL = Change(descent, "kernel_ridge", still, compiled=True)
_FIXED = Change(plan, "CROWDED_SHARE", 0.0)
_NO_ROOM = (Change(plan, "ROOM", inf), Change(plan, "MOST_NOISE_ALONE", 1e-9))
WHOLE = Variant("whole", "the mechanism as it is")
_ALL = (
    WHOLE,
    Variant("class-centroids", "class centroids, the whole budget for answer A", _NO_ROOM),
    Variant(
        "no-mixture",
        "the maximum-entropy model of answers A and B themselves, no mixture",
        (Change(pipeline, "approximate_and_adapt", measured), Change(single_release, "Pool", MeasuredPool)),
        scores=False,
    ),
    Variant(
        "no-field",
        "records of the mixture's components, no maximum-entropy model",
        (Change(pool, "fit", Components),),
        scores=False,
    ),
    Variant(
        "one-fit", "one fit of the mixture, not their average", (Change(plan, "LARGEST_FITS", 1),), scores=False
    ),
    Variant("no-smoothing", "margins projected, not smoothed", (Change(margins, "smooth", plain),)),
    Variant(
        "share-fixed", "15 % of the budget for answer A also where B has hardly room", (_FIXED,), scores=False
    ),
    Variant("scores", "scores in place of pair tables", (planned(scores=True),), scores=False),
    Variant("tables", "pair tables in place of scores", (planned(scores=False),), scores=True),
    Variant(
        "one-prior",
        "one prior for all couplings",
        (Change(couplings, "prior_variance", same_for_all),),
        scores=True,
    ),
    Variant(
        "no-class-means", "margins of answer A alone", (Change(pipeline, "class_means", no_means),), scores=True
    ),
    Variant("share-05", "5 % of the budget for answer A", (planned(share=Fraction(5, 100)), _FIXED), scores=False),
    Variant(
        "share-30", "30 % of the budget for answer A", (planned(share=Fraction(30, 100)), _FIXED), scores=False
    ),
    Variant(
        "share-50", "50 % of the budget for answer A", (planned(share=Fraction(50, 100)), _FIXED), scores=False
    ),
    Variant("groups-half", "groups of half as many patients", grouped_by(0.5)),
    Variant("groups-twice", "groups of twice as many patients", grouped_by(2.0)),
    Variant("cells-50", "50 equal cells of a number, not 100", (Change(grid, "EQUAL_CELLS", 50),)),
    Variant("cells-200", "200 equal cells of a number", (Change(grid, "EQUAL_CELLS", 200),)),
    Variant("cells-equal", "equal cells alone, no logarithmic grid", (Change(grid, "_log_grid", no_grid),)),
    Variant(
        "sigma-max-0.1", "sigma_max .1, not .2: fewer components", (Change(plan, "SIGMA_MAX", 0.1),), scores=False
    ),
    Variant("sigma-max-0.4", "sigma_max .4: more components", (Change(plan, "SIGMA_MAX", 0.4),), scores=False),
    Variant("kip-alpha-0", "alpha 0, not .5: nothing holds the points", (planned(alpha=0.0),), records=False),
    Variant("kip-alpha-1", "alpha 1: k-means centres, not adapted", (planned(alpha=1.0),), records=False),
    Variant("kip-labels", "labels adapted, points held still", (_STILL,), records=False),
)
VARIANTS: Mapping[str, Variant] = {variant.name: variant for variant in _ALL}
