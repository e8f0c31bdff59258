"""Readers: a CSV or Parquet file, or a folder of Parquet files, as a source of record batches.

Only the schema's columns and the patient key are handed on. A CSV file is read as text, cell by cell: a reader
that infers the type of a column would let one record change how all others are read. All columns of the file are
looked at, since a quotation mark that is left open in any of them swallows the records that follow.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from cohortmix.core.data.cell import category_text
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import (
    BATCH_ROWS,
    InputError,
    Source,
    code_columns,
    inexact_codes,
    merges,
    plain,
    require_columns,
)
from cohortmix.core.data.values import is_text, python_values, simple
from cohortmix.core.data.words import in_quotes

CSV_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")
HEADER_BYTES = 1 << 20  # more than any header has; of a file without a line end no more is read
BLOCK_BYTES = 1 << 22  # that pyarrow reads at a time; no record may be longer
LINE_END = r"[\r\n]"
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
    names = tuple(dict.fromkeys((*schema.columns, *([schema.patient_key] if schema.patient_key else []), *also)))
    require_columns(column_names(path), names)
    return _Cleaned(_reader(path, names, schema), schema)


def open_all(path: Path | str) -> Source:
    """All columns of a file, for a first look at a table that has no schema yet; their names are not judged.

    Errors as `open_table`, except those about columns.
    """
    path = Path(path)
    return _reader(path, column_names(path))


def column_names(path: Path) -> list[str]:
    """The names in a file's header, in its order; InputError if it cannot be read."""
    if _is_csv(path):
        return _csv_header(path)[0]
    with _readable(path):
        return list(pq.ParquetFile(_parquet_files(path)[0]).schema_arrow.names)


def is_synthetic(path: Path) -> bool:
    """Whether a Parquet file, or one of a folder, says in its metadata that it is of a release or a study."""
    if _is_csv(path):
        return False
    with _readable(path):
        return any(SYNTHETIC in (pq.read_metadata(file).metadata or {}) for file in _parquet_files(path))


class _Cleaned:
    """A source in which a text that says "no value" is null, as `plain` has it."""

    def __init__(self, source: Source, schema: Schema) -> None:
        self.names = source.names
        self._source, self._schema = source, schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        columns = self._schema.columns
        for batch in self._source.batches():
            arrays = [plain(batch.column(name), columns.get(name)) for name in self.names]
            yield pa.RecordBatch.from_arrays(arrays, names=list(self.names))


