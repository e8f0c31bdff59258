"""Log density: the distribution of largest posterior density, from noised shares of cells.

    p = softmax(log base + A^T f),  minimise  (x - p)^T P (x - p) / 2 + f^T Q f / (2 tau^2)

x are the noised shares of m cells and P their known precision; f has one entry for each of k runs of cells, and a
Gaussian prior around 0. So a difference from the base is a factor: where nothing is, noise adds nothing. How far f
may go, tau, is learned from x itself, by the largest evidence in Laplace's approximation (MacKay 1992). Released
values only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_STD = 1e-8  # of a share, so that a precision is finite
FARTHEST = 30.0  # from the base, in any entry of f where a fit starts
STEPS = 30  # of Newton's method for one tau
LONGEST = 3.0  # of one of these steps, in any entry of f
DAMPED = 12  # tries of one step, each more damped than the one before
FIRST_DAMPING = 1e-6
SETTLED = 1e-5  # of the objective, which is in units of a log density
WORSE = 2  # values of tau in a row whose evidence falls, after which no further one is tried


class Shares(NamedTuple):
    """Noised shares of the cells of one feature, and what is known of their noise.

    Attributes
    ----------
    x : (m,) unbiased; where there are coarse bins too, the least squares of both.
    root : (l, m) the precision of x is root^T root.
    """

    x: Array
    root: Array

    @classmethod
    def of(cls, x: Array, std: float, coarse: Sequence[int] | None = None, fine: float = 1.0) -> Shares:
        """Cells of noise std / fine each, and the coarse bins that they are in, of noise std.

        Parameters
        ----------
        std : standard deviation of a share of weight 1.
        fine : weight of a cell.
        """
        std = max(std, LEAST_STD)
        if coarse is None:
            return cls(x, fine * np.eye(len(x)) / std)
        bins = np.asarray(coarse) == np.arange(max(coarse) + 1)[:, None]
        return cls(x, np.concatenate([fine * np.eye(len(x)), bins.astype(np.float64)]) / std)

    def with_means(self, functions: Array, means: Array, std: Array) -> Shares:
        """The least squares of these shares and of the means of k functions on the cells.

        Parameters
        ----------
        functions : (k, m).
        means, std : (k,) measured with errors of these standard deviations, independent of all others.
        """
        added = functions / np.maximum(std, LEAST_STD)[:, None]
        off = means / np.maximum(std, LEAST_STD) - added @ self.x
        covariance = self.covariance
        gain = covariance @ added.T @ np.linalg.inv(added @ covariance @ added.T + np.eye(len(off)))
        return Shares(self.x + gain @ off, np.concatenate([self.root, added]))

    @property
    def covariance(self) -> Array:
        """(m, m) of the noise."""
        return np.asarray(np.linalg.inv(self.root.T @ self.root))

    @property
    def std(self) -> Array:
        """(m,) standard deviations of the noise."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))


def fit(shares: Shares, base: Array, runs: Array, prior: Sequence[Array]) -> Array:
    """The distribution (m,) of the largest evidence.

    Parameters
    ----------
    base : (m,) not negative; where it is 0, so is what is found.
    runs : (k, m) A, by how much each entry of f counts in each cell.
    prior : (k, k) Q / tau^2 for each tau, positive definite, the largest tau first: the first fit starts near
        what was counted, each other one where the one before it ended. From the base, a fit could stay where that
        has next to nothing.
    """
    live = base > 0
    within = _Fit(Shares(shares.x[live], shares.root[:, live]), np.log(base[live]), runs[:, live])
    f, best, found, worse = within.near(shares.std[live]), -np.inf, base[live] / base.sum(), 0
    for precision in prior:
        f, p, evidence = within.climbed(f, precision)
        worse = 0 if evidence > best else worse + 1
        if evidence > best:
            best, found = evidence, p
        elif worse == WORSE:
            break
    out = np.zeros(len(base))
    out[live] = found
    return out


class _Fit(NamedTuple):
    """Where the base is above 0."""

    shares: Shares
    log_base: Array
    runs: Array

    def near(self, std: Array) -> Array:
        """(k,) f of what was counted, and of the noise where that is less, as far as runs can say it."""
        ratio = np.log(np.maximum(self.shares.x, std)) - self.log_base
        f = np.linalg.lstsq(self.runs.T, ratio - ratio.mean(), rcond=None)[0]
        return np.asarray(np.clip(f, -FARTHEST, FARTHEST))

    def climbed(self, f: Array, precision: Array) -> tuple[Array, Array, float]:
        """f, p and the evidence at the nearest maximum, by Newton's method with damping (Levenberg 1944)."""
        value, p = self._objective(f, precision)
        damping = FIRST_DAMPING
        for _ in range(STEPS):
            gradient, curvature = self._derivatives(f, p, precision)
            before = value
            for _ in range(DAMPED):
                step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), -gradient)
                step = step * min(1.0, LONGEST / max(float(np.abs(step).max()), LONGEST))
                tried, p_tried = self._objective(f + step, precision)
                if tried < value:
                    f, value, p = f + step, tried, p_tried
                    break
                damping *= 10
            damping = max(damping / 5, FIRST_DAMPING)
            if before - value < SETTLED:
                break
        _, curvature = self._derivatives(f, p, precision)
        determinants = np.linalg.slogdet(precision)[1] - np.linalg.slogdet(curvature)[1]
        return f, p, float(determinants) / 2 - value

    def _objective(self, f: Array, precision: Array) -> tuple[float, Array]:
        logits = self.log_base + f @ self.runs
        p = np.exp(logits - logits.max())
        p /= p.sum()
        off = self.shares.root @ (self.shares.x - p)
        return float(off @ off + f @ precision @ f) / 2, p

    def _derivatives(self, f: Array, p: Array, precision: Array) -> tuple[Array, Array]:
        """Of the objective by f, as far as p is linear in it (Gauss and Newton)."""
        weighted = self.runs * p
        slope = (weighted - np.outer(weighted.sum(axis=1), p)) @ self.shares.root.T
        off = self.shares.root @ (self.shares.x - p)
        return precision @ f - slope @ off, slope @ slope.T + precision
