"""Whether a reply counts: signed by its site, for our request, within its round's budget, and of the right form.

A site is trusted with the privacy of its own patients, and with nothing of the other sites: what it sends must not
be able to spoil their total or the sum of the budget, or to stop the study.
"""

from fractions import Fraction
from math import isclose
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.privacy.questions.question import Question, question_hash
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.privacy.scale import Scale, scale
from cohortmix.core.steps.anonymize import noise_a, pair_query, sum_query
from cohortmix.core.steps.plan import Plan, components, fits_of
from cohortmix.protocol.messages import (
    ANSWER_NAMES,
    CentroidsRelease,
    ClassSumsRelease,
    CommonMessage,
    MaskedRelease,
    Receipt,
    Request,
    SignedRelease,
    StudySpec,
)
from cohortmix.protocol.receipts import ReceiptError, verify_release

TAIL = 12
"""How many standard deviations of its noise an estimate may lie off: more has a chance of one in 10^32."""

ROUNDING = 1e-6
"""How far a histogram's sum may be from 1, and a noise from the plan's, both relative: rounding gives far less."""

SPENT = 1 - Fraction(1, 2**20)
"""Least share of its round's budget that a site spends: what it leaves is sigma, rounded up to whole steps."""


def check_release(signed: SignedRelease, request: Request, plan: Plan) -> None:
    """Raise ReceiptError unless the release can be pooled as the answer to `request`.

    `receipts.verify_release` checks signature, study, request, release hash and what the receipt says. Beyond
    that, the cost must be what the site's `plan` has for this round: not more, so that both rounds together stay
    within the study's mu, and not less, since more noise than was planned would drown what the other sites give.
    """
    verify_release(signed, request)
    budget = plan.mu2_sums if request.round == 1 else plan.mu2_moments
    if not budget * SPENT <= signed.receipt.mu2 <= budget:
        raise ReceiptError(
            f"round {request.round} costs mu={float(budget) ** 0.5:.6g}, the receipt says "
            f"mu={float(signed.receipt.mu2) ** 0.5:.6g}"
        )
    if isinstance(signed.release, ClassSumsRelease):
        _check_sums(signed.release, signed.receipt, plan)
    elif isinstance(signed.release, MaskedRelease):
        _check_masked(signed.release, signed.receipt, request, plan)
    else:
        _check_moments(signed.receipt, request, plan)
        _check_centroids(signed.release, request, plan)


def asked_in(study: StudySpec, plan: Plan, common: CommonMessage | None) -> tuple[Question, Scale]:
    """What a round of a joint study asks for, and the share of the noise that each site adds to its answer.

    Parameters
    ----------
    common : the common facts of round 2; None for round 1.
    """
    question = sum_query(Encoding.of(plan.schema)) if common is None else pair_query(plan, common.to_core())
    mu2 = plan.mu2_sums if common is None else plan.mu2_moments
    return question, scale(question.sensitivity2(plan.schema.cap), mu2, study.terms)


def check_total(
    values: NDArray[np.int64],
    study: StudySpec,
    plan: Plan,
    common: CommonMessage | None,
    variance: int,
    patients: int,
) -> None:
    """Raise ReceiptError unless so many patients and noise of this variance can give this sum.

    A site that sends anything else than its answer spoils the sum, and no proof shows which one it was.

    Parameters
    ----------
    plan : of all sites of the study.
    variance : of all noise that is left in it, in noise steps^2.
    patients : of the sites in the sum.
    """
    question, noise = asked_in(study, plan, common)
    tail, most = int(TAIL * variance**0.5), patients * question.largest << noise.shift
    low = -most if isinstance(question, ScoreMoment) else 0  # counts are not negative
    beyond = int(((values < low - tail) | (values > most + tail)).sum())
    if beyond:
        raise ReceiptError(
            f"the sum that was read has {beyond} numbers that {patients} patients and the noise cannot give: "
            "a site has sent something else than its answer, nobody can say which, and the study is of no use"
        )


def check_spare(spare: NDArray[np.int64], study: StudySpec, plan: Plan, common: CommonMessage | None) -> None:
    """Raise ReceiptError unless this can be the spare noise of one site, which is taken off the sum of all."""
    question, noise = asked_in(study, plan, common)
    _expect("shape of the spare noise", (question.dimension(len(plan.schema.classes)),), spare.shape)
    tail = int(TAIL * noise.spare)
    _expect("spare noise beyond its scale", 0, _outside(spare + tail, 2 * tail) if noise.spare else spare.size)


def _check_masked(masked: MaskedRelease, receipt: Receipt, request: Request, plan: Plan) -> None:
    """The site's receipt is for the round's question, and its masked answer has as many numbers."""
    question, noise = asked_in(request.study.study, plan, request.common)
    _check_facts(receipt, ANSWER_NAMES[request.round][0], question, plan, noise)
    _expect("sigma", noise.sigma, receipt.statements[0].sigma)
    _expect("spare", noise.spare, receipt.statements[0].spare)
    _expect("shape", (question.dimension(len(plan.schema.classes)),), masked.values.shape)