class _Csv:
    """The columns of a CSV file, every cell as text."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._path = path
        self._header, self._delimiter = _csv_header(path)

    def batches(self) -> Iterator[pa.RecordBatch]:
        with (
            _readable(self._path),
            pacsv.open_csv(
                str(self._path),
                read_options=pacsv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
                parse_options=pacsv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    # As bytes, since a column that is not handed on may be in any encoding.
                    column_types={
                        name: pa.string() if name in self.names else pa.binary() for name in self._header
                    },
                    strings_can_be_null=False,
                ),
            ) as reader,
        ):
            if reader.schema.names != self._header:  # a column under another name would be read by a guessed type
                raise InputError(
                    f"{in_quotes(self._path)}: the column names are not on one line; write them on one"
                )
            for batch in reader:
                if any(pc.any(pc.match_substring_regex(cells, LINE_END)).as_py() for cells in batch.columns):
                    raise InputError(
                        f"{in_quotes(self._path)}: a cell spans several lines; is a quotation mark open? "
                        "If the text is meant so, remove its column or the line breaks in it"
                    )
                yield batch.select(list(self.names))


class _Parquet:
    """The columns of a Parquet file, or of all files of a folder in the order of their names."""

    def __init__(self, path: Path, names: Sequence[str], schema: Schema | None) -> None:
        self.names = tuple(names)
        self._files, self._schema = _parquet_files(path), schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        types = self._types()
        for path in self._files:
            with _readable(path), pq.ParquetFile(path) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=list(self.names)):
                    self._require_exact(batch, types)
                    arrays = [_as(simple(batch.column(name)), types[name]) for name in self.names]
                    yield pa.RecordBatch.from_arrays(arrays, names=list(self.names))

    def _require_exact(self, batch: pa.RecordBatch, types: Mapping[str, pa.DataType]) -> None:
        """Refuse floats that may have merged codes in the type that a file has: another type would hide it."""
        if self._schema is None:
            return
        for name in code_columns(self._schema):
            array = simple(batch.column(name))
            if array.type != types[name] and merges(array):
                raise inexact_codes(name, self._schema)

    def _types(self) -> dict[str, pa.DataType]:
        """One type for each column of all files; text, value by value, where they have several."""
        seen: dict[str, set[pa.DataType]] = {name: set() for name in self.names}
        kinds: dict[str, str] = {}
        for path in self._files:
            with _readable(path), pq.ParquetFile(path) as file:
                require_columns(file.schema_arrow.names, self.names)
                empty = file.schema_arrow.empty_table()
            for name in self.names:
                kind = _kind(empty.column(name).type)
                if kind and kinds.setdefault(name, kind) != kind:
                    raise InputError(
                        f"{in_quotes(path)}: column {name!r} holds {kind}, in another file of the folder "
                        f"{kinds[name]}; write it with the same type in all of them"
                    )
                seen[name] |= {simple(empty.column(name)).type} if kind else set()
        return {name: _common(types) for name, types in seen.items()}


def _common(types: set[pa.DataType]) -> pa.DataType:
    """The type in which a column of several files is read, from its types in them.

    It is the one that all have; floats where some have whole numbers and some floats; text otherwise. Floats stay
    floats, so that codes which they cannot tell apart are noticed and refused (`require_exact_codes`).
    """
    if len(types) == 1:
        return next(iter(types))
    if types and all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in types):
        whole = not any(pa.types.is_floating(kind) for kind in types)
        return (pa.string() if pa.uint64() in types else pa.int64()) if whole else pa.float64()
    return pa.string()


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """The array in the type that its column has in all files; a number or a time reads the same as text."""
    if array.type == kind:
        return array
    if is_text(array.type) or array.null_count == len(array) or not is_text(kind):
        return array.cast(kind, safe=False)
    return pa.array([None if value is None else category_text(value) for value in python_values(array)], kind)


def _kind(declared: pa.DataType) -> str:
    """What a type holds, in the words of a message; "" for the type of a column in which nobody has a value.

    Its width does not matter: a value reads the same from 32 bits as from 64.
    """
    if pa.types.is_null(declared):
        return ""
    if pa.types.is_dictionary(declared):
        return _kind(declared.value_type)
    if is_text(declared) or pa.types.is_string_view(declared):
        return "texts"
    if pa.types.is_integer(declared) or pa.types.is_floating(declared) or pa.types.is_decimal(declared):
        return "numbers"
    return "dates or times" if pa.types.is_temporal(declared) else f"values of the type {declared}"


def _reader(path: Path, names: Sequence[str], schema: Schema | None = None) -> Source:
    return _Csv(path, names) if _is_csv(path) else _Parquet(path, names, schema)


def _is_csv(path: Path) -> bool:
    if not path.exists():
        raise InputError(f"there is no file {in_quotes(path)}")
    _require_plain(path)
    if path.is_dir() or path.name.lower().endswith(PARQUET_SUFFIXES):
        return False
    if path.name.lower().endswith(CSV_SUFFIXES):
        return True
    raise InputError(f"{in_quotes(path)} is neither a .csv nor a .parquet file, nor a folder of .parquet files")


def _parquet_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(PARQUET_SUFFIXES))
    if not files:
        raise InputError(f"the folder {in_quotes(path)} holds no .parquet file")
    for file in files:
        _require_plain(file)
    return files


def _require_plain(path: Path) -> None:
    """Refuse a pipe or a device, which might never end."""
    if not path.is_file() and not path.is_dir():
        raise InputError(f"{in_quotes(path)} is no plain file; copy what it gives into one")


def _csv_header(path: Path) -> tuple[list[str], str]:
    """Column names, and the delimiter: the one of `,` `;` and tab that gives the most names."""
    with _readable(path), pa.input_stream(str(path), compression="detect") as stream:
        line = re.split(LINE_END, stream.read(HEADER_BYTES).decode("utf-8-sig", errors="ignore"), maxsplit=1)[0]
        if not line.strip():
            raise InputError(f"{in_quotes(path)} is empty: expected a line of column names and a line per record")
        splits = {delimiter: next(csv.reader([line], delimiter=delimiter)) for delimiter in ",;\t"}
    delimiter = max(splits, key=lambda character: len(splits[character]))
    return splits[delimiter], delimiter


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what a reader raises into a sentence of our own: the reader's text may quote a record."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, UnicodeError, csv.Error) as error:
        kind = "CSV" if path.name.lower().endswith(CSV_SUFFIXES) else "Parquet"
        raise InputError(f"{in_quotes(path)} cannot be read as {kind}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if "UTF8" in str(error) or isinstance(error, UnicodeError):
        return "its text is not UTF-8; save it again in that encoding"
    if "Expected" in str(error) and "columns" in str(error):
        return "a line has another number of cells than the header"
    return "the file is damaged, or of another format than its name says"
