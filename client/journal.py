"""The ledger's journal: steps that are only ever added, each chained by a hash to the one before.

Every durable step of the ledger is one row, and a row is never changed. The hash of a row covers all of it and
the hash of the row before, so that whoever edits, removes or inserts one has to write every later one anew; that
the last hash is still the one that was written here, the high-water mark says (`mark.py`).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cohortmix.client.database import Database, LedgerError
from cohortmix.client.mark import CURE, HistoryError, Mark, Place
from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.receipts import GENESIS

_TABLE = """
CREATE TABLE IF NOT EXISTS steps (  -- added one by one, never changed
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, study TEXT NOT NULL, id TEXT NOT NULL, part INTEGER NOT NULL,
    content BLOB NOT NULL, hash TEXT NOT NULL UNIQUE,
    UNIQUE (kind, study, id, part)
) STRICT;
"""
_COLUMNS = "number, kind, study, id, part, content, hash"


class Step(NamedTuple):
    """One row: what happened (`kind`), for which request of which study, to which `part` of it."""

    number: int
    kind: str
    study: str
    id: str
    part: int
    content: bytes
    hash: str

    def hash_after(self, previous: str) -> str:
        """The hash that this step has where it follows the step of hash `previous`."""
        content = hashlib.sha256(self.content).hexdigest()
        return sha256([previous, self.number, self.kind, self.study, self.id, self.part, content])


class Journal:
    """The steps in one SQLite file, safe across threads and processes, and their high-water mark.

    Parameters
    ----------
    path : the file; ":memory:" for none.
    mark : the folder of the mark; None where nobody could set the file back, as in a simulation.
    renew : write a lost mark anew, on the word of whoever opens the journal.

    Raises
    ------
    HistoryError
        If a step was changed, removed or inserted, or the mark knows another history.
    LedgerError
        If the file or the mark cannot be read.
    """

    def __init__(self, path: str | Path, mark: Path | None = None, renew: bool = False) -> None:
        self._database = Database(path, _TABLE)
        self._mark = None if mark is None else Mark(mark)
        try:
            with self._database.transaction():
                self._verify()
                if renew and self._mark is not None:
                    self._mark.renew(self.place, self.hash_of)
                self._follow()
        except sqlite3.DatabaseError as error:
            self.close()
            raise LedgerError(f"cannot read the ledger {str(path)!r}: {error}; {CURE}") from None
        except LedgerError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the journal cannot be used afterwards."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """For one `append` at most, and the reads that decide on it: durable, then marked, when this ends.

        Both transactions hold the database's write lock, so marks follow steps in order, whoever makes them.
        """
        with self._database.transaction():
            self._follow()
            yield
        with self._database.transaction():
            self._follow()

    def append(self, kind: str, study: str, id: str, part: int, content: bytes) -> None:
        """Add a step, inside a transaction; the same kind, study, id and part are there once."""
        place = self.place
        step = Step(place.steps + 1, kind, study, id, part, content, "")
        self._database.write(
            f"INSERT INTO steps ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *step._replace(hash=step.hash_after(place.hash)),
        )

    @property
    def place(self) -> Place:
        """The number of steps and the hash of the last one."""
        last = self._database.read("SELECT number, hash FROM steps ORDER BY number DESC LIMIT 1")
        return Place(*last[0]) if last else Place(0, GENESIS)

    def steps(self, kind: str, study: str | None = None, id: str | None = None) -> list[Step]:
        """The steps of one kind, of all studies or one, of all requests or one; in their order."""
        wanted = {"kind": kind, "study": study, "id": id}
        given = {name: value for name, value in wanted.items() if value is not None}
        where = " AND ".join(f"{name} = ?" for name in given)
        rows = self._database.read(f"SELECT {_COLUMNS} FROM steps WHERE {where} ORDER BY number", *given.values())
        return [Step(*row) for row in rows]

    def last(self, kind: str) -> Step | None:
        """The last step of one kind."""
        rows = self._database.read(
            f"SELECT {_COLUMNS} FROM steps WHERE kind = ? ORDER BY number DESC LIMIT 1", kind
        )
        return Step(*rows[0]) if rows else None

    def keys(self, kind: str) -> set[tuple[str, str]]:
        """The study and id of the steps of one kind, without their content."""
        return set(self._database.read("SELECT study, id FROM steps WHERE kind = ?", kind))

    def hash_of(self, number: int) -> str:
        """The hash of the step of this number; GENESIS for 0."""
        rows = self._database.read("SELECT hash FROM steps WHERE number = ?", number)
        return str(rows[0][0]) if rows else GENESIS

    def _verify(self) -> None:
        place = Place(0, GENESIS)
        for row in self._database.each(f"SELECT {_COLUMNS} FROM steps ORDER BY number"):
            step, number = Step(*row), place.steps + 1
            if (step.number, step.hash) != (number, step.hash_after(place.hash)):
                raise HistoryError(
                    f"the ledger was altered: step {number} is not the one that was written; {CURE}"
                )
            place = Place(number, step.hash)

    def _follow(self) -> None:
        if self._mark is not None:
            self._mark.follow(self.place, self.hash_of)
