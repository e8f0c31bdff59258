"""In how many sites of a study one patient can have records: the rule by which the costs of sites add up.

A release of site s is mu_s-GDP for that site's patients and depends on nobody else. So a patient bears the
composition over the sites where the patient has records (Dong, Roth and Su 2019, arXiv 1905.02383, Corollary 3.3):
mu^2 and kappa add up over those sites. Nobody can look up which sites these are; the study declares how many they
can be, and whoever adds up costs counts the dearest ones.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

MOST_OVERLAP = 10_000
"""Largest number that a study can declare; ten times the sites that a study can have."""

Overlap = Literal["disjoint", "unknown"] | Annotated[int, Field(ge=1, le=MOST_OVERLAP)]
"""One site for each patient, any number of sites, or at most so many."""


def sites_per_patient(overlap: Overlap, sites: int) -> int:
    """The most of a study's `sites` at which one patient can have records.

    Raises
    ------
    ValueError
        If the overlap is neither "disjoint" nor "unknown" nor a whole number above zero.

    Examples
    --------
    >>> [sites_per_patient(overlap, 8) for overlap in ("disjoint", 2, 20, "unknown")]
    [1, 2, 8, 8]
    """
    if overlap == "disjoint":
        return min(1, sites)
    if overlap == "unknown":
        return sites
    if isinstance(overlap, bool) or not isinstance(overlap, int) or overlap < 1:
        raise ValueError(
            f"overlap must be 'disjoint', 'unknown' or a whole number above zero; got overlap={overlap!r}."
        )
    return min(overlap, sites)


def parse_overlap(text: object) -> Overlap:
    """The overlap that a person has typed; ValueError for anything else.

    >>> parse_overlap("disjoint"), parse_overlap("2")
    ('disjoint', 2)
    """
    if text == "disjoint":
        return "disjoint"
    if text == "unknown":
        return "unknown"
    number = str(text)
    if not re.fullmatch(r"0*[1-9]\d{0,4}", number, re.ASCII) or int(number) > MOST_OVERLAP:
        raise ValueError(f"expected disjoint, unknown, or a whole number above zero, got {number[:40]!r}")
    return int(number)
