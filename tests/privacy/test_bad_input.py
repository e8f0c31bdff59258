"""Bad input: a cell is read by itself and as what it is, and moves no more than any other."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from extremes import ENCODING, HIGH, LOW, MU2, SCHEMA, both, distance2, halves, vault
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.steps.anonymize import sum_query

# A data frame chooses the type of a column from all its cells. A patient may not change how others are read.

FRAME_CELLS: dict[str, list[Any]] = {
    "number": [1.5, -0.0, 2, None, "7", "seven", True, float("inf"), 1e308, np.float32(0.7)],
    "whole": [0, 3, None, 9.0, "x", False],
    "skewed": [0.0, 10**6, None, 5e-324],
    "halves": [0, 1, None, True],
    "code": ["a", "b", 7, 7.0, -0.0, 10**16, 1e16, None, "unseen", True],
    "flag": [True, False, None, "true", "x", 1],
    "day": [pd.Timestamp("1991-05-06"), None, "1996-01-01", pd.Timestamp("1889-01-01"), "soon"],
    "outcome": ["well", "ill", "dead", None, "unknown", 3],
}


def others_read(column: str, first: Any, others: list[Any]) -> list[list[int]]:
    """Cells of all rows but the first, each row a patient, where `column` holds these values."""
    plain = LOW | {"outcome": "well"}
    source = TableSource(pd.DataFrame([plain | {column: value} for value in [first, *others]]))
    codes = [np.column_stack(ENCODING.codes(batch)) for batch in source.batches()]
    return [[int(code) for code in row] for row in np.concatenate(codes)[1:]]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data(), st.sampled_from(sorted(FRAME_CELLS)))
def test_one_cell_of_a_data_frame_does_not_change_how_the_others_read(data: st.DataObject, column: str) -> None:
    values = st.sampled_from(FRAME_CELLS[column])
    others = data.draw(st.lists(values, min_size=1, max_size=5))
    assert others_read(column, data.draw(values), others) == others_read(column, data.draw(values), others)


@pytest.mark.parametrize(
    ("column", "others", "replaced"),
    [
        ("flag", [True, False, True, True], None),  # a column of truth values becomes one of objects
        ("code", [10**16, 10**16, 7, 7], None),  # one of integers becomes one of floats
        ("code", [7.0, 7.0, 1e16, 1e16], "x"),  # one of floats becomes one of objects
        ("whole", [3, 4, 5, 9], None),
        ("whole", [3, 4, 5, 9], "x"),  # and one of numbers, one of texts
        ("day", [pd.Timestamp("1991-05-06")] * 4, "soon"),
    ],
)
def test_a_column_that_changes_its_type_reads_the_same(column: str, others: list[Any], replaced: Any) -> None:
    read = others_read(column, others[0], others)
    assert read == others_read(column, replaced, others)
    at = SCHEMA.features.index(column)
    known = {row[at] for row in read} - {-1, ENCODING.features[at].missing}
    assert len(known) == len(set(others))  # and they are read as what they are


# Bad input, value by value: what each one is read as, the same in a file of text and in a typed one.

FIRST, LAST, MISSING, ZERO, NEXT = "first cell", "last cell", "missing", "that of 0", "the one after 0"
BAD: dict[str, tuple[str, list[str], list[Any], str]] = {  # column, as text, typed, and the cell that it gets
    "NaN": ("number", ["nan", "NaN", "-nan"], [float("nan"), np.float32("nan")], MISSING),
    "infinity": ("number", ["inf", "-Infinity", "1e999"], [float("inf"), float("-inf")], MISSING),
    "1e308": ("number", ["1e308", "51"], [1e308, 10**18, 2**64 - 1], LAST),
    "-1e308": ("number", ["-1e308", "-6"], [-1e308, -(10**18)], FIRST),
    "-0.0": ("number", ["-0.0", "0", "-0e9", "1e-999"], [-0.0, 0, np.float32(-0.0)], ZERO),
    "subnormal": ("number", ["5e-324", "2.2e-308"], [5e-324, 2.2e-308], NEXT),
    "string in a number": ("number", ["seven", "<7", "1,5", "--", "1e", "0x7"], ["seven", "<7"], MISSING),
    "unseen category": ("code", ["unseen", "A", "7.5", "\x00"], ["unseen", 7.5, 8, -0.0, True], MISSING),
    "date before the origin": ("day", ["1889-01-01", "0001-01-01"], [date(1889, 1, 1), date(1, 1, 1)], FIRST),
    "no date": ("day", ["1995-02-30", "0000-01-01", "7/6/1995", "7"], ["soon", 2.0**40], MISSING),
}


def cell_of(column: str, array: pa.Array) -> list[int]:
    at = SCHEMA.features.index(column)
    return [int(code) for code in ENCODING.features[at].codes(array)]


def expected_cell(column: str, what: str) -> int:
    cells = ENCODING.features[SCHEMA.features.index(column)]
    if what in (ZERO, NEXT):
        zero = int(np.searchsorted(np.asarray(cells.edges), 0.0, side="right"))
        return zero + (what == NEXT)
    return {FIRST: 0, LAST: cells.missing - 1, MISSING: cells.missing}[what]


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_read_alike_in_both_forms(name: str) -> None:
    column, texts, typed, what = BAD[name]
    arrays = [pa.array([text, LOW[column]]) for text in texts]
    frames = [pd.DataFrame({column: [value, LOW[column]]}) for value in typed]
    arrays += [batch.column(0) for frame in frames for batch in TableSource(frame).batches()]
    assert {cell_of(column, array)[0] for array in arrays} == {expected_cell(column, what)}
    assert {cell_of(column, array)[1] for array in arrays} == {0} != set(cell_of(column, pa.array([HIGH[column]])))


@pytest.mark.parametrize("as_text", [True, False], ids=["text", "typed"])
@pytest.mark.parametrize("name", BAD)
def test_a_patient_of_bad_input_moves_no_more_than_any_other(name: str, as_text: bool) -> None:
    """The vault answers, and the bound holds against a patient at either end of every range."""
    column, texts, typed, _ = BAD[name]
    for value in texts if as_text else typed:
        tables = []
        for patient in (LOW | {"outcome": "ill", column: value}, HIGH | {"outcome": "well"}):
            frame = pd.DataFrame([{"pid": "p0"} | patient, {"pid": "p1"} | HIGH | {"outcome": "dead"}])
            tables.append(TableSource(pa.Table.from_pandas(frame.astype(str)) if as_text else frame))
        for one, other in both((tables[0], tables[1]), SCHEMA):
            assert 0 < distance2(one, other) <= one.sensitivity2


# Keys of nobody, in each form in which a file holds keys; and the key of a patient.
KEYS: dict[str, tuple[Any, list[Any], Any]] = {
    "text": (pa.string(), [None, "", " ", "NA", "nan", "NULL"], "7"),
    "large text": (pa.large_string(), [None, "na"], "7"),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), [None, "NaN"], "7"),
    "float": (pa.float64(), [None, float("nan")], 7.0),
    "integer": (pa.int64(), [None], 7),
}


@pytest.mark.parametrize("form", KEYS)
def test_a_row_without_a_patient_key_contributes_nothing(form: str) -> None:
    kind, nobody, somebody = KEYS[form]
    rows = [LOW | {"outcome": "ill"}, HIGH | {"outcome": "well"}]

    def table(*more: Any) -> TableSource:
        keys = pa.array([somebody, somebody, *more], type=kind)
        cells = pa.Table.from_pylist([*rows, *([HIGH | {"outcome": "dead"}] * len(more))])
        return TableSource(cells.append_column("pid", keys))

    alone, with_nobody, with_another = table(), table(*nobody), table(type(somebody)(8))
    assert vault(alone).patients == vault(with_nobody).patients == 1
    assert vault(with_another).patients == 2
    for one, same in both((alone, with_nobody), SCHEMA):
        np.testing.assert_array_equal(one.values, same.values)
    for one, other in both((alone, with_another), SCHEMA):
        assert not np.array_equal(one.values, other.values)


# A file may hold any type. The cells of a column are read one by one, whatever else stands in it.

LONG = np.array([-(2**63), -(10**12), 0, 1, 7, 10**12, 2**63 - 1])
TYPES: dict[str, pa.Array] = {
    **{f"int{bits}": pa.array(LONG.astype(f"int{bits}")) for bits in (8, 16, 32, 64)},
    "uint64": pa.array(LONG.view(np.uint64)),
    **{f"float{bits}": pa.array(np.array([0, -0.0, np.nan, -np.inf, 7], f"float{bits}")) for bits in (16, 32, 64)},
    "subnormal": pa.array([5e-324, -5e-324, 1e308, None]),
    "decimal": pa.array([Decimal("7.00"), Decimal("1e20"), None], type=pa.decimal128(38, 2)),
    "truth": pa.array([True, False, None]),
    "bytes": pa.array([b"7", b"\xff\xfe", None]),
    "text that is no UTF-8": pa.array([b"7", b"a", b"\xff\xfe", None]).view(pa.string()),
    "text": pa.array(["7", " a ", "nan", "9" * 5000, "1_0", "\x00", "٧", "19910506", None]),
    "text view": pa.array(["7", "a", None], type=pa.string_view()),
    "dictionary": pa.array(["7", "a", "7", None]).dictionary_encode(),
    "day": pa.array([-(2**31), 0, 7670, 2**31 - 1, None], type=pa.int32()).cast(pa.date32()),
    "milliseconds": pa.array(LONG).view(pa.date64()),
    **{
        f"time in {unit}, {zone}": pa.array(LONG).view(pa.timestamp(unit, zone))
        for unit in ("s", "ms", "us", "ns")
        for zone in (None, "UTC", "Europe/Berlin", "+07:30")
    },
    "duration": pa.array(LONG).view(pa.duration("s")),
    "nothing": pa.array([None, None]),
}


@pytest.mark.parametrize("name", TYPES)
def test_the_vault_is_total_and_reads_each_cell_by_itself(name: str) -> None:
    array = TYPES[name]
    for cells in (*ENCODING.reader.features, *ENCODING.label.columns):
        alone = [int(cells.codes(array[at : at + 1])[0]) for at in range(len(array))]
        assert cells.codes(array).tolist() == alone
        assert all(-1 <= code < cells.size for code in alone)
    plain = pa.Table.from_pylist([LOW | {"outcome": "ill", "pid": "p0"}] * len(array))
    for columns in (SCHEMA.features, ("outcome",), ("pid",)):
        table = plain
        for column in columns:
            table = table.drop_columns(column).append_column(column, array)
        here = vault(TableSource(table))
        assert here.answer(sum_query(ENCODING), MU2).values.min() >= 0
        assert here.answer(PairTables(halves()), MU2).values.min() >= 0


def test_a_reader_that_types_a_whole_column_would_be_seen() -> None:
    """The negation: pandas, left to itself, reads a whole number that stands beside a null as another one."""
    columns = pd.Series([10**16 + 1]), pd.Series([10**16 + 1, None])
    alone, beside = (str(column.tolist()[0]) for column in columns)
    assert alone != beside
