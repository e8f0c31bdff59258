"""A column of each kind, and the cells in which its values are read."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from cohortmix.core.data.dictionary.columns import Category, Column, Date, Number
from cohortmix.core.data.encoding import Cells

AGE = Number(type="number", min=16, max=105, integer=True, missing=True)
BALANCE = Number(type="number", min=-1000, max=50_000, missing=True)
LAB = Number(type="number", min=0, max=200, transform="log1p")
GRADE = Number(type="number", min=0, max=10, knots=4)
COUNT = Number(type="number", min=0, max=999, integer=True, knots=50)
LARGE = Number(type="number", min=0, max=2**54, missing=True, knots=512)
DAY = Date(type="date", min=date(1991, 1, 1), max=date(1996, 12, 31), missing=True)
WEEK = Date(type="date", min=date(1991, 1, 1), max=date(1991, 1, 7))
SEX = Category(type="category", values=("F", "M", "7", "true"), missing=True)
STRICT = Category(type="category", values=("a", "b"))
COLUMNS: dict[str, Column] = {
    "age": AGE,
    "balance": BALANCE,
    "lab": LAB,
    "grade": GRADE,
    "large": LARGE,
    "day": DAY,
    "week": WEEK,
    "sex": SEX,
    "strict": STRICT,
}
every_column = pytest.mark.parametrize("name", COLUMNS)


def cells(column: Column) -> Cells:
    return Cells.of("x", column)


def codes(column: Column, values: Any, kind: pa.DataType | None = None) -> list[int]:
    found = cells(column).codes(values if isinstance(values, pa.Array) else pa.array(values, kind))
    return [int(code) for code in found]
