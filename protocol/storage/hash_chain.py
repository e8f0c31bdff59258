"""A journal: steps that are only ever added, each chained by a hash to the one before.

Every durable step is one row, and a row is never changed. The hash of a row covers all of it and the hash of the
row before, so that whoever edits, removes or inserts a row has to write every later one anew. The high-water mark
(`mark.py`) shows whether the last hash is still the one that was written here.

Decisions are made on the verified chain, which is held in memory, and never on what an index of the file says: a
damaged index hides rows. A row counts only once it was read back from the file as the next link of the chain.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.receipts import GENESIS
from cohortmix.protocol.storage.database import Database, Words
from cohortmix.protocol.storage.mark import Mark, Place

_TABLE = """
CREATE TABLE IF NOT EXISTS steps (  -- added one by one, never changed
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, study TEXT NOT NULL, id TEXT NOT NULL, part INTEGER NOT NULL,
    content BLOB NOT NULL, hash TEXT NOT NULL UNIQUE,
    UNIQUE (kind, study, id, part)
) STRICT;
"""
_COLUMNS = "number, kind, study, id, part, content, hash"
_TYPES = (int, str, str, str, int, bytes, str)
SMALL = 4096
"""Most bytes of content that stay in memory; a larger step, such as a release, is read and checked again."""


class Step(NamedTuple):
    """One row: what happened (`kind`), to which request (`id`) of which study, and to which `part` of it."""

    number: int
    kind: str
    study: str
    id: str
    part: int
    content: bytes
    hash: str

    def hash_after(self, previous: str) -> str:
        """The hash of this step if it follows the step of hash `previous`."""
        content = hashlib.sha256(self.content).hexdigest()
        return sha256([previous, self.number, self.kind, self.study, self.id, self.part, content])

    def follows(self, place: Place) -> bool:
        """Whether this is a sound row, and the next one after `place`; a damaged row can hold any value."""
        if tuple(map(type, self)) != _TYPES or self.number != place.steps + 1:
            return False
        try:
            return self.hash == self.hash_after(place.hash)
        except ValueError:  # a value that cannot be hashed, so that no step was ever written with it
            return False


class Journal:
    """The steps in one SQLite file, safe across threads and processes, and their high-water mark.

    Parameters
    ----------
    path : the file; ":memory:" for none.
    words : how errors about it are worded.
    mark : the file of the mark; None where nobody could set the journal back, as in a simulation.
    renew : write a lost mark anew, on the word of whoever opens the journal.
    several : whether one transaction may add several steps. A crash can then leave the mark any number of steps
        behind, so that a mark which was set back is not noticed.

    Raises
    ------
    words.history_error
        If a step was changed, removed or inserted, or the mark knows another history.
    words.error
        If the file or the mark cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        words: Words,
        mark: Path | None = None,
        renew: bool = False,
        several: bool = False,
    ) -> None:
        self.words, self._several = words, several
        self._database = Database(path, _TABLE, words)
        self._mark = None if mark is None else Mark(mark, words, None if several else 1)
        self._steps: list[Step] = []  # verified; the large ones are held without their content
        self._numbers: dict[tuple[str, ...], list[int]] = defaultdict(list)  # by kind; and study; and id
        self._ids: dict[tuple[str, str], set[str]] = defaultdict(set)  # by kind and study
        self._keys: set[tuple[str, str, str, int]] = set()
        self._large: set[int] = set()
        self._added: list[Step] = []  # by the transaction that is open
        try:
            with self._database.transaction():
                self._catch_up()
                if renew and self._mark is not None:
                    self._mark.renew(self._place, self.hash_of)
                self._follow()
        except words.error:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the journal cannot be used afterwards."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """For one `append` and the reads that decide on it: durable, and then marked, at the end of the context.

        The mark is written in a second transaction, since each holds the database's write lock: so marks follow
        steps in their order, whichever process writes them. A transaction inside another is a part of that one.
        """
        with self._database.reading():
            if self._database.writing:
                yield
                return
            try:
                with self._database.transaction():
                    self._catch_up()
                    self._follow()
                    yield
            finally:
                self._added.clear()
            with self._database.transaction():
                self._catch_up()
                self._follow()

    def append(self, kind: str, study: str, id: str, part: int, content: bytes) -> None:
        """Add a step, inside a transaction; kind, study, id and part together are unique.

        Raises
        ------
        words.error
            If there is such a step, or it does not read back from the file as it was written; nothing is changed
            then.
        """
        if (kind, study, id, part) in self._keys or (self._added and not self._several):
            raise self.words.error(f"{self.words.name} has this step already: {kind}, part {part}")
        number, previous = self._place.steps + 1, self._place.hash
        if self._added:
            number, previous = self._added[-1].number + 1, self._added[-1].hash
        step = Step(number, kind, study, id, part, content, "")
        step = step._replace(hash=step.hash_after(previous))
        self._database.write(f"INSERT INTO steps ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", *step)
        if self._read(step.number) != step:
            raise self.words.error(f"{self.words.name} did not read back as it was written; check its storage")
        self._added.append(step._replace(content=b""))

    @property
    def place(self) -> Place:
        """The number of steps and the hash of the last one."""
        with self._newest():
            return self._place

    def steps(self, kind: str, study: str | None = None, id: str | None = None) -> list[Step]:
        """The steps of one kind, of all studies or one, of all requests of that or one; in their order."""
        key = tuple(part for part in (kind, study, id) if part is not None)
        with self._newest():
            return [self._whole(number) for number in self._numbers.get(key, ())]

    def last(self, kind: str) -> Step | None:
        """The last step of one kind."""
        with self._newest():
            numbers = self._numbers.get((kind,))
            return self._whole(numbers[-1]) if numbers else None

    def keys(self, kind: str) -> set[tuple[str, str]]:
        """The study and id of the steps of one kind, without their content."""
        with self._newest():
            steps = (self._steps[number - 1] for number in self._numbers.get((kind,), ()))
            return {(step.study, step.id) for step in steps}

    def ids(self, kind: str, study: str) -> frozenset[str]:
        """The ids of the steps of one kind and study, without their content."""
        with self._newest():
            return frozenset(self._ids.get((kind, study), ()))

    def hash_of(self, number: int) -> str:
        """The hash of the step of this number; GENESIS for 0."""
        return self._steps[number - 1].hash if number else GENESIS

    def altered(self, number: int) -> Exception:
        """What to raise for a step that is not the one that was written, or whose content cannot be read."""
        words = self.words
        return words.history_error(
            f"{words.name} was altered: step {number} is not the one that was written; {words.newest}"
        )

    @property
    def _place(self) -> Place:
        return Place(len(self._steps), self.hash_of(len(self._steps)))

    @contextmanager
    def _newest(self) -> Iterator[None]:
        """Around reads: with the steps that others have added meanwhile, but none that is not yet committed."""
        with self._database.reading():
            if not self._database.writing:
                self._catch_up()
            yield

    def _catch_up(self) -> None:
        """Take in the steps that were added since, row by row in the order of the table itself."""
        place = self._place
        if place.steps and [row[0] for row in self._select("hash", "number = ?", place.steps)] != [place.hash]:
            raise self.words.history_error(
                f"{self.words.name} was set back, or altered, while it was open; {self.words.newest}"
            )
        first = place.steps or -(2**63)  # at the opening every row, also one of a number that no step has
        for row in self._select(_COLUMNS, "number > ? ORDER BY number", first):
            self._take(Step(*row))

    def _take(self, step: Step) -> None:
        key = (step.kind, step.study, step.id, step.part)
        if not step.follows(self._place) or key in self._keys:
            raise self.altered(len(self._steps) + 1)
        for names in ((step.kind,), (step.kind, step.study), (step.kind, step.study, step.id)):
            self._numbers[names].append(step.number)
        self._ids[step.kind, step.study].add(step.id)
        self._keys.add(key)
        if len(step.content) > SMALL:
            self._large.add(step.number)
            step = step._replace(content=b"")
        self._steps.append(step)

    def _whole(self, number: int) -> Step:
        """A step with its content, which is read again from the file and checked if it is large."""
        step = self._steps[number - 1]
        if number not in self._large:
            return step
        row, before = self._read(number), Place(number - 1, self.hash_of(number - 1))
        if row is None or row.hash != step.hash or not row.follows(before):
            raise self.altered(number)
        return row

    def _read(self, number: int) -> Step | None:
        rows = list(self._select(_COLUMNS, "number = ?", number))
        return Step(*rows[0]) if len(rows) == 1 else None

    def _select(self, columns: str, where: str, number: int) -> Iterator[tuple[Any, ...]]:
        """Rows by their number, which is the key of the table itself: no index is asked."""
        return self._database.select(f"SELECT {columns} FROM steps NOT INDEXED WHERE {where}", number)

    def _follow(self) -> None:
        if self._mark is not None:
            self._mark.follow(self._place, self.hash_of)
