"""The high-water mark: how far a journal has come, written down outside of it.

A journal that is set back to an older state has forgotten later decisions: a ledger would have its budget back. No
database can notice that by itself, since the old file is a sound file. So the number of its steps and the hash of
the last one are also kept in a small file elsewhere, best on other storage. After each step the order is: database
commit, mark, and only then whatever depends on the step.

Whoever puts back an old journal *and* its old mark is not noticed here. For a ledger it shows outside: the next
receipt names a predecessor that another receipt has named before (`cohortmix verify` reports a "fork").
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError

from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Hash, Wire
from cohortmix.protocol.storage.database import Words
from cohortmix.protocol.storage.durable import replace_file


class Place(NamedTuple):
    """Where a journal stands: the number of its steps, and the hash of the last one."""

    steps: int
    hash: str


class _Content(Wire):
    steps: int = Field(ge=0)
    hash: Hash


class Mark:
    """The mark of one journal, in a folder that exists.

    The folder is never made here: where storage is not mounted, an empty folder must not take its place.

    Parameters
    ----------
    file, words : where the mark is, and how errors about the journal are worded.
    most_ahead : how many steps the journal may be ahead of its mark, after a crash between a commit and its mark;
        None for any number.
    """

    def __init__(self, file: Path, words: Words, most_ahead: int | None = 1) -> None:
        self._file, self._words, self._most_ahead = file, words, most_ahead

    def follow(self, place: Place, hash_of: Callable[[int], str]) -> None:
        """Move the mark to `place`, where the journal stands; call it while nobody else can add a step.

        Usually they are equal. A journal that is ahead by at most `most_ahead` steps stopped between a commit and
        its mark. Any other difference is refused.

        Parameters
        ----------
        hash_of : the hash of a step of the journal by its number; GENESIS for 0.

        Raises
        ------
        words.history_error
            If the journal is behind the mark, has another history, is too far ahead, or is not empty and has no
            mark.
        words.error
            If the mark cannot be read or written.
        """
        words = self._words
        mark = self._read(words.renew if place.steps else f"and {words.name} is empty: {words.newest}")
        if mark is None and place.steps:
            raise words.history_error(
                f"{words.name} has {place.steps} steps and its high-water mark {in_quotes(self._file)} is not "
                f"there; mount its storage; {words.renew}"
            )
        if mark is not None:
            self._require_history(mark, place, hash_of)
            if self._most_ahead is not None and place.steps > mark.steps + self._most_ahead:
                raise words.history_error(
                    f"the high-water mark was set back: it says {mark.steps} steps, {words.name} has "
                    f"{place.steps}; put the newest {in_quotes(self._file)} back; {words.renew}"
                )
        if mark != place:
            self._write(place)

    def renew(self, place: Place, hash_of: Callable[[int], str]) -> None:
        """Write a lost, damaged or outdated mark anew, on the caller's word that `place` is the newest.

        Raises
        ------
        words.history_error
            If there is a mark which shows that it is not; or if the journal is empty, since where there was a mark
            an empty journal is a lost one.
        """
        try:
            mark = self._read(self._words.renew)
        except self._words.history_error:
            mark = None
        if mark is not None:
            self._require_history(mark, place, hash_of)
        if not place.steps:
            raise self._words.history_error(
                f"{self._words.name} is empty, and no mark is signed for an empty one; {self._words.newest}"
            )
        self._write(place)

    def _require_history(self, mark: Place, place: Place, hash_of: Callable[[int], str]) -> None:
        words = self._words
        if place.steps < mark.steps:
            raise words.history_error(
                f"{words.name} was set back: it has {place.steps} steps, its mark says {mark.steps}; "
                f"{words.newest}"
            )
        if hash_of(mark.steps) != mark.hash:
            raise words.history_error(
                f"{words.name} has another history than its high-water mark, which knows another step "
                f"{mark.steps}; {words.newest}"
            )

    def _read(self, cure: str) -> Place | None:
        """The mark, None if there is no file; `cure` is what a person should do about a damaged mark."""
        try:
            content = _Content.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._words.error(
                f"cannot read the high-water mark {in_quotes(self._file)}: {error.strerror}; check its storage"
            ) from None
        except ValidationError:
            raise self._words.history_error(
                f"the high-water mark {in_quotes(self._file)} is damaged; {cure}"
            ) from None
        return Place(content.steps, content.hash)

    def _write(self, place: Place) -> None:
        try:
            replace_file(self._file, canonical(_Content(steps=place.steps, hash=place.hash).plain()))
        except OSError as error:
            raise self._words.error(
                f"cannot write the high-water mark {in_quotes(self._file)}: {error.strerror}; check its storage"
            ) from None
