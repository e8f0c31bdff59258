"""How long an answer and a release can become: public facts say it before any budget is reserved.

A release that is longer than a message could be drawn and paid for, but neither sent nor read again.
"""

from __future__ import annotations

from fractions import Fraction

from cohortmix.client.ledger.journal import MOST_BYTES
from cohortmix.client.ledger.policy import Refused
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.privacy.joint import ALONE, Terms
from cohortmix.core.privacy.questions.coordinates import Coordinate
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.question import Question
from cohortmix.core.privacy.scale import scale_of
from cohortmix.core.steps import point_masses
from cohortmix.core.steps.anonymize import sum_query
from cohortmix.core.steps.bins import fits_pairs
from cohortmix.core.steps.plan import CENTROIDS, LARGEST_K, Plan
from cohortmix.core.steps.point_masses import MOST_COUNTED
from cohortmix.core.steps.scores import functions
from cohortmix.core.steps.scores.functions import usual_number
from cohortmix.protocol.messages import MAX_BYTES, Code, CommonMessage

NUMBER = 11  # bytes of a number: eight, in base64
REST = 2**18  # bytes for the receipt, the names of the fields, and a share for each site of a joint study


def require_room(plan: Plan, common: CommonMessage | None, terms: Terms = ALONE) -> None:
    """Raise Refused if the release of a round could be longer than a message, or an answer longer than a step.

    Or where an answer of either round would leave the range of exact sums, which its vault would refuse when the
    round's budget is reserved.

    In round 1 also where round 2 would have more pairs than any bins leave room for.

    Parameters
    ----------
    common : the common facts of round 2; None for round 1.
    terms : in a joint study the answer itself is released, under masks, in place of the centroids that follow.
    """
    _require_range(plan, common, terms)
    joint = terms != ALONE
    encoding, classes = Encoding.of(plan.schema), len(plan.schema.classes)
    if common is None:
        if plan.fits_mixture and not fits_pairs(encoding):
            raise Refused(Code.UNKNOWN_COLUMN, "The schema has too many columns for pairs of columns.")
        answer = release = classes * (sum(encoding.sizes) + 1)
    else:
        answer = _pairs(plan, common, classes)
        release = (answer if joint else _centroids(plan, common, classes)) + MOST_COUNTED
    if NUMBER * release + REST > MAX_BYTES or NUMBER * answer + REST > MOST_BYTES:
        raise Refused(
            Code.UNKNOWN_COLUMN,
            f"The release could exceed {MAX_BYTES >> 20} MiB, or an answer {MOST_BYTES >> 20} MiB in the ledger: "
            "the schema has too many values and classes.",
        )


def _pairs(plan: Plan, common: CommonMessage, classes: int) -> int:
    """Numbers of answer B."""
    if plan.by_scores:
        return functions.question(common.to_core().scores).dimension(classes)
    sizes = Groups(common.groups).sizes
    return classes * (sum(sizes) ** 2 - sum(size**2 for size in sizes)) // 2


def _centroids(plan: Plan, common: CommonMessage, classes: int) -> int:
    """Most numbers of a release of centroids."""
    width = sum(Groups(common.groups).sizes) + classes + 2  # of one centroid, with its mass and kind
    return width * (max(CENTROIDS, LARGEST_K) + classes + plan.support)


def _require_range(plan: Plan, common: CommonMessage | None, terms: Terms) -> None:
    questions: list[tuple[Question, Fraction]] = [(sum_query(Encoding.of(plan.schema)), plan.mu2_sums)]
    if plan.by_scores:  # as many scores as usual, since the true number is known after round 1
        usual = (Coordinate(0, (0,)),) * max(1, usual_number(plan.schema))
        scores = usual if common is None else common.to_core().scores
        questions.append((functions.question(scores), plan.mu2_moments))
    elif plan.fits_mixture:  # the noise of pair tables is the same, whatever the bins
        questions.append((PairTables(((0,),) * len(plan.schema.features)), plan.mu2_moments))
    if plan.looks:
        questions.append((point_masses.question(plan.looks), plan.mu2_looks))
    try:
        for question, mu2 in questions:
            scale_of(question, plan.schema.cap, mu2, plan.patients, terms)
    except OverflowError as error:
        raise Refused(
            Code.NOT_APPROVED, f"No exact answer is possible: {error}; a larger mu, or fewer sites, would do."
        ) from None
