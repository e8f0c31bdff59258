"""A study, step by step: who is asked for what, which reply counts, and what is known in the end.

    round 1    every site is asked for its class sums
    freeze     from min_sites answers on, their total fixes the common groups and margins, once
    round 2    every site that has answered is asked for its centroids; a late one gets round 1 first
    finish     each site counts with its centroids, or with the class centroids that its round 1 gave already

There is no network here: `app.py` carries the bytes. A request is kept before it is sent, and its id follows from
study, site and round: asking again, even after the store was lost, costs a site nothing. A reply counts from the
moment that it is in the store. A study may be stopped between any two steps, and goes on from there.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from fractions import Fraction
from functools import cached_property
from typing import Literal

from cohortmix.core.data.sampling import PointMass
from cohortmix.core.data.schema import Schema
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.centroids import Common, SiteCentroids
from cohortmix.core.steps.plan import Plan
from cohortmix.core.steps.point_masses import Look
from cohortmix.protocol.messages import (
    CommonMessage,
    MessageError,
    Refusal,
    Request,
    SignedRelease,
    SignedStepReply,
    SignedStudy,
    SiteEntry,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.receipts import ReceiptError
from cohortmix.protocol.signing import Key, sign_request, verify_study
from cohortmix.server.acceptance import check_release
from cohortmix.server.kept import Kept, Released, freeze
from cohortmix.server.result import SiteResult, StudyResult, TooFewSites
from cohortmix.server.store import NOT_ACCEPTED, Place, RefusalEntry, Store

Round = Literal[1, 2]

LONGEST_SENTENCE = 300
"""Characters that are kept of why a reply brought no release; the sentence of a site's `Refusal` has no more."""

logger = logging.getLogger("cohortmix.study")


class Verdict(Enum):
    """What became of a reply: it is kept (ACCEPTED), it was kept before (KNOWN), or it does not count.

    A refusal is LATER whatever its code: it is not signed, so anyone on the way can have written it, and a steward
    may approve, or raise a cap, before the deadline.
    """

    ACCEPTED = "accepted"
    KNOWN = "known already"
    LATER = "asking again may bring an answer"
    REFUSED = "the site has signed two releases for one request"


