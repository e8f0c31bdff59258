"""What OpenDP returns is what an answer holds, number by number, however many are drawn.

A spy stands in the place of OpenDP's mechanism. It notes what it was given and what it gave: OpenDP's own draws,
or numbers that a sound source hardly ever draws, which must come through all the same. A draw that is cut, made
anew, repeated or rounded has the right law by every statistical test of a feasible size; here it shows at once.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import opendp.prelude as dp
import pandas as pd
import pytest
from numpy.typing import NDArray
from vaults import ENCODING, LEVELS, QUERIES, SCHEMA, Rows, ask, open_vault, table

from cohortmix.core import Budget, Schema, synthesize
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.noise import MAX_SIGMA, MIN_SIGMA, VALUE_LIMIT, OpenDPNoise
from cohortmix.core.privacy.questions.level_moment import LevelMoment
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.vault import Vault

MANY = 10_000  # numbers of one answer: above every round number where a table of draws might end
MU2 = Fraction(1, 50)
Steps = NDArray[np.int64]


class Spy:
    """OpenDP's mechanism, watched; `instead`, if given, says what it returns."""

    def __init__(self, make: Callable[..., Any], instead: Callable[[Steps, int], Steps] | None = None) -> None:
        self._make, self._instead = make, instead
        self.made: list[tuple[str, str, float]] = []
        self.given: list[list[int]] = []
        self.drawn: list[list[int]] = []

    def __call__(self, domain: Any, metric: Any, scale: float) -> Callable[[list[int]], list[int]]:
        self.made.append((str(domain), str(metric), scale))
        real = self._make(domain, metric, scale)

        def mechanism(values: list[int]) -> list[int]:
            self.given.append(values)
            self.drawn.append(
                real(values)
                if self._instead is None
                else self._instead(np.array(values, dtype=np.int64), int(scale)).tolist()
            )
            return self.drawn[-1]

        return mechanism


