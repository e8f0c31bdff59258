"""A table in the cells of its schema's grid: a small integer for each value, whose text is a value of that cell.

Whoever reads it by that grid finds each record in the cells in which the table's own values are, and looks at a
text for each cell in place of a value for each record. By any other grid it would be another table. Patient keys
are kept as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from math import ceil, inf, nextafter
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import pyarrow as pa

from cohortmix.client.table.run import CURE
from cohortmix.core.data.dictionary.columns import Category, Number
from cohortmix.core.data.digest import digest
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.patients import count
from cohortmix.core.data.reading import ColumnReader, RecordReader
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source
from cohortmix.core.data.words import in_quotes

Result = TypeVar("Result")


class CellSource:
    """The rows of a file that `write_cells` has written, whose bytes were compared with their hash."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.names, self._path = names, path

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as they were written, each column but the key a dictionary of a text for each cell.

        Raises
        ------
        InputError
            If the file cannot be read, as where another one has taken its place since its hash was compared.
        """
        try:
            with pa.OSFile(str(self._path)) as file, pa.ipc.open_file(file) as reader:
                for at in range(reader.num_record_batches):
                    batch = reader.get_batch(at)
                    batch.validate(full=True)
                    yield batch.select(list(self.names))
        except (pa.ArrowException, OSError, KeyError):
            raise InputError(f"the cells in {in_quotes(self._path)} cannot be read; {CURE}") from None


@dataclass(frozen=True)
class TableInCells:
    """The values of a table, and beside them their cells of a grid; a source whose batches are the values.

    Attributes
    ----------
    values, cells : the same rows in the same order, with the same patient keys.
    grid : the reader that finds the same cells in both.
    """

    values: Source
    cells: Source
    grid: RecordReader

    @property
    def names(self) -> tuple[str, ...]:
        return self.values.names

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, with their values."""
        return self.values.batches()

    def each(self, function: Callable[..., Result], own: Iterable[Any], *common: Any) -> Iterator[Result]:
        """`function(piece, *own, *common)` of the table as one piece (`table.Divided`).

        The piece is the cells where patients are counted, or records are read by this very grid; else the values.
        """
        grids = [given for given in common if isinstance(given, RecordReader)]
        in_cells = function is count or (grids and all(grid == self.grid for grid in grids))
        piece = self.cells if in_cells else self.values
        return (function(piece, *given, *common) for given in islice(own, 1))


def write_cells(source: Source, schema: Schema, file: IO[bytes]) -> None:
    """Write the cells of a table's records, and their keys, in the order of the table, as an Arrow file.

    Raises
    ------
    InputError
        If the source cannot be read, or what would be written would be read in another cell.
    OSError
        If the file cannot be written.
    """
    reader = Encoding.of(schema).reader
    columns = {column.name: column for column in (*reader.features, *reader.label.columns)}
    texts = {
        name: pa.array([_text(column, cell) for cell in range(column.values)], pa.string())
        for name, column in columns.items()
    }
    writer: pa.RecordBatchWriter | None = None
    for batch in source.batches():
        arrays = [
            _in_cells(batch.column(name), columns[name], texts[name]) if name in columns else batch.column(name)
            for name in source.names
        ]
        cells = pa.RecordBatch.from_arrays(arrays, names=list(source.names))
        writer = writer or pa.ipc.new_file(file, cells.schema)
        writer.write_batch(cells)
    if writer is not None:
        writer.close()


def grid_hash(schema: Schema) -> str:
    """Which cells there are: they follow from the schema, but another version may follow another way."""
    reader = Encoding.of(schema).reader
    columns = (*reader.features, *reader.label.columns)
    return digest([[column.name, column.values, *map(repr, column.edges)] for column in columns])


def _in_cells(array: pa.Array, column: ColumnReader, texts: pa.Array) -> pa.Array:
    """The column in its cells; null where a value is missing or unknown."""
    codes = column.codes(array)
    nowhere = (codes < 0) | (codes >= column.values)
    places = pa.array(codes.astype(np.min_scalar_type(-len(texts))), mask=nowhere)
    cells = pa.DictionaryArray.from_arrays(places, texts)
    if not np.array_equal(column.codes(cells), codes):
        raise InputError(
            f"column {column.name!r} has a cell without a value that can be written; change its bounds"
        )
    return cells


def _text(column: ColumnReader, cell: int) -> str | None:
    """A text that is read in this cell; None where there is no such value, as between two days."""
    described, edges = column.column, column.edges
    if isinstance(described, Category):
        return described.values[cell]
    if isinstance(described, Number):
        return repr(edges[cell - 1] if cell else nextafter(edges[0], -inf) if edges else 0.0)
    day = ceil(edges[cell - 1]) if cell else ceil(edges[0]) - 1 if edges else described.min.toordinal()
    return date.fromordinal(day).isoformat() if 0 < day <= date.max.toordinal() else None
