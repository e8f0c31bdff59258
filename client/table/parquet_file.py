"""A Parquet file, or a folder of Parquet files, as a source of record batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cohortmix.client.table.file import PARQUET_SUFFIXES, readable, require_plain
from cohortmix.core.data.cell import category_text
from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import (
    BATCH_ROWS,
    InputError,
    code_columns,
    inexact_codes,
    merges,
    require_columns,
)
from cohortmix.core.data.values import is_text, python_values, simple
from cohortmix.core.data.words import in_quotes


class ParquetSource:
    """The columns of a Parquet file, or of all files of a folder in the order of their names.

    Parameters
    ----------
    schema : says which columns hold codes; None for a first look at a table that has no schema yet.
    """

    def __init__(self, path: Path, names: Sequence[str], schema: Schema | None) -> None:
        self.names = tuple(names)
        self._files, self._schema = parquet_files(path), schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of one file after the other, at most `BATCH_ROWS` at a time."""
        columns = Columns(common_types(self.names, map(_header, self._files)), self._schema)
        for path in self._files:
            with readable(path), columns.reader(path, pq.read_metadata(path)) as file:
                for groups in _row_groups(file.metadata):
                    yield from columns.batches(file, groups)


@dataclass(frozen=True)
class Columns:
    """The columns that are read of each file of a table.

    Attributes
    ----------
    types : the names and, of all files, the type of each.
    schema : as `ParquetSource` has it.
    """

    types: pa.Schema
    schema: Schema | None

    @property
    def coded(self) -> list[str]:
        """Categories of texts: what many records share is looked at once, since each record holds a code of it."""
        columns = {} if self.schema is None else self.schema.columns
        return [
            name
            for name in self.types.names
            if isinstance(columns.get(name), Category) and self.types.field(name).type == pa.string()
        ]

    def reader(
        self, file: Path | pa.NativeFile, metadata: pq.FileMetaData
    ) -> AbstractContextManager[pq.ParquetFile]:
        """The file, opened so that `batches` reads it fast."""
        # Its own dictionaries are worth reading where groups are large: a batch of them ends where a group does.
        large = metadata.num_rows * 4 >= metadata.num_row_groups * BATCH_ROWS
        opened: AbstractContextManager[pq.ParquetFile] = pq.ParquetFile(
            file, metadata=metadata, read_dictionary=self.coded if large else ()
        )
        return opened

    def batches(self, file: pq.ParquetFile, groups: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """The rows of some row groups, at most `BATCH_ROWS` at a time."""
        names, coded = self.types.names, self.coded
        for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=names):
            self._require_exact(batch)
            arrays = [_as(batch.column(name), self.types.field(name).type, name in coded) for name in names]
            yield pa.RecordBatch.from_arrays(arrays, names=names)

    def _require_exact(self, batch: pa.RecordBatch) -> None:
        """Refuse floats that may have merged codes in the type that a file has: another type would hide it."""
        if self.schema is None:
            return
        for name in code_columns(self.schema):
            array, kind = batch.column(name), self.types.field(name).type
            if array.type != kind and not _holds_texts(array.type) and merges(array):
                raise inexact_codes(name, self.schema)


def common_types(names: Sequence[str], headers: Iterable[tuple[Path | str, pa.Schema]]) -> pa.Schema:
    """One type for each column of all files; text, value by value, where they have several.

    Parameters
    ----------
    headers : of each file its name and its own schema.

    Raises
    ------
    InputError
        If a file lacks a column or holds it twice, or two files hold different kinds of values in it.
    """
    seen: dict[str, set[pa.DataType]] = {name: set() for name in names}
    kinds: dict[str, str] = {}
    for path, header in headers:
        require_columns(header.names, names)
        empty = header.empty_table()
        for name in names:
            kind = _kind(empty.column(name).type)
            if kind and kinds.setdefault(name, kind) != kind:
                raise InputError(
                    f"{in_quotes(path)}: column {name!r} holds {kind}, in another file of the folder "
                    f"{kinds[name]}; write it with the same type in all of them"
                )
            seen[name] |= {simple(empty.column(name)).type} if kind else set()
    return pa.schema([(name, _common(types)) for name, types in seen.items()])


def _header(path: Path) -> tuple[Path, pa.Schema]:
    with readable(path), pq.ParquetFile(path) as file:
        return path, file.schema_arrow


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


def _row_groups(metadata: pq.FileMetaData) -> Iterator[list[int]]:
    """The row groups of a file in their order, some together where they are small.

    A reader of all groups keeps more and more of the file in memory (pyarrow 26).
    """
    groups, rows = list[int](), 0
    for group in range(metadata.num_row_groups):
        groups, rows = [*groups, group], rows + metadata.row_group(group).num_rows
        if rows >= BATCH_ROWS:
            yield groups
            groups, rows = [], 0
    if groups:
        yield groups


def _holds_texts(kind: pa.DataType) -> bool:
    return is_text(kind) or (bool(pa.types.is_dictionary(kind)) and is_text(kind.value_type))


def _as(array: pa.Array, kind: pa.DataType, coded: bool = False) -> pa.Array:
    """The array in the type that its column has in all files; a number or a time reads the same as text.

    A column that is `coded` is a dictionary of texts, no longer than its entries in this batch.
    """
    if coded and pa.types.is_dictionary(array.type) and len(array.dictionary) <= len(array):
        return array
    if coded:
        return _as(array, kind).dictionary_encode()
    array = simple(array)
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


def parquet_files(path: Path) -> list[Path]:
    """The file itself, or the Parquet files of a folder in the order of their names; InputError if it has none."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(PARQUET_SUFFIXES))
    if not files:
        raise InputError(f"the folder {in_quotes(path)} holds no .parquet file")
    for file in files:
        require_plain(file)
    return files
