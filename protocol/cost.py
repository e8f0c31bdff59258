"""What one release cost the patients of a site: a receipt, and the statements that it adds up.

These are the numbers as they travel. `receipts.py` issues them, checks them and adds them up over releases.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import FailFast, Field

from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.fields import BigInt, Exact, Hash, Name, Patients, Ratio, RequestId, Version, Wire
from cohortmix.protocol.study import MOST_SITES, NEIGHBOURS

ANSWER_NAMES = {1: ("class sums",), 2: ("second moments", "value counts")}
"""By round, what a receipt calls the noised answers that the round draws, as many of the first as it draws."""

MOST_STATEMENTS = 8
"""Statements of one receipt: far more than a round draws, and few enough that their sum can still be printed."""


class Statement(Wire):
    """The cost of one noised answer: mu2 = sensitivity2 / (sharers sigma^2), with both in noise steps.

    `question` is the hash of what was asked, `dimension` how many numbers were answered. `sharers` is 1 for an
    answer by itself; in a joint study S - t, sigma is the site's own share of the noise, and `spare` the standard
    deviation of what it adds besides for sites that may be missing.
    """

    question: Hash
    name: Annotated[str, Field(min_length=1, max_length=60)]
    dimension: int = Field(ge=1, le=2**40)
    sensitivity2: BigInt
    sigma: BigInt
    sharers: int = Field(default=1, ge=1, le=MOST_SITES)
    spare: BigInt = 0
    mu2: Ratio


class Receipt(Wire):
    """What one release cost the patients of a site, in numbers that anyone can check (`receipts.py`)."""

    site: Name
    study: Hash
    schema_hash: Hash
    request_id: RequestId
    request_hash: Hash
    round: Literal[1, 2]
    unit: Literal["patient"] = "patient"
    neighbours: Literal["replace-one-patient"] = NEIGHBOURS
    mu2: Ratio
    statements: Annotated[tuple[Statement, ...], Field(max_length=MOST_STATEMENTS), FailFast()]
    epsilon: Exact
    delta: Exact
    kappa: Exact
    noise: Literal["opendp", "TEST"]
    private: bool
    warning: str | None = Field(default=None, max_length=100)
    version: Version
    patients: Patients
    release_hash: Hash
    previous: Hash

    @property
    def hash(self) -> str:
        """What the site's next receipt names as `previous`."""
        return sha256(self.plain())
