"""The augmented Lagrangian that holds constraints on the inducing points: figures, their surrogates, multipliers.

For inequalities g <= 0 it adds (1 / 2 rho) sum (max(0, lambda + rho g)^2 - lambda^2) to the loss, whose gradient
is max(0, lambda + rho g) times that of g, and between inner steps sets lambda <- max(0, lambda + rho g) (Nocedal
and Wright, "Numerical Optimization", 2006, section 17.4). A recall is a step function of the points: its gradient
is that of a surrogate, a sigmoid of the margin, while its multiplier follows the exact figure (Cotter, Jiang and
Sridharan, ALT 2019, "proxy-Lagrangian"), so that what is reported as met is met.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.steps.adapting.constraint import ROUNDING, Calibration, Constraint, Drift, Reached, Recall

Array = NDArray[np.float64]

MARGIN = 0.05  # width of the sigmoid: a record this far over the boundary counts for three quarters
RHO_OF_DRIFT = 4.0, 1_000.0  # first and largest weight of a violation, which is known at each step
RHO = 0.3, 32.0  # of figures that are known from time to time: with more, points swing around the limit
INSIDE = 0.02  # of what a limit leaves
PATIENCE = 8  # updates after which a violation must have fallen
FALLS = 0.5  # to this part of it, else rho doubles
SIDES: tuple[Literal["above", "below"], ...] = ("above", "below")
MOST_MULTIPLIER = 1_000.0  # where a constraint cannot be met its multiplier would grow without end


class Kind(NamedTuple):
    """What a figure is of: the static part of a bound, for which JAX compiles."""

    name: Literal["drift", "recall", "above", "below"]
    label: int


@dataclass(frozen=True, eq=False)
class Bound:
    """One inequality on a figure of n targets; a calibration has two, above and below.

    Attributes
    ----------
    constraint : what was declared.
    kind : what the figure is of.
    weights : (n,) of each target, with mean one: of its class, or its subgroup; zeros where there is nobody.
    """

    constraint: Constraint
    kind: Kind
    weights: Array

    @classmethod
    def of(cls, constraint: Constraint, label: int, y_t: Array, members: Array | None = None) -> tuple[Bound, ...]:
        """On targets with labels `y_t` (n, C); `members` (n,) says how far each is in the subgroup."""
        if isinstance(constraint, Drift):
            return (cls(constraint, Kind("drift", 0), np.ones(len(y_t))),)
        weights = np.asarray(y_t, np.float64)[:, label] if members is None else members
        mean = weights.mean()
        scaled = weights / mean if mean > 0 else np.zeros(len(y_t))
        if isinstance(constraint, Recall):
            return (cls(constraint, Kind("recall", label), scaled),)
        return tuple(cls(constraint, Kind(side, label), scaled) for side in SIDES)

    @property
    def empty(self) -> bool:
        """Whether no target is of the class or the subgroup, so that nothing can be said of it."""
        return not self.weights.any()

    @property
    def limit(self) -> float:
        """Of `figure`, which is at most this."""
        return self._limit(0.0)

    @property
    def aim(self) -> float:
        """What the multipliers hold the figure to: a little within the limit, so that the last points keep it."""
        return self._limit(INSIDE)

    def _limit(self, inside: float) -> float:
        match self.constraint:
            case Drift(most):
                return most * (1 - inside)
            case Recall(_, least):
                return -least - inside * (1 - least)
            case Calibration(_, _, within):
                return within * (1 - inside)


def bounds_of(
    constraints: Sequence[Constraint],
    schema: Schema,
    y_t: Array,
    members: Callable[[int, Array], Array],
) -> tuple[Bound, ...]:
    """The inequalities of declared constraints on targets with labels `y_t` (n, C).

    Parameters
    ----------
    members : of the index of a feature and the share of each of its fine cells that is in a subgroup, (n,) how far
        each target is in it.
    """
    encoding = Encoding.of(schema)
    bounds: list[Bound] = []
    for constraint in constraints:
        label = 0 if isinstance(constraint, Drift) else schema.classes.index(constraint.label)
        inside = None
        if isinstance(constraint, Calibration):
            feature = schema.features.index(constraint.group.column)
            inside = members(feature, constraint.group.shares(encoding.features[feature]))
        bounds += Bound.of(constraint, label, y_t, inside)
    return tuple(bounds)


class Held(NamedTuple):
    """What the inner steps know of the inequalities: arrays of shape (m,).

    Attributes
    ----------
    multiplier, rho : lambda, and the weight of a violation.
    last : g on all targets, when the multipliers were set.
    limit : of the figure.
    """

    multiplier: jax.Array
    rho: jax.Array
    last: jax.Array
    limit: jax.Array


def drift(points: jax.Array, x_0: jax.Array) -> jax.Array:
    """How far the points are from where they started, as Eq. 6 has it."""
    return ((points - x_0) ** 2).sum() / (x_0**2).sum()


def figure(
    kind: Kind, moved: jax.Array, y: jax.Array, predicted: jax.Array, weights: jax.Array, *, smooth: bool = False
) -> jax.Array:
    """What has a limit, on targets: a drift, less a recall, or the distance of two means on one side.

    Parameters
    ----------
    moved : the drift.
    y, predicted : arrays of shape (n, C), the labels and the decision.
    weights : (n,) as in `Bound`.
    smooth : of a recall the surrogate, which has a gradient.
    """
    if kind.name == "drift":
        return moved
    if kind.name == "recall":
        margin = _margin(predicted, kind.label)
        return -(weights * (jax.nn.sigmoid(margin / MARGIN) if smooth else margin > 0)).mean()
    clipped = jnp.maximum(predicted, 0)
    error = clipped[:, kind.label] / clipped.sum(axis=1) - y[:, kind.label]
    return (weights * error).mean() * (1 if kind.name == "above" else -1)


def penalty(
    kinds: Sequence[Kind], held: Held, moved: jax.Array, y: jax.Array, predicted: jax.Array, weights: jax.Array
) -> jax.Array:
    """What has the gradient of the augmented Lagrangian's terms, on a minibatch; `weights` is (n, m).

    The drift is known at each step. Of figures of targets, a minibatch is a noisy mean, whose positive part would
    be too large: their g is that on all targets, when the multipliers were set.
    """
    total = jnp.zeros(())
    for number, kind in enumerate(kinds):
        surrogate = figure(kind, moved, y, predicted, weights[:, number], smooth=True)
        g = moved - held.limit[number] if kind.name == "drift" else held.last[number]
        force = jnp.maximum(0.0, held.multiplier[number] + held.rho[number] * g)
        total += jax.lax.stop_gradient(force) * surrogate
    return total


class Multipliers:
    """The outer part of the method: lambda and rho of each inequality, which follow the exact figures."""

    def __init__(self, bounds: Sequence[Bound]) -> None:
        self.bounds = tuple(bounds)
        self.limits = np.array([bound.limit for bound in bounds])
        self._aims = np.array([bound.aim for bound in bounds])
        ends = [RHO_OF_DRIFT if bound.kind.name == "drift" else RHO for bound in bounds]
        self.rho, self._most = np.array(ends).T
        self._path = [np.zeros(len(bounds))]
        self._worst = np.full(len(bounds), np.inf)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Of all inequalities."""
        return tuple(bound.kind for bound in self.bounds)

    def violation(self, figures: Array) -> float:
        """How far the figures are beyond their limits, all together."""
        return float(np.maximum(figures - self.limits, 0).sum())

    def update(self, figures: Array) -> Held:
        """lambda <- max(0, lambda + rho g); rho doubles where the violation does not fall."""
        g = figures - self._aims
        self._path.append(np.clip(self._path[-1] + self.rho * g, 0, MOST_MULTIPLIER))
        if len(self._path) % PATIENCE == 0:
            stuck = (g > 0) & (g > FALLS * self._worst)
            self.rho = np.where(stuck, np.minimum(2 * self.rho, self._most), self.rho)
            self._worst = np.maximum(g, 0)
        return Held(*(jnp.asarray(part) for part in (self._path[-1], self.rho, g, self._aims)))

    def reached(self, figures: Array) -> tuple[Reached, ...]:
        """What is reported of points with these figures: a multiplier is its mean over the later half of looks."""
        values = np.mean(self._path[len(self._path) // 2 :], axis=0)
        out: dict[Constraint, Reached] = {}
        for bound, value, limit, multiplier in zip(self.bounds, figures, self.limits, values, strict=True):
            before = out.get(bound.constraint)
            met = not bound.empty and bool(value <= limit + ROUNDING) and (before is None or before.met)
            more = multiplier + ((before.multiplier or 0.0) if before else 0.0)
            out[bound.constraint] = Reached(str(bound.constraint), met, abs(float(value)), float(more))
        return tuple(out.values())


def _margin(predicted: jax.Array, label: int) -> jax.Array:
    """(n,) the answer for a class, less the largest of the others; 2 where there are no others."""
    own = jnp.arange(predicted.shape[1]) == label
    others = jnp.where(own, -jnp.inf, predicted).max(axis=1)
    return jnp.where(jnp.isfinite(others), predicted[:, label] - others, 2.0)
