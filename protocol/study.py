"""The public definition of a study: what a coordinator signs and a steward approves."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import FailFast, Field, model_validator

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.privacy.joint import ALONE, Terms
from cohortmix.core.steps.adapting.constraint import Constraint
from cohortmix.core.steps.plan import Plan, surplus_of
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.constraints import Constraints, read_constraints
from cohortmix.protocol.fields import Exact, Hash, Name, Patients, PublicKey, Ratio, Version, Wire
from cohortmix.protocol.names import confusable
from cohortmix.protocol.overlap import Overlap, sites_per_patient

MOST_MU = 1000
"""A larger mu bounds nothing; the limit also keeps every number of a receipt within the range of a float."""

MOST_SITES = 1000
"""Most sites of one study; the limits on the size of a message (`messages.py`) are made for it."""

LONGEST_DEADLINE = 365 * 86_400
"""Longest time that one round may wait, in seconds: a year."""

MOST_SHARE_DENOMINATOR = 10**18
"""A ledger adds shares of mu^2 as exact fractions; the limit keeps their numerators and denominators short."""

NEIGHBOURS: Literal["replace-one-patient"] = "replace-one-patient"


class SiteEntry(Wire):
    """A site of a study: its name, its public key, and the number of its patients, which is public."""

    name: Name
    key: PublicKey
    patients: Patients


class JointNoise(Wire):
    """The terms of a study of which only sums over its sites can be read (`core/privacy/joint.py`).

    `conspirators` is the most sites that may conspire with the coordinator: at least one, since every site sees
    the published sum and knows its own part of it. `tolerated_dropouts` is the most that may be missing.
    """

    conspirators: int = Field(ge=1, le=MOST_SITES)
    tolerated_dropouts: int = Field(ge=0, le=MOST_SITES)


def usual_conspirators(sites: int) -> int:
    """What is proposed where nobody says t: one site in ten, at least one."""
    return max(1, sites // 10)


class StudySpec(Wire):
    """One study: what every site computes, and the privacy budget that each of them spends on it.

    `mu` is the mu-GDP budget of one site for both rounds together, `share` the least part of mu^2 that round 1
    takes (`core/steps/plan.py`), `alpha` the weight of Eq. 6 of 3A. `overlap` says at how many of the sites one
    patient can have records (`overlap.py`); `expires` is the last day, in UTC, on which a site answers. `joint` is
    None where each site adds all of the noise by itself, and `noise` names the source that it is drawn from.
    `point_masses` permits answer D in round 2, on cells that follow from round 1 (`core/steps/point_masses.py`).
    `constraints` are what the inducing points have to keep (`core/steps/adapting/constraint.py`), in this order.
    """

    name: Name
    schema_hash: Hash
    target: Annotated[str, Field(min_length=1, max_length=200)]
    mu: Exact
    share: Ratio = Fraction(15, 100)
    delta: Exact
    neighbours: Literal["replace-one-patient"] = NEIGHBOURS
    overlap: Overlap
    variant: Literal["cells"] = "cells"
    sites: Annotated[tuple[SiteEntry, ...], Field(min_length=1, max_length=MOST_SITES), FailFast()]
    min_sites: int = Field(ge=1, le=MOST_SITES)
    round_deadline_seconds: int = Field(ge=1, le=LONGEST_DEADLINE)
    expires: date | None = None
    alpha: Exact = Decimal("0.5")
    joint: JointNoise | None = None
    point_masses: bool = True
    constraints: Constraints = ()
    noise: Literal["opendp", "TEST"] = "opendp"
    public_data: bool = False
    loose_delta: bool = False
    version: Version
    protocol: Literal[1] = 1
    coordinator_key: PublicKey

    @property
    def hash(self) -> str:
        """The study's identity: what a steward approves, and what every receipt names."""
        return _hash(self)

    @property
    def mu2(self) -> Fraction:
        """mu^2, exactly."""
        return Fraction(self.mu) ** 2

    @property
    def patients(self) -> int:
        """Those of all sites together."""
        return sum(entry.patients for entry in self.sites)

    @property
    def largest_cohort(self) -> int:
        """N of the largest sum that can be read: of the largest site or, in a joint study, of all sites."""
        return max(entry.patients for entry in self.sites) if self.joint is None else self.patients

    @property
    def terms(self) -> Terms:
        """Whose noise protects a patient: the site's own or, in a joint study, that of all honest sites."""
        if self.joint is None:
            return ALONE
        sites, joint = len(self.sites), self.joint
        overlap = sites_per_patient(self.overlap, sites)
        return Terms(sites, joint.conspirators, joint.tolerated_dropouts, overlap, self.patients)

    def plan(self, schema: Schema, patients: int) -> Plan:
        """What a site with so many patients computes; in a joint study, what all sites compute together.

        Sites that add all of the noise themselves are asked about scores if all of them can be. InputError as
        `held`.
        """
        plan = Plan(schema, self.mu2, patients, self.share, float(self.alpha), constraints=self.held(schema))
        if self.joint is None:
            # Where the smallest and the largest site are described by scores, so are all, for the same questions.
            sizes = [entry.patients for entry in self.sites]
            ends = (replace(plan, patients=end) for end in (min(sizes), max(sizes)))
            return replace(plan, scores=all(end.by_scores for end in ends))
        return replace(plan, patients=self.patients, surplus=surplus_of(self.terms))

    def held(self, schema: Schema) -> tuple[Constraint, ...]:
        """What the inducing points have to keep; InputError unless the schema has what that names."""
        try:
            return read_constraints(self.constraints, schema)
        except InputError as error:
            raise InputError(f"the study's constraints do not fit its schema: {error}") from None

    def counting(self, schema: Schema) -> tuple[Plan, ...]:
        """The plans from which the cells of answer D follow, beside the common facts; none if it is not permitted.

        Of every site or, in a joint study, of all together.
        """
        if not self.point_masses:
            return ()
        counted = [self.patients] if self.joint is not None else [entry.patients for entry in self.sites]
        plan = self.plan(schema, counted[0])
        return tuple(replace(plan, patients=patients) for patients in counted)

    def expired(self, today: date) -> bool:
        """Whether sites no longer answer on the day `today`, in UTC."""
        return self.expires is not None and today > self.expires

    def site(self, name: str) -> SiteEntry | None:
        """The entry of the site with this name, or None."""
        return next((entry for entry in self.sites if entry.name == name), None)

    @model_validator(mode="after")
    def _possible(self) -> StudySpec:
        if not 0 < self.mu <= MOST_MU:
            raise ValueError(f"expected 0 < mu <= {MOST_MU}, got mu={self.mu}")
        if not 0 < self.delta < 1 or float(self.delta) == 1:
            raise ValueError(f"expected 0 < delta < 1, got delta={self.delta}")
        if not 0 < self.share < 1 or self.alpha > 1:
            raise ValueError("expected 0 < share < 1 and 0 <= alpha <= 1")
        if self.share.denominator > MOST_SHARE_DENOMINATOR:
            raise ValueError("expected a share with a denominator of at most 10^18, such as 3/20")
        if len({entry.key for entry in self.sites}) < len(self.sites):
            raise ValueError("expected sites with distinct keys, got one twice")
        if twins := confusable(entry.name for entry in self.sites):
            raise ValueError(
                f"expected sites with distinct names, got {twins[0]!r} and {twins[1]!r}, which can be confused"
            )
        if self.min_sites > len(self.sites):
            raise ValueError(f"expected min_sites <= {len(self.sites)} sites, got min_sites={self.min_sites}")
        if self.joint is not None and self.min_sites != self.terms.threshold:  # the terms may be impossible, too
            raise ValueError(
                f"expected min_sites = {self.terms.threshold}, the sites less the tolerated dropouts, got "
                f"min_sites={self.min_sites}"
            )
        # In floats, as `core/privacy/budget.py` compares them: both then draw the line at the same delta.
        if float(self.delta) > 1 / (10 * self.largest_cohort) and not self.loose_delta:
            whose = "the largest site" if self.joint is None else "all sites together"
            raise ValueError(
                f"expected delta <= 1/(10 N) = {1 / (10 * self.largest_cohort):.2g} for {whose}, got "
                f"delta={self.delta}; lower it, or set loose_delta for a benchmark"
            )
        return self


@lru_cache(maxsize=16)
def _hash(study: StudySpec) -> str:
    """Kept, since a study cannot change and its hash is needed for every site and every receipt."""
    return sha256(study.plain())
