"""Which sites of a study will release class centroids alone: known before any of them is asked."""

from __future__ import annotations

from cohortmix.core.dimensions import most_kappa
from cohortmix.core.reduced import DegradedError, remedies, require_groups
from cohortmix.core.schema import Schema
from cohortmix.protocol.messages import SiteEntry, StudySpec
from cohortmix.server.wording import listed


def reduced_sites(spec: StudySpec, schema: Schema) -> tuple[SiteEntry, ...]:
    """The sites without room for a mixture at the study's mu, in its order."""
    from cohortmix.core.pipeline import Plan  # brings in JAX

    return tuple(
        entry for entry in spec.sites if not Plan(schema, spec.mu2, entry.patients, spec.share).fits_mixture
    )


def notice(spec: StudySpec, schema: Schema) -> str | None:
    """Which sites these are and what would help the largest of them; None where there are none."""
    from cohortmix.core.pipeline import Plan

    small = reduced_sites(spec, schema)
    if not small:
        return None
    largest = max(small, key=lambda entry: entry.patients)
    plan = Plan(schema, spec.mu2, largest.patients, spec.share)
    return (
        f"{len(small)} of {len(spec.sites)} sites will release one centroid per class, without pairs of columns: "
        f"{listed([entry.name for entry in small])}; they have too few patients for mu {float(spec.mu):.3g} (for "
        f"{largest.name}, {remedies(plan, float(spec.delta), most_kappa(schema))})"
    )


def require_a_mixture(spec: StudySpec, schema: Schema, accepted: bool, how: str) -> None:
    """Raise DegradedError if not one site has room for a mixture, unless that is accepted; `how` says how.

    Raise InputError if any has, and the schema has too many columns for their pairs.
    """
    if len(reduced_sites(spec, schema)) < len(spec.sites):
        require_groups(schema)
    elif not accepted:
        raise DegradedError(f"{notice(spec, schema)}; or accept class centroids alone with {how}")
