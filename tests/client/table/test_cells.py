"""A table in cells: read by its grid it answers as its values do, and by no other grid is it read at all."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from columns import COLUMNS, STRICT
from vaults import BY_ROW, QUERIES, SCHEMA, VALUE_COUNTS, Rows, ask, open_vault, table

from cohortmix.client.table import cells
from cohortmix.client.table.cells import CellSource, TableInCells, grid_hash, write_cells
from cohortmix.client.table.data import open_table
from cohortmix.client.table.snapshot import open_snapshot, pin_snapshot
from cohortmix.core.data.dictionary.columns import Category, Column, Date
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.patients import each
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source

GOOD: dict[str, list[object]] = {
    "sex": ["F", " M ", "7", "7.0", "TRUE", "true", "?"],
    "strict": ["a", "b", "c"],
}


def accept(_: Source) -> None:
    """A check that every table passes."""


def in_cells(path: Path, source: Source, schema: Schema) -> TableInCells:
    with path.open("wb") as file:
        write_cells(source, schema, file)
    return TableInCells(source, CellSource(path, source.names), Encoding.of(schema).reader)


def near_and_at_the_edges(column: Column, name: str) -> list[object]:
    """A value of every cell, the edges between them, and what lies beyond or is none."""
    if isinstance(column, Category):
        return [*GOOD[name], None]
    edges = np.array(Encoding.of(schema_of(column)).reader.features[0].edges)
    if isinstance(column, Date):
        days = [column.min + timedelta(days=day) for day in range(-3, (column.max - column.min).days + 3)]
        return [*(day.isoformat() for day in days), "0001-01-01", "9999-12-31", "many", None]
    beside = [np.nextafter(edges, towards) for towards in (-np.inf, np.inf)]
    between = (edges[1:] + edges[:-1]) / 2
    numbers = np.concatenate([edges, *beside, between, [0.0, -0.0, -1e308, 1e308, np.inf, np.nan, 2.0**53 + 2]])
    return [*map(repr, numbers.tolist()), "many", None]


def schema_of(column: Column) -> Schema:
    return Schema(name="s", target="y", columns={"x": column, "y": STRICT})


@pytest.mark.parametrize("name", COLUMNS)
def test_each_value_is_read_in_its_cell(name: str, tmp_path: Path) -> None:
    values = near_and_at_the_edges(COLUMNS[name], name)
    label = ["a", "b", "?", None] * len(values)
    records = pa.table({"x": pa.array(values, pa.string()), "y": label[: len(values)]})
    schema = schema_of(COLUMNS[name])
    both = in_cells(tmp_path / "t.cells", Rows(records, 50), schema)
    of_values, of_cells = (
        np.concatenate([np.c_[both.grid.codes(batch)] for batch in source.batches()])
        for source in (both, both.cells)
    )
    np.testing.assert_array_equal(of_cells, of_values)
    if not isinstance(COLUMNS[name], Category):
        assert set(of_values[:, 0].tolist()) >= set(range(both.grid.features[0].values))  # so each cell was tried


@pytest.mark.parametrize("schema", [SCHEMA, BY_ROW], ids=["patients", "rows"])
@pytest.mark.parametrize("size", [7, 1000])
def test_answers_are_those_of_the_values_bit_for_bit(schema: Schema, size: int, tmp_path: Path) -> None:
    records = Rows(table(rows=500, patients=90), size)
    pacsv.write_csv(records.table, tmp_path / "t.csv")
    theirs = open_vault(records, schema)
    expected = [ask(theirs, question).values for question in QUERIES]
    assert all(values.any() for values in expected)
    for source in (records, open_table(tmp_path / "t.csv", schema)):
        pin_snapshot(tmp_path, source, schema, accept)
        ours = open_vault(open_snapshot(tmp_path, schema), schema)
        assert ours.patients == theirs.patients
        for question, values in zip(QUERIES, expected, strict=True):
            assert ask(ours, question).values.tobytes() == values.tobytes()


def read_from(source: Any, *common: Any, function: Any = lambda piece, *_: piece) -> Any:
    (piece,) = each(source, function, repeat(()), *common)
    return piece


def test_what_is_asked_on_another_grid_is_read_from_the_values(tmp_path: Path) -> None:
    """In the cells are other values: their counts would be of nobody."""
    records = Rows(table(rows=500, patients=90))
    both = in_cells(tmp_path / "t.cells", records, SCHEMA)
    other = both.grid.on(VALUE_COUNTS.grid)
    assert read_from(both, SCHEMA, both.grid) is both.cells
    assert read_from(both, SCHEMA, other) is both.values
    assert read_from(both, both.grid, other) is both.values
    assert read_from(both, SCHEMA) is both.values  # a function that is not known, and might want values
    true, wrong = (ask(open_vault(source), VALUE_COUNTS).values for source in (both, both.cells))
    np.testing.assert_array_equal(true, ask(open_vault(records), VALUE_COUNTS).values)
    assert (true != wrong).any()


def test_patients_are_counted_without_their_values(tmp_path: Path) -> None:
    class Unreadable:
        names = table().column_names

        def batches(self) -> Iterator[pa.RecordBatch]:
            raise AssertionError("the values are read")

    both = in_cells(tmp_path / "t.cells", Rows(table()), SCHEMA)
    assert (
        open_vault(TableInCells(Unreadable(), both.cells, both.grid)).patients == open_vault(both.values).patients
    )


def test_no_value_is_in_the_file_but_keys(tmp_path: Path) -> None:
    records = table(rows=3, patients=3).set_column(2, "dose", pa.array([1.2345678] * 3))
    records = records.set_column(3, "sex", pa.array(["secret"] * 3))
    in_cells(tmp_path / "t.cells", Rows(records), SCHEMA)
    content = (tmp_path / "t.cells").read_bytes()
    assert b"secret" not in content
    assert np.float64(1.2345678).tobytes() not in content
    assert b"1.2345" not in content


def test_a_small_integer_is_written_for_a_value(tmp_path: Path) -> None:
    both = in_cells(tmp_path / "t.cells", Rows(table()), SCHEMA)
    (batch,) = both.cells.batches()
    assert [batch.column(name).type.index_type for name in SCHEMA.columns] == [pa.int8()] * len(SCHEMA.columns)
    assert batch.column("pid").type == pa.string()


def test_a_file_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    """Whatever has taken the place of the file since its hash was compared: neither a trace nor a record."""
    path = tmp_path / "t.cells"
    both = in_cells(path, Rows(table(rows=500)), SCHEMA)
    content, (batch,) = path.read_bytes(), both.cells.batches()
    for other in (b"", content[:-1], content[: len(content) // 2], bytes(len(content))):
        path.write_bytes(other)
        with pytest.raises(InputError, match=r"t\.cells' cannot be read; run `cohortmix site check`$"):
            list(both.cells.batches())
    beyond = pa.DictionaryArray.from_arrays(pa.array([100], pa.int8()), batch.column("sex").dictionary, safe=False)
    for columns in ({"sex": beyond}, {"other": beyond}):
        with pa.ipc.new_file(str(path), pa.table(columns).schema) as writer:
            writer.write_table(pa.table(columns))
        with pytest.raises(InputError, match="cannot be read"):
            list(CellSource(path, ("sex",)).batches())
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        list(both.cells.batches())


def test_a_text_that_is_read_in_another_cell_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    right = cells._text
    monkeypatch.setattr(cells, "_text", lambda column, cell: right(column, cell and cell - 1))
    with pytest.raises(InputError, match=r"^column '\w+' has a cell without a value that can be written"):
        write_cells(Rows(table()), SCHEMA, io.BytesIO())


def test_the_hash_of_a_grid_is_of_its_cells_alone() -> None:
    assert grid_hash(SCHEMA) == grid_hash(BY_ROW)
    for change in ({"knots": 5}, {"max": 9}):
        column = SCHEMA.columns["dose"].model_copy(update=change)
        assert grid_hash(SCHEMA.model_copy(update={"columns": {**SCHEMA.columns, "dose": column}})) != grid_hash(
            SCHEMA
        )


def test_days_at_the_ends_of_the_calendar(tmp_path: Path) -> None:
    column = Date(type="date", min=date(1, 1, 1), max=date(9999, 12, 31))
    records = pa.table({"x": ["0001-01-01", "0001-01-02", "5000-06-07", "9999-12-31"], "y": ["a"] * 4})
    both = in_cells(tmp_path / "t.cells", Rows(records), schema_of(column))
    (values,), (coded,) = both.batches(), both.cells.batches()
    np.testing.assert_array_equal(both.grid.feature_codes(values), both.grid.feature_codes(coded))