class Coordinator:
    """The state of one study; all of it that matters is in the store.

    Parameters
    ----------
    study : signed by the coordinator, as the stewards have approved it.
    key : the coordinator's; it signs the requests.
    schema : the one that the study names.
    store : this study's; a restarted coordinator goes on from what is in it.

    Raises
    ------
    ValueError
        If the study is not signed by its coordinator, or key or schema are not the ones that it names.
    """

    def __init__(self, study: SignedStudy, key: Key, schema: Schema, store: Store) -> None:
        verify_study(study)
        self.spec = study.study
        _require_same("coordinator_key", self.spec.coordinator_key, key.public_hex)
        _require_same("schema_hash", self.spec.schema_hash, schema.hash)
        self._study, self._key, self._schema, self._store = study, key, schema, store
        self._kept = Kept(store, self.spec)
        self._given_up: set[str] = set()  # in this run; the next run asks these sites again
        self._two_rounds = frozenset(entry.name for entry in self.spec.sites if self.plan(entry).fits_mixture)

    def requests(self) -> dict[str, bytes]:
        """By site, the next request of every site that has one left; the same bytes until it is answered."""
        return dict(self.messages_to(self.due))

    def messages_to(self, sites: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """The next request of each of these sites that has one left; all are kept before the first is given.

        They come one at a time, since each has the whole study in it, and those of all sites can fill the memory.
        """
        wanted = set(sites)
        due = {site: place for site, place in self._next().items() if site in wanted}
        asked = {place: self._store.asked(place) for place in set(due.values())}
        new = {site: place for site, place in due.items() if site not in asked[place]}
        if new:
            with self._store.transaction():
                for site, place in new.items():
                    self._store.keep_request(site, place, self._made(site, place))
        for site, place in due.items():
            request = self._store.request(site, place)
            assert request is not None  # it was kept
            yield site, request

    @property
    def round(self) -> Round:
        """The present round: 2 from the freeze on."""
        return 1 if self._store.common() is None else 2

    @property
    def stage(self) -> str:
        """What is under way, in words."""
        return f"round {self.round}"

    @property
    def waiting(self) -> tuple[str, ...]:
        """Sites for whose answer the present round waits; it is over when there are none.

        A site that missed round 1 is not among them in round 2; a deployment waits for it too (`Patience.late`).
        """
        return self.due if self.round == 1 else tuple(sorted(self._store.answered(1).intersection(self.due)))

    @property
    def due(self) -> tuple[str, ...]:
        """Sites from which anything is still to come, be it a late one's round 1."""
        return tuple(self._next())

    @property
    def answered(self) -> tuple[str, ...]:
        """Sites whose answer to the present round is kept."""
        return tuple(sorted(self._store.answered(self.round)))

    def accept(self, site: str, reply: bytes) -> Verdict:
        """Take a reply in: keep it durably if it is the site's answer to our request, else note why it is not.

        No reply makes this raise anything, whoever has written it.
        """
        try:
            message = self._checked(site, reply)
        except (MessageError, ReceiptError) as error:
            return self.refuse(site, NOT_ACCEPTED, str(error))
        except Exception as error:  # a fault of ours, which one site must not turn against the others' study
            logger.exception("the reply of %r cannot be checked", site)
            return self.refuse(site, NOT_ACCEPTED, f"it cannot be checked: {type(error).__name__}")
        if isinstance(message, Refusal):
            return self.refuse(site, message.code, message.sentence)
        place, receipt = self._place(message)
        if self._store.keep_reply(site, place, receipt, reply):
            self._given_up.discard(site)
            if isinstance(message, SignedRelease):
                self._kept.remember(message)
            return Verdict.ACCEPTED
        if not isinstance(message, SignedRelease) or self._store.receipt(site, place) == receipt:
            return Verdict.KNOWN
        second = "a second release for one request; the first one counts. Was the site's ledger set back?"
        entry = RefusalEntry(site, message.receipt.round, NOT_ACCEPTED, second)
        self._store.keep_refusal(entry, signed=True)
        return Verdict.REFUSED

    def refuse(self, site: str, code: str, sentence: str) -> Verdict:
        """Note why a site has not answered yet, as a sentence that can be printed."""
        round = 2 if site in self._store.answered(1) else 1
        printable = "".join(letter if letter.isprintable() else " " for letter in sentence[:LONGEST_SENTENCE])
        self._store.keep_refusal(RefusalEntry(site, round, str(code), printable))
        return Verdict.LATER

    def give_up(self, site: str) -> None:
        """Wait no longer for this site, in this run."""
        self._given_up.add(site)

    def begin(self, now: float) -> float:
        """Note that the present round has begun; return when it ends, counted from when it first began.

        Parameters
        ----------
        now : seconds since 1970. A clock that jumps ends the waiting early or late, and changes nothing else.
        """
        return self._store.keep_moment(self.stage, now) + self.spec.round_deadline_seconds

    def complete(self, now: float) -> None:
        """Note that both rounds are over."""
        self._store.keep_moment("complete", now)

    def advance(self) -> bool:
        """End the present round; whether there is another one. TooFewSites as `freeze`."""
        if self.round == 2:
            return False
        self.freeze()
        return True

    def freeze(self) -> None:
        """Fix the common groups and margins from the answers to round 1 so far; only the first time counts.

        Raises
        ------
        TooFewSites
            Below min_sites answers.
        """
        if self.round == 1:
            self._store.keep_common(freeze(self._total(), self.spec, self._key))

    def finish(self) -> StudyResult:
        """What the study knows by now; a site without round 2 counts with its class centroids.

        It can be called at any time and changes nothing: before the freeze, it uses the common facts that a freeze
        would fix now.

        Raises
        ------
        TooFewSites
            Below min_sites answers.
        """
        common = (self._kept.common() or self._total()).to_core()
        sites, centroids, second = list[SiteResult](), dict[str, SiteCentroids](), self._store.answered(2)
        for entry in self._entries():
            rounds = (1, 2) if entry.name in second else (1,)
            released = [self._kept.released(entry.name, round) for round in rounds]
            sites.append(SiteResult(entry, tuple(each.receipt for each in released)))
            centroids[entry.name] = self._centroids(entry, released[-1], common)
        points = self._points(centroids)
        return StudyResult(
            self._study, self._schema, common, tuple(sites), centroids, self._store.refusals(), points
        )

    def plan(self, entry: SiteEntry) -> Plan:
        """What this site computes; it follows from public facts alone. Without what it counts in round 2."""
        return self.spec.plan(self._schema, entry.patients)

    def _next(self) -> dict[str, Place]:
        """By site, the round that it is to be asked for next; without the sites that are not asked."""
        first, second, present = self._store.answered(1), self._store.answered(2), self.round
        due: dict[str, Place] = {}
        for entry in self.spec.sites:
            if entry.name in self._given_up:
                continue
            if entry.name not in first:
                due[entry.name] = 1
            elif present == 2 and entry.name in self._two_rounds and entry.name not in second:
                due[entry.name] = 2
        return due

    def _made(self, site: str, place: Place) -> bytes:
        """The request of a site, as it is kept and sent."""
        return encode(sign_request(self._key, self._of_round(2 if place == 2 else 1, site)))

    def _of_round(self, round: Round, site: str) -> Request:
        """A round's request to a site; it follows from the study and, in round 2, from the common facts."""
        common, id = self._kept.common() if round == 2 else None, request_id(self.spec.hash, site, round)
        return Request(study=self._study, round=round, request_id=id, common=common)

    def _place(self, message: SignedRelease | SignedStepReply) -> tuple[Place, str]:
        """Where a reply is kept, and the hash of its receipt."""
        assert isinstance(message, SignedRelease)  # nothing else passes the check
        return message.receipt.round, message.receipt.hash

    def _checked(self, site: str, reply: bytes) -> SignedRelease | SignedStepReply | Refusal:
        """What a reply says; the signature of a release is checked before anything is computed from it.

        Raises
        ------
        MessageError, ReceiptError
            If it is neither a refusal nor this site's release for a request of ours.
        """
        message = decode(reply)
        if isinstance(message, Refusal):
            return message
        if not isinstance(message, SignedRelease) or message.receipt.site != site:
            raise ReceiptError(f"expected a release of site={site!r}")
        round, entry = message.receipt.round, self.spec.site(site)
        if entry is None or site not in self._store.asked(round):
            raise ReceiptError(f"site={site!r} was not asked for round {round}")
        plan = self.plan(entry) if round == 1 else self.plan(entry).looking(*self._looks)
        check_release(message, self._of_round(2 if round == 2 else 1, site), plan)
        return message

    @cached_property
    def _looks(self) -> tuple[tuple[Look, ...], Fraction]:
        """What round 2 counts, and at which share of mu^2; asked for from the freeze on, when it is settled."""
        common = self._kept.common()
        assert common is not None
        return pipeline.looks_of_study(self.spec.counting(self._schema), common.to_core())

    def _entries(self) -> list[SiteEntry]:
        """The sites that have answered round 1, in the order of the study."""
        first = self._store.answered(1)
        return [entry for entry in self.spec.sites if entry.name in first]

    def _total(self) -> CommonMessage:
        """Common groups and margins of the sites that have answered round 1."""
        entries, sites = self._entries(), len(self.spec.sites)
        if len(entries) < self.spec.min_sites:
            raise TooFewSites(
                f"{len(entries)} of {sites} sites answered round 1, min_sites={self.spec.min_sites}; "
                "run the study again: a site that has answered pays nothing to be asked again",
                self._store.refusals(),
            )
        pairs = bool(self._two_rounds)  # a site that comes late may measure them, too
        answers = (self._kept.class_sums(entry.name) for entry in entries)
        return CommonMessage.of(pipeline.common([self.plan(entry) for entry in entries], answers, pairs=pairs))

    def _points(self, centroids: Mapping[str, SiteCentroids]) -> tuple[PointMass, ...]:
        """What stands out from the counts of all sites that have given some."""
        counted = [entry for entry in self._entries() if centroids[entry.name].counts is not None]
        return pipeline.points_of_study(
            [self.plan(entry).looking(*self._looks) for entry in counted],
            (self._kept.class_sums(entry.name) for entry in counted),
            (counts for entry in counted if (counts := centroids[entry.name].counts) is not None),
        )

    def _centroids(self, entry: SiteEntry, last: Released, common: Common) -> SiteCentroids:
        if isinstance(last.content, SiteCentroids):
            return last.content
        return pipeline.class_centroids(self.plan(entry), common, self._kept.class_sums(entry.name))


def _require_same(name: str, expected: str, came: str) -> None:
    if came != expected:
        raise ValueError(f"the study names {name}={expected[:12]}..., got {came[:12]}...; use the one it names")
