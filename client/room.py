"""How long the steps of a request can become, from public facts alone: known before anything is reserved.

A release longer than a message may be could be drawn and paid for, and neither sent nor read again.
"""

from __future__ import annotations

from cohortmix.client.journal import MOST_BYTES
from cohortmix.client.policy import Refused
from cohortmix.core.approximate import CENTROIDS, LARGEST_K
from cohortmix.core.encoding import Encoding
from cohortmix.core.grouping import fits_pairs
from cohortmix.core.pipeline import Plan
from cohortmix.protocol.messages import MAX_BYTES, Code, Common

NUMBER = 11  # bytes: eight, in base64
REST = 2**16  # bytes: the receipt, and the names of the fields


def require_room(plan: Plan, common: Common | None) -> None:
    """Raise Refused if the release of a round could be longer than a message, or an answer than a step.

    In round 1 also where round 2 would have more pairs than any grouping leaves room for.

    Parameters
    ----------
    common : of round 2; None for round 1.
    """
    encoding, classes = Encoding.of(plan.schema), len(plan.schema.classes)
    if common is None:
        if plan.fits_mixture and not fits_pairs(encoding):
            raise Refused(Code.UNKNOWN_COLUMN, "The schema has too many columns for pairs of columns.")
        answer = release = classes * (sum(encoding.sizes) + 1)
    else:
        sizes = [len(set(groups)) for groups in common.groups]
        width, rows = sum(sizes) + classes + 1, max(CENTROIDS, LARGEST_K) + classes + plan.support
        pairs = (sum(sizes) ** 2 - sum(size**2 for size in sizes)) // 2
        answer, release = classes * pairs, rows * (width + 1)
    if NUMBER * release + REST > MAX_BYTES or NUMBER * answer + REST > MOST_BYTES:
        raise Refused(
            Code.UNKNOWN_COLUMN,
            f"The release could be longer than a message may be, {MAX_BYTES >> 20} MiB: the schema has too many "
            "values and classes.",
        )
