"""What the vault gives for the site's plan counts; whatever else its site has signed does not."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from one_site import (
    BY_CLASS,
    CENTROIDS,
    COMMON,
    MOMENTS,
    PLAN,
    SCHEMA,
    SUMS,
    N,
    asked,
    cost,
    signed,
    vault,
)

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.steps import anonymize, pipeline
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    CentroidsRelease,
    ClassSumsRelease,
    NoisedAnswer,
)
from cohortmix.protocol.receipts import ReceiptError
from cohortmix.server.acceptance import check_release

# --- round 1


def test_the_plan_is_that_of_a_site_with_two_rounds() -> None:
    assert PLAN.fits_mixture
    assert 0 < PLAN.mu2_sums < PLAN.mu2_moments


def check_sums(answer: Answer, name: str = "class sums") -> None:
    release = ClassSumsRelease(answer=NoisedAnswer.of(answer))
    check_release(signed(asked(), release, {name: answer}), asked(), PLAN)


def test_what_the_vault_answers_is_accepted_and_so_is_one_rounding_less() -> None:
    check_sums(SUMS)
    check_sums(cost(SUMS, sigma=SUMS.sigma + 1))


def test_a_site_where_pairs_have_hardly_room_pays_more_for_its_class_sums() -> None:
    """The study's share of the budget is then less than its round costs."""
    crowded = replace(PLAN, mu2=Fraction(1, 130))
    assert crowded.fits_mixture
    assert crowded.share < crowded.share_of_sums < Fraction(2, 5)
    dear = pipeline.class_sums(vault(), crowded)
    cheap = anonymize.answer_a(vault(), Encoding.of(SCHEMA), crowded.mu2 * crowded.share)
    whole, less = (ClassSumsRelease(answer=NoisedAnswer.of(answer)) for answer in (dear, cheap))
    check_release(signed(asked(), whole, {"class sums": dear}), asked(), crowded)
    with pytest.raises(ReceiptError, match="round 1 costs"):
        check_release(signed(asked(), less, {"class sums": cheap}), asked(), crowded)