def _check_sums(sums: ClassSumsRelease, receipt: Receipt, plan: Plan) -> None:
    """The answer is to the study's question, and N patients and the noise can give its numbers."""
    encoding, answer = Encoding.of(plan.schema), sums.answer
    question, classes = sum_query(encoding), encoding.label.size
    noise = _check_statement(receipt, ANSWER_NAMES[1][0], question, plan, plan.mu2_sums)
    _expect("shape", (question.dimension(classes),), answer.values.shape)
    _expect("unit", question.unit << noise.shift, answer.unit)
    most = [plan.patients * entry << noise.shift for entry in question.entries] * classes
    tail, values = TAIL * answer.sigma, answer.values.numpy().tolist()
    beyond = sum(not -tail <= value <= top + tail for value, top in zip(values, most, strict=True))
    _expect("numbers beyond N and the noise", 0, beyond)


def _check_moments(receipt: Receipt, request: Request, plan: Plan) -> None:
    """The site drew one second moment of the common groups, or nothing if it is too small for one."""
    assert request.common is not None  # a request of round 2 has it
    if not plan.fits_mixture:
        _expect("statements", 0, len(receipt.statements))
        return
    question = pair_query(plan, request.common.to_core())
    _check_statement(receipt, ANSWER_NAMES[2][0], question, plan, plan.mu2_moments)


def _check_centroids(centroids: CentroidsRelease, request: Request, plan: Plan) -> None:
    """The centroids are histograms on the common groups and the schema's classes, and add up to N patients."""
    assert request.common is not None  # a request of round 2 has it
    groups = Groups(request.common.groups)
    _expect("groups", sum(groups.sizes), centroids.means.shape[1])
    _expect("classes", len(plan.schema.classes), centroids.labels.shape[1])
    fitted = "mixture" in centroids.kinds
    _expect("fitted mixtures without pairs", False, fitted and not plan.fits_mixture)
    mixed, by_class = (centroids.kinds.count(kind) for kind in ("mixture", "class"))
    _expect("mixture centroids above the plan's", 0, max(0, mixed - most_components(plan)))
    _expect("class centroids above one a class", 0, max(0, by_class - len(plan.schema.classes)))
    # The pool weighs the pairs of all sites by it: too large a noise would take weight from the others.
    noise = plan.s_b if fitted else noise_a(Encoding.of(plan.schema), float(plan.mu2_sums))
    std = float(centroids.noise_std)
    _expect("noise_std", noise, noise if isclose(std, noise, rel_tol=ROUNDING) else std)
    _expect("support points above the plan's", 0, max(0, len(centroids.support_points.numpy()) - plan.support))
    masses = centroids.masses.numpy()
    _expect("masses beyond 0 and N", 0, _outside(masses, plan.patients + 1))
    _expect("mass", plan.patients, round(float(masses.sum())))
    points = [
        histograms[:, block]
        for histograms in (centroids.means.numpy(), centroids.support_points.numpy())
        for block in groups.blocks
    ]
    for histogram in (centroids.labels.numpy(), centroids.support_labels.numpy(), *points):
        _expect("shares beyond 0 and 1", 0, _outside(histogram, 1 + ROUNDING))
        off = int((abs(histogram.sum(axis=1) - 1) > ROUNDING).sum())
        _expect("histograms that do not sum to 1", 0, off)


def most_components(plan: Plan) -> int:
    """The most centroids that a site's mixture can have, whatever the masses of its classes: K in each fit."""
    most = components(plan.patients * (1 + ROUNDING), plan.s_b) if plan.fits_mixture else 0
    if plan.by_scores:
        return most
    return max((k * fits_of(k) for k in range(1, most + 1)), default=0)


def _check_statement(receipt: Receipt, name: str, question: Question, plan: Plan, mu2: Fraction) -> Scale:
    """The receipt has one statement, of what the vault gives to this question at this cost."""
    noise = scale(question.sensitivity2(plan.schema.cap), mu2)
    _check_facts(receipt, name, question, plan, noise)
    return noise


def _check_facts(receipt: Receipt, name: str, question: Question, plan: Plan, noise: Scale) -> None:
    facts = {
        "name": name,
        "question": question_hash(question, plan.schema),
        "dimension": question.dimension(len(plan.schema.classes)),
        "sensitivity2": noise.sensitivity2,
    }
    _expect("statements", 1, len(receipt.statements))
    for fact, expected in facts.items():
        _expect(f"{fact} of the statement", expected, getattr(receipt.statements[0], fact))


def _outside(numbers: NDArray[Any], most: float) -> int:
    """How many numbers are below 0 or above `most`; checked before they are added up, which could overflow."""
    return int(((numbers < 0) | (numbers > most)).sum())


def _expect(name: str, expected: object, came: object) -> None:
    if came != expected:
        raise ReceiptError(f"the release does not fit the study: expected {name}={expected}, got {came}")
