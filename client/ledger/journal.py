"""The ledger's journal: `protocol/storage/journal.py` with the ledger's name, errors and mark."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Wire
from cohortmix.protocol.messages import MAX_BYTES
from cohortmix.protocol.storage import journal
from cohortmix.protocol.storage.database import Words
from cohortmix.protocol.storage.journal import SMALL, Step

__all__ = ["CURE", "FILE", "HistoryError", "Journal", "LedgerError", "Step", "made", "written"]

FILE = "ledger.mark"
CURE = "put the newest ledger back; if it is lost, its whole cap counts as spent on these patients"
RENEW = "if it is lost and this ledger is the newest, sign for that: `cohortmix site ledger --renew-mark`"
MOST_BYTES = 8 * MAX_BYTES
"""Of one step: the second moments of a large study are the largest. SQLite itself ends at a billion."""

_NOT_READ_BACK = "a step would not read back as it was written; nothing was written"
_W = TypeVar("_W", bound=Wire)


class LedgerError(Exception):
    """The ledger cannot be used, or refuses a step that its rules do not allow."""


class HistoryError(LedgerError):
    """The ledger is not the one that was kept here last, or not as it was written."""


class Journal(journal.Journal):
    """The ledger's steps; parameters and errors as `protocol.journal.Journal`.

    Parameters
    ----------
    mark : the folder of the mark.
    """

    def __init__(self, path: str | Path, mark: Path | None = None, renew: bool = False) -> None:
        words = Words("the ledger", CURE, RENEW, LedgerError, HistoryError)
        self._read_before: dict[int, Wire] = {}  # a step is never changed, so it is parsed once
        super().__init__(path, words, None if mark is None else mark / FILE, renew)

    def read(self, step: Step, kind: type[_W]) -> _W:
        """What a step says; HistoryError if it says nothing of this kind."""
        if step.number in self._read_before:
            said = self._read_before[step.number]
            assert isinstance(said, kind)
            return said
        try:
            parsed = kind.model_validate_json(step.content)
        except ValidationError:
            raise self.altered(step.number) from None
        if len(step.content) <= SMALL:
            self._read_before[step.number] = parsed
        return parsed


def made(kind: type[_W], **fields: object) -> _W:
    """What a step is to say; LedgerError for a field that none could hold, such as a fraction of 500 digits."""
    try:
        return kind(**fields)
    except ValidationError:
        raise LedgerError(_NOT_READ_BACK) from None


def written(message: Wire, limit: int = MOST_BYTES) -> bytes:
    """What a step says, as bytes that read back as the same message.

    What could be written and not read would close the ledger for good, so it is read before it is written.

    Raises
    ------
    LedgerError
        If it is longer than `limit` bytes, or does not read back.
    """
    try:
        content = canonical(message.plain())
        same = type(message).model_validate_json(content) == message
    except ValueError:  # also of pydantic, and of a number that no JSON has
        same = False
    if not same:
        raise LedgerError(_NOT_READ_BACK)
    if len(content) > limit:
        raise LedgerError(f"a step has {len(content)} bytes, expected {limit} at most; nothing was written")
    return content
