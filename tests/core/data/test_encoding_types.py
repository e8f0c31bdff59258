"""One cell at a time: whatever type a file gives a column, a value is read as itself."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from columns import AGE, BALANCE, COLUMNS, DAY, GRADE, LAB, LARGE, SEX, STRICT, cells, codes, every_column
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortmix.core.data.dictionary.columns import Number
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.reading import UNKNOWN
from cohortmix.core.data.schema import Schema

TYPES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "string": (
        pa.string(),
        ["7", " 7.0 ", "F", "true", "1991-02-03", "nan", "1e400", "-0", "", "9007199254740993"],
    ),
    "large_string": (pa.large_string(), ["7", "M", "1996-12-31T23:59"]),
    "string_view": (pa.string_view(), ["7", "M"]),
    "int64": (pa.int64(), [7, 0, -(2**63), 2**53 + 1, 2**63 - 1, 16]),
    "uint64": (pa.uint64(), [7, 2**64 - 1]),
    "int8": (pa.int8(), [7, -128, 105]),
    "float64": (pa.float64(), [7.0, -0.0, 0.0, 5e-324, 1e308, float("nan"), float("inf"), -1e308, 7.5]),
    "float32": (pa.float32(), [7.0, 0.1, float("-inf"), 3e38]),
    "float16": (pa.float16(), [7.0, 0.5]),
    "bool": (pa.bool_(), [True, False]),
    "null": (pa.null(), []),
    "decimal": (pa.decimal128(20, 3), [Decimal("7.000"), Decimal("-0.001"), Decimal("9007199254740993")]),
    "date32": (pa.date32(), [date(1991, 2, 3), date(1, 1, 1), date(9999, 12, 31)]),
    "timestamp": (pa.timestamp("us"), [datetime(1991, 2, 3, 23, 59), datetime(2200, 1, 1)]),
    "timestamp in nanoseconds": (pa.timestamp("ns"), [datetime(1991, 2, 3, 1), datetime(1700, 1, 1)]),
    "timestamp with zone": (pa.timestamp("s", "UTC"), [datetime(1991, 2, 3, tzinfo=UTC)]),
    "binary": (pa.binary(), [b"7", b"F"]),
}


def arrays(kind: str) -> st.SearchStrategy[pa.Array]:
    declared, values = TYPES[kind]
    return st.lists(st.sampled_from([*values, None]), min_size=1, max_size=8).map(lambda v: pa.array(v, declared))


@pytest.mark.parametrize("kind", TYPES)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_batch_is_read_as_its_rows_one_by_one(kind: str, data: st.DataObject) -> None:
    array = data.draw(arrays(kind))
    for column in COLUMNS.values():
        alone = [codes(column, pa.array([value.as_py()], array.type))[0] for value in array]
        assert codes(column, array) == alone
        assert codes(column, array.slice(1)) == alone[1:]
        assert all(UNKNOWN <= code < cells(column).size for code in alone)


@every_column
@settings(max_examples=20, deadline=None, derandomize=True)
@given(array=arrays("string"))
def test_a_dictionary_is_read_as_its_values(name: str, array: pa.Array) -> None:
    coded = pa.record_batch({"x": array.dictionary_encode(), "y": pa.array(["a"] * len(array))})
    schema = Schema(name="s", target="y", columns={"x": COLUMNS[name], "y": STRICT})
    assert Encoding.of(schema).feature_codes(coded)[:, 0].tolist() == codes(COLUMNS[name], array)


def test_a_null_inside_a_dictionary_is_a_null() -> None:
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), pa.array(["7", None]))
    batch = pa.record_batch({"x": coded, "y": pa.array(["a"] * 3)})
    schema = Schema(name="s", target="y", columns={"x": SEX, "y": STRICT})
    assert Encoding.of(schema).feature_codes(batch)[:, 0].tolist() == [2, 4, 4]


@pytest.mark.parametrize(
    "unreadable",
    [
        pa.array([10**14], pa.timestamp("s")),
        pa.array([10**8], pa.int32()).cast(pa.date32()),
        pa.array([-(10**6)], pa.int32()).cast(pa.date32()),
        pa.array([2**62], pa.int64()).view(pa.duration("s")),
        pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")),
    ],
    ids=["a far time", "a far day", "a day before the year 1", "a long while", "no UTF-8"],
)
def test_what_python_cannot_hold_is_missing_and_stops_nothing(unreadable: pa.Array) -> None:
    good = pa.nulls(1, unreadable.type) if pa.types.is_duration(unreadable.type) else None
    others = pa.array(["1991-02-03"]).cast(unreadable.type) if good is None else good
    array = pa.concat_arrays([others, unreadable, others])
    for column in (DAY, AGE, SEX):
        first, middle, last = codes(column, array)
        assert middle == cells(column).missing
        assert [first, last] == codes(column, others) * 2
    if good is None:
        assert codes(DAY, array)[0] != cells(DAY).missing


@pytest.mark.parametrize("number", [0, 7, 16, 105, -3, 2**53 - 1, 2**53 + 1, 2**53 + 2, 2**54 - 1, 2**62 + 1])
@pytest.mark.parametrize("column", [AGE, BALANCE, LAB, GRADE, LARGE])
def test_a_number_is_the_same_in_every_type(column: Number, number: int) -> None:
    expected = codes(column, [float(number)])
    assert codes(column, [number]) == expected
    assert codes(column, [str(number)]) == expected
    assert codes(column, [f" {number}.0 "]) == expected
    assert codes(column, [Decimal(number)]) == expected
    assert codes(column, [number], pa.int64()) == expected


def test_cells_beyond_two_to_the_53_are_told_apart() -> None:
    width = 2**54 // 512
    assert codes(LARGE, [2**53 - width // 2, 2**53 + width // 2, 2**53 + 3 * width // 2]) == [255, 256, 257]
    assert codes(LARGE, [2**53 + 1, 2**53 + 2]) == codes(LARGE, [float(2**53 + 1), float(2**53 + 2)])
