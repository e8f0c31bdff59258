"""Adapt: kernel inducing points, moved until a classifier on them predicts as the mixture does.

Second step of 3A in the paper, third here (Madl et al., Algorithm 1, Eq. 5-6), after Nguyen, Chen and Lee (2021).
Everything here is post-processing: it sees records drawn from the released mixture, never patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from cohortmix.core.steps.adapting.descent import descend, descend_held
from cohortmix.core.steps.adapting.lagrangian import Bound, Multipliers
from cohortmix.core.steps.distributions.simplex import Array
from cohortmix.core.steps.support import Support, require_pair, require_size

LONGER = 3  # times the steps, under constraints: their multipliers have to be found as well


def adapt(
    points: ArrayLike,
    labels: ArrayLike,
    target_points: ArrayLike,
    target_labels: ArrayLike,
    *,
    blocks: Sequence[slice],
    alpha: float = 0.5,
    constraints: Sequence[Bound] = (),
    steps: int = 400,
    depth: int = 1,
    learning_rate: float = 0.01,
    seed: int = 0,
) -> Support:
    """Move points and labels until kernel ridge regression on them predicts the targets (Eq. 6).

    L = alpha ||X_s - X_0||_F^2 / ||X_0||_F^2
        + (1 - alpha) 1/2 mean_t ||y_t - K_ts (K_ss + lambda I)^-1 y_s||^2

    alpha = 1 keeps the density and moves nothing, alpha = 0 serves the classifier alone. (One sentence of the
    paper says the reverse; this is its formula, with the mean over targets: a sum over thousands of them would
    leave alpha without meaning.) Adam on both X_s and y_s, on minibatches of the targets, the step decaying to
    zero along a cosine; each block of the points, and each label, is projected onto its simplex every 5 steps.

    Under constraints, an augmented Lagrangian (`adapting.lagrangian`): three times the steps, and every 20 of
    them the exact figures on all targets set the multipliers. A limit on the drift takes alpha's place: the loss
    is then the classifier's alone, and the limit's multiplier is what alpha / (1 - alpha) is in Eq. 6. Of all
    points looked at, the best that keep every constraint are the result; where none do, those nearest to it.

    Parameters
    ----------
    points : array of shape (S, G)
        X_0, the centroids to start from, with each block on the simplex; see `choose_support`.
    labels : array of shape (S, C)
        Their soft labels.
    target_points : array of shape (n, G)
        X_t: records drawn from the released mixture, n >= S.
    target_labels : array of shape (n, C)
        y_t: the mixture's posterior at those records.
    blocks : sequence of slices
        Columns of each histogram. Columns in none of them are free.
    alpha : float in [0, 1]
        Weight of staying where the density is; without effect where the drift has a limit.
    constraints : sequence of Bound
        What the points have to keep, on these targets; `Support.constraints` says what became of each.
    steps : int
        Adam steps.
    depth : int
        Hidden layers of the network behind the neural tangent kernel.
    learning_rate : float
        First step size of Adam, in units of a cell's mass.
    seed : int
        Seed of the minibatches.

    Returns
    -------
    Support
        X_s and y_s.

    Raises
    ------
    ValueError
        There are fewer targets than points, shapes disagree, or `alpha` or `steps` is out of range.

    Notes
    -----
    Guarantee: post-processing. Targets are records *drawn from the released mixture* with its posterior as their
    labels; handed the records of patients, this function would leak them.
    """
    start = Support(np.asarray(points, np.float64), np.asarray(labels, np.float64), depth)
    x_t, y_t = np.asarray(target_points), np.asarray(target_labels)
    _require_training(start, x_t, y_t, alpha, steps)
    if constraints:
        weight = 0.0 if any(bound.kind.name == "drift" for bound in constraints) else alpha
        rates = _cosine_decay(learning_rate, LONGER * steps)
        return descend_held(start, x_t, y_t, blocks, weight, rates, seed, Multipliers(constraints))
    return descend(start, x_t, y_t, blocks, alpha, _cosine_decay(learning_rate, steps), seed)


def _cosine_decay(learning_rate: float, steps: int) -> Array:
    return learning_rate * 0.5 * (1 + np.cos(np.pi * np.arange(steps) / max(steps, 1)))


def _require_training(start: Support, x_t: Array, y_t: Array, alpha: float, steps: int) -> None:
    require_pair(x_t, y_t)
    require_size(len(start.points), len(x_t))
    expected, got = (start.points.shape[1], start.labels.shape[1]), (x_t.shape[1], y_t.shape[1])
    if expected != got:
        raise ValueError(
            f"Expected targets with the columns and classes of the support, (G, C)={expected}, got (G, C)={got}; "
            "encode both alike."
        )
    if not (0 <= alpha <= 1 and steps >= 0):
        raise ValueError(f"Expected alpha in [0, 1] and steps >= 0, got alpha={alpha}, steps={steps}.")
