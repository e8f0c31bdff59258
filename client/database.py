"""One SQLite file: durable transactions, one writer at a time, across threads and processes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cohortmix.client.durable import sync_folder

_PATIENCE_SECONDS = 30.0  # for another process's transaction; they are all short


class LedgerError(Exception):
    """The ledger cannot be used, or refuses a step that its rules do not allow."""


class Database:
    """A connection that the threads of this process share.

    Parameters
    ----------
    path : the file, readable by its owner only when it is made here; ":memory:" for none.
    tables : SQL that creates what is not there yet.

    Raises
    ------
    LedgerError
        If the file cannot be opened, or is no database.
    """

    def __init__(self, path: str | Path, tables: str) -> None:
        self._lock = threading.RLock()
        try:
            if str(path) != ":memory:":
                Path(path).touch(mode=0o600)
                sync_folder(Path(path).parent)
            self._connection = sqlite3.connect(
                path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise LedgerError(f"cannot open the ledger {str(path)!r}: {reason}") from None
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.executescript(tables)
        except sqlite3.Error as error:
            self.close()
            raise LedgerError(f"cannot read the ledger {str(path)!r}: {error}") from None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything or nothing; IMMEDIATE, so that what was read first still holds at the commit."""
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield

    def write(self, sql: str, *values: str | int | bytes) -> None:
        """Run one statement, inside a transaction."""
        self._connection.execute(sql, values)

    def read(self, sql: str, *values: str | int) -> list[tuple[Any, ...]]:
        """The rows of one SELECT."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def each(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows of one SELECT, one at a time; for use inside a transaction."""
        yield from self._connection.execute(sql)

    def close(self) -> None:
        """Close the file; nothing here can be used afterwards."""
        self._connection.close()
