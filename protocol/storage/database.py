"""One SQLite file: durable transactions, one writer at a time across threads and processes, errors of one
sentence.

A damaged file can read like a good one: an index that disagrees with its table hides rows, and a trigger or view
that somebody put in acts in the name of this program. So the whole file is checked when it opens. That it holds
our tables and nothing else is checked again at the start of each transaction.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.storage.durable import sync_folder

_PATIENCE_SECONDS = 60.0  # that a transaction waits for another process's; all of them are short
_PRAGMAS = ("cell_size_check=ON", "trusted_schema=OFF", "journal_mode=WAL", "synchronous=FULL")
_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
_LONGEST_REASON = 120  # characters of SQLite's message that are shown


class Words(NamedTuple):
    """How errors about a kept file are worded.

    Attributes
    ----------
    name : what the file is called, such as "the ledger".
    newest : what to do where it is not the newest, or not as it was written.
    renew : what to do where only its high-water mark is lost.
    error : the exception for a file that cannot be used.
    history_error : the exception for a file that is not the one kept here last, or not as it was written.
    """

    name: str
    newest: str
    renew: str
    error: type[Exception]
    history_error: type[Exception]


class Database:
    """A connection that the threads of this process share.

    Parameters
    ----------
    path : the file; one that is made here is readable by its owner only. ":memory:" for none.
    tables : SQL that creates the tables where they are not there yet; the file may hold nothing else.

    Raises
    ------
    words.error
        If the file cannot be opened, is no database, is damaged, or holds anything but `tables`.
    """

    def __init__(self, path: str | Path, tables: str, words: Words) -> None:
        self._path, self._words, self._lock = path, words, threading.RLock()
        try:
            if str(path) != ":memory:":
                Path(path).touch(mode=0o600)
                sync_folder(Path(path).parent)
            self._connection = sqlite3.connect(
                path, timeout=_PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise self._fault("open", error) from None
        try:
            with self._worded("read"):
                for pragma in _PRAGMAS:
                    self._connection.execute(f"PRAGMA {pragma}")
                if not self._connection.execute(_SCHEMA).fetchall():
                    self._connection.executescript(tables)
            self._tables = _schema(tables)
            self._require_whole()
        except words.error:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it is written, or nothing; IMMEDIATE, so that what was read in it still holds at the commit."""
        with self._lock, self._worded("write"), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            self._require_tables()
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Keep the other threads of this process out while something is read."""
        with self._lock, self._worded("read"):
            yield

    @property
    def writing(self) -> bool:
        """Whether a transaction of this connection is open."""
        return self._connection.in_transaction

    def write(self, sql: str, *values: str | int | bytes) -> None:
        """Run one statement, inside a transaction."""
        self._connection.execute(sql, values)

    def select(self, sql: str, *values: str | int) -> Iterator[tuple[Any, ...]]:
        """The rows of one SELECT, one at a time; for use inside `reading` or a transaction."""
        yield from self._connection.execute(sql, values)

    def close(self) -> None:
        """Close the file; nothing here can be used afterwards."""
        self._connection.close()

    @contextmanager
    def _worded(self, what: str) -> Iterator[None]:
        """Raise SQLite's errors in our words; SQLite also decodes damaged bytes for its own."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._fault(what, error) from None

    def _fault(self, what: str, error: OSError | sqlite3.Error | UnicodeDecodeError) -> Exception:
        reason = error.strerror if isinstance(error, OSError) else _reason(error)
        cure = "" if isinstance(error, OSError | sqlite3.OperationalError) else f"; {self._words.newest}"
        return self._words.error(f"cannot {what} {self._words.name} {in_quotes(self._path)}: {reason}{cure}")

    def _require_whole(self) -> None:
        """Raise unless table, indexes and free pages agree, and nothing else is in the file."""
        with self.reading():
            self._require_tables()
            ((verdict,),) = self._connection.execute("PRAGMA integrity_check(1)")
        if verdict != "ok":
            raise self._altered("its pages contradict each other")

    def _require_tables(self) -> None:
        if self._connection.execute(_SCHEMA).fetchall() != self._tables:
            raise self._altered("its tables are not the ones that were made")

    def _altered(self, what: str) -> Exception:
        return self._words.history_error(
            f"{self._words.name} {in_quotes(self._path)} is damaged: {what}; {self._words.newest}"
        )


def _schema(tables: str) -> list[tuple[Any, ...]]:
    """What SQLite's list of tables holds once `tables` has run."""
    fresh = sqlite3.connect(":memory:")
    try:
        fresh.executescript(tables)
        return fresh.execute(_SCHEMA).fetchall()
    finally:
        fresh.close()


def _reason(error: sqlite3.Error | UnicodeDecodeError) -> str:
    """SQLite's message on one line; a damaged file can put any byte into it."""
    return "".join(letter for letter in str(error) if letter.isprintable())[:_LONGEST_REASON]