def hardly_ever(values: Steps, sigma: int) -> Steps:
    """Far out on both sides, thousands alike, every low bit set, none at all: lawful draws, but rare ones."""
    kinds = np.array(
        [9 * sigma + 1, -(9 * sigma) - 1, 0, 1, -1, sigma | 0xFFFFFF, 5 * sigma + 12345], dtype=np.int64
    )
    return values + kinds[np.arange(len(values)) // 3 % len(kinds)]


Watch = Callable[..., Spy]
INSTEAD = [None, hardly_ever]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """watch(instead): from now on OpenDP is watched."""
    make = dp.m.make_gaussian

    def start(instead: Callable[[Steps, int], Steps] | None = None) -> Spy:
        spy = Spy(make, instead)
        monkeypatch.setattr(dp.m, "make_gaussian", spy)
        return spy

    return start


@pytest.mark.parametrize("instead", INSTEAD, ids=["OpenDP's", "rare"])
@pytest.mark.parametrize("sigma", [MIN_SIGMA, 3 * 2**40 + 1, MAX_SIGMA])
def test_a_source_gives_what_opendp_draws(watch: Watch, sigma: int, instead: Any) -> None:
    values = np.linspace(-(2**61), 2**61, MANY).astype(np.int64)
    spy = watch(instead)
    noised = OpenDPNoise().add(values, sigma, "an answer")
    assert noised.dtype == np.int64
    assert noised.tolist() == spy.drawn[0]
    assert spy.given == [values.tolist()]  # once, all of them, as they are
    assert spy.made == [("VectorDomain(AtomDomain(T=i64))", "L2Distance(i64)", float(sigma))]
    assert int(spy.made[0][2]) == sigma


def test_no_two_of_many_draws_are_the_same() -> None:
    """Of 20,000 numbers of 58 bits two agree with a probability of 2e-10."""
    drawn = [OpenDPNoise().add(np.zeros(MANY, dtype=np.int64), MAX_SIGMA, "same") for _ in range(2)]
    assert len(np.unique(np.concatenate(drawn))) == 2 * MANY


def test_the_largest_values_come_through() -> None:
    """At the ends of what is permitted OpenDP's own 64-bit numbers neither wrap nor stop."""
    values = np.tile(np.array([VALUE_LIMIT - 1, 1 - VALUE_LIMIT]), 500)
    noise = OpenDPNoise().add(values, MAX_SIGMA, "ends") - values
    assert 0.8 < noise.std() / MAX_SIGMA < 1.2  # nine deviations of the law of 1,000 draws


EVERY_CELL = PairTables(tuple(tuple(range(size)) for size in ENCODING.sizes))
MANY_LEVELS = LevelMoment(LEVELS[:1] * 100, 15, 8)  # 5,050 numbers


@pytest.mark.parametrize("instead", INSTEAD, ids=["OpenDP's", "rare"])
@pytest.mark.parametrize("query", [*QUERIES, EVERY_CELL, MANY_LEVELS], ids=lambda query: type(query).__name__)
def test_an_answer_is_the_exact_sum_and_what_opendp_drew_on_it(watch: Watch, query: Any, instead: Any) -> None:
    exact = ask(open_vault(Rows(table())), query)
    spy, meter = watch(instead), MemoryMeter(Fraction(1))
    answer = ask(Vault(Rows(table()), SCHEMA, OpenDPNoise().add, meter), query)
    assert spy.given == [exact.values.tolist()]
    assert [scale for *_, scale in spy.made] == [float(answer.sigma)]
    assert answer.values.tolist() == spy.drawn[0]
    assert meter.answers[0].values.tolist() == spy.drawn[0]


def test_the_questions_of_these_tests_have_many_numbers() -> None:
    numbers = [len(ask(open_vault(Rows(table())), query).values) for query in (EVERY_CELL, MANY_LEVELS)]
    assert max(numbers) > 4096


RELEASED = Schema.from_yaml(
    """
name: released
target: outcome
columns:
  age: {type: number, min: 0, max: 99, integer: true}
  sex: {type: category, values: [F, M]}
  outcome: {type: category, values: [well, ill]}
"""
)


def cohort(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    outcome = rng.choice(["well", "ill"], n)
    return pd.DataFrame({"age": rng.integers(0, 99, n), "sex": rng.choice(["F", "M"], n), "outcome": outcome})


def test_a_release_holds_what_opendp_drew(watch: Watch) -> None:
    spy = watch()
    release = synthesize(cohort(), RELEASED, Budget.from_mu(0.1), accept_degraded=True)
    assert [answer.values.tolist() for answer in release.answers] == spy.drawn
    assert len(spy.drawn) == 1  # too small for a mixture


class Known:
    """Says of itself what it is told, and adds no noise."""

    def __init__(self, name: str, private: bool) -> None:
        self.name, self.private = name, private
        self.asked: list[tuple[list[int], int]] = []

    def add(self, values: Steps, sigma: int, purpose: str) -> Steps:
        self.asked.append((values.tolist(), sigma))
        return values + 1


@pytest.mark.parametrize("mu", [0.5, 4.0])
def test_what_a_source_says_of_itself_changes_nothing_but_the_words(few_steps: None, mu: float) -> None:
    """The real source cannot be treated otherwise than those of the tests, by whoever has it in hand."""
    real, test = Known("opendp", True), Known("TEST", False)
    one, other = (
        synthesize(cohort(), RELEASED, Budget.from_mu(mu), noise=each, support=5, accept_degraded=True)
        for each in (real, test)
    )
    assert real.asked == test.asked
    for a, b in zip(one.answers, other.answers, strict=True):
        assert a.values.tolist() == b.values.tolist() == [x + 1 for x in real.asked[one.answers.index(a)][0]]
        assert (a.sigma, a.mu2, a.sensitivity2) == (b.sigma, b.mu2, b.sensitivity2)
    assert (one.private, other.private) == (True, False)
    np.testing.assert_array_equal(one.site.means, other.site.means)
    words = {"noise", "warning"}
    facts = [{k: v for k, v in each.receipt.items() if k not in words} for each in (one, other)]
    assert facts[0] == facts[1]
