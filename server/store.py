"""What the coordinator may not lose: its requests, the sites' replies, the frozen common facts, and when.

One journal per study (`protocol/journal.py`), with its high-water mark beside it. Everything in it is signed or
public, and nothing is decided here: messages go in as bytes and come out as the same bytes. Each write is durable
before the call returns, so a coordinator that was stopped at any point goes on from there. The first entry under a
key stays: a repeat changes nothing. A file that was damaged or set back is refused, never read as far as it goes.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from cohortmix.core.table import InputError
from cohortmix.protocol.canonical import canonical, sha256
from cohortmix.protocol.database import Words
from cohortmix.protocol.journal import Journal, Step

CURE = (
    "put the newest study.db and study.mark back; if they are lost, remove both and run the study again: a site "
    "that has answered gives the same release, at no cost"
)
STUDY, REFUSAL, COMMON, MOMENT, RUN, PUBLICATION = "study", "refusal", "common", "moment", "run", "publication"
_RECEIPT = 64  # a reply is kept behind the hash of its receipt


NOT_ACCEPTED = "NOT_ACCEPTED"
"""Code of a reply that the coordinator turned down; the other codes are the sites' own."""

MOST_REFUSALS = 8
"""Refusals of one site, round and code that are kept. They are not signed: whoever is on the way could write
another sentence at every poll, and each would be a durable step. A person reads the last one."""


class RefusalEntry(NamedTuple):
    """One reply that brought no release: the site's refusal, or why the coordinator did not accept it."""

    site: str
    round: int
    code: str
    sentence: str


class Publication(NamedTuple):
    """One folder that was published.

    Attributes
    ----------
    receipts : hash over the hashes of the receipts in it, which says whether another reply has come since.
    folder : where it was written.
    """

    receipts: str
    folder: str


