"""Cells of a database: read many at once, each is what it is when it is read by itself."""

import random
import sqlite3
import struct
import uuid
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from cohortmix.client.table.sql import FETCHED_ROWS, SqlSource
from cohortmix.client.table.sql_cells import array_of, has_inexact
from cohortmix.core.data.cell import category_text, text_of
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import BATCH_ROWS, is_inexact

NAN, INFINITY = float("nan"), float("inf")
WHOLE = [0, 1, -1, 7, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
FLOATS = [
    0.0, -0.0, 1.0, -1.0, 1.5, 0.1 + 0.2, 414.0, 1e-4, 9.999e-5, -1e-5, 5e-324, 1e9, 999999999.5, 1e9 + 0.5,
    1e10 + 0.25, 123456789012345.6, 1e15, 1e16, 1e22, 1e23, 2.0**53, 1.7e308, NAN, INFINITY, -INFINITY,
]  # fmt: skip
TEXTS = [
    "",
    " ",
    " 414.0 ",
    "414.0",
    "007",
    "NA",
    "nan",
    "true",
    "1e0",
    "é",
    "e\u0301",
    "\0",
    "a\nb",
    "\U0001f600",
]
DECIMALS = [
    Decimal(text)
    for text in (
        "1.50", "1.5", "-0", "0.00", "1E+2", "1E+1999", "10E+1998", "1E-1200", "NaN", "sNaN", "Infinity",
        "9007199254740993", "12345678901234567890.10",
    )
]  # fmt: skip
OTHERS = [
    True, False, b"F", b"\xff", b"", bytearray(b"x"), memoryview(b"\xfe1"), 2**63, -(2**70), 10**400, "\ud800",
    uuid.UUID(int=7), date(1994, 5, 6), datetime(1994, 5, 6, 23, 30, tzinfo=timezone(timedelta(hours=9))),
    timedelta(days=1), np.float32(0.1), np.int8(3), {"a": 1}, [1, None], Decimal("1"), None,
]  # fmt: skip
COLUMNS = [
    WHOLE,
    FLOATS,
    TEXTS,
    DECIMALS,
    [True, False],
    OTHERS,
    WHOLE + FLOATS,
    [*WHOLE, *FLOATS, *TEXTS, *DECIMALS, *OTHERS],
]


def alone(cell: object) -> str | None:
    """The text of a cell, by the rules of `core.data.cell`."""
    if cell is None:
        return None
    if isinstance(cell, memoryview):
        cell = bytes(cell)
    return category_text(cell) if isinstance(cell, bool | float | Decimal) else text_of(cell)


def texts(cells: Sequence[object]) -> list[str | None]:
    array = array_of(cells, pa.string())
    array.validate(full=True)
    assert array.type == pa.string()
    return list(array.to_pylist())


@pytest.mark.parametrize("cells", COLUMNS)
def test_a_column_of_texts_is_its_cells_read_alone(cells: list[object]) -> None:
    for column in (cells, cells[::-1], [None, *cells, None], [], [None, None]):
        assert texts(column) == [alone(cell) for cell in column]


@pytest.mark.parametrize("cells", COLUMNS)
def test_no_cell_changes_how_another_is_read(cells: list[object]) -> None:
    first = [texts([cell])[0] for cell in cells]
    for other in (1, 1.5, "x", None, b"\xff", Decimal("2.50"), True, 2**70, 1e300):
        assert texts([*cells, other])[:-1] == first


def test_floats_of_all_sizes_have_pythons_text() -> None:
    rng = random.Random(0)
    bits = [struct.unpack("d", rng.randbytes(8))[0] for _ in range(20_000)]
    sizes = [rng.choice((1, -1)) * 10 ** rng.uniform(-6, 18) for _ in range(20_000)]
    rounded = [round(rng.uniform(-1000, 1000), places) for places in range(6) for _ in range(5_000)]
    at_ends = [np.nextafter(end, towards).item() for end in (1e-4, 1e9) for towards in (0, INFINITY)]
    for column in (bits, sizes, rounded, at_ends):
        assert texts(column) == [category_text(value) for value in column]
    assert texts([2.5, 1e22, NAN, -0.0]) == ["2.5", "10000000000000000000000", "nan", "0"]


@pytest.mark.parametrize(
    ("kind", "cells", "expected"),
    [
        (pa.bool_(), [True, None, False], [True, None, False]),
        (pa.bool_(), [1, 0, None], [True, False, None]),
        (pa.int64(), [2**53 + 1, None, -(2**63)], [2**53 + 1, None, -(2**63)]),
        (pa.int64(), [True, Decimal("7"), 3], [1, 7, 3]),
        (pa.float64(), [1.5, None, INFINITY], [1.5, None, INFINITY]),
        (pa.float64(), [2**53 + 1, Decimal("0.1"), None, True], [2.0**53, 0.1, None, 1.0]),
    ],
)
def test_a_declared_type_is_kept(kind: pa.DataType, cells: list[object], expected: list[object]) -> None:
    array = array_of(cells, kind)
    assert array.type == kind
    assert array.to_pylist() == expected


def test_a_float_that_is_no_number_is_no_null() -> None:
    (value,) = array_of([NAN], pa.float64()).to_pylist()
    assert value != value


@pytest.mark.parametrize(("kind", "cell"), [(pa.int64(), 2**63), (pa.float64(), "many"), (pa.int64(), 10**400)])
def test_what_is_no_value_of_a_declared_type_is_refused(kind: pa.DataType, cell: object) -> None:
    with pytest.raises((ValueError, OverflowError, pa.ArrowException)):
        array_of([cell], kind)


@pytest.mark.parametrize(
    "cells", [*COLUMNS, [1, 2.0**53], ["x", complex(1e16, 0)], [np.float32(2**24)], [2.0**52, 1]]
)
def test_floats_that_may_merge_codes_are_seen(cells: list[object]) -> None:
    assert has_inexact(cells) == any(is_inexact(cell) for cell in cells)


SCHEMA = Schema.from_yaml(
    "name: t\ntarget: y\ncolumns:\n  x: {type: number, min: 0, max: 10}\n  y: {type: category, values: ['1', '2']}"
)


def test_parts_of_a_table_are_put_together_in_its_order(tmp_path: Path) -> None:
    """Whatever SQLite's cells hold: a column without a type takes any, and large tables are fetched in parts."""
    some: list[object] = [cell for cell in (*WHOLE, *FLOATS, *TEXTS, b"\xff", b"1", None) if cell == cell]
    cells = [some[at % len(some)] for at in range(BATCH_ROWS + FETCHED_ROWS + 1)]
    with sqlite3.connect(tmp_path / "t.db") as db:
        db.execute("CREATE TABLE t (x, y)")
        db.executemany("INSERT INTO t VALUES (?, '1')", [(cell,) for cell in cells])
    db.close()
    batches = list(SqlSource(f"sqlite:///{tmp_path / 't.db'}", "t", SCHEMA).batches())
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, FETCHED_ROWS + 1]
    assert [text for batch in batches for text in batch.column("x").to_pylist()] == [alone(cell) for cell in cells]
