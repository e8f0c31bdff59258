"""What the coordinator must not lose: its requests, the sites' replies, the frozen common facts, and their times.

One journal for each study (`protocol/storage/hash_chain.py`), with its high-water mark beside it. Everything in it
is signed or public, and nothing is decided here: messages go in as bytes and come out as the same bytes. Each
write is durable before the call returns, so a coordinator that was stopped at any point goes on from there. The
first entry under a key stays; writing it again changes nothing. A file that was damaged or set back to an earlier
state is refused as a whole, never read as far as it is good.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from cohortmix.core.data.table import InputError
from cohortmix.protocol.canonical import canonical, sha256
from cohortmix.protocol.storage.database import Words
from cohortmix.protocol.storage.hash_chain import Journal, Step

CURE = (
    "put the newest study.db and study.mark back; if they are lost, remove both and run the study again: a site "
    "that has answered gives the same release, at no cost"
)
STUDY, REFUSAL, COMMON, MOMENT, RUN, PUBLICATION = "study", "refusal", "common", "moment", "run", "publication"
SITES, TOTAL = "sites", "total"
"""The kinds of steps in the journal, beside the requests and replies of each round."""
_RECEIPT = 64  # hexadecimal digits of the receipt's hash, which stand before a reply

NOT_ACCEPTED = "NOT_ACCEPTED"
"""The code of a reply that the coordinator turned down; the other codes are those of the sites (`Code`)."""

MOST_REFUSALS = 8
"""Refusals of one site, round and code that are kept. They are not signed: whoever is on the way could write
another sentence at every poll, and each would be a durable step. A person reads the last one."""


Place = int | str
"""Where a request and its reply are kept: the round of a release, or a step of a joint study, such as "1 keys"."""


class RefusalEntry(NamedTuple):
    """A reply that brought no release: the site's refusal, or why the coordinator did not accept the reply."""

    site: str
    round: int
    code: str
    sentence: str


class Publication(NamedTuple):
    """One folder that was published.

    Attributes
    ----------
    receipts : hash over the hashes of the receipts in it; it shows whether another release has come since.
    folder : where it was written.
    """

    receipts: str
    folder: str


