"""The high-water mark: how far the ledger has come, written down outside of it.

A ledger that is set back has un-spent a budget. No database can notice that by itself, since the old file is a
good file; so the number of its steps and the hash of the last one also stand in a small file elsewhere, best on
other storage. After each step the order is: database commit, mark, and only then what depends on the step.

Whoever can put back an old ledger *and* its old mark cannot be noticed here. It shows outside: the receipts that
follow have a predecessor which other receipts had before (`cohortmix verify`: "fork").
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError

from cohortmix.client.database import LedgerError
from cohortmix.client.durable import replace_file
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Hash, Wire

FILE = "ledger.mark"

CURE = "put the newest ledger back; if it is lost, its whole cap counts as spent on these patients"
RENEW = "if it is lost and this ledger is the newest, sign for that: `cohortmix site ledger --renew-mark`"


class HistoryError(LedgerError):
    """The ledger is not the one that was kept here last, or not as it was written."""


class Place(NamedTuple):
    """Where a ledger stands: the number of its steps, and the hash of the last one."""

    steps: int
    hash: str


class _Content(Wire):
    steps: int = Field(ge=0)
    hash: Hash


class Mark:
    """The mark of one ledger, in a folder that exists.

    The folder is never made here: where storage is not mounted, an empty folder must not take its place.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    def follow(self, place: Place, hash_of: Callable[[int], str]) -> None:
        """Move on to `place`, where the ledger stands; call it while nobody else can add a step.

        Equal places are the rule. A ledger one step ahead stopped between its commit and its mark. Any other
        difference is refused.

        Parameters
        ----------
        hash_of : the hash of each of the ledger's steps by its number, and what comes before the first at 0.

        Raises
        ------
        HistoryError
            If the ledger is behind the mark, has another history, is more than one step ahead, or is not empty
            and has no mark.
        LedgerError
            If the mark cannot be read or written.
        """
        mark = self._read(RENEW if place.steps else f"and the ledger is empty: {CURE}")
        if mark is None and place.steps:
            raise HistoryError(
                f"the ledger has {place.steps} steps and its high-water mark {str(self._file)!r} is not there; "
                f"mount its storage; {RENEW}"
            )
        if mark is not None:
            self._require_history(mark, place, hash_of)
            if place.steps > mark.steps + 1:
                raise HistoryError(
                    f"the high-water mark was set back: it says {mark.steps} steps, the ledger has {place.steps}; "
                    f"put the newest {str(self._file)!r} back; {RENEW}"
                )
        if mark != place:
            self._write(place)

    def renew(self, place: Place, hash_of: Callable[[int], str]) -> None:
        """Write a mark that is lost, damaged or too old anew, on the word of whoever calls that `place` is newest.

        Raises
        ------
        HistoryError
            If there is a mark which shows that it is not, or `place` is that of an empty ledger: only a lost one
            is empty where there was something to mark.
        """
        try:
            mark = self._read(RENEW)
        except HistoryError:
            mark = None
        if mark is not None:
            self._require_history(mark, place, hash_of)
        if not place.steps:
            raise HistoryError(f"the ledger is empty, and no mark is signed for an empty one; {CURE}")
        self._write(place)

    def _require_history(self, mark: Place, place: Place, hash_of: Callable[[int], str]) -> None:
        if place.steps < mark.steps:
            raise HistoryError(
                f"the ledger was set back: it has {place.steps} steps, its mark says {mark.steps}; {CURE}"
            )
        if hash_of(mark.steps) != mark.hash:
            raise HistoryError(
                f"the ledger has another history than its high-water mark, which knows another step {mark.steps}; "
                f"{CURE}"
            )

    def _read(self, cure: str) -> Place | None:
        """The mark, None if there is no file; `cure` is what a person should do about a damaged one."""
        try:
            content = _Content.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerError(
                f"cannot read the high-water mark {str(self._file)!r}: {error.strerror}; check its storage"
            ) from None
        except ValidationError:
            raise HistoryError(f"the high-water mark {str(self._file)!r} is damaged; {cure}") from None
        return Place(content.steps, content.hash)

    def _write(self, place: Place) -> None:
        try:
            replace_file(self._file, canonical(_Content(steps=place.steps, hash=place.hash).plain()))
        except OSError as error:
            raise LedgerError(
                f"cannot write the high-water mark {str(self._file)!r}: {error.strerror}; check its storage"
            ) from None
