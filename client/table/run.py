"""Runs: consecutive row groups of a Parquet file on storage that several machines can read, pinned by their hash.

The bytes of a run are read once, into memory, and compared with the pin; rows are then decoded from these same
bytes. So a file that changes, while it is read or at any other time, is noticed and never answered from.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.fs import FileSelector, FileSystem, FileType
from pydantic import BaseModel, ConfigDict

from cohortmix.client.table.file import PARQUET_SUFFIXES, readable
from cohortmix.client.table.parquet_file import Columns
from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes

RUN_BYTES = 1 << 24  # of a run, if a file has so many: seconds of work, which starting on it should not outweigh
TAIL = 8  # bytes at a file's end: the length of its footer and `PAR1`
CURE = "run `cohortmix site check`"


class Run(BaseModel):
    """Consecutive row groups of a file, and the bytes in which they lie: from `start` to `stop`, and the footer.

    Attributes
    ----------
    file : its name in the folder; "" where the location is a file.
    first, last : the row groups, without `last`.
    size, footer : bytes of the file, and of its footer with the tail.
    sha256, footer_sha256 : of the run's bytes, and of the footer. They stay at the site, as a snapshot does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    first: int
    last: int
    start: int
    stop: int
    size: int
    footer: int
    footer_sha256: str
    sha256: str = ""


@dataclass(frozen=True)
class RunSource:
    """The rows of a run, as a source; the schema of `columns` names them.

    Parameters
    ----------
    location : of the folder or file, a path or a URI; every machine that reads it has to know it by this name.
    """

    location: str
    run: Run
    columns: Columns

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.columns.types.names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows; InputError before the first of them if the bytes are not those that were checked."""
        body, footer = self._bytes()
        if _sha256(body) != self.run.sha256:
            raise self._changed()
        held = pa.PythonFile(_Held(body, self.run), "r")
        with (
            readable(self._name),
            self.columns.reader(held, pq.read_metadata(pa.BufferReader(footer))) as file,
        ):
            yield from self.columns.batches(file, range(self.run.first, self.run.last))

    def sealed(self) -> Run:
        """The run with the hash of its bytes as they are now."""
        return self.run.model_copy(update={"sha256": _sha256(self._bytes()[0])})

    @property
    def _name(self) -> str:
        return self.run.file or self.location

    def _bytes(self) -> tuple[bytes, bytes]:
        """The bytes of the run, and the footer, which says where in them the columns are."""
        run = self.run
        with opened(self.location, run.file) as file:
            if file.size() != run.size:
                raise self._changed()
            body = file.read_at(run.stop - run.start, run.start)
            footer = file.read_at(run.footer, run.size - run.footer)
        if _sha256(footer) != run.footer_sha256:
            raise self._changed()
        return body, footer

    def _changed(self) -> InputError:
        return InputError(f"{in_quotes(self._name)} has changed since the table was checked; {CURE}")


def seal(piece: RunSource) -> Run:
    """As `RunSource.sealed`, for whoever computes it of many pieces."""
    return piece.sealed()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Held(io.RawIOBase):
    """A file of which the bytes of a run are held; it ends where they do."""

    def __init__(self, body: bytes, run: Run) -> None:
        self._body, self._start, self._size, self._at = memoryview(body), run.start, run.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        at = self._at - self._start
        read = self._body[at : at + len(buffer)] if at >= 0 else self._body[:0]
        buffer[: len(read)] = read
        self._at += len(read)
        return len(read)


@contextmanager
def opened(location: str, name: str) -> Iterator[pa.NativeFile]:
    """A file of a folder, or, without a name, the one at a location; InputError where it cannot be read."""
    try:
        system, inside = FileSystem.from_uri(location)
        with system.open_input_file(f"{inside}/{name}" if name else inside) as file:
            yield file
    except (pa.ArrowException, OSError):
        raise InputError(
            f"{in_quotes(name or location)} cannot be read; see that it is there, whole, and open to this machine"
        ) from None


def files_at(location: str) -> list[str]:
    """The names of a folder's Parquet files, in their order; [""] for a file.

    Raises
    ------
    InputError
        If there is nothing, or no Parquet file, or the location cannot be understood or reached.
    """
    try:
        system, inside = FileSystem.from_uri(location)
        kind = system.get_file_info(inside).type
        within = [] if kind != FileType.Directory else system.get_file_info(FileSelector(inside))
        found = [info.base_name for info in within]
    except (pa.ArrowException, OSError):
        raise InputError(
            f"{in_quotes(location)} cannot be reached; expected a path, or a URI such as s3://BUCKET/FOLDER"
        ) from None
    except UnicodeError:
        raise InputError(f"a name in {in_quotes(location)} is not UTF-8; rename it") from None
    if kind == FileType.File:
        return [""]
    names = sorted(name for name in found if name.lower().endswith(PARQUET_SUFFIXES))
    if not names:
        raise InputError(f"{in_quotes(location)} holds no .parquet file, or is not there")
    return names


def runs_of(file: pa.NativeFile, name: str) -> Iterator[Run]:
    """The runs of a file in their order, not yet sealed; all of it is one where its row groups overlap."""
    metadata = pq.read_metadata(file)
    size, footer = file.size(), metadata.serialized_size + TAIL
    footer_sha256 = _sha256(file.read_at(footer, size - footer))
    spans = [_span(metadata.row_group(group)) for group in range(metadata.num_row_groups)]
    ends = [0, *(stop for _, stop in spans)]
    apart = all(end <= start < stop for end, (start, stop) in zip(ends, spans, strict=False))
    first, start = 0, 0
    for last, stop in enumerate(ends[1:], 1):
        whole = last == len(spans)
        if whole or (apart and stop - start >= RUN_BYTES):
            stop = size - footer if whole else stop
            yield Run(
                file=name,
                first=first,
                last=last,
                start=start,
                stop=stop,
                size=size,
                footer=footer,
                footer_sha256=footer_sha256,
            )
            first, start = last, stop


def _span(group: pq.RowGroupMetaData) -> tuple[int, int]:
    """The bytes in which a row group lies; none if it has no column."""
    starts, stops = [], []
    for at in range(group.num_columns):
        column = group.column(at)
        pages = (column.dictionary_page_offset, column.data_page_offset)
        starts.append(min(page for page in pages if page is not None))
        stops.append(starts[-1] + column.total_compressed_size)
    return min(starts, default=0), max(stops, default=0)