class Store:
    """The durable state of one study.

    Parameters
    ----------
    path : the SQLite file, made if it is absent; ":memory:" for a study that need not survive its process.
    study_hash : hash of the study; a file that holds another study is refused.

    Raises
    ------
    InputError
        If the file belongs to another study, is not a store, is damaged or set back, or cannot be used. Any
        method can find that later, too.
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
    def transaction(self) -> Iterator[None]:
        """Keep everything that is written inside of it at once: durable when it ends, and not before."""
        with self._journal.transaction():
            yield

    def keep_request(self, site: str, round: Place, message: bytes) -> bytes:
        """Keep a request before it is sent; return the one that counts, which may be an earlier one."""
        return self._keep(_request(round), site, message)

    def keep_reply(self, site: str, round: Place, receipt: str, message: bytes) -> bool:
        """Keep a site's reply, with the hash of its receipt if it has one; False if there is one here already."""
        content = receipt.encode().ljust(_RECEIPT) + message
        with self._journal.transaction():
            new = not self._steps(_reply(round), site)
            if new:
                self._journal.append(_reply(round), self._study, site, 0, content)
        return new

    def keep_refusal(self, entry: RefusalEntry, signed: bool = False) -> None:
        """Note a reply that brought no release, unless the site's latest such reply said the same.

        Beyond MOST_REFUSALS the latest one is known for as long as this store is open.

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
        """Freeze the common facts of round 2; return those that count, which may be earlier ones."""
        return self._keep(COMMON, "", message)

    def keep_sites(self, place: Place, sites: tuple[str, ...]) -> None:
        """Fix with which sites a step of a joint study has ended; only the first time counts."""
        self._keep(SITES, str(place), canonical(list(sites)))

    def keep_total(self, round: int, message: bytes) -> None:
        """Keep the sum of a round of a joint study."""
        self._keep(TOTAL, str(round), message)

    def keep_moment(self, event: str, at: float) -> float:
        """Note when something happened, in seconds since 1970; return the moment that counts, the first one."""
        return float(self._keep(MOMENT, event, repr(float(at)).encode()))

    def keep_run(self, id: str) -> None:
        """Note the id of Flower's run that carries the study."""
        self._add(RUN, id.encode())

    def keep_publication(self, publication: Publication) -> None:
        """Note what was published."""
        self._add(PUBLICATION, canonical(list(publication)))

    def request(self, site: str, round: Place) -> bytes | None:
        """The request to a site for a round; None before it is made."""
        return next((step.content for step in self._steps(_request(round), site)), None)

    def receipt(self, site: str, round: Place) -> str | None:
        """The hash of the receipt of a site's release in a round; None if there is no release."""
        return next((_receipt(step) for step in self._steps(_reply(round), site)), None)

    def replies(self, round: Place) -> dict[str, bytes]:
        """The releases of a round that have come so far, by site, in the order of their names."""
        return {
            step.id: step.content[_RECEIPT:]
            for step in sorted(self._steps(_reply(round)), key=lambda step: step.id)
        }

    def reply(self, site: str, round: Place) -> bytes:
        """The reply of one site, which must have come."""
        return self._steps(_reply(round), site)[0].content[_RECEIPT:]

    def asked(self, round: Place) -> frozenset[str]:
        """The sites whose request for this round is kept."""
        return self._journal.ids(_request(round), self._study)

    def answered(self, round: Place) -> frozenset[str]:
        """The sites whose release of this round is kept."""
        return self._journal.ids(_reply(round), self._study)

    def refusals(self) -> tuple[RefusalEntry, ...]:
        """The replies that brought no release, in the order of arrival; the last one of each site among them."""
        kept = [_refusal(step) for step in self._steps(REFUSAL)]
        last = {entry.site: entry for entry in kept}
        return (*kept, *(entry for site, entry in self._last_refusals.items() if last.get(site) != entry))

    def sites(self, place: Place) -> tuple[str, ...] | None:
        """The sites with which a step of a joint study has ended; None before."""
        return next((tuple(json.loads(step.content)) for step in self._steps(SITES, str(place))), None)

    def total(self, round: int) -> bytes | None:
        """The sum of a round of a joint study; None before it was read."""
        return next((step.content for step in self._steps(TOTAL, str(round))), None)

    def common(self) -> bytes | None:
        """The frozen common facts; None before the freeze."""
        return next((step.content for step in self._steps(COMMON)), None)

    def moment(self, event: str) -> float | None:
        """When something happened, in seconds since 1970; None if it has not."""
        return next((float(step.content) for step in self._steps(MOMENT, event)), None)

    def run(self) -> str | None:
        """The id of Flower's latest run; None before the first."""
        last = self._journal.last(RUN)
        return None if last is None else last.content.decode()

    def publication(self) -> Publication | None:
        """The latest publication; None before the first."""
        last = self._journal.last(PUBLICATION)
        return None if last is None else Publication(*json.loads(last.content))

    def receipts(self) -> str:
        """Hash over the hashes of the receipts of all releases that have come so far."""
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
        """Keep the content, unless there is one under this kind and id; return the one that is kept."""
        with self._journal.transaction():
            kept = self._steps(kind, id)
            if not kept:
                self._journal.append(kind, self._study, id, 0, content)
        return kept[0].content if kept else content

    def _add(self, kind: str, content: bytes) -> None:
        with self._journal.transaction():
            self._journal.append(kind, self._study, "", len(self._steps(kind)), content)


def _request(round: Place) -> str:
    return f"request {round}"


def _reply(round: Place) -> str:
    return f"reply {round}"


def _receipt(step: Step) -> str:
    return step.content[:_RECEIPT].decode().rstrip()


def _refusal(step: Step) -> RefusalEntry:
    return RefusalEntry(step.id, *json.loads(step.content))
