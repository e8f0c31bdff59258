"""In how many of a study's sites one patient can have records: what a study declares, and what follows from it.

Nobody can look it up, since no site sees the patients of another one; so the consortium declares it, and every
quote and report also says what a patient would bear who were at all sites.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field

MOST_SITES_OF_A_PATIENT = 10_000
"""More than a study can have sites; it bounds the number on the wire."""

Overlap = Literal["disjoint", "unknown"] | Annotated[int, Field(ge=1, le=MOST_SITES_OF_A_PATIENT)]
"""A patient can have records at one site, at any number of them, or at this many at most."""


def sites_per_patient(overlap: Overlap, sites: int) -> int:
    """The most of a study's `sites` that can hold one patient.

    Raises
    ------
    ValueError
        If the overlap is none of the three.

    >>> sites_per_patient("disjoint", 8), sites_per_patient(2, 8), sites_per_patient("unknown", 8)
    (1, 2, 8)
    """
    if overlap == "disjoint":
        return 1
    if overlap == "unknown":
        return sites
    if isinstance(overlap, bool) or not isinstance(overlap, int) or overlap < 1:
        raise ValueError(
            f"overlap must be 'disjoint', 'unknown' or a whole number above zero; got overlap={overlap!r}."
        )
    return min(overlap, sites)


def read_overlap(text: object) -> Overlap:
    """The overlap that a person has written; ValueError, which says what is expected, if it is none.

    >>> read_overlap("disjoint"), read_overlap("2")
    ('disjoint', 2)
    """
    if text == "disjoint":
        return "disjoint"
    if text == "unknown":
        return "unknown"
    if not re.fullmatch(r"[1-9]\d{0,3}", str(text), re.ASCII):
        raise ValueError(f"expected disjoint, unknown, or a whole number above zero, got {str(text)[:40]!r}")
    return int(str(text))
