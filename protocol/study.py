"""The public definition of a study: what a coordinator signs and a steward approves."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import FailFast, Field, model_validator

from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.fields import Exact, Hash, Name, Patients, PublicKey, Ratio, Version, Wire
from cohortmix.protocol.names import confusable
from cohortmix.protocol.overlap import Overlap

MOST_MU = 1000
"""Beyond this a study would bound nothing; it keeps every number of a receipt within a float."""

MOST_SITES = 1000
"""Of one study."""

LONGEST_DEADLINE = 365 * 86_400
"""Seconds that one round may wait: a year."""

MOST_SHARE_DENOMINATOR = 10**18
"""A share has its place among the whole numbers of a ledger; nobody means a finer one."""

NEIGHBOURS: Literal["replace-one-patient"] = "replace-one-patient"


class SiteEntry(Wire):
    """A site as the study names it; the number of its patients is public."""

    name: Name
    key: PublicKey
    patients: Patients


class StudySpec(Wire):
    """One study: what every site computes, and the budget that it costs each of them.

    `mu` is the mu-GDP budget of one site over both rounds, `share` the least part of mu^2 that round 1 takes
    (`core.Plan`), `alpha` the weight of Eq. 6 of 3A. `overlap` says in how many of the sites one patient
    can have records, `expires` on which day, in UTC, a site answers for the last time.
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
    noise: Literal["opendp", "TEST"] = "opendp"
    public_data: bool = False
    loose_delta: bool = False
    version: Version
    protocol: Literal[1] = 1
    coordinator_key: PublicKey

    @property
    def hash(self) -> str:
        """Identity of the study: what a steward approves and every receipt names."""
        return _hash(self)

    @property
    def mu2(self) -> Fraction:
        """mu^2, exactly."""
        return Fraction(self.mu) ** 2

    def expired(self, today: date) -> bool:
        """Whether a site may no longer answer; `today` is in UTC."""
        return self.expires is not None and today > self.expires

    def site(self, name: str) -> SiteEntry | None:
        """The entry of the site of this name, if the study has one."""
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
        largest = max(entry.patients for entry in self.sites)
        if float(self.delta) > 1 / (10 * largest) and not self.loose_delta:  # as `core.budget` compares them
            raise ValueError(
                f"expected delta <= 1/(10 N) = {1 / (10 * largest):.2g} for the largest site, got "
                f"delta={self.delta}; lower it, or set loose_delta for a benchmark"
            )
        return self


@lru_cache(maxsize=16)
def _hash(study: StudySpec) -> str:
    """A study is frozen, and is asked for its hash once for each site and each receipt."""
    return sha256(study.plain())
