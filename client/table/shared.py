"""A table on storage that several machines can read: what is pinned of it, and the source that serves it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Annotated

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from cohortmix.client.table.cluster import ClusterSource
from cohortmix.client.table.data import Cleaned, columns_of
from cohortmix.client.table.file import readable
from cohortmix.client.table.parquet_file import Columns, common_types
from cohortmix.client.table.run import Run, RunSource, files_at, opened, runs_of, seal
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source


def _types(hexadecimal: str) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(hexadecimal)))


def _readable(hexadecimal: str) -> str:
    try:
        _types(hexadecimal)
    except (pa.ArrowException, OSError):
        raise ValueError("expected an Arrow schema") from None
    return hexadecimal


class SharedPin(BaseModel):
    """Which files are served, in which runs of row groups, and their hashes.

    It stays at the site: with a hash, anybody who guesses the records could see whether the guess is right.

    Attributes
    ----------
    types : of the columns in all files, an Arrow schema as hexadecimal digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    location: str
    types: Annotated[str, AfterValidator(_readable)]
    runs: Annotated[tuple[Run, ...], Field(min_length=1)]
    schema_hash: str

    @classmethod
    def of(cls, location: str, schema: Schema) -> SharedPin:
        """The files of a location as they are now; workers of the Ray cluster compute the hashes.

        Raises
        ------
        InputError
            If a file cannot be read, lacks a column or holds it in another type than the others; if there is no
            record; if the cluster cannot be used.
        """
        names, runs = files_at(location), list[Run]()
        types = common_types(columns_of(schema), _headers(location, names, runs))
        if not runs:
            raise InputError("the table is empty: it holds no record")
        pieces = tuple(_pieces(location, runs, Columns(types, schema)))
        sealed = tuple(ClusterSource(pieces).each(seal, repeat(())))
        hexadecimal = types.serialize().to_pybytes().hex()
        return cls(location=location, types=hexadecimal, runs=sealed, schema_hash=schema.hash)

    def source(self, schema: Schema) -> ClusterSource:
        """The table, cleaned as `open_table` has it."""
        pieces: Iterable[Source] = _pieces(self.location, self.runs, Columns(_types(self.types), schema))
        return ClusterSource(tuple(Cleaned(piece, schema) for piece in pieces))


def _pieces(location: str, runs: Iterable[Run], columns: Columns) -> Iterator[RunSource]:
    return (RunSource(location, run, columns) for run in runs)


def _headers(location: str, names: Iterable[str], runs: list[Run]) -> Iterator[tuple[str, pa.Schema]]:
    """Of each file its name and schema; its runs are added to `runs`, since a file is opened once."""
    for name in names:
        with opened(location, name) as file, readable(name or location):
            runs.extend(runs_of(file, name))
            header = pq.read_schema(file)
        yield name or location, header
