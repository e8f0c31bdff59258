"""The public grid: a cell depends on its own value alone, and a drawn value lies in the cell it was drawn for."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from columns import (
    AGE,
    BALANCE,
    COLUMNS,
    COUNT,
    DAY,
    GRADE,
    LAB,
    LARGE,
    SEX,
    STRICT,
    WEEK,
    cells,
    codes,
    every_column,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortmix.core.data.dictionary.columns import Category, Column, Number
from cohortmix.core.data.encoding import COARSE, Encoding, one_hot
from cohortmix.core.data.reading import UNKNOWN
from cohortmix.core.data.schema import Schema

# The grid of numbers


@pytest.mark.parametrize("column", [AGE, BALANCE, LAB, GRADE, LARGE])
@given(x=st.floats(allow_nan=False, allow_infinity=False), y=st.floats(-2000, 60_000))
def test_larger_numbers_have_later_cells(column: Number, x: float, y: float) -> None:
    low, high = sorted((x, y))
    first, last = codes(column, [low, high])
    values = cells(column).size - column.missing
    assert 0 <= first <= last < values
    if low <= column.min:
        assert first == 0
    if high >= column.max:
        assert last == values - 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
def test_what_is_no_number_is_missing(value: float | None) -> None:
    assert codes(BALANCE, [value], pa.float64()) == [cells(BALANCE).missing] == [cells(BALANCE).size - 1]
    assert codes(GRADE, [value], pa.float64()) == [UNKNOWN] == [cells(GRADE).missing]


def test_texts_and_truth_values_are_no_numbers() -> None:
    missing = cells(BALANCE).missing
    assert codes(BALANCE, ["seven", "", "<7", "inf", "1e400", "7,0"]) == [missing] * 6
    assert codes(BALANCE, [True, False]) == codes(BALANCE, ["true", "false"]) == [missing] * 2


def test_an_exact_zero_has_a_cell_of_its_own() -> None:
    below, zero, minus, above, small = codes(BALANCE, [-5e-324, 0.0, -0.0, 5e-324, 1e-9])
    assert below + 1 == zero == minus == above - 1
    assert above == small
    assert cells(BALANCE).interval(zero) == (0, 0)


def test_a_whole_number_has_a_cell_of_its_own_where_there_are_few() -> None:
    grid = cells(AGE)
    assert codes(AGE, list(range(16, 106))) == list(range(90))
    assert [grid.interval(code) for code in range(90)] == [(age, age) for age in range(16, 106)]
    assert codes(AGE, [15.9, 16.4, 16.5, 104.6, 200]) == [0, 0, 1, 89, 89]


def test_days_are_whole_numbers() -> None:
    days = [date(1991, 1, 1) + timedelta(day) for day in range(7)]
    assert codes(WEEK, days) == list(range(7))
    assert codes(WEEK, [date(1890, 1, 1), date(2050, 1, 1)]) == [0, 6]
    assert [cells(WEEK).interval(code) for code in range(7)] == [(day, day) for day in days]


def test_a_day_is_the_same_in_every_type() -> None:
    days = [date(1991, 1, 1), date(1994, 2, 28), date(1996, 12, 31), date(1700, 1, 1), None]
    expected = codes(DAY, days)
    assert len(set(expected)) == 4
    assert codes(DAY, [None if day is None else f" {day} 12:00" for day in days]) == expected
    for kind in (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("ns"), pa.date64()):
        assert codes(DAY, pa.array(days).cast(kind)) == expected
    assert codes(DAY, ["1994-02-29", "28.02.1994", "soon"]) == [cells(DAY).missing] * 3


def test_knots_fix_the_resolution() -> None:
    assert cells(GRADE).edges == (2.5, 5.0, 7.5)
    log = cells(Number(type="number", min=0, max=63, transform="log1p", knots=6))
    np.testing.assert_allclose(log.edges or (), [1, 3, 7, 15, 31])
    for transform in ("identity", "log1p"):
        odd: dict[str, Any] = {"min": 16.12345678901236, "max": 63.12345678901234, "transform": transform}
        assert cells(Number(type="number", knots=6, **odd)).size == 6


def test_the_upper_bound_of_whole_numbers_has_a_cell_of_its_own() -> None:
    """What lies above is clipped to it."""
    column = Number(type="number", min=0, max=99_999, integer=True)
    first, last = codes(column, [99_998, 99_999])
    assert (first + 1, cells(column).interval(last)) == (last, (99_999, 99_999))


def test_edges_do_not_hang_on_the_last_bit_of_a_logarithm() -> None:
    """Other machines, other libraries: 13 digits are the same everywhere."""
    for column in (LAB, BALANCE, Number(type="number", min=0, max=63, integer=True, transform="log1p", knots=6)):
        grid = cells(column)
        assert all(edge == float(f"{edge:.13g}") for edge in grid.edges or ())
    assert grid.edges == (0.5, 2.5, 6.5, 14.5, 30.5, 62.5)


def test_fine_cells_are_finer_towards_the_origin() -> None:
    grid = cells(Number(type="number", min=0, max=1000))
    widths = np.diff([0, *(grid.edges or ())])
    assert grid.interval(0) == (0, 0)
    assert widths[1] < 0.02
    assert grid.size > 100


@every_column
def test_cells_of_a_coarse_bin_are_neighbours_and_missing_is_by_itself(name: str) -> None:
    grid = cells(COLUMNS[name])
    if grid.coarse is None:
        values = grid.size - (grid.missing >= 0)
        assert isinstance(grid.column, Category) or values <= COARSE
        return
    bins = np.asarray(grid.coarse[: grid.size - (grid.missing >= 0)])
    assert set(np.diff(bins).tolist()) <= {0, 1}
    assert set(bins.tolist()) == set(range(COARSE))
    count = np.bincount(bins)
    assert count.max() - count.min() <= 1
    assert grid.missing < 0 or grid.coarse[grid.missing] == COARSE


# Categories


def test_a_category_is_compared_as_text() -> None:
    assert codes(SEX, ["F", " M ", "7", "7.0", "f", "", "x", None]) == [0, 1, 2, 4, 4, 4, 4, 4]
    assert codes(SEX, [7, 8]) == codes(SEX, [7.0, 7.5]) == [2, 4]
    assert codes(SEX, [True, False]) == [3, 4]
    assert codes(STRICT, ["a", "b", "c", None]) == [0, 1, UNKNOWN, UNKNOWN]
    none = Category(type="category", values=("None", "a"))
    far = pa.array([10**14, None], pa.timestamp("s"))
    assert codes(none, ["None", None]) == [0, UNKNOWN]
    assert codes(none, far) == [UNKNOWN, UNKNOWN]


# The way back

BOUNDS = st.floats(-1e9, 1e9).map(lambda x: round(x, 3))


@st.composite
def numbers(draw: st.DrawFn) -> Number:
    transform: Any = draw(st.sampled_from(["identity", "log1p"]))
    low = draw(BOUNDS)
    low = abs(low) if transform == "log1p" else low
    high = low + draw(st.floats(0.001, 1e9))
    integer = draw(st.booleans()) and np.ceil(low) <= np.floor(high)
    knots = draw(st.sampled_from([None, 2, 5, 50]))
    return Number(type="number", min=low, max=high, integer=integer, transform=transform, knots=knots)


def assert_inverse(column: Column, seed: int) -> None:
    """Every cell, drawn twenty times, is read as itself, within the declared bounds."""
    grid, rng = cells(column), np.random.default_rng(seed)
    asked = np.repeat(np.arange(grid.size, dtype=np.int32), 20)
    drawn = grid.draw(asked, rng)
    kinds = {"number": pa.float64(), "date": pa.date32(), "category": pa.string()}
    assert codes(column, pa.array(drawn.tolist(), kinds[column.type])) == asked.tolist()
    known = [value for value in drawn if value is not None]
    assert len(known) == 20 * (grid.size - (grid.missing >= 0))
    if not isinstance(column, Category):
        assert column.min <= min(known) <= max(known) <= column.max
    if isinstance(column, Number) and column.integer:
        assert all(value == int(value) for value in known)


@every_column
def test_a_drawn_value_is_read_as_the_cell_it_was_drawn_for(name: str) -> None:
    assert_inverse(COLUMNS[name], seed=1)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(numbers())
def test_so_it_is_for_any_bounds(column: Number) -> None:
    assert_inverse(column, seed=2)


class Edge:
    """A generator at one end of its range."""

    def __init__(self, u: float) -> None:
        self.u = u

    def random(self, size: int) -> np.ndarray[Any, Any]:
        return np.full(size, self.u)


def test_whole_numbers_keep_bounds_that_are_none() -> None:
    column = Number(type="number", min=0.5, max=2.75, integer=True)
    assert [cells(column).interval(code) for code in range(cells(column).size)] == [(1, 1), (2, 2)]
    assert cells(Number(type="number", min=0.5, max=1.75, integer=True)).size == 1
    assert_inverse(column, seed=1)


@every_column
@pytest.mark.parametrize("u", [0.0, np.nextafter(1.0, 0.0)])
def test_the_ends_of_a_cell_belong_to_it(name: str, u: float) -> None:
    grid = cells(COLUMNS[name])
    asked = np.arange(grid.size, dtype=np.int32)
    drawn = grid.draw(asked, Edge(u))  # type: ignore[arg-type]
    kinds = {"number": pa.float64(), "date": pa.date32(), "category": pa.string()}
    assert codes(COLUMNS[name], pa.array(drawn.tolist(), kinds[COLUMNS[name].type])) == asked.tolist()


@pytest.mark.parametrize("column", [COUNT, BALANCE, GRADE])
def test_values_are_uniform_within_a_cell(column: Number) -> None:
    grid, rng = cells(column), np.random.default_rng(3)
    low, high = grid.interval(2)
    drawn = grid.draw(np.full(4000, 2, dtype=np.int32), rng).astype(float)
    if column.integer:
        assert set(drawn.tolist()) == set(range(int(low), int(high) + 1))
        assert high - low >= 8
    else:
        assert abs((drawn - low).mean() / (high - low) - 0.5) < 0.025  # 5 standard deviations
        assert abs((drawn - low).std() / (high - low) - 12**-0.5) < 0.02


def test_skewed_numbers_are_uniform_after_their_transform() -> None:
    column = Number(type="number", min=0, max=99, transform="log1p", knots=2)
    drawn = cells(column).draw(np.ones(4000, dtype=np.int32), np.random.default_rng(4)).astype(float)
    middle = np.log1p(drawn).mean()
    assert abs(middle - np.log(100) * 0.75) < 5 * np.log(100) / 2 / np.sqrt(12 * 4000)


def test_missing_and_unknown_are_drawn_as_nothing() -> None:
    grid = cells(SEX)
    assert grid.draw(np.array([grid.missing, UNKNOWN, 0], dtype=np.int32), np.random.default_rng(0)).tolist() == [
        None,
        None,
        "F",
    ]


# Whole records


def test_an_encoding_has_the_features_in_order_and_the_target() -> None:
    schema = Schema(name="s", target="strict", columns=COLUMNS)
    encoding = Encoding.of(schema)
    assert [feature.name for feature in encoding.features] == [name for name in COLUMNS if name != "strict"]
    assert encoding.sizes == tuple(feature.size for feature in encoding.features)
    assert [column.name for column in encoding.label.columns] == ["strict"]
    row = {
        "age": 50,
        "balance": 0.0,
        "lab": 1.0,
        "grade": 9.9,
        "large": 1.0,
        "day": None,
        "week": date(1991, 1, 2),
    }
    batch = pa.RecordBatch.from_pylist([row | {"sex": "M", "strict": "b"}, row | {"sex": "?", "strict": "?"}])
    features, label = encoding.codes(batch)
    assert label.tolist() == [1, UNKNOWN]
    assert features[0, [0, 3, 5, 6, 7]].tolist() == [34, 3, cells(DAY).missing, 1, 1]
    np.testing.assert_array_equal(features, encoding.feature_codes(batch))
    assert (features[0, :-1] == features[1, :-1]).all()


def test_one_hot_leaves_an_unknown_block_empty() -> None:
    np.testing.assert_array_equal(
        one_hot(np.array([[0, 2], [UNKNOWN, 1]], dtype=np.int32), (2, 3)), [[1, 0, 0, 0, 1], [0, 0, 0, 1, 0]]
    )
