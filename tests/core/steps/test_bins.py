"""Merged bins: fine cells beside each other, as many as the noise leaves apart."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from cohorts import AGE, DOSE, ENCODING, SEX, counts
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cohortmix.core.data.groups import Groups
from cohortmix.core.steps.bins import LARGEST_GROUP, choose_groups, group_variance
from cohortmix.core.steps.centroids import Margins


def margins_of(age: NDArray[np.float64], sex: list[float]) -> Margins:
    dose = np.full(16, 1 / 16)
    cells = np.concatenate([age / age.sum(), np.array(sex), dose])
    return Margins(cells=np.stack([cells, cells]), masses=np.array([50.0, 50.0]), s_a=1.0)


AGES = st.lists(st.floats(0, 1).map(lambda u: u**4), min_size=ENCODING.sizes[0], max_size=ENCODING.sizes[0])


@settings(max_examples=60, deadline=None)
@given(AGES, st.floats(0.001, 1.0))
def test_merged_bins_are_a_partition_in_order(age: list[float], smallest: float) -> None:
    margins = margins_of(np.array(age) + 1e-9, [0.5, 0.3, 0.1, 0.1])
    groups = choose_groups(ENCODING, margins, smallest)
    for of, size in zip(groups, ENCODING.sizes, strict=True):
        assert len(of) == size
        assert set(of) == set(range(max(of) + 1))
    for feature, of, block in zip(ENCODING.features, groups, (AGE, SEX, DOSE), strict=True):
        if feature.coarse is None:
            continue
        values = of[:-1] if feature.missing >= 0 else of
        assert all(later - earlier in (0, 1) for earlier, later in pairwise(values))
        assert feature.missing < 0 or (of[-1] not in values)  # missing stays by itself
        mass = margins.pooled[block]
        for number in range(max(values)):  # all but the last bin are no larger than they need be
            inside = [cell for cell, merged in enumerate(values) if merged == number]
            assert mass[inside[:-1]].sum() < max(smallest, LARGEST_GROUP)


def test_single_heavy_cells_stay_by_themselves() -> None:
    age = np.full(ENCODING.sizes[0], 0.02)
    age[[30, 60]] = 1.0
    of = choose_groups(ENCODING, margins_of(age, [0.25] * 4), 0.2).of_cells[0]
    assert [of.count(of[atom]) for atom in (30, 60)] == [1, 1]
    assert of[29] < of[30] < of[31] < of[60] < of[61] < of[-1]


def merged_values(sex: list[float]) -> tuple[int, ...]:
    """The bins of a category with these shares, where a bin holds a fifth of the patients."""
    return choose_groups(ENCODING, margins_of(np.ones(ENCODING.sizes[0]), sex), 0.2).of_cells[1]


def test_rare_values_share_the_last_bin() -> None:
    assert merged_values([0.9, 0.06, 0.03, 0.01]) == (0, 1, 2, 2)
    assert merged_values([0.03, 0.9, 0.01, 0.06]) == (2, 0, 2, 1)
    assert merged_values([0.9, 0.06, 0.05, 0.01]) == (0, 1, 2, 3)


def test_a_single_rare_value_keeps_its_place() -> None:
    assert merged_values([0.01, 0.4, 0.4, 0.19]) == (0, 1, 2, 3)


def test_what_is_left_at_the_end_joins_the_bin_before() -> None:
    age = np.ones(ENCODING.sizes[0])
    age[-9:-1] = 0.02  # the last values; then the cell for missing
    of = choose_groups(ENCODING, margins_of(age, [0.25] * 4), 0.2).of_cells[0]
    assert of[-2] == of[-10] == of[-1] - 1


def test_less_noise_gives_finer_bins_down_to_a_limit() -> None:
    margins = margins_of(np.ones(ENCODING.sizes[0]), [0.25] * 4)
    sizes = [max(choose_groups(ENCODING, margins, smallest).of_cells[0]) for smallest in (1.0, 0.3, 0.1, 1e-6)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] <= 1 / LARGEST_GROUP


GROUPS = Groups(tuple(tuple(cell * 4 // size for cell in range(size)) for size in ENCODING.sizes))


def test_cells_are_summed_within_each_merged_bin() -> None:
    found = GROUPS.sums(counts())
    parts = []
    for block, of in zip((AGE, SEX, DOSE), GROUPS, strict=True):
        parts += [counts()[:, block][:, np.array(of) == g].sum(axis=1) for g in range(max(of) + 1)]
    np.testing.assert_array_equal(found, np.stack(parts, axis=1))


def test_every_cell_is_member_of_one_bin_of_its_feature() -> None:
    member = GROUPS.membership
    assert member.shape == (sum(ENCODING.sizes), 12)
    np.testing.assert_array_equal(member.sum(axis=1), 1)
    np.testing.assert_array_equal(member[SEX].sum(axis=1), member[SEX, 4:8].sum(axis=1))


def test_the_variance_of_a_merged_bin_counts_the_coarse_bins_that_it_touches() -> None:
    feature = ENCODING.features[0]
    assert feature.coarse is not None
    merged = Groups((feature.coarse, (0, 0, 1, 2), (0, 1) * 8))
    np.testing.assert_allclose(group_variance(ENCODING, merged, 3.0), 9 * np.array([*[1] * 9, 2, 1, 1, 8, 8]))
