"""Pool: released centroids of one or more sites, and records drawn from them, as merged bins.

Which records: those of the mixture, a centroid by its mass, a class from its label, a bin from each histogram.
Where fitted mixtures are among the centroids, these records are the start of Gibbs sweeps of the maximum-entropy
model (`maximum_entropy`), which has the mixture's pair tables and nothing of higher order but what was measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.groups import Groups
from cohortmix.core.data.keeping.pairs import forbidden
from cohortmix.core.data.sampling import PointMass, draw_groups, systematic
from cohortmix.core.data.schema import Schema
from cohortmix.core.release import gibbs
from cohortmix.core.release.learning import fit
from cohortmix.core.release.maximum_entropy import chains_for
from cohortmix.core.release.score_model import ScoreModel
from cohortmix.core.release.target_tables import TargetTables
from cohortmix.core.steps.centroids import Common, Margins, SiteCentroids
from cohortmix.core.steps.products.means import SignMeans
from cohortmix.core.steps.scores.couplings import Fitted

NOBODY = 1e-12  # share of a merged bin, up to which it is empty


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool:
    """Released centroids of one or more sites, and how to decode them; all public.

    Attributes
    ----------
    masses : (K,) patients of each centroid.
    means : (K, G) histograms over the merged bins.
    labels : (K, C) class distributions.
    paired : (K,) true for centroids of a fitted mixture; the others say nothing of pairs of features.
    site : (K,) index into `sites`.
    sites : names.
    noise_std : (S,) noise of a pair cell at a site with a mixture, else of a cell of answer A; sd, in patients.
    groups : the common merged bins.
    shape : (C, F) distribution over the fine cells within each merged bin, of each class.
    fitted : the model that records are drawn from; None where it is still to be fitted to the centroids' pair
        tables.
    left_over : (C, G, G) what the measured pair tables have beyond the centroids'; None where it is not known.
    products : what was measured beyond pairs, where there is one site; else None.
    points : values that many patients share; of several sites, as the sum over them shows.
    zeros : (G, G) pairs of merged bins that rules of the schema forbid; None where there are none.
    """

    masses: NDArray[np.float64]
    means: NDArray[np.float64]
    labels: NDArray[np.float64]
    paired: NDArray[np.bool_]
    site: NDArray[np.int64]
    sites: tuple[str, ...]
    noise_std: NDArray[np.float64]
    groups: Groups
    shape: NDArray[np.float64]
    fitted: Fitted | None = None
    left_over: NDArray[np.float64] | None = None
    products: SignMeans | None = None
    points: tuple[PointMass, ...] = ()
    zeros: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, schema: Schema, common: Common, centroids: Mapping[str, SiteCentroids]) -> Pool:
        """The union of the sites' centroids; each keeps its mass in patients."""
        parts = list(centroids.values())
        return cls(
            masses=np.concatenate([part.masses for part in parts]),
            means=np.concatenate([part.means for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            paired=np.concatenate([np.array(part.kind) == "mixture" for part in parts]),
            site=np.repeat(np.arange(len(parts)), [len(part.masses) for part in parts]),
            sites=tuple(centroids),
            noise_std=np.array([part.noise_std for part in parts]),
            groups=common.groups,
            shape=shape_within(common.margins, common.groups),
            fitted=parts[0].model if len(parts) == 1 else None,
            left_over=parts[0].left_over if len(parts) == 1 else None,
            products=parts[0].products if len(parts) == 1 else None,
            points=parts[0].points if len(parts) == 1 else (),
            zeros=forbidden(schema, common.groups, common.margins.pooled),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Merged bins of each feature."""
        return self.groups.sizes

    def draw(
        self, rows: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
        """Site (rows,), class (rows,) and merged bin of each feature (rows, D) of records, in random order."""
        counts = np.bincount(systematic(self.masses @ self.labels, rows, rng), minlength=self.labels.shape[1])
        label, start = self._start(counts, rng)
        if self.paired.any():
            start[:, :-1] = gibbs.draw(self._model, start, label, int(rng.integers(2**31)))
        order = rng.permutation(rows)
        return start[order, -1].astype(np.int64), label[order], start[order, :-1]

    def tables(self) -> TargetTables:
        """What records shall have: margins of all centroids, and the pairs of those that know them."""
        sites, features = len(self.sites), slice(0, self.means.shape[1])
        z = np.concatenate([self.means, np.eye(sites)[self.site]], axis=1)
        patients = self.masses[:, None] * self.labels
        paired = patients * self.paired[:, None]
        pairs = _second_moments(patients, z)
        pairs[:, features, features] = _second_moments(paired, self.means)
        if self.left_over is not None:
            pairs[:, features, features] += self.left_over
        diagonal = np.arange(z.shape[1])
        pairs[:, diagonal, diagonal] = _shares(patients).T @ z
        zeros = None if self.zeros is None else np.pad(self.zeros, (0, sites))
        known = np.stack([np.bincount(self.site, by_centroid, sites) for by_centroid in paired.T]) > 0
        mass, noise = paired.sum(axis=0), np.sqrt(known @ self.noise_std**2)
        std = np.divide(noise, mass, out=np.full(len(mass), np.inf), where=mass > 0)
        return TargetTables(
            sizes=(*self.sizes, sites), pairs=pairs, std=std, masses=patients.sum(axis=0), known=known, zeros=zeros
        )

    @cached_property
    def _model(self) -> gibbs.Model:
        if self.fitted is not None:
            return ScoreModel(self.fitted, self.sizes)
        rng = np.random.default_rng(0)
        classes = self.labels.shape[1]
        label, start = self._start([chains_for(classes, sum(self.sizes))] * classes, rng)
        return fit(self.tables(), start, label, seed=0, products=self.products)

    def _start(
        self, counts: Sequence[int] | NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Classes (n,), `counts` of each, and merged bins and site (n, D + 1) of records of the mixture."""
        label = np.repeat(np.arange(len(counts)), counts)
        k = np.concatenate(
            [systematic(self.masses * share, n, rng) for share, n in zip(self.labels.T, counts, strict=True)]
        )
        return label, np.column_stack(
            [draw_groups(k, self.means, self.groups.blocks, rng), self.site[k].astype(np.int32)]
        )


def shape_within(margins: Margins, groups: Groups) -> NDArray[np.float64]:
    """Distribution over fine cells given the merged bin (C, F): the class's; where it has nobody, that of all."""
    even = groups.membership @ (1 / groups.membership.sum(axis=0))
    return _within(margins.cells, groups, _within(margins.pooled, groups, even))


def _within(cells: NDArray[np.float64], groups: Groups, otherwise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares (..., F) of the cells in their merged bin; of an empty bin, `otherwise`."""
    total = groups.sums(cells) @ groups.membership.T
    return np.asarray(np.where(total > NOBODY, cells / np.maximum(total, NOBODY), otherwise))


def _shares(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns (K, C) that sum to one; that of a class without weight sums to zero."""
    return np.asarray(weights / np.maximum(weights.sum(axis=0), 1e-300))


def _second_moments(weights: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C, G, G) mean of z z^T over the centroids, by the weights (K, C) of each class."""
    return np.stack([(z * share[:, None]).T @ z for share in _shares(weights).T])
