"""How many patients a table has, and how many rows each of them."""

from collections import Counter
from collections.abc import Sequence

import pandas as pd
import pytest

from cohortmix.core.data.patients import Patients, count_patients
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource

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


def test_a_patient_with_many_rows_is_counted_once() -> None:
    keys = ["p", "q", "p", "p", " q "]
    assert count_patients(TableSource(table(keys)), SCHEMA) == Patients(2, Counter(p=3, q=2))


@pytest.mark.parametrize("nobody", ["", "NA", " nan ", "Null", None, float("nan")])
def test_a_row_without_a_key_is_nobodys(nobody: object) -> None:
    assert count_patients(TableSource(table(["p", nobody])), SCHEMA) == Patients(1, Counter(p=1))


def test_without_a_key_a_row_is_a_patient() -> None:
    without = SCHEMA.model_copy(update={"patient_key": None})
    assert count_patients(TableSource(table(["p", "p", "NA"])), without) == Patients(3, None)
