"""Opening a table: a CSV or Parquet file, or a folder of Parquet files, as a source of record batches.

Only the schema's columns and the patient key are handed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cohortmix.client.table.csv_file import CsvSource, csv_header
from cohortmix.client.table.file import is_csv, readable
from cohortmix.client.table.parquet_file import ParquetSource, parquet_files
from cohortmix.core.data.dictionary.columns import Column
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import Source, plain, require_columns

SYNTHETIC = b"cohortmix"  # metadata of every Parquet file that holds synthetic records or centroids


def open_table(path: Path | str, schema: Schema, also: Sequence[str] = ()) -> Source:
    """A file's columns that the schema names, its patient key, and `also`, as a source that can be read again.

    Empty cells and the texts `NA`, `NaN` and `null` hold no value, unless the schema declares such a category.

    Raises
    ------
    InputError
        If the file cannot be read (also later, from `batches`), or lacks a column or holds it twice.
    """
    path = Path(path)
    names = columns_of(schema, also)
    require_columns(column_names(path), names)
    return Cleaned(_reader(path, names, schema), schema)


def columns_of(schema: Schema, also: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns that are read: those of the schema, its patient key, and `also`."""
    return tuple(dict.fromkeys((*schema.columns, *([schema.patient_key] if schema.patient_key else []), *also)))


def open_all(path: Path | str) -> Source:
    """All columns of a file, for a first look at a table that has no schema yet; their names are not judged.

    Errors as `open_table`, except those about columns.
    """
    path = Path(path)
    return _reader(path, column_names(path))


def column_names(path: Path) -> list[str]:
    """The names in a file's header, in its order; InputError if it cannot be read."""
    if is_csv(path):
        return csv_header(path)[0]
    with readable(path):
        return list(pq.ParquetFile(parquet_files(path)[0]).schema_arrow.names)


def is_synthetic(path: Path) -> bool:
    """Whether a Parquet file, or one of a folder, says in its metadata that it is of a release or a study."""
    if is_csv(path):
        return False
    with readable(path):
        return any(SYNTHETIC in (pq.read_metadata(file).metadata or {}) for file in parquet_files(path))


class Cleaned:
    """A source in which a text that says "no value" is null, as `plain` has it."""

    def __init__(self, source: Source, schema: Schema) -> None:
        self.names = source.names
        self._source, self._schema = source, schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        columns = self._schema.columns
        for batch in self._source.batches():
            arrays = [_plain(batch.column(name), columns.get(name)) for name in self.names]
            yield pa.RecordBatch.from_arrays(arrays, names=list(self.names))


def _plain(array: pa.Array, column: Column | None) -> pa.Array:
    """As `plain`; of a dictionary its texts, since each of them stands for many records."""
    if not pa.types.is_dictionary(array.type):
        return plain(array, column)
    return pa.DictionaryArray.from_arrays(array.indices, plain(array.dictionary, column))


def _reader(path: Path, names: Sequence[str], schema: Schema | None = None) -> Source:
    return CsvSource(path, names) if is_csv(path) else ParquetSource(path, names, schema)
