"""Composition over sites: order-free, monotone, and disjoint <= k <= unknown."""

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortmix.server.budget import consortium_mu

mus = st.lists(st.floats(0, 50, allow_subnormal=False), min_size=1, max_size=12)


def test_the_three_overlaps_of_a_known_study() -> None:
    study = [0.3, 1.2, 0.4]
    composed = consortium_mu(study, "disjoint")
    assert composed.mu == 1.2
    assert composed.worst == pytest.approx(1.3)
    assert consortium_mu(study, 2).mu == pytest.approx(math.sqrt(1.2**2 + 0.4**2))
    assert consortium_mu(study, "unknown").mu == pytest.approx(1.3)


@given(mus, st.randoms(use_true_random=False), st.sampled_from(["disjoint", 2, 3, "unknown"]))
def test_the_order_of_the_sites_does_not_matter(study: list[float], random: Random, overlap: Any) -> None:
    shuffled = random.sample(study, len(study))
    assert consortium_mu(shuffled, overlap) == consortium_mu(study, overlap)


@given(mus, st.data())
def test_a_site_that_spends_more_never_lowers_the_total(study: list[float], data: st.DataObject) -> None:
    site = data.draw(st.integers(0, len(study) - 1))
    more = list(study)
    more[site] += data.draw(st.floats(0, 10))
    overlap: Any = data.draw(st.sampled_from(["disjoint", 2, "unknown"]))
    before, after = consortium_mu(study, overlap), consortium_mu(more, overlap)
    assert after.mu >= before.mu * (1 - 1e-12)
    assert after.worst >= before.worst * (1 - 1e-12)


@given(mus, st.integers(1, 15))
def test_disjoint_at_most_k_at_most_unknown(study: list[float], k: int) -> None:
    disjoint, some, unknown = (consortium_mu(study, overlap).mu for overlap in ("disjoint", k, "unknown"))
    assert disjoint == max(study)
    assert disjoint <= some * (1 + 1e-12)
    assert some <= unknown * (1 + 1e-12)
    assert consortium_mu(study, k).worst == unknown
    if k >= len(study):
        assert some == unknown


def test_a_larger_overlap_costs_more_and_not_the_same() -> None:
    assert consortium_mu([1.0] * 4, 1).mu < consortium_mu([1.0] * 4, 2).mu < consortium_mu([1.0] * 4, 3).mu


@pytest.mark.parametrize("overlap", [0, -1, True, 1.5, "most", "2", None])
def test_another_overlap_is_refused(overlap: Any) -> None:
    with pytest.raises(ValueError, match="overlap must be"):
        consortium_mu([1.0], overlap)


@pytest.mark.parametrize("study", [[], [-0.1], [math.inf], [math.nan]])
def test_a_study_without_a_real_budget_is_refused(study: list[float]) -> None:
    with pytest.raises(ValueError, match=r"site|mu"):
        consortium_mu(study, "unknown")
