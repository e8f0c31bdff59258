"""The snapshot: a copy of the table that is checked once and then served, never changed.

The daemon reads it and nothing else, so its answers cannot depend on whether a database is there, or on what was
written to it since; and it needs no network. The copy holds the schema's columns and the patient key.

Beside the values lie their cells (`cells`), which are read many times faster. What is asked on another grid than
the schema's is read from the values.

Of a table that a cluster reads, hashes of its files take the place of the copy (`shared`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cohortmix.client.table.cells import CellSource, TableInCells, grid_hash, write_cells
from cohortmix.client.table.data import open_table
from cohortmix.client.table.run import CURE
from cohortmix.client.table.shared import SharedPin
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source, plain
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.storage.durable import replace_file, sync_folder

NAMES = ("a.parquet", "b.parquet")  # one is served, the other is written to replace it
CELLS = ".cells"  # ending of the file that holds the cells of its values


class Pin(BaseModel):
    """Which file is served, and its hash; that of its cells, and which cells there are (`grid_hash`).

    It stays at the site: with the hash, anybody who guesses the records could see whether the guess is right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    cells_sha256: str
    grid_hash: str
    schema_hash: str

    @property
    def cells(self) -> str:
        """The file of the cells."""
        return self.file.replace(".parquet", CELLS)


_ANY_PIN: TypeAdapter[Pin | SharedPin] = TypeAdapter(Pin | SharedPin)


def pin_snapshot(folder: Path, source: Source, schema: Schema, check: Callable[[Source], None]) -> None:
    """Copy a table into `folder`, check the copy, and serve it from now on.

    Whatever goes wrong, and whenever the machine stops, what was served before stays as it was.

    Parameters
    ----------
    check : raises for a table that must not be served. It is given the copy, so that what is checked is what is
        served, even if the source changes meanwhile. Its errors are passed on.

    Raises
    ------
    InputError
        If the source cannot be read, or the copy cannot be written.
    """
    scratch, cells = folder / "new.parquet", folder / f"new{CELLS}"
    try:
        _write(scratch, lambda file: _copy(source, schema, file))
        copy = open_table(scratch, schema)
        check(copy)
        _write(cells, lambda file: write_cells(copy, schema, file))
        pin = Pin(
            file=_other_name(folder),
            sha256=_sha256(scratch),
            cells_sha256=_sha256(cells),
            grid_hash=grid_hash(schema),
            schema_hash=schema.hash,
        )
        scratch.rename(folder / pin.file)
        cells.rename(folder / pin.cells)
        sync_folder(folder)
        replace_file(_pin(folder), pin.model_dump_json().encode())
        _remove_others(folder, pin.file, pin.cells)
    except OSError as error:
        raise InputError(f"cannot write the snapshot in {in_quotes(folder)}: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)
        cells.unlink(missing_ok=True)


def pin_shared(folder: Path, location: str, schema: Schema, check: Callable[[Source], None]) -> None:
    """Check the Parquet files of a location where they lie, and serve them from now on; no copy is made.

    What was served before, and `check`, are as `pin_snapshot` has them. What is checked is read by the hashes that
    are then pinned, so no other content is ever served.

    Raises
    ------
    InputError
        If the files, or the Ray cluster that is to read them, cannot be used, or the pin cannot be written.
    """
    pin = SharedPin.of(location, schema)
    check(pin.source(schema))
    try:
        replace_file(_pin(folder), pin.model_dump_json().encode())
        _remove_others(folder)
    except OSError as error:
        raise InputError(f"cannot write the snapshot in {in_quotes(folder)}: {error.strerror}") from None


def open_snapshot(folder: Path, schema: Schema) -> Source:
    """The table that was pinned. Its bytes are compared with the pin before and after each reading.

    So a file that was exchanged, or written to, while the site was open is never answered from: noise is drawn
    only after the last batch was read. Of shared files the bytes that are compared are those that are read.

    Raises
    ------
    InputError
        If there is none, its bytes are not those that were checked (also later, from `batches`), or it was checked
        for another schema.
    """
    try:
        pin = _ANY_PIN.validate_json(_pin(folder).read_bytes())
    except FileNotFoundError:
        raise InputError(f"there is no checked table to serve; {CURE}") from None
    except OSError as error:
        raise InputError(f"cannot read the snapshot in {in_quotes(folder)}: {error.strerror}") from None
    except ValidationError:
        raise InputError(f"the snapshot in {in_quotes(folder)} is damaged; {CURE}") from None
    if isinstance(pin, Pin):
        _require(folder / pin.file, pin.sha256)
        _require(folder / pin.cells, pin.cells_sha256)
    if pin.schema_hash != schema.hash:
        raise InputError(f"the schema has changed since the table was checked; {CURE}")
    if isinstance(pin, SharedPin):
        return pin.source(schema)
    if pin.grid_hash != grid_hash(schema):
        raise InputError(f"the table was checked by a version that divides columns in other cells; {CURE}")
    values, cells = folder / pin.file, folder / pin.cells
    table = open_table(values, schema)
    return TableInCells(
        values=_Pinned(table, values, pin.sha256),
        cells=_Pinned(CellSource(cells, table.names), cells, pin.cells_sha256),
        grid=Encoding.of(schema).reader,
    )


@dataclass(frozen=True)
class _Pinned:
    """A source that is shown to be the checked one, from the first batch to the last."""

    source: Source
    path: Path
    sha256: str

    @property
    def names(self) -> tuple[str, ...]:
        return self.source.names

    def batches(self) -> Iterator[pa.RecordBatch]:
        _require(self.path, self.sha256)
        yield from self.source.batches()
        # Again, since the file can have been exchanged while it was read: then nothing is answered from it.
        _require(self.path, self.sha256)


def _require(path: Path, sha256: str) -> None:
    try:
        digest = _sha256(path)
    except FileNotFoundError:
        raise InputError(f"there is no checked table to serve; {CURE}") from None
    except OSError as error:
        raise InputError(f"cannot read the snapshot in {in_quotes(path.parent)}: {error.strerror}") from None
    if digest != sha256:
        raise InputError(f"the snapshot in {in_quotes(path.parent)} is damaged; {CURE}")


def _write(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    """A new file that only this user can read, durably."""
    path.unlink(missing_ok=True)
    with open(path, "xb", opener=_private) as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())


def _copy(source: Source, schema: Schema, file: IO[bytes]) -> None:
    """Write the source's batches as Parquet; a text that says "no value" becomes null."""
    writer: pq.ParquetWriter | None = None
    for batch in source.batches():
        arrays = [plain(batch.column(name), schema.columns.get(name)) for name in source.names]
        cleaned = pa.RecordBatch.from_arrays(arrays, names=list(source.names))
        writer = writer or pq.ParquetWriter(file, cleaned.schema)
        writer.write_batch(cleaned)
    if writer is None:
        raise InputError("the table is empty: it holds no record")
    writer.close()


def _other_name(folder: Path) -> str:
    """The name that the served snapshot does not have; it says nothing about the records."""
    try:
        served = Pin.model_validate_json(_pin(folder).read_bytes()).file
    except (FileNotFoundError, ValidationError):
        return NAMES[0]
    return NAMES[served == NAMES[0]]


def _pin(folder: Path) -> Path:
    return folder / "pin.json"


def _remove_others(folder: Path, *served: str) -> None:
    for path in (*folder.glob("*.parquet"), *folder.glob(f"*{CELLS}")):
        if path.name not in served:
            path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
