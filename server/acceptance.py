"""Whether a reply counts: signed by its site, for our request, within its round's budget, and of our form.

A site is trusted with its own patients' privacy, and with nothing of the others': what it sends may spoil neither
the total nor the sum of the budget, nor stop the study.
"""

from cohortmix.core.anonymize import UNIT, blocks_of, sum_query
from cohortmix.core.encoding import Encoding
from cohortmix.core.pipeline import Plan
from cohortmix.core.query import question_hash
from cohortmix.protocol.messages import Centroids, ClassSums, Request, SignedRelease
from cohortmix.protocol.receipts import ReceiptError, verify_release

TAIL = 12
"""Standard deviations of noise beyond which no estimate lies: one in 10^32 for each number."""

ROUNDING = 1e-6
"""How far from 1 a histogram's sum may be."""


def check_release(signed: SignedRelease, request: Request, plan: Plan) -> None:
    """Raise ReceiptError unless the release can be pooled as the answer to `request`.

    Signature, study, request, release hash and cost are those of `receipts.verify_release`; the cost is also at
    most what the site's `plan` has for this round, so that both rounds together stay within the study's mu.
    """
    verify_release(signed, request)
    budget = plan.mu2_sums if request.round == 1 else plan.mu2_moments
    if signed.receipt.mu2 > budget:
        raise ReceiptError(
            f"round {request.round} may cost mu={float(budget) ** 0.5:.6g}, the receipt says "
            f"mu={float(signed.receipt.mu2) ** 0.5:.6g}"
        )
    if isinstance(signed.release, ClassSums):
        _check_sums(signed.release, plan)
    else:
        _check_centroids(signed.release, request, plan)


def _check_sums(sums: ClassSums, plan: Plan) -> None:
    """The study's question in the study's unit, and no estimate that N patients and the noise cannot give."""
    encoding, answer = Encoding.of(plan.schema), sums.answer
    query = sum_query(encoding)
    _expect("question", question_hash(query, plan.schema), answer.question)
    _expect("shape", (encoding.label.size * query.width,), answer.values.shape)
    _expect("sensitivity2", 2 * query.bound2 * answer.unit**2, answer.sensitivity2 * UNIT**2)
    weights = [block.weight for block in query.blocks for _ in range(block.size)] + [query.label_weight]
    most = [plan.patients * weight * answer.unit // UNIT for weight in weights] * encoding.label.size
    tail, values = TAIL * answer.sigma, answer.values.numpy().tolist()
    beyond = sum(not -tail <= value <= top + tail for value, top in zip(values, most, strict=True))
    _expect("numbers beyond N and the noise", 0, beyond)


def _check_centroids(centroids: Centroids, request: Request, plan: Plan) -> None:
    """Histograms on the common groups and the schema's classes, with as much mass as the site has patients."""
    assert request.common is not None  # a request of round 2 has it
    sizes = [max(groups) + 1 for groups in request.common.groups]
    _expect("groups", sum(sizes), centroids.means.shape[1])
    _expect("classes", len(plan.schema.classes), centroids.labels.shape[1])
    masses, means, labels = (part.numpy() for part in (centroids.masses, centroids.means, centroids.labels))
    _expect("negative numbers", 0, sum(int((part < 0).sum()) for part in (masses, means, labels)))
    _expect("mass", plan.patients, round(float(masses.sum())))
    histograms = [labels, *(means[:, block] for block in blocks_of(sizes))]
    off = sum(int((abs(each.sum(axis=1) - 1) > ROUNDING).sum()) for each in histograms)
    _expect("histograms that do not sum to 1", 0, off)


def _expect(name: str, expected: object, came: object) -> None:
    if came != expected:
        raise ReceiptError(f"the release does not fit the study: expected {name}={expected}, got {came}")
