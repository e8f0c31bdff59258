"""The file that a table is read from: of which kind it is, and what is wrong with one that cannot be read."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import in_quotes

CSV_SUFFIXES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")


def is_csv(path: Path) -> bool:
    """Whether a file is CSV, by its name; InputError if it is neither CSV nor Parquet, or is not there."""
    if not path.exists():
        raise InputError(f"there is no file {in_quotes(path)}")
    require_plain(path)
    if path.is_dir() or path.name.lower().endswith(PARQUET_SUFFIXES):
        return False
    if path.name.lower().endswith(CSV_SUFFIXES):
        return True
    known = ", ".join((*CSV_SUFFIXES, *PARQUET_SUFFIXES))
    raise InputError(f"{in_quotes(path)}: expected a folder of Parquet files, or a file with an ending of {known}")


def require_plain(path: Path) -> None:
    """Refuse a pipe or a device, which might never end."""
    if not path.is_file() and not path.is_dir():
        raise InputError(f"{in_quotes(path)} is no plain file; copy what it gives into one")


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Turn what a reader raises into a sentence of our own: the reader's text may quote a record."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, UnicodeError, csv.Error) as error:
        kind = "CSV" if str(path).lower().endswith(CSV_SUFFIXES) else "Parquet"
        raise InputError(f"{in_quotes(path)} cannot be read as {kind}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "permission denied"
    if "UTF8" in str(error) or isinstance(error, UnicodeError):
        return "its text is not UTF-8; save it again in that encoding"
    if "Expected" in str(error) and "columns" in str(error):
        return "a line has another number of cells than the header"
    return "the file is damaged, or of another format than its name says"
