"""One run: right guesses refute no claim that holds, but for the level, and refute one that is blatantly false."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from cohortmix.core import Schema
from cohortmix.core.audit.neighbours import KEY, Cohort
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.audit.one_run import OneRun, bound, decode, gaussian, one_run, place, refuted
from cohortmix.core.audit.pairs import on_vault, questions
from cohortmix.core.audit.replay import Entry, Run, distance2, run
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.noise import OpenDPNoise

SCHEMA = Schema.from_yaml(
    """
name: cohort
target: outcome
columns:
  age: {type: number, min: 0, max: 100, knots: 40}
  ward: {type: category, values: [A, B, C, D, E, F, G, H, I, J]}
  code: {type: category, values: [k, l, m, n, o, p, q, r, s, t, u, v]}
  month: {type: category, values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}
  outcome: {type: category, values: [ill, well, lost]}
"""
)
GROUPS = Groups(tuple(tuple(range(size)) for size in Encoding.of(SCHEMA).sizes))


def randomised_response(epsilon: float) -> Callable[[float], float]:
    """fbar^-1 of epsilon-DP: f(x) = max(0, 1 - e^eps x, e^-eps (1 - x))."""
    return lambda y: max(math.exp(-epsilon) * y, 1 - math.exp(epsilon) * (1 - y))


def p_value(inverse: Callable[[float], float], correct: int, guesses: int, canaries: int) -> float:
    """The smallest level at which the claim is refuted."""
    low, high = 1e-9, 1.0
    while high / low > 1.0001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if refuted(inverse, correct, guesses, canaries, middle) else (middle, high)
    return high


# Refuting a claim.


@pytest.mark.parametrize(("guesses", "canaries"), [(10, 10), (100, 100), (100, 1000), (1000, 4000)])
@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_independent_coins_have_the_binomial_law(epsilon: float, guesses: int, canaries: int) -> None:
    """Randomised response guesses each coin right with probability q = e^eps / (1 + e^eps): the worst case."""
    q = 1 / (1 + math.exp(-epsilon))
    inverse = gaussian(0) if epsilon == 0 else randomised_response(epsilon)
    for level in (0.05, 0.01, 0.001):
        correct = int(binom.isf(level, guesses, q)) + 1
        exact = binom.sf(correct - 1, guesses, q)
        if exact > 0 and correct <= guesses:
            assert exact * (1 - 1e-3) <= p_value(inverse, correct, guesses, canaries) <= 1.35 * exact


def test_more_right_guesses_and_fewer_guesses_for_them_say_more() -> None:
    measured = [bound(1.0, correct, 100, 400).measured for correct in range(101)]
    assert measured == sorted(measured)
    assert measured[50] == 0 < measured[70] < measured[100]
    assert bound(1.0, 70, 70, 400).measured > measured[70]
    levels = [bound(1.0, 80, 100, 400, confidence).measured for confidence in (0.5, 0.95, 0.999)]
    assert levels == sorted(levels, reverse=True)


def scores(mu: float, canaries: int, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Fair coins, and each of them seen through the Gaussian mechanism."""
    rng = np.random.default_rng(seed)
    coins = rng.random(canaries) < 0.5
    return coins, np.where(coins, mu / 2, -mu / 2) + rng.normal(0, 1, canaries)


def of_gaussian(mu: float, canaries: int, seed: int, confidence: float) -> OneRun:
    coins, seen = scores(mu, canaries, seed)
    certain = np.argsort(-np.abs(seen))[: canaries // 4]
    correct = int(((seen > 0) == coins)[certain].sum())
    return bound(mu, correct, len(certain), canaries, confidence)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.0])
def test_a_gaussian_mechanism_is_not_refuted_but_for_the_level(mu: float) -> None:
    runs = 300
    for confidence in (0.5, 0.95):
        found = [of_gaussian(mu, 400, seed, confidence) for seed in range(runs)]
        assert [each.holds for each in found].count(False) <= binom.ppf(0.999, runs, 1 - confidence)
    seen = np.median([each.measured for each in found])
    assert seen == pytest.approx(found[0].attainable, abs=0.06)
    assert 0.4 * mu < np.median([of_gaussian(mu, 20_000, seed, 0.95).measured for seed in range(9)]) < mu


def test_a_broken_mechanism_is_refuted_and_one_lucky_guess_refutes_nothing() -> None:
    assert not bound(0.3, 100, 100, 400).holds
    assert bound(0.3, 100, 100, 400).measured > 1
    assert bound(0.3, 1, 1, 400).measured == 0


