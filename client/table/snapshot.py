"""The snapshot: a copy of the table that is checked once and then served, never changed.

The daemon reads it and nothing else, so what it answers cannot depend on whether a database is there, or on what
was written to it since; and it needs no network. It holds the schema's columns and the patient key.
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
from pydantic import BaseModel, ConfigDict, ValidationError

from cohortmix.client.table.data import open_table
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, Source, plain
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.storage.durable import replace_file, sync_folder

NAMES = ("a.parquet", "b.parquet")  # one is served; the other is there while it is replaced
AGAIN = "run `cohortmix site check`"


class Pin(BaseModel):
    """Which file is served, and what it must be. It stays at the site: a hash of records would answer guesses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    sha256: str
    schema_hash: str


def pin_snapshot(folder: Path, source: Source, schema: Schema, check: Callable[[Source], None]) -> None:
    """Copy a table into `folder`, check the copy, and serve it from now on.

    Whatever goes wrong, and whenever the machine stops, what was served before stays as it was.

    Parameters
    ----------
    check : raises for a table that must not be served; it is given the copy, so that what is checked is what is
        served, also if the source changes meanwhile.

    Raises
    ------
    InputError
        If the source cannot be read, the copy not be written, or whatever `check` raises.
    """
    scratch = folder / "new.parquet"
    try:
        scratch.unlink(missing_ok=True)
        with open(scratch, "xb", opener=_private) as file:
            _copy(source, schema, file)
        check(open_table(scratch, schema))
        pin = Pin(file=_other_name(folder), sha256=_sha256(scratch), schema_hash=schema.hash)
        scratch.rename(folder / pin.file)
        sync_folder(folder)
        replace_file(_pin(folder), pin.model_dump_json().encode())
        _remove_others(folder, pin)
    except OSError as error:
        raise InputError(f"cannot write the snapshot in {in_quotes(folder)}: {error.strerror}") from None
    finally:
        scratch.unlink(missing_ok=True)


def open_snapshot(folder: Path, schema: Schema) -> Source:
    """The table that was pinned. Its bytes are held against the pin at each reading, before and after.

    A file that was exchanged, or written to, under an open site is never answered from: no draw comes before the
    last batch was read.

    Raises
    ------
    InputError
        If there is none, its bytes are not those that were checked (later too, from `batches`), or it was checked
        for another schema.
    """
    try:
        pin = Pin.model_validate_json(_pin(folder).read_bytes())
    except FileNotFoundError:
        raise InputError(f"there is no checked table to serve; {AGAIN}") from None
    except OSError as error:
        raise InputError(f"cannot read the snapshot in {in_quotes(folder)}: {error.strerror}") from None
    except ValidationError:
        raise InputError(f"the snapshot in {in_quotes(folder)} is damaged; {AGAIN}") from None
    _require_pinned(folder, pin)
    if pin.schema_hash != schema.hash:
        raise InputError(f"the schema has changed since the table was checked; {AGAIN}")
    return _Pinned(open_table(folder / pin.file, schema), folder, pin)


@dataclass(frozen=True)
class _Pinned:
    """A source that is what was checked, from the first batch to the last."""

    source: Source
    folder: Path
    pin: Pin

    @property
    def names(self) -> tuple[str, ...]:
        return self.source.names

    def batches(self) -> Iterator[pa.RecordBatch]:
        _require_pinned(self.folder, self.pin)
        yield from self.source.batches()
        _require_pinned(self.folder, self.pin)  # what was exchanged meanwhile has been read, and is not answered


def _require_pinned(folder: Path, pin: Pin) -> None:
    try:
        digest = _sha256(folder / pin.file)
    except FileNotFoundError:
        raise InputError(f"there is no checked table to serve; {AGAIN}") from None
    except OSError as error:
        raise InputError(f"cannot read the snapshot in {in_quotes(folder)}: {error.strerror}") from None
    if digest != pin.sha256:
        raise InputError(f"the snapshot in {in_quotes(folder)} is damaged; {AGAIN}")


def _copy(source: Source, schema: Schema, file: IO[bytes]) -> None:
    """The source's batches as Parquet, durable at the end; what says "no value" is null from here on."""
    writer: pq.ParquetWriter | None = None
    for batch in source.batches():
        arrays = [plain(batch.column(name), schema.columns.get(name)) for name in source.names]
        cleaned = pa.RecordBatch.from_arrays(arrays, names=list(source.names))
        writer = writer or pq.ParquetWriter(file, cleaned.schema)
        writer.write_batch(cleaned)
    if writer is None:
        raise InputError("the table is empty: it holds no record")
    writer.close()
    file.flush()
    os.fsync(file.fileno())


def _other_name(folder: Path) -> str:
    """Not that of the snapshot that is served, and without a trace of the records."""
    try:
        served = Pin.model_validate_json(_pin(folder).read_bytes()).file
    except (FileNotFoundError, ValidationError):
        return NAMES[0]
    return NAMES[served == NAMES[0]]


def _pin(folder: Path) -> Path:
    return folder / "pin.json"


def _remove_others(folder: Path, pin: Pin) -> None:
    for path in folder.glob("*.parquet"):
        if path.name != pin.file:
            path.unlink()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
