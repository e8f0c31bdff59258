"""Whether a reply counts: signed by its site, for our request, within its round's budget, and of the right form.

A site is trusted with the privacy of its own patients, and with nothing of the other sites: what it sends must not
be able to spoil their total or the sum of the budget, or to stop the study.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import isclose
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.privacy.questions.question import Question, question_hash
from cohortmix.core.privacy.questions.score_moment import ScoreMoment
from cohortmix.core.privacy.scale import Scale, scale
from cohortmix.core.steps import point_masses
from cohortmix.core.steps.anonymize import noise_a, pair_query, sum_query
from cohortmix.core.steps.plan import Plan, components, fits_of
from cohortmix.protocol.messages import (
    ANSWER_NAMES,
    CentroidsRelease,
    ClassSumsRelease,
    CommonMessage,
    MaskedRelease,
    NoisedAnswer,
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
    budget = plan.mu2_sums if request.round == 1 else plan.mu2_second
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
        _check_answers(signed.receipt, request, plan)
        _check_counts(signed.release, plan)
        _check_centroids(signed.release, request, plan)
        _check_constraints(signed.release, plan)


def questions_of(plan: Plan, common: CommonMessage | None) -> list[tuple[Question, Fraction]]:
    """What a round asks a site that has room for it, and what each answer may cost, in the order of statements.

    Parameters
    ----------
    plan : for round 2, with the cells that are looked into.
    common : the common facts of round 2; None for round 1.
    """
    if common is None:
        return [(sum_query(Encoding.of(plan.schema)), plan.mu2_sums)]
    pairs: tuple[Question, Fraction] = pair_query(plan, common.to_core()), plan.mu2_moments
    return [pairs, (point_masses.question(plan.looks), plan.mu2_looks)] if plan.looks else [pairs]


class Part(NamedTuple):
    """One question of a joint study's round, the noise that each site adds, and the place of its answer."""

    question: Question
    noise: Scale
    place: slice


def parts_of_sum(study: StudySpec, plan: Plan, common: CommonMessage | None) -> list[Part]:
    """What a round of a joint study asks for; parameters as `questions_of`."""
    parts, start = list[Part](), 0
    for question, mu2 in questions_of(plan, common):
        noise = scale(question.sensitivity2(plan.schema.cap), mu2, study.terms)
        place = slice(start, start + question.dimension(len(plan.schema.classes)))
        parts.append(Part(question, noise, place))
        start = place.stop
    return parts


def check_total(values: NDArray[np.int64], parts: Sequence[Part], variances: Sequence[int], patients: int) -> None:
    """Raise ReceiptError unless so many patients and noise of these variances can give this sum.

    A site that sends anything else than its answer spoils the sum, and no proof shows which one it was.

    Parameters
    ----------
    parts : that all sites of the study were asked for.
    variances : of all noise that is left in each of them, in noise steps^2.
    patients : of the sites in the sum.
    """
    beyond = 0
    for (question, noise, place), variance in zip(parts, variances, strict=True):
        tail, most = int(TAIL * variance**0.5), patients * question.largest << noise.shift
        low = -most if isinstance(question, ScoreMoment) else 0  # counts are not negative
        beyond += int(((values[place] < low - tail) | (values[place] > most + tail)).sum())
    if beyond:
        raise ReceiptError(
            f"the sum that was read has {beyond} numbers that {patients} patients and the noise cannot give: "
            "a site has sent something else than its answer, nobody can say which, and the study is of no use"
        )


def check_spare(spare: NDArray[np.int64], parts: Sequence[Part]) -> None:
    """Raise ReceiptError unless this can be the spare noise of one site, which is taken off the sum of all."""
    _expect("shape of the spare noise", (parts[-1].place.stop,), spare.shape)
    for _, noise, place in parts:
        tail, own = int(TAIL * noise.spare), spare[place]
        _expect("spare noise beyond its scale", 0, _outside(own + tail, 2 * tail) if noise.spare else own.size)


def _check_masked(masked: MaskedRelease, receipt: Receipt, request: Request, plan: Plan) -> None:
    """The site's receipt is for the round's questions, and its masked answers have as many numbers."""
    parts = parts_of_sum(request.study.study, plan, request.common)
    _check_facts(receipt, request.round, [(part.question, part.noise) for part in parts], plan)
    for part, statement in zip(parts, receipt.statements, strict=True):
        _expect("sigma", part.noise.sigma, statement.sigma)
        _expect("spare", part.noise.spare, statement.spare)
    _expect("shape", (parts[-1].place.stop,), masked.values.shape)


