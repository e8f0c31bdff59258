"""Log density: the distribution of largest posterior density, from noised shares of cells.

    p = softmax(log base + A^T f),  minimise  (x - p)^T P (x - p) / 2 + f^T Q f / (2 tau^2)

x are the noised shares of m cells and P their known precision; f has one entry for each of k runs of cells, and a
Gaussian prior around 0. So a difference from the base is a factor: where nothing is, noise adds nothing. How far f
may go, tau, is learned from the evidence of x in Laplace's approximation (MacKay 1992). Released values only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy  # loads `sparse` at its first use: it takes a while
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEAST_STD = 1e-8  # of a share, so that a precision is finite
FARTHEST = 30.0  # from the base, in any entry of f where a fit starts
STEPS = 30  # of Newton's method for one tau
LONGEST = 3.0  # of one of these steps, in any entry of f
DAMPED = 12  # tries of one step, each more damped than the one before
FIRST_DAMPING = 1e-6
SETTLED = 1e-5  # of the objective, which is in units of a log density
SINGULAR = 1e-10  # of the largest singular value, below which runs say nothing more
LARGE = 200_000  # entries of a matrix of runs from which on it is sparse: a cell is in one run, or in two
WORSE = 2  # values of tau in a row whose evidence falls, after which no further one is tried


class Shares(NamedTuple):
    """Noised shares of the cells of one feature, and what is known of their noise.

    The precision of x is P = diag(own) + rows^T rows. It is never formed: a category may have 20,000 values.

    Attributes
    ----------
    x : (m,) unbiased; where there are coarse bins too, the least squares of both.
    own : (m,) precision of what was measured of each cell by itself.
    rows : (l, m) what was measured of several cells together, divided by the standard deviation of its error.
    """

    x: Array
    own: Array
    rows: Array

    @classmethod
    def of(cls, x: Array, std: float, coarse: Sequence[int] | None = None, fine: float = 1.0) -> Shares:
        """Cells of noise std / fine each, and the coarse bins that they are in, of noise std.

        Parameters
        ----------
        std : standard deviation of a share of weight 1.
        fine : weight of a cell.
        """
        std = max(std, LEAST_STD)
        own = np.full(len(x), (fine / std) ** 2)
        if coarse is None:
            return cls(x, own, np.zeros((0, len(x))))
        bins = np.asarray(coarse) == np.arange(max(coarse) + 1)[:, None]
        return cls(x, own, bins / std)

    def with_means(self, functions: Array, means: Array, std: Array) -> Shares:
        """The least squares of these shares and of the means of k functions on the cells.

        Parameters
        ----------
        functions : (k, m).
        means, std : (k,) measured with errors of these standard deviations, independent of all others.
        """
        added = functions / np.maximum(std, LEAST_STD)[:, None]
        off = means / np.maximum(std, LEAST_STD) - added @ self.x
        towards = self.by_covariance(added.T)
        x = self.x + towards @ np.linalg.solve(added @ towards + np.eye(len(off)), off)
        return Shares(x, self.own, np.concatenate([self.rows, added]))

    def where(self, kept: NDArray[np.bool_]) -> Shares:
        """Of these cells alone."""
        return Shares(self.x[kept], self.own[kept], self.rows[:, kept])

    def by_precision(self, vectors: Array) -> Array:
        """(m,) or (m, k): P times vectors (m,) or (m, k)."""
        return np.asarray((self.own * vectors.T).T + self.rows.T @ (self.rows @ vectors))

    def by_covariance(self, vectors: Array) -> Array:
        """(m, k): the covariance of the noise, P^-1, times vectors (m, k) (Woodbury 1950)."""
        return np.asarray(vectors / self.own[:, None] - self._shared.T @ (self._shared @ vectors))

    @property
    def std(self) -> Array:
        """(m,) standard deviations of the noise."""
        variance = 1 / self.own - (self._shared**2).sum(axis=0)
        return np.asarray(np.sqrt(np.maximum(variance, LEAST_STD**2)))

    @property
    def _shared(self) -> Array:
        """(l, m) S of the covariance diag(1 / own) - S^T S: what the rows take from the noise."""
        spread = self.rows / self.own
        factor = np.linalg.cholesky(self.rows @ spread.T + np.eye(len(spread)))
        return np.asarray(np.linalg.solve(factor, spread))


def fit(shares: Shares, base: Array, runs: Array, prior: Sequence[Array]) -> Array:
    """The distribution (m,) of the largest evidence; parameters as of `fits`."""
    best, found, worse = -np.inf, np.asarray(base / base.sum()), 0
    for p, evidence in fits(shares, base, runs, prior):
        worse = 0 if evidence > best else worse + 1
        if evidence > best:
            best, found = evidence, p
        elif worse == WORSE:
            break
    return found


def fits(shares: Shares, base: Array, runs: Array, prior: Sequence[Array]) -> Iterator[tuple[Array, float]]:
    """For each tau, the distribution (m,) and its log evidence.

    Parameters
    ----------
    base : (m,) not negative; where it is 0, so is what is found.
    runs : (k, m) A, by how much each entry of f counts in each cell.
    prior : (k, k) Q / tau^2 for each tau, positive definite, the largest tau first: the first fit starts near
        what was counted, each other one where the one before it ended. From the base, a fit could stay where that
        has next to nothing.
    """
    live = base > 0
    kept: Any = runs[:, live]
    kept = scipy.sparse.csr_array(kept) if kept.size > LARGE else kept
    within = _Fit(shares.where(live), np.log(base[live]), kept)
    f = within.near(shares.std[live])
    for precision in prior:
        f, p, evidence = within.climbed(f, precision)
        out = np.zeros(len(base))
        out[live] = p
        yield out, evidence


class _Fit(NamedTuple):
    """Where the base is above 0."""

    shares: Shares
    log_base: Array
    runs: Any  # (k, m), dense or sparse

    def near(self, std: Array) -> Array:
        """(k,) f of what was counted, and of the noise where that is less, as far as runs can say it."""
        ratio = np.log(np.maximum(self.shares.x, std)) - self.log_base
        normal = _dense(self.runs @ self.runs.T), self.runs @ (ratio - ratio.mean())
        f = np.linalg.lstsq(*normal, rcond=SINGULAR)[0]
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
        # The curvature has the prior's in it, which rounding takes away where next to no noise is left.
        determinants = min(0.0, float(np.linalg.slogdet(precision)[1] - np.linalg.slogdet(curvature)[1]))
        return f, p, determinants / 2 - value

    def _objective(self, f: Array, precision: Array) -> tuple[float, Array]:
        logits = self.log_base + self.runs.T @ f
        p = np.exp(logits - logits.max())
        p /= p.sum()
        off = self.shares.x - p
        return float(off @ self.shares.by_precision(off) + f @ precision @ f) / 2, p

    def _derivatives(self, f: Array, p: Array, precision: Array) -> tuple[Array, Array]:
        """Of the objective by f, as far as p is linear in it (Gauss and Newton).

        The slope of p by f is W - w p^T, for W = A diag(p) and w its row sums; it is never formed.
        """
        shares, weighted = self.shares, self.runs * p
        w, own, mass = weighted.sum(axis=1), weighted * shares.own, float(p @ (shares.own * p))
        off = shares.by_precision(shares.x - p)
        along = np.outer(own @ p, w)
        together = (weighted @ shares.rows.T).T - np.outer(shares.rows @ p, w)
        squares = _dense(own @ weighted.T) - along - along.T + mass * np.outer(w, w) + together.T @ together
        return precision @ f - (weighted @ off - w * (p @ off)), squares + precision


def _dense(matrix: Any) -> Array:
    return np.asarray(matrix.toarray() if scipy.sparse.issparse(matrix) else matrix)