class Store:
    """The durable state of one study.

    Parameters
    ----------
    path : path of the SQLite file, made if it is absent; ":memory:" for a study that need not survive.
    study_hash : hash of the study; a file that holds another study is refused.

    Raises
    ------
    InputError
        If the file belongs to another study, is not a store, is damaged or set back, or cannot be used; later too.
    """

    def __init__(self, path: Path | str, study_hash: str) -> None:
        words = Words("the study's store", CURE, CURE, InputError, InputError)
        mark = None if str(path) == ":memory:" else Path(path).with_suffix(".mark")
        self._last_refusals: dict[str, RefusalEntry] = {}  # by site, also beyond what is kept
        self._study, self._journal = study_hash, Journal(path, words, mark, several=True)
        try:
            held = {step.study for step in self._journal.steps(STUDY)}
            if not held:
                self._keep(STUDY, "", b"")
            elif held != {study_hash}:
                raise InputError(
                    f"the store holds study={min(held)}, not study={study_hash}; use one file per study"
                )
        except InputError:
            self.close()
            raise

    @contextmanager
    def together(self) -> Iterator[None]:
        """Keep all that is kept inside of this at once; durable when it ends, and not before."""
        with self._journal.transaction():
            yield

    def keep_request(self, site: str, round: int, message: bytes) -> bytes:
        """Keep a request before it is sent; return the one that is kept, which may be an earlier one."""
        return self._keep(_request(round), site, message)

    def keep_reply(self, site: str, round: int, receipt: str, message: bytes) -> bool:
        """Keep a site's release under the hash of its receipt; False if this round has one."""
        content = receipt.encode().ljust(_RECEIPT) + message
        with self._journal.transaction():
            new = not self._steps(_reply(round), site)
            if new:
                self._journal.append(_reply(round), self._study, site, 0, content)
        return new

    def keep_refusal(self, entry: RefusalEntry, signed: bool = False) -> None:
        """Note a reply that brought no release, unless the site's last one said the same.

        Beyond MOST_REFUSALS the last one is known for as long as this store is open.

        Parameters
        ----------
        signed : the site has signed what this says, so it is kept at any rate, once.
        """
        with self._journal.transaction():
            earlier = [_refusal(step) for step in self._steps(REFUSAL, entry.site)]
            alike = [each for each in earlier if (each.round, each.code) == (entry.round, entry.code)]
            repeats = entry in (alike if signed else earlier[-1:])
            if not repeats and (signed or len(alike) < MOST_REFUSALS):
                content = canonical([entry.round, entry.code, entry.sentence])
                self._journal.append(REFUSAL, self._study, entry.site, len(earlier), content)
        self._last_refusals[entry.site] = entry

    def keep_common(self, message: bytes) -> bytes:
        """Freeze the common facts of round 2; return the ones that are frozen, which may be earlier ones."""
        return self._keep(COMMON, "", message)

    def keep_moment(self, event: str, at: float) -> float:
        """Note when something happened, in seconds since 1970; return the moment kept, maybe an earlier one."""
        return float(self._keep(MOMENT, event, repr(float(at)).encode()))

    def keep_run(self, id: str) -> None:
        """Note under which id Flower conducts the study."""
        self._add(RUN, id.encode())

    def keep_publication(self, publication: Publication) -> None:
        """Note what was published."""
        self._add(PUBLICATION, canonical(list(publication)))

    def request(self, site: str, round: int) -> bytes | None:
        """The request of a site for a round, or None before it is made."""
        return next((step.content for step in self._steps(_request(round), site)), None)

    def requests(self, round: int) -> dict[str, bytes]:
        """The requests made so far, by site."""
        return {step.id: step.content for step in self._steps(_request(round))}

    def receipt(self, site: str, round: int) -> str | None:
        """The hash of the receipt under which a site's release of a round is kept, or None."""
        return next((_receipt(step) for step in self._steps(_reply(round), site)), None)

    def replies(self, round: int) -> dict[str, bytes]:
        """The releases received so far, by site, in the order of their names."""
        return {
            step.id: step.content[_RECEIPT:] for step in sorted(self._steps(_reply(round)), key=lambda s: s.id)
        }

    def answered(self, round: int) -> frozenset[str]:
        """The sites whose release of this round is kept."""
        return frozenset(site for _, site in self._journal.keys(_reply(round)))

    def refusals(self) -> tuple[RefusalEntry, ...]:
        """The replies that brought no release, in the order of arrival; the last one of each site among them."""
        kept = [_refusal(step) for step in self._steps(REFUSAL)]
        last = {entry.site: entry for entry in kept}
        return (*kept, *(entry for site, entry in self._last_refusals.items() if last.get(site) != entry))

    def common(self) -> bytes | None:
        """The frozen common facts, or None before the freeze."""
        return next((step.content for step in self._steps(COMMON)), None)

    def moment(self, event: str) -> float | None:
        """When something happened, in seconds since 1970; None if it has not."""
        return next((float(step.content) for step in self._steps(MOMENT, event)), None)

    def run(self) -> str | None:
        """The id of the latest run, or None."""
        last = self._journal.last(RUN)
        return None if last is None else last.content.decode()

    def publication(self) -> Publication | None:
        """The latest publication, or None."""
        last = self._journal.last(PUBLICATION)
        return None if last is None else Publication(*json.loads(last.content))

    def receipts(self) -> str:
        """Hash over the hashes of all receipts received so far."""
        return sha256(sorted(_receipt(step) for round in (1, 2) for step in self._steps(_reply(round))))

    def close(self) -> None:
        """Release the file; the store cannot be used afterwards."""
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _steps(self, kind: str, id: str | None = None) -> list[Step]:
        return self._journal.steps(kind, self._study, id)

    def _keep(self, kind: str, id: str, content: bytes) -> bytes:
        """The first content under this kind and id."""
        with self._journal.transaction():
            kept = self._steps(kind, id)
            if not kept:
                self._journal.append(kind, self._study, id, 0, content)
        return kept[0].content if kept else content

    def _add(self, kind: str, content: bytes) -> None:
        with self._journal.transaction():
            self._journal.append(kind, self._study, "", len(self._steps(kind)), content)


def _request(round: int) -> str:
    return f"request {round}"


def _reply(round: int) -> str:
    return f"reply {round}"


def _receipt(step: Step) -> str:
    return step.content[:_RECEIPT].decode().rstrip()


def _refusal(step: Step) -> RefusalEntry:
    return RefusalEntry(step.id, *json.loads(step.content))