OTHER_SUMS: dict[str, tuple[Answer, str]] = {
    "nothing at all": (
        cost(SUMS, unit=0, sensitivity2=0, values=SUMS.values * 0),
        "costs mu=0.154919, the receipt says mu=0$",
    ),
    "louder": (cost(SUMS, sigma=2**57), "round 1 costs mu=0.154919"),
    "a thousandth louder": (cost(SUMS, sigma=SUMS.sigma + SUMS.sigma // 1000), "round 1 costs"),
    "a little dearer": (cost(SUMS, sigma=SUMS.sigma - SUMS.sigma // 1000), "round 1 costs"),
    "no unit": (replace(SUMS, unit=0), "expected unit="),
    "negative unit": (replace(SUMS, unit=-SUMS.unit), "expected unit="),
    "finer than any integer": (
        cost(
            SUMS,
            unit=SUMS.unit << 200,
            sensitivity2=SUMS.sensitivity2 << 400,
            sigma=SUMS.sigma << 200,
        ),
        "expected sensitivity2 of the statement",
    ),
    "another question": (replace(SUMS, question="0" * 64), "expected question of the statement"),
    "fewer numbers": (replace(SUMS, values=SUMS.values[1:]), "expected dimension of the statement"),
    "another shape": (replace(SUMS, values=SUMS.values[None]), "expected shape"),
}


@pytest.mark.parametrize("what", OTHER_SUMS)
def test_class_sums_that_the_vault_does_not_give_are_refused(what: str) -> None:
    other, sentence = OTHER_SUMS[what]
    with pytest.raises(ReceiptError, match=sentence):
        check_sums(other)


def test_a_statement_has_the_name_of_its_answer() -> None:
    with pytest.raises(ReceiptError, match="expected name of the statement=class sums, got what it likes"):
        check_sums(SUMS, "what it likes")


def test_no_estimate_lies_beyond_the_patients_and_the_noise() -> None:
    for first in (13 * SUMS.sigma + N * SUMS.unit, -13 * SUMS.sigma):
        values = SUMS.values.copy()
        values[0] = first
        with pytest.raises(ReceiptError, match="expected numbers beyond N and the noise=0, got 1"):
            check_sums(replace(SUMS, values=values))


# --- round 2


def check_centroids(content: CentroidsRelease = CENTROIDS, answers: dict[str, Answer] | None = None) -> None:
    answers = {"second moments": MOMENTS} if answers is None else answers
    request = asked(COMMON)
    check_release(signed(request, content, answers), request, PLAN)


def test_centroids_with_and_without_support_are_accepted() -> None:
    check_centroids(CENTROIDS)
    check_centroids(BY_CLASS)


@pytest.mark.parametrize("points", [PLAN.support, PLAN.support + 1])
def test_a_site_gives_no_more_support_points_than_the_plan_has(points: int) -> None:
    """Whoever predicts with the pool pays for the square of their number."""

    def many(array: Array) -> Array:
        return Array.of(np.repeat(array.numpy()[:1], points, axis=0))

    parts = {"support_points": many(BY_CLASS.means), "support_labels": many(BY_CLASS.labels)}
    centroids = BY_CLASS.model_copy(update=parts)
    if points <= PLAN.support:
        check_centroids(centroids)
    else:
        with pytest.raises(ReceiptError, match="support points above the plan's=0, got 1"):
            check_centroids(centroids)


HALF = Fraction(PLAN.mu2_moments, 2)
OTHER_COSTS: dict[str, tuple[dict[str, Answer], str]] = {
    "none": ({}, "round 2 costs mu=0.368782, the receipt says mu=0$"),
    "another name": ({"class sums": MOMENTS}, "expected name of the statement=second moments"),
    "louder": ({"second moments": cost(MOMENTS, sigma=2 * MOMENTS.sigma)}, "round 2 costs"),
    "two for one": (
        {
            name: vault().answer(anonymize.pair_query(PLAN, COMMON), HALF)
            for name in ("second moments", "second moments 2")
        },
        "expected a second statement where counts of values are released",
    ),
    "another question": (
        {"second moments": replace(MOMENTS, question=SUMS.question)},
        "expected question of the statement",
    ),
    "another dimension": (
        {"second moments": replace(MOMENTS, values=MOMENTS.values[1:])},
        "expected dimension of the statement",
    ),
    "another sensitivity": (
        {"second moments": cost(MOMENTS, sensitivity2=MOMENTS.sensitivity2 // 4, sigma=(MOMENTS.sigma + 1) // 2)},
        "expected sensitivity2 of the statement",
    ),
}


@pytest.mark.parametrize("what", OTHER_COSTS)
def test_centroids_without_the_one_answer_that_they_rest_on_are_refused(what: str) -> None:
    answers, sentence = OTHER_COSTS[what]
    with pytest.raises(ReceiptError, match=sentence):
        check_centroids(answers=answers)


def test_a_site_too_small_for_a_mixture_has_nothing_to_pay() -> None:
    small = replace(PLAN, mu2=Fraction(1, 10**4))
    assert not small.fits_mixture
    request, release = asked(COMMON), of_small(small)
    check_release(signed(request, release, {}), request, small)
    free = {"second moments": cost(MOMENTS, sensitivity2=0)}
    with pytest.raises(ReceiptError, match="expected statements=0, got 1"):
        check_release(signed(request, release, free), request, small)


def of_small(plan: Plan) -> CentroidsRelease:
    """What a site gives whose whole budget went to its class sums."""
    return CentroidsRelease.of(pipeline.class_centroids(plan, COMMON, pipeline.class_sums(vault(), plan)))


def changed(part: str, change: Callable[[np.ndarray], Any]) -> CentroidsRelease:
    numbers = np.asarray(change(getattr(CENTROIDS, part).numpy().copy()), np.float64)
    return CENTROIDS.model_copy(update={part: Array.of(numbers)})


SHARES = ("means", "labels", "support_points", "support_labels")
WRONG_SHARES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "huge": (lambda x: x * 0 + 1e308, "shares beyond 0 and 1"),
    "negative": (lambda x: -x, "shares beyond 0 and 1"),
    "empty": (lambda x: x * 0, "do not sum to 1"),
    "too much": (lambda x: np.minimum(x * 1.01 + 0.01, 1), "do not sum to 1"),
    "[7, -3]": (lambda x: np.hstack([x[:, :-2], np.tile([7.0, -3.0], (len(x), 1))]), "shares beyond 0 and 1"),
}


@pytest.mark.parametrize("part", SHARES)
@pytest.mark.parametrize("what", WRONG_SHARES)
def test_every_histogram_is_a_distribution(part: str, what: str) -> None:
    change, sentence = WRONG_SHARES[what]
    with pytest.raises(ReceiptError, match=sentence):
        check_centroids(changed(part, change))
    check_centroids(changed(part, lambda x: x * (1 + 1e-9)))


@pytest.mark.parametrize("part", ["means", "support_points"])
def test_each_feature_has_a_histogram_of_its_own(part: str) -> None:
    """A row that sums to the number of features, with a whole feature's share in another one."""

    def lopsided(x: np.ndarray) -> np.ndarray:
        return np.repeat([[1.0] * 2 + [0.0] * (x.shape[1] - 2)], len(x), axis=0)

    sizes = [max(groups) + 1 for groups in COMMON.groups]
    assert lopsided(CENTROIDS.means.numpy()).sum() == CENTROIDS.means.numpy().sum().round()
    assert sizes[0] >= 2
    with pytest.raises(ReceiptError, match="do not sum to 1"):
        check_centroids(changed(part, lopsided))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: x * [-1, 1], "masses beyond 0 and N"),
        (lambda x: x * 0 + 1e308, "masses beyond 0 and N"),
        (lambda x: x * 0.9, "expected mass=400, got 360"),
    ],
)
def test_the_masses_are_the_sites_patients(change: Callable[[np.ndarray], np.ndarray], sentence: str) -> None:
    with pytest.raises(ReceiptError, match=sentence):
        check_centroids(changed("masses", change))


def test_groups_and_classes_are_those_of_the_study() -> None:
    def wider(*parts: str) -> CentroidsRelease:
        wide = {part: Array.of(np.pad(getattr(CENTROIDS, part).numpy(), ((0, 0), (0, 1)))) for part in parts}
        return CENTROIDS.model_copy(update=wide)

    with pytest.raises(ReceiptError, match="expected groups"):
        check_centroids(wider("means", "support_points"))
    with pytest.raises(ReceiptError, match="expected classes=2, got 3"):
        check_centroids(wider("labels", "support_labels"))


@pytest.mark.parametrize("noise", ["1E+12", "1E-9", "0"])
def test_the_noise_of_centroids_is_the_plans(noise: str) -> None:
    """The pool weighs the pairs of all sites by it: one that says too much would take them from the others."""
    with pytest.raises(ReceiptError, match="expected noise_std="):
        check_centroids(CENTROIDS.model_copy(update={"noise_std": Decimal(noise)}))


def test_a_site_too_small_for_a_mixture_has_none() -> None:
    small = replace(PLAN, mu2=Fraction(1, 10**4))
    request, release = asked(COMMON), of_small(small)
    mixed = release.model_copy(update={"kinds": ("mixture",) * len(release.kinds)})
    with pytest.raises(ReceiptError, match="expected fitted mixtures without pairs=False, got True"):
        check_release(signed(request, mixed, {}), request, small)
