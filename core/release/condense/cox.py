"""Cox: proportional hazards with weights, which scikit-survival's `CoxPHSurvivalAnalysis` does not take.

Weighted partial likelihood with Breslow's ties and a ridge, by Newton's method on standardized columns. A row of
weight 2 counts as two equal rows; `tests` hold it against scikit-survival on repeated rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_STEPS, HALVINGS, SMALL = 100, 30, 1e-7
LEAST = 1e-250  # of a sum of hazards, as a share of the largest one: a step that goes too far is tried, not taken


def fit_cox(z: Floats, time: Floats, event: NDArray[np.bool_], weight: Floats, ridge: float) -> Floats:
    """Log hazard ratios (W,) of standardized columns z (n, W); `weight` (n,) in records.

    Maximizes sum_i w_i d_i (z_i b - log sum_{t_j >= t_i} w_j exp(z_j b)) - ridge |b|^2 / 2 (Breslow 1974).
    """
    order = np.argsort(-time, kind="stable")
    z, time, weight = z[order], time[order], weight[order]
    dead = weight * event[order]
    last = np.searchsorted(-time, -time, side="right") - 1  # of those who are at risk when a row's time comes
    first = np.searchsorted(-time, -time, side="left")
    b = np.zeros(z.shape[1])
    value = _objective(b, z, weight, dead, last, ridge)
    for _ in range(MOST_STEPS):
        gradient, hessian = _derivatives(b, z, weight, dead, last, first, ridge)
        step = np.linalg.solve(hessian, gradient)
        for _ in range(HALVINGS):
            new = _objective(b + step, z, weight, dead, last, ridge)
            if new >= value:
                break
            step = step / 2
        else:
            return b
        b, gained, value = b + step, new - value, new
        if gained <= SMALL * (1 + abs(value)):
            return b
    return b


def _objective(b: Floats, z: Floats, weight: Floats, dead: Floats, last: NDArray[np.intp], ridge: float) -> float:
    """The penalized log likelihood; sums of hazards are added up as logarithms, which do not end at zero."""
    risk, died = z @ b, dead > 0
    with np.errstate(divide="ignore"):
        at_risk = np.logaddexp.accumulate(risk + np.log(weight))[last]
    return float(dead[died] @ (risk - at_risk)[died] - ridge * (b @ b) / 2)


def _derivatives(
    b: Floats,
    z: Floats,
    weight: Floats,
    dead: Floats,
    last: NDArray[np.intp],
    first: NDArray[np.intp],
    ridge: float,
) -> tuple[Floats, Floats]:
    """Gradient (W,) and negative Hessian (W, W)."""
    risk = z @ b
    hazard = weight * np.exp(risk - risk.max())
    s0 = np.maximum(np.cumsum(hazard)[last], LEAST)
    mean = np.cumsum(hazard[:, None] * z, axis=0)[last] / s0[:, None]
    # What a row adds to the sums of all events up to its own time, in place of one sum of squares for each event.
    passed = np.cumsum((dead / s0)[::-1])[::-1][first]
    square = (z * (hazard * passed)[:, None]).T @ z - (mean * dead[:, None]).T @ mean
    return dead @ (z - mean) - ridge * b, square + ridge * np.eye(len(b))
