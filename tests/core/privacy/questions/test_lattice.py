"""The lattice: no row gets longer. One-hot cells never exceed the bound: only this shows that the clip holds."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortmix.core.privacy.questions.class_moment import project
from cohortmix.core.privacy.questions.lattice import (
    EXACT,
    MOMENT_UNIT,
    clip_rows,
    divide,
    divide_by_root,
    floor_sqrt,
)

ROWS = st.lists(st.lists(st.integers(-(1 << 30), 1 << 30), min_size=3, max_size=3), min_size=1, max_size=5)


@given(ROWS, st.integers(1, 1 << 62))
def test_clipped_rows_keep_the_bound_in_integers(rows: list[list[int]], bound2: int) -> None:
    before = np.array(rows, dtype=np.int64)
    after = clip_rows(before, bound2)
    for old, new in zip(rows, after.tolist(), strict=True):
        norm2 = sum(x * x for x in old)
        assert sum(x * x for x in new) <= bound2
        assert all(abs(n) <= abs(o) and n * o >= 0 for o, n in zip(old, new, strict=True))
        if norm2 <= bound2:
            assert new == old
        else:  # no entry is smaller than scaled and truncated, give or take the two roundings of the factor
            factor = isqrt(bound2) / (isqrt(norm2) + 1)
            assert all(abs(n) > abs(o) * factor - 1 - 1e-6 for o, n in zip(old, new, strict=True))
    assert before.tolist() == rows


LONG = st.lists(st.integers(-(1 << 31), 1 << 31), min_size=2, max_size=2)


@given(st.lists(LONG | ROWS.map(lambda rows: rows[0][:2]), min_size=1, max_size=5), st.data())
def test_rows_are_clipped_as_by_python_s_own_integers(rows: list[list[int]], data: st.DataObject) -> None:
    """Up to 63 bits, and at every bound near a row's own norm."""
    rows = [row for row in rows if sum(x * x for x in row) < 1 << 63] or [[3, 4]]
    near = [max(1, sum(x * x for x in row) + step) for row in rows for step in (-1, 0, 1)]
    bound2 = data.draw(st.integers(1, (1 << 63) - 1) | st.sampled_from(near))
    expected = []
    for row in rows:
        norm2 = sum(x * x for x in row)
        length = isqrt(norm2 - 1) + 1 if norm2 > bound2 else isqrt(bound2)
        expected.append([int(Fraction(x * isqrt(bound2), length)) for x in row])
    assert clip_rows(np.array(rows, dtype=np.int64), bound2).tolist() == expected


@pytest.mark.parametrize("root", [1 << 27, (1 << 30) + 1, (1 << 31) - 1, 3037000498])
def test_the_length_of_a_row_is_no_rounded_number(root: int) -> None:
    """One step beyond root^2: in floating point its length would be the root, and the row at the bound."""
    row = np.array([[root, 1]], dtype=np.int64)
    assert np.sqrt(float(root**2 + 1)) == root
    assert clip_rows(row, root**2).tolist() == [[root * root // (root + 1), 0]]
    assert clip_rows(row, root**2 + 1).tolist() == [[root, 1]]
    half = isqrt(root**2 // 2)
    assert clip_rows(row, root**2 // 2).tolist() == [[root * half // (root + 1), 0]]


@given(st.integers(0, (1 << 63) - 1), st.integers(0, isqrt((1 << 63) - 1)))
def test_a_whole_root_is_exact_up_to_63_bits(value: int, root: int) -> None:
    values = [value, root**2, max(root**2 - 1, 0), (1 << 63) - 1]
    assert floor_sqrt(np.array(values, dtype=np.int64)).tolist() == [isqrt(each) for each in values]


@given(
    st.lists(st.lists(st.integers(-(1 << 20), 1 << 20), min_size=3, max_size=3), min_size=1, max_size=9), st.data()
)
def test_a_projection_is_exact_and_knows_no_other_row(rows: list[list[int]], data: st.DataObject) -> None:
    entries = st.lists(st.integers(-(1 << 31), 1 << 31), min_size=3, max_size=3)
    directions = data.draw(st.lists(entries, min_size=1, max_size=4))
    divisor = data.draw(st.integers(1, 1 << 30))
    assert max(sum(map(abs, row)) for row in directions) << 20 <= EXACT
    expected = [
        [int(Fraction(sum(a * x for a, x in zip(each, row, strict=True)), divisor)) for each in directions]
        for row in rows
    ]
    z, a = np.array(rows, dtype=np.int64), np.array(directions, dtype=np.int64)
    assert project(z, a, divisor).tolist() == expected
    assert [project(z[at : at + 1], a, divisor)[0].tolist() for at in range(len(z))] == expected


def test_a_row_at_the_bound_is_kept_and_one_step_over_it_is_clipped() -> None:
    rows = np.array([[3, 4], [3, 5], [0, 0]], dtype=np.int64)
    np.testing.assert_array_equal(clip_rows(rows, 25), [[3, 4], [2, 4], [0, 0]])


PARTS = st.integers(1, 1000)


@given(ROWS, PARTS)
def test_shares_of_a_row_are_truncated_towards_zero(rows: list[list[int]], m: int) -> None:
    """m shares together are never longer than the row, in any entry; and at most m - 1 steps short."""
    before, parts = np.array(rows, dtype=np.int64), np.full(len(rows), m)
    for old, new in zip(before.ravel().tolist(), divide(before, parts).ravel().tolist(), strict=True):
        assert new == int(Fraction(old, m))
    for old_row, new_row in zip(rows, divide_by_root(before, parts).tolist(), strict=True):
        for old, new in zip(old_row, new_row, strict=True):
            assert m * new * new <= old * old
            assert new * old >= 0
            assert abs(new) + 1 > abs(old) * (1 / m**0.5 - 1 / MOMENT_UNIT) - 1e-6
