"""Where a release will be class centroids alone: known from schema, N and mu, before anything is spent."""

from __future__ import annotations

from math import ceil, floor, log10, sqrt

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.privacy import gdp
from cohortmix.core.steps.bins import fewest_groups, fits_pairs, most_groups_together
from cohortmix.core.steps.plan import Plan


class DegradedError(InputError):
    """A release would be one centroid per class, without pairs of columns; that was not accepted."""


def require_mixture(plan: Plan, delta: float, kappa: float, accepted: bool) -> None:
    """Raise DegradedError where there is no room for a mixture, unless class centroids alone are accepted.

    Beside a single column they say all there is to say.
    """
    if not plan.fits_mixture and len(plan.schema.features) > 1 and not accepted:
        raise DegradedError(
            f"{sentence(plan, delta, kappa)}; or accept class centroids alone with --accept-degraded "
            "(accept_degraded=True)"
        )


def require_groups(schema: Schema) -> None:
    """Raise InputError for a schema of so many columns that no grouping makes their pairs few enough."""
    encoding = Encoding.of(schema)
    if fits_pairs(encoding):
        return
    most, needed, fitting = most_groups_together(encoding), 0, 0
    for cells in encoding.features:
        needed += fewest_groups(cells)
        fitting += needed <= most
    raise InputError(
        f"{len(encoding.features):,} {_columns(schema)} are too many for pairs of columns: they need "
        f"{needed:,} groups of values at least, and a study has {most:,} at most; leave out columns until "
        f"{fitting:,} are left"
    )


def sentence(plan: Plan, delta: float, kappa: float) -> str:
    """What will be missing from the release of a site without room for a mixture, and what would help."""
    return (
        f"N = {plan.patients:,} is too small for pairs of columns at this budget (mu {sqrt(plan.mu2):.3g}): the "
        "release would be one centroid per class, and records drawn from it keep no dependence within a class; "
        f"{remedies(plan, delta, kappa)}"
    )


def remedies(plan: Plan, delta: float, kappa: float) -> str:
    """What would make room for a mixture, in words; each of these ways alone is enough.

    The patients that a mixture needs fall with mu (`Plan.shortage`); with D columns beside the target, those that
    one of pair tables needs grow as sqrt(D(D-1)) (`Plan.crowding`).
    """
    columns, crowding = len(plan.schema.features), plan.crowding
    if columns < 2:
        return f"a mixture needs two {_columns(plan.schema)}"
    ways = [f"epsilon {_enough_epsilon(sqrt(plan.mu2) * plan.shortage, delta, kappa):g} would do"]
    enough = [d for d in range(2, columns) if crowding * sqrt(d * (d - 1) / (columns * (columns - 1))) <= 1]
    if enough:
        ways.append(f"{enough[-1]} {_columns(plan.schema)} instead of {columns}")
    ways.append(f"{ceil(plan.patients * plan.shortage):,} patients")
    return ", or ".join(ways)


def _columns(schema: Schema) -> str:
    """What the D features are called: all columns but the one that the class alone tells."""
    told = schema.outcome.told
    return "columns" if told is None else f"columns beside the {'target' if told == schema.target else 'event'}"


def _enough_epsilon(mu: float, delta: float, kappa: float) -> float:
    """The least epsilon of two digits that buys this mu: in steps of the second digit, from the rounded one up."""
    least = gdp.epsilon_of_discrete(mu, delta, kappa)
    step = 10.0 ** (floor(log10(least)) - 1)
    epsilon = float(f"{ceil(least / step) * step:.2g}")
    while gdp.mu_of_discrete(epsilon, delta, kappa) < mu:
        epsilon = float(f"{epsilon + step:.3g}")
    return epsilon