def test_wrong_counts_are_refused() -> None:
    for correct, guesses, canaries in ((5, 4, 9), (1, 10, 9), (-1, 4, 9), (0, 0, 9)):
        with pytest.raises(ValueError, match="correct <= guesses <= canaries"):
            bound(0.3, correct, guesses, canaries)
    with pytest.raises(ValueError, match="confidence"):
        bound(0.3, 4, 5, 9, confidence=1.0)


# Reading the coins off the answers.


@dataclass(frozen=True)
class Weak:
    """A noise source that draws a share of the noise that it was asked for."""

    share: float
    name: str = "TEST"
    private: bool = False

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        noise = KeyedNoise(3).add(np.zeros_like(values), sigma, purpose)
        weaker: NDArray[np.int64] = values + np.rint(self.share * noise).astype(np.int64)
        return weaker


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    rng = np.random.default_rng(1)
    columns = {
        "age": rng.uniform(0, 100, 240),
        "ward": rng.choice(list("ABCDEFGHIJ"), 240),
        "code": rng.choice(list("klmnopqrstuv"), 240),
        "month": rng.integers(1, 13, 240),
        "outcome": rng.choice(["ill", "well", "lost"], 240),
    }
    return Cohort.of(TableSource(pa.table(columns)), SCHEMA, most=240)


@pytest.mark.parametrize("share", [0.02, 1.0])
def test_noise_at_a_fiftieth_is_caught_in_one_run(share: float, cohort: Cohort) -> None:
    asked = questions(cohort.schema, GROUPS, Fraction(3, 10))
    found = one_run(cohort, asked, Weak(share), random.Random(0))
    assert (found.canaries, found.guesses) == (240, 60)
    assert found.claimed == pytest.approx(0.3)
    assert found.holds == (share == 1.0)
    assert (found.correct >= 57) == (share < 1)  # 95 of 100: noise of another key can hide one


def test_canaries_of_real_noise_are_read_as_well_as_the_claim_allows(cohort: Cohort) -> None:
    found = one_run(cohort, questions(cohort.schema, GROUPS, Fraction(2)), OpenDPNoise(), random.Random(0))
    assert found.guesses * 0.7 < found.correct
    assert 0 < found.measured <= found.claimed == pytest.approx(2)


def test_a_canary_moves_every_answer_as_far_as_a_patient_can(cohort: Cohort) -> None:
    """And tables that differ in one coin are neighbours as the claim has them: one patient replaced."""
    asked = questions(cohort.schema, GROUPS, Fraction(1))
    canaries = place(cohort, random.Random(2))
    assert set(canaries) == set(cohort.patients)
    everybody = {patient: coin[:1] for patient, coin in canaries.items()}
    tails = run(on_vault(cohort.replaced_all(everybody), cohort.schema, asked), KeyedNoise(1))
    for patient, (_, heads) in list(canaries.items())[:10]:
        table = cohort.replaced_all(everybody | {patient: (heads,)})
        assert sorted(table[KEY].to_pylist()) == sorted(cohort.patients)
        one = run(on_vault(table, cohort.schema, asked), KeyedNoise(1), tails)
        for a, b, answer in zip(tails.entries, one.entries, tails.answers, strict=True):
            assert distance2(a.exact, b.exact) == answer.sensitivity2


def test_coins_are_decoded_together() -> None:
    """Where canaries overlap, the joint estimate reads more coins right than one filter for each of them."""
    rng = np.random.default_rng(5)
    m, d, sigma = 200, 260, 1 << 32
    right = []
    for _ in range(8):
        moves = np.rint(rng.normal(0, 3 * sigma / math.sqrt(d), (m, d)) + 2 * sigma / math.sqrt(d)).astype(
            np.int64
        )
        coins = rng.integers(0, 2, m)
        known, released = fake(np.zeros(d, np.int64), sigma), fake(coins @ moves, sigma, rng)
        together = decode(known, released, [moves])
        alone = moves.astype(float) @ (released.answers[0].values - moves.sum(axis=0) / 2)
        right.append([np.mean((each > 0) == coins) for each in (together, alone)])
    together_right, alone_right = np.mean(right, axis=0)
    assert together_right > alone_right + 0.05


def fake(exact: NDArray[np.int64], sigma: int, rng: np.random.Generator | None = None) -> Run:
    """A run of one question with this exact answer."""
    noised = exact + (0 if rng is None else np.rint(rng.normal(0, sigma, len(exact))).astype(np.int64))
    answer = Answer(noised, sigma, 1, sigma**2, Fraction(1), "")
    return Run((Entry(exact, noised, sigma, ""),), (answer,), "")
