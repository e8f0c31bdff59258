"""The probability simplex: the distribution that is nearest to noised shares, and class masses read from noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def simplex(x: Array, floor: float = 0.0, tolerance: float = 0.0) -> Array:
    """Euclidean projection of each row on {p : p >= floor, sum p = 1}.

    Parameters
    ----------
    x : (..., m) rows of noised shares.
    floor : smallest entry of a projection, at most 1/m.
    tolerance : a row that is off by no more than this is taken for a distribution with a rounding error, and keeps
        its entries bit for bit, however often it is projected.

    Returns
    -------
    (..., m) array

    Notes
    -----
    Held, Wolfe and Crowder, "Validation of subgradient optimization", 1974; Duchi et al., ICML 2008, Figure 1.
    """
    total = 1 - floor * x.shape[-1]
    descending = np.sort(x - floor, axis=-1)[..., ::-1]
    excess = (np.cumsum(descending, axis=-1) - total) / np.arange(1, x.shape[-1] + 1)
    positive = (descending > excess).sum(axis=-1, keepdims=True)
    shift = np.take_along_axis(excess, positive - 1, axis=-1)
    shift = np.where(np.abs(shift) < tolerance, 0, shift)
    return np.asarray(np.maximum(x - floor - shift, 0) + floor)


def class_masses(counts: Array, patients: int) -> Array:
    """(C,) patients per class, summing to `patients`, from noised counts (C,).

    A class keeps one patient at least, or half of an equal share where there are more classes than patients: its
    distributions are divided by its mass, and a schema declares no class that cannot occur.
    """
    floor = min(1 / patients, 0.5 / len(counts))
    return np.asarray(patients * simplex(counts / patients, floor))
