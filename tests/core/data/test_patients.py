"""How many patients a table has, and how many rows each of them: as counted one by one, however it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortmix.core.data import patients as patients_module
from cohortmix.core.data.patients import count_patients, earlier_rows
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.data.values import NOBODY, patient_ids, patient_keys

SCHEMA = Schema.from_yaml(
    """
name: t
patient_key: id
max_rows_per_patient: 2
target: y
columns:
  x: {type: number, min: 0, max: 9}
  y: {type: category, values: [a, b]}
"""
)


def table(keys: Sequence[object]) -> pd.DataFrame:
    return pd.DataFrame({"id": keys, "x": 1, "y": "a"})


@dataclass
class Keys:
    """A table of keys alone, in batches of any types."""

    arrays: Sequence[pa.Array]

    @property
    def names(self) -> tuple[str, ...]:
        return ("id",)

    def batches(self) -> Iterator[pa.RecordBatch]:
        for array in self.arrays:
            yield pa.RecordBatch.from_arrays([array], names=["id"])


def by_key(source: Any) -> Counter[str]:
    """Rows of each patient, one by one."""
    keys = [key for batch in source.batches() for key in patient_keys(batch.column("id"))]
    return Counter(key for key in keys if key is not None)


def agree(source: Any) -> None:
    """What was counted is what is there, and each row is found with its own patient."""
    counted, expected = count_patients(source, SCHEMA), by_key(source)
    assert counted.number == len(expected)
    assert sorted(counted.rows.tolist()) == sorted([0, *expected.values()])
    assert counted.rows[-1] == 0
    for batch in source.batches():
        column = batch.column("id")
        rows = counted.rows[counted.find(patient_ids(column))]
        assert rows.tolist() == [expected[key] if key is not None else 0 for key in patient_keys(column)]


def test_a_patient_with_many_rows_is_counted_once() -> None:
    counted = count_patients(TableSource(table(["p", "q", "p", "p", " q "])), SCHEMA)
    assert (counted.number, sorted(counted.rows.tolist())) == (2, [0, 2, 3])
    assert counted.rows[counted.find(patient_ids(pa.array(["p", "q", "new", None])))].tolist() == [3, 2, 0, 0]


@pytest.mark.parametrize("nobody", ["", "NA", " nan ", "Null", None, float("nan")])
def test_a_row_without_a_key_is_nobodys(nobody: object) -> None:
    counted = count_patients(TableSource(table(["p", nobody])), SCHEMA)
    assert (counted.number, counted.rows.tolist()) == (1, [1, 0])


def test_without_a_key_a_row_is_a_patient() -> None:
    without = SCHEMA.model_copy(update={"patient_key": None})
    counted = count_patients(TableSource(table(["p", "p", "NA"])), without)
    assert (counted.number, len(counted.ids)) == (3, 0)


@pytest.mark.parametrize("arrays", [[], [pa.array([], pa.int64())], [pa.array([None, "na"])]])
def test_a_table_of_nobody_has_no_patient(arrays: list[pa.Array]) -> None:
    agree(Keys(arrays))
    assert count_patients(Keys(arrays), SCHEMA).number == 0


WORDS = st.sampled_from([
    "7", "7.0", " 7 ", "07", "p", "P", "M\u00fc", "Mu\u0308", "nan", "NA", "null", "", "a" * 40, "a" * 41,
    "\u2002x", "x", "\x1cx", "a\0", "a", "True", "true", "1e16", "10000000000000000", "-0.0", "0",
])  # fmt: skip
ARRAYS = st.one_of(
    st.lists(WORDS | st.none(), max_size=9).map(lambda keys: pa.array(keys, pa.string())),
    st.lists(WORDS | st.none(), max_size=9).map(lambda keys: pa.array(keys, pa.string()).dictionary_encode()),
    st.lists(WORDS, max_size=9).map(lambda keys: pa.array([key.encode() for key in keys], pa.binary())),
    st.lists(st.integers(-2, 9) | st.none(), max_size=9).map(lambda keys: pa.array(keys, pa.int64())),
    st.lists(st.integers(0, 9), max_size=9).map(lambda keys: pa.array(keys, pa.uint8())),
    st.lists(st.sampled_from([7.0, 7.5, -0.0, 1e16, float("nan"), float("inf")]) | st.none(), max_size=9).map(
        lambda keys: pa.array(keys, pa.float64())
    ),
    st.lists(st.booleans() | st.none(), max_size=9).map(lambda keys: pa.array(keys, pa.bool_())),
    st.lists(st.sampled_from([Decimal("7.00"), Decimal("0.10"), None]), max_size=9).map(
        lambda keys: pa.array(keys, pa.decimal128(9, 2))
    ),
    st.lists(st.sampled_from([date(2020, 1, 2), None]), max_size=9).map(lambda keys: pa.array(keys, pa.date32())),
    st.lists(st.sampled_from([datetime(2020, 1, 2, 3), None]), max_size=9).map(
        lambda keys: pa.array(keys, pa.timestamp("ms"))
    ),
)


@settings(deadline=None)
@given(st.lists(ARRAYS, max_size=5), st.integers(1, 20))
def test_patients_are_counted_as_one_by_one(arrays: list[pa.Array], merged: int) -> None:
    """Keys of any types, in batches of any sizes, that are merged at any time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patients_module, "MERGED_ROWS", merged)
        agree(Keys(arrays))


def test_equal_texts_have_one_id_and_others_have_others() -> None:
    keys = [str(number) for number in range(5000)] + ["a\0", "a", "a" * 16, "a" * 17]
    assert len(set(patient_ids(pa.array(keys)).tolist())) == len(keys)
    same = [pa.array(["7"]), pa.array([7]), pa.array([7.0]), pa.array([b" 7"]), pa.array([Decimal("7.00")])]
    assert len({patient_ids(array).tolist()[0] for array in same}) == 1
    assert (patient_ids(pa.array(["", "nan", None])) == NOBODY).all()


def test_an_id_is_the_same_in_every_process() -> None:
    """N is public, and must not follow from a key of this process."""
    assert patient_ids(pa.array(["7"])).tobytes().hex() == "9e287f590d2dcbbf387bfb70928e621d"


@given(st.lists(st.integers(0, 3), max_size=30))
def test_earlier_rows_are_counted_as_one_by_one(patients: list[int]) -> None:
    expected = [patients[:row].count(each) for row, each in enumerate(patients)]
    assert earlier_rows(np.array(patients, dtype=np.int64)).tolist() == expected