def _check_sums(sums: ClassSumsRelease, receipt: Receipt, plan: Plan) -> None:
    """The answer is to the study's question, and N patients and the noise can give its numbers."""
    encoding = Encoding.of(plan.schema)
    question = sum_query(encoding)
    noise = scale(question.sensitivity2(plan.schema.cap), plan.mu2_sums)
    _check_facts(receipt, 1, [(question, noise)], plan)
    _check_numbers(sums.answer, [*question.entries] * encoding.label.size, question.unit, noise, plan)


def _check_answers(receipt: Receipt, request: Request, plan: Plan) -> None:
    """The site drew one second moment of the common groups, or nothing if it is too small for one.

    And where cells are looked into, the counts of the values in them.
    """
    assert request.common is not None  # a request of round 2 has it
    asked = questions_of(plan, request.common) if plan.fits_mixture else []
    noises = [(question, scale(question.sensitivity2(plan.schema.cap), mu2)) for question, mu2 in asked]
    _check_facts(receipt, 2, noises, plan)
    for (_, noise), statement in zip(noises[1:], receipt.statements[1:], strict=True):
        # Each by itself: what one answer saves must not be another's.
        _expect("sigma of the counts of values", noise.sigma, statement.sigma)


def _check_counts(centroids: CentroidsRelease, plan: Plan) -> None:
    """Counts of values are there where the plan has them counted, and N patients and the noise can give them."""
    _expect("released counts of values", bool(plan.looks), centroids.counts is not None)
    if centroids.counts is not None:
        question = point_masses.question(plan.looks)
        noise = scale(question.sensitivity2(plan.schema.cap), plan.mu2_looks)
        entries = [question.largest] * question.dimension(len(plan.schema.classes))
        _check_numbers(centroids.counts, entries, question.unit, noise, plan)


def _check_numbers(answer: NoisedAnswer, entries: Sequence[int], unit: int, noise: Scale, plan: Plan) -> None:
    """An answer is in the right unit, and N patients and the noise can give its numbers.

    Parameters
    ----------
    entries : for each number the most that a patient adds to it, in lattice steps, of which `unit` are 1.
    """
    _expect("shape", (len(entries),), answer.values.shape)
    _expect("unit", unit << noise.shift, answer.unit)
    most = [plan.patients * entry << noise.shift for entry in entries]
    tail, values = TAIL * answer.sigma, answer.values.numpy().tolist()
    beyond = sum(not -tail <= value <= top + tail for value, top in zip(values, most, strict=True))
    _expect("numbers beyond N and the noise", 0, beyond)


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


def _check_constraints(centroids: CentroidsRelease, plan: Plan) -> None:
    """Where there are support points it is said what became of each constraint of the study, and of no other.

    None is called met whose figure is beyond its limit. The figures themselves are the site's word: the records on
    which they were measured, and where the points started, are not released.
    """
    asked = plan.constraints if centroids.support_points.shape[0] else ()
    _expect("constraints", [str(one) for one in asked], [reached.constraint for reached in centroids.constraints])
    pairs = zip(asked, centroids.constraints, strict=True)
    beyond = sum(reached.met and not one.holds(float(reached.value)) for one, reached in pairs)
    _expect("constraints that are met beyond their limit", 0, beyond)


def most_components(plan: Plan) -> int:
    """The most centroids that a site's mixture can have, whatever the masses of its classes: K in each fit."""
    most = components(plan.patients * (1 + ROUNDING), plan.s_b) if plan.fits_mixture else 0
    if plan.by_scores:
        return most
    return max((k * fits_of(k) for k in range(1, most + 1)), default=0)


def _check_facts(
    receipt: Receipt, round: Literal[1, 2], asked: Sequence[tuple[Question, Scale]], plan: Plan
) -> None:
    """The receipt has a statement of what the vault gives to each of these questions, and no other."""
    _expect("statements", len(asked), len(receipt.statements))
    for (question, noise), name, statement in zip(asked, ANSWER_NAMES[round], receipt.statements, strict=False):
        facts = {
            "name": name,
            "question": question_hash(question, plan.schema),
            "dimension": question.dimension(len(plan.schema.classes)),
            "sensitivity2": noise.sensitivity2,
        }
        for fact, expected in facts.items():
            _expect(f"{fact} of the statement", expected, getattr(statement, fact))


def _outside(numbers: NDArray[Any], most: float) -> int:
    """How many numbers are below 0 or above `most`; checked before they are added up, which could overflow."""
    return int(((numbers < 0) | (numbers > most)).sum())


def _expect(name: str, expected: object, came: object) -> None:
    if came != expected:
        raise ReceiptError(f"the release does not fit the study: expected {name}={expected}, got {came}")
