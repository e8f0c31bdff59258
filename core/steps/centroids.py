"""What is released: finished centroids of a site, and what the sites of a study share between the rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cohortmix.core.data.groups import Groups
from cohortmix.core.data.sampling import PointMass
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.steps.adapting.constraint import Reached
from cohortmix.core.steps.distributions.simplex import Array
from cohortmix.core.steps.products.means import SignMeans

if TYPE_CHECKING:
    from cohortmix.core.privacy.meter import Answer
    from cohortmix.core.steps.scores.couplings import Fitted  # which brings in JAX


@dataclass(frozen=True, eq=False, kw_only=True)
class Margins:
    """Class-conditional one-way marginals: a distribution of every feature on its fine cells.

    Attributes
    ----------
    cells : (C, F), each block a distribution.
    masses : (C,) patients per class, summing to n.
    s_a : standard deviation of one cell of the answer that they come from, in patients.
    """

    cells: Array
    masses: Array
    s_a: float

    @property
    def pooled(self) -> Array:
        """(F,) distributions over all classes."""
        return np.asarray(self.masses @ self.cells / self.masses.sum())


@dataclass(frozen=True, eq=False)
class Common:
    """What all sites of a study share after round 1; released.

    Attributes
    ----------
    groups : the merged bins.
    margins : pooled.
    scores : of all columns, where answer B is about scores at any site; else none.
    """

    groups: Groups
    margins: Margins
    scores: tuple[Coordinate, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class SiteCentroids:
    """Finished centroids of one site; released.

    Attributes
    ----------
    masses : (K,) patients of each centroid, summing to N.
    means : (K, G) histograms over the merged bins, blocks side by side; in the Gaussian variant standardized
        values.
    labels : (K, C) class distributions.
    kind : "mixture", "class" or "gaussian" for each.
    noise_std : standard deviation of the noise of one cell (Gaussian variant: of a mass), in patients; of scores,
        how precisely the mixture was fitted to the tables that follow from them.
    support_points : (S, G) kernel inducing points; S may be 0.
    support_labels : (S, C) their soft labels.
    model : of scores, from which records are drawn; None where the mixture was fitted to measured pair tables.
    left_over : (C, G, G) what these tables have beyond the mixture's; records follow it where it is at hand, since
        it does not travel.
    products : what was measured beyond pairs; None where nothing was.
    counts : answer D, from which points are read: of a study, those of all its sites together.
    constraints : what became of those on the inducing points; none where none were asked for.
    points : of one table, values that many patients share, within the fine cells that were looked into.
    """

    masses: Array
    means: Array
    labels: Array
    kind: tuple[str, ...]
    noise_std: float
    support_points: Array
    support_labels: Array
    model: Fitted | None = None
    left_over: Array | None = None
    products: SignMeans | None = None
    counts: Answer | None = None
    constraints: tuple[Reached, ...] = ()
    points: tuple[PointMass, ...] = ()
