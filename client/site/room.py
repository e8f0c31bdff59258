"""How long an answer and a release can become: public facts say it before any budget is reserved.

A release that is longer than a message could be drawn and paid for, but neither sent nor read again.
"""

from __future__ import annotations

from cohortmix.client.ledger.journal import MOST_BYTES
from cohortmix.client.ledger.policy import Refused
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.steps.bins import fits_pairs
from cohortmix.core.steps.plan import CENTROIDS, LARGEST_K, Plan
from cohortmix.protocol.messages import MAX_BYTES, Code, CommonMessage

NUMBER = 11  # bytes of a number: eight, in base64
REST = 2**18  # bytes for the receipt, the names of the fields, and a share for each site of a joint study


def require_room(plan: Plan, common: CommonMessage | None, joint: bool = False) -> None:
    """Raise Refused if the release of a round could be longer than a message, or an answer longer than a step.

    In round 1 also where round 2 would have more pairs than any bins leave room for.

    Parameters
    ----------
    common : the common facts of round 2; None for round 1.
    joint : whether the answer itself is released, under masks, in place of the centroids that follow from it.
    """
    encoding, classes = Encoding.of(plan.schema), len(plan.schema.classes)
    if common is None:
        if plan.fits_mixture and not fits_pairs(encoding):
            raise Refused(Code.UNKNOWN_COLUMN, "The schema has too many columns for pairs of columns.")
        answer = release = classes * (sum(encoding.sizes) + 1)
    else:
        sizes = Groups(common.groups).sizes
        width, rows = sum(sizes) + classes + 1, max(CENTROIDS, LARGEST_K) + classes + plan.support
        pairs = (sum(sizes) ** 2 - sum(size**2 for size in sizes)) // 2
        answer, release = classes * pairs, classes * pairs if joint else rows * (width + 1)
    if NUMBER * release + REST > MAX_BYTES or NUMBER * answer + REST > MOST_BYTES:
        raise Refused(
            Code.UNKNOWN_COLUMN,
            f"The release could exceed {MAX_BYTES >> 20} MiB, or an answer {MOST_BYTES >> 20} MiB in the ledger: "
            "the schema has too many values and classes.",
        )
