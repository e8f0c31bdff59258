"""The public definition of a study: what a coordinator signs and a steward approves."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.fields import Exact, Hash, Name, PublicKey, Ratio, Version, Wire

MOST_MU = 1000
"""Beyond this a study would bound nothing; it keeps every number of a receipt within a float."""

NEIGHBOURS: Literal["replace-one-patient"] = "replace-one-patient"


class SiteEntry(Wire):
    """A site as the study names it; the number of its patients is public."""

    name: Name
    key: PublicKey
    patients: int = Field(ge=1)


class StudySpec(Wire):
    """One study: what every site computes, and the budget that it costs each of them.

    `mu` is the mu-GDP budget of one site over both rounds, `share` the least part of mu^2 that round 1 takes
    (`core.pipeline.Plan`), `alpha` the weight of Eq. 6 of 3A. `overlap` says in how many of the sites one patient
    can have records, `expires` on which day, in UTC, a site answers for the last time.
    """

    name: Name
    schema_hash: Hash
    target: Annotated[str, Field(min_length=1, max_length=200)]
    mu: Exact
    share: Ratio = Fraction(15, 100)
    delta: Exact
    neighbours: Literal["replace-one-patient"] = NEIGHBOURS
    overlap: Literal["disjoint", "unknown"] | Annotated[int, Field(ge=1)]
    variant: Literal["cells"] = "cells"
    sites: tuple[SiteEntry, ...] = Field(min_length=1, max_length=1000)
    min_sites: int = Field(ge=1)
    round_deadline_seconds: int = Field(ge=1)
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
        return sha256(self.plain())

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
        if not 0 < self.delta < 1:
            raise ValueError(f"expected 0 < delta < 1, got delta={self.delta}")
        if not 0 < self.share < 1 or self.alpha > 1:
            raise ValueError("expected 0 < share < 1 and 0 <= alpha <= 1")
        names, keys = {entry.name.casefold() for entry in self.sites}, {entry.key for entry in self.sites}
        if len(names) < len(self.sites) or len(keys) < len(self.sites):
            raise ValueError("expected sites with distinct names and keys, got one twice")
        if self.min_sites > len(self.sites):
            raise ValueError(f"expected min_sites <= {len(self.sites)} sites, got min_sites={self.min_sites}")
        largest = max(entry.patients for entry in self.sites)
        if float(self.delta) > 1 / (10 * largest) and not self.loose_delta:  # as `core.budget` compares them
            raise ValueError(
                f"expected delta <= 1/(10 N) = {1 / (10 * largest):.2g} for the largest site, got "
                f"delta={self.delta}; lower it, or set loose_delta for a benchmark"
            )
        return self
