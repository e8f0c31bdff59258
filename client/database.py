"""One SQLite file: durable transactions, one writer at a time, across threads and processes."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PATIENCE_SECONDS = 30.0  # for another process's transaction; they are all short


class Database:
    """A connection that the threads of this process share.

    Parameters
    ----------
    path : the file, readable by its owner only when it is made here; ":memory:" for none.
    tables : SQL that creates what is not there yet.
    """

    def __init__(self, path: str | Path, tables: str) -> None:
        if str(path) != ":memory:":
            Path(path).touch(mode=0o600)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(
            path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
        )
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(tables)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything or nothing; IMMEDIATE, so that what was read first still holds at the commit."""
        with self._lock, self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection

    def read(self, sql: str, *values: str | int) -> list[tuple[Any, ...]]:
        """The rows of one SELECT."""
        with self._lock:
            return self._connection.execute(sql, values).fetchall()

    def close(self) -> None:
        """Close the file; nothing here can be used afterwards."""
        self._connection.close()
