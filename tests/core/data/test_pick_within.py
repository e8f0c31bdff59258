"""Picked within bins: the cells that one would pick from a row for each bin, without ever making these rows."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from cohortmix.core.data.sampling import pick, pick_within


@pytest.mark.parametrize("seed", range(5))
def test_what_is_picked_is_what_rows_of_bins_would_give(seed: int) -> None:
    """Bins in any order, and one cell, row and bin that nobody is in."""
    rng = np.random.default_rng(seed)
    bins = rng.permutation(np.append(rng.integers(0, 6, 40), np.arange(6)))
    weights = rng.dirichlet(np.full(len(bins), 0.3), 3)
    weights[:, rng.integers(len(bins))] = 0
    row, bin = rng.integers(0, 2, 5_000), rng.integers(1, 6, 5_000)
    rows = weights[:, None] * (bins == np.arange(6)[:, None])
    expected = pick(rows.reshape(-1, len(bins)), row * 6 + bin, np.random.default_rng(seed))
    found = pick_within(weights, bins, row, bin, np.random.default_rng(seed))
    np.testing.assert_array_equal(found, expected)
    assert (bins[found] == bin).all()
    assert (weights[row, found] > 0).all()


def test_bins_of_many_codes_take_the_memory_of_the_codes() -> None:
    """A row for each of 250 bins and 20 classes would be 800 MB."""
    rng = np.random.default_rng(0)
    bins, weights = np.minimum(np.arange(20_000), 249), rng.random((20, 20_000))
    row, bin = rng.integers(0, 20, 1_000), rng.integers(0, 250, 1_000)
    tracemalloc.start()
    try:
        found = pick_within(weights, bins, row, bin, rng)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (bins[found] == bin).all()
    assert peak < 40e6
