"""The whole release: given equal released answers, neighbours ask the same and publish the same."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cohortmix.core import Budget, Schema
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.single_release import Release
from cohortmix.core.synthesis import synthesize


class Replay:
    """Records the exact answers of a first run and returns noised ones; returns the same ones to a second run."""

    name = "TEST"
    private = False

    def __init__(self) -> None:
        self.exact: tuple[list[NDArray[np.int64]], ...] = ([], [])
        self.run = 0
        self._noised: list[NDArray[np.int64]] = []

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        exact = self.exact[self.run]
        exact.append(values)
        if self.run == 0:
            self._noised.append(KeyedNoise(5).add(values, sigma, purpose))
        return self._noised[len(exact) - 1]


def cohort(seed: int, patients: int = 150) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(0, 10, patients)
    return pd.DataFrame(
        {
            "age": age,
            "dose": rng.exponential(2, patients),
            "sex": rng.choice(["F", "M"], patients),
            "outcome": np.where(rng.random(patients) < age / 10, "ill", "well"),
        }
    )


COHORT = Schema.from_yaml(
    """
name: cohort
target: outcome
columns:
  age: {type: number, min: 0, max: 9, integer: true}
  dose: {type: number, min: 0, max: 20, missing: true}
  sex: {type: category, values: [F, M], missing: true}
  outcome: {type: category, values: [well, ill]}
"""
)


@pytest.fixture(scope="module")
def replayed(few_steps: None) -> tuple[Release, Release, Replay]:
    """Releases of neighbours that saw the same noised answers."""
    table = cohort(1)
    neighbour = table.astype({"dose": object})
    neighbour.loc[17] = [9, "no number", None, "well"]
    noise = Replay()
    releases = []
    for noise.run, frame in enumerate((table, neighbour)):
        releases.append(synthesize(frame, COHORT, Budget.from_mu(2.0), noise=noise))
    return releases[0], releases[1], noise


def test_synthesize_costs_what_it_says(replayed: tuple[Release, Release, Replay]) -> None:
    """Adaptive composition: each question's exact answers differ by its bound, and the mu^2 add to the budget."""
    one, other, noise = replayed
    assert len(noise.exact[0]) == len(noise.exact[1]) == len(one.answers) == 3
    for first, second, a, b in zip(*noise.exact, one.answers, other.answers, strict=True):
        moved = sum((int(x) - int(y)) ** 2 for x, y in zip(first, second, strict=True))
        assert 0 < moved <= a.sensitivity2
        assert (a.question, a.sigma, a.sensitivity2, a.mu2) == (b.question, b.sigma, b.sensitivity2, b.mu2)
        assert a.mu2 == Fraction(a.sensitivity2, a.sigma**2)
    spent = sum((answer.mu2 for answer in one.answers), Fraction(0))
    assert Fraction(39999, 10000) < spent <= 4
    assert one.receipt["mu2"] == str(spent)


def test_nothing_but_the_answers_depends_on_the_records(replayed: tuple[Release, Release, Replay]) -> None:
    one, other, _ = replayed
    assert one.receipt == other.receipt
    assert "mixture" in one.site.kind
    pd.testing.assert_frame_equal(one.centroids, other.centroids, check_exact=True)
    pd.testing.assert_frame_equal(one.records(), other.records(), check_exact=True)
    np.testing.assert_array_equal(one.support.points, other.support.points)
    np.testing.assert_array_equal(one.support.labels, other.support.labels)


def test_other_noise_gives_another_release(replayed: tuple[Release, Release, Replay], few_steps: None) -> None:
    """The negation: the release above is not a constant."""
    other = synthesize(cohort(1), COHORT, Budget.from_mu(2.0), noise=KeyedNoise(6))
    assert not np.array_equal(replayed[0].site.masses, other.site.masses)
