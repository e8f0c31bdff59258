"""What is released: finished centroids of a site, and what the sites of a study share between the rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.groups import Groups


@dataclass(frozen=True, eq=False)
class Margins:
    """Class-conditional distributions of every feature on its fine cells.

    Attributes
    ----------
    cells : (C, F), each block a distribution.
    masses : (C,) patients per class, summing to n.
    s_a : standard deviation of one cell of the answer that they come from, in patients.
    """

    cells: NDArray[np.float64]
    masses: NDArray[np.float64]
    s_a: float

    @property
    def pooled(self) -> NDArray[np.float64]:
        """(F,) distributions over all classes."""
        return np.asarray(self.masses @ self.cells / self.masses.sum())


@dataclass(frozen=True, eq=False)
class Common:
    """What all sites of a study share after round 1; released."""

    groups: Groups
    margins: Margins


@dataclass(frozen=True, eq=False)
class SiteCentroids:
    """Finished centroids of one site; released.

    Attributes
    ----------
    masses : (K,) patients of each centroid, summing to N.
    means : (K, G) histograms over the common groups, blocks side by side; levels in the Gaussian variant.
    labels : (K, C) class distributions.
    kind : "mixture", "class" or "gaussian" for each.
    noise_std : standard deviation of the noise of one cell (Gaussian variant: of a mass), in patients.
    support_points : (S, G), support_labels : (S, C): kernel inducing points; S may be 0.
    """

    masses: NDArray[np.float64]
    means: NDArray[np.float64]
    labels: NDArray[np.float64]
    kind: tuple[str, ...]
    noise_std: float
    support_points: NDArray[np.float64]
    support_labels: NDArray[np.float64]
