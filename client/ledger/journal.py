"""The ledger's journal: `protocol/storage/hash_chain.py` with the name, the errors and the mark of a ledger."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Wire
from cohortmix.protocol.messages import MAX_BYTES
from cohortmix.protocol.storage.database import Words
from cohortmix.protocol.storage.hash_chain import SMALL, Journal, Step

MARK_FILE = "ledger.mark"
CURE = "put the newest ledger back; if it is lost, its whole cap counts as spent on these patients"
RENEW = "if it is lost and this ledger is the newest, sign for that: `cohortmix site ledger --renew-mark`"
MOST_BYTES = 8 * MAX_BYTES
"""Of one step: the second moments of a large study are the largest. SQLite's own limit is a billion bytes."""

_NOT_READ_BACK = "a step would not read back as it was written; nothing was written"
_W = TypeVar("_W", bound=Wire)


class LedgerError(Exception):
    """The ledger cannot be used, or refuses a step that its rules do not allow."""


class HistoryError(LedgerError):
    """The ledger is not the one that was kept here last, or not as it was written."""


class LedgerJournal(Journal):
    """The ledger's steps, whose contents are messages; errors as `protocol.storage.hash_chain.Journal`.

    Parameters
    ----------
    path : the file; ":memory:" for none.
    mark : the folder of the mark; None for a simulation.
    renew : write a lost mark anew, on the word of whoever opens the ledger.
    """

    def __init__(self, path: str | Path, mark: Path | None = None, renew: bool = False) -> None:
        words = Words("the ledger", CURE, RENEW, LedgerError, HistoryError)
        self._parsed: dict[int, Wire] = {}  # by number of the step; a step never changes, so it is parsed once
        super().__init__(path, words, None if mark is None else mark / MARK_FILE, renew)

    def read(self, step: Step, kind: type[_W]) -> _W:
        """The message that a step holds; HistoryError if it holds none of this kind."""
        if step.number in self._parsed:
            message = self._parsed[step.number]
            assert isinstance(message, kind)
            return message
        try:
            message = kind.model_validate_json(step.content)
        except ValidationError:
            raise self.altered(step.number) from None
        if len(step.content) <= SMALL:  # as the journal itself keeps the small ones in memory
            self._parsed[step.number] = message
        return message


def step_message(kind: type[_W], **fields: object) -> _W:
    """The message for a new step; LedgerError for what it cannot hold, such as a fraction of 500 digits."""
    try:
        return kind(**fields)
    except ValidationError:
        raise LedgerError(_NOT_READ_BACK) from None


def step_content(message: Wire, limit: int = MOST_BYTES) -> bytes:
    """A message as the content of a step, which is shown to read back as the same message.

    A step that could be written and not read would close the ledger for good, so it is read before it is written.

    Raises
    ------
    LedgerError
        If it is longer than `limit` bytes, or does not read back.
    """
    try:
        content = canonical(message.plain())
        same = type(message).model_validate_json(content) == message
    except ValueError:  # pydantic's errors are among these, and those of a number that JSON cannot hold
        same = False
    if not same:
        raise LedgerError(_NOT_READ_BACK)
    if len(content) > limit:
        raise LedgerError(f"a step has {len(content)} bytes, expected {limit} at most; nothing was written")
    return content
