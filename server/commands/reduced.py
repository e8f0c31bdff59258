"""Which sites of a study will release class centroids only; this is known before any of them is asked."""

from __future__ import annotations

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import listed
from cohortmix.core.dimensions import kappa_of_study
from cohortmix.core.reduced import DegradedError, remedies, require_groups
from cohortmix.protocol.messages import SiteEntry, StudySpec


def reduced_sites(spec: StudySpec, schema: Schema) -> tuple[SiteEntry, ...]:
    """The sites with too few patients for a mixture at the study's mu, in the study's order."""
    return tuple(entry for entry in spec.sites if not spec.plan(schema, entry.patients).fits_mixture)


def notice(spec: StudySpec, schema: Schema) -> str | None:
    """A sentence that names these sites and what would help the largest of them; None if there are none."""
    small = reduced_sites(spec, schema)
    if not small:
        return None
    largest = max(small, key=lambda entry: entry.patients)
    plan = spec.plan(schema, largest.patients)
    if spec.joint is not None:
        return (
            "the study will release one centroid per class, without pairs of columns: all sites together have too "
            f"few patients for mu {float(spec.mu):.3g} (for them, "
            f"{remedies(plan, float(spec.delta), kappa_of_study(schema, spec.point_masses))})"
        )
    return (
        f"{len(small)} of {len(spec.sites)} sites will release one centroid per class, without pairs of columns: "
        f"{listed([entry.name for entry in small])}; they have too few patients for mu {float(spec.mu):.3g} (for "
        f"{largest.name}, {remedies(plan, float(spec.delta), kappa_of_study(schema, spec.point_masses))})"
    )


def require_a_mixture(spec: StudySpec, schema: Schema, accepted: bool, how: str) -> None:
    """Raise DegradedError if no site at all has patients enough for a mixture, unless that is `accepted`.

    Raise InputError if any has, and the schema has too many columns for their pairs; or if none has, and the study
    has constraints on inducing points, of which there will be none.

    Parameters
    ----------
    how : what a person has to write to accept it.
    """
    if len(reduced_sites(spec, schema)) < len(spec.sites):
        require_groups(schema)
    elif not accepted:
        raise DegradedError(f"{notice(spec, schema)}; or accept class centroids alone with {how}")
    elif spec.constraints:
        raise InputError(f"{notice(spec, schema)}; nothing can keep the constraints then: leave them out")
