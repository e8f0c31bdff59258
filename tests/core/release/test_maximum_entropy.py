"""The model's last sweep: each record as if drawn by itself, all of them together as even as can be."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import softmax

from cohortmix.core.release import gibbs
from cohortmix.core.release.maximum_entropy import MaximumEntropy

SIZES, ROWS = (3, 4, 1), 3000  # two features, and one site


def couplings(strength: float) -> MaximumEntropy:
    """One class; the first bin of the second feature goes with the first bin of the first."""
    theta = np.zeros((1, sum(SIZES), sum(SIZES)), np.float32)
    theta[0, 0, 3] = theta[0, 3, 0] = strength
    b = np.log(np.array([[0.5, 0.3, 0.2, 0.1, 0.2, 0.3, 0.4, 1.0]], np.float32))
    return MaximumEntropy(sizes=SIZES, b=jnp.asarray(b), theta=jnp.asarray(theta))


def drawn(model: MaximumEntropy, seed: int) -> NDArray[np.int32]:
    start = np.zeros((ROWS, 3), np.int32)
    return gibbs.draw(model, start, np.zeros(ROWS, np.int64), seed)


def beyond(groups: NDArray[np.int32], strength: float) -> NDArray[np.float64]:
    """Records in each bin of the second feature, beyond what the first lets expect: two of its bins are alike."""
    out = []
    for alike, bonus in ((groups[:, 0] == 0, strength), (groups[:, 0] != 0, 0.0)):
        share = softmax(np.log([0.1, 0.2, 0.3, 0.4]) + np.array([bonus, 0, 0, 0]))
        second = groups[alike, 1]
        out.append(np.bincount(second, minlength=4) - len(second) * share)
    return np.array(out)


def test_bins_hold_as_many_records_as_they_should_among_records_that_are_alike() -> None:
    """Counts of n even numbers are off by a few records, whatever n; those of independent ones by sqrt(n)."""
    assert max(np.abs(beyond(drawn(couplings(1.5), seed), 1.5)).max() for seed in range(3)) < 6


def test_without_the_last_sweep_they_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negation: before it, every record has uniform numbers of its own."""
    monkeypatch.setattr(MaximumEntropy, "last", lambda _, codes, *__: codes[:, :-1])
    assert min(np.abs(beyond(drawn(couplings(1.5), seed), 1.5)).max() for seed in range(3)) > 6


def test_more_records_than_share_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gibbs, "EVEN", ROWS // 4)
    assert np.abs(beyond(drawn(couplings(1.5), 0), 1.5)).max() < 4 * 6


@pytest.mark.parametrize("strength", [0.0, 1.5])
def test_pairs_have_their_shares(strength: float) -> None:
    """Of independent features too, where every record expects the same: what is even must not make up a pair."""
    groups = drawn(couplings(strength), 0)
    expected = joint(strength) * ROWS
    counts = np.zeros((3, 4))
    np.add.at(counts, (groups[:, 0], groups[:, 1]), 1)
    np.testing.assert_array_less(np.abs(counts - expected), 4 * np.sqrt(expected))


@pytest.mark.parametrize("record", [0, 39])
def test_each_record_is_distributed_as_if_drawn_by_itself(record: int) -> None:
    """Over seeds, both bins of one record have the model's law; where it stands in the table says nothing."""
    start, label, seeds = np.zeros((40, 3), np.int32), np.zeros(40, np.int64), 400
    model, counts, share = couplings(1.5), np.zeros((3, 4)), joint(1.5)
    for seed in range(seeds):
        first, second = gibbs.draw(model, start, label, seed)[record]
        counts[first, second] += 1
    np.testing.assert_array_less(np.abs(counts / seeds - share), 4 * np.sqrt(share * (1 - share) / seeds))


def joint(strength: float) -> NDArray[np.float64]:
    """(3, 4) distribution of both features."""
    weights = np.outer([0.5, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4])
    weights[0, 0] *= np.exp(strength)
    return np.asarray(weights / weights.sum())
