"""A study, step by step: who is asked what, which reply counts, what is known in the end. No network here.

    round 1    every site is asked for its class sums
    freeze     from min_sites answers on, their total fixes the common groups and margins, once
    round 2    every site that has answered is asked for its centroids; a late one gets round 1 first
    finish     each site counts with its centroids, or with the class centroids that its round 1 gave already

A request is kept before it is sent, and its id follows from study, site and round: asking again, even after the
store was lost, costs a site nothing. What has come counts from the moment that it is in the store; a study may
be stopped between any two steps, and goes on from there.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Literal, TypeVar

from cohortmix.core import pipeline
from cohortmix.core.centroids import Common as CommonFacts
from cohortmix.core.meter import Answer
from cohortmix.core.pipeline import Plan
from cohortmix.core.schema import Schema
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.messages import (
    Centroids,
    ClassSums,
    Code,
    Common,
    MessageError,
    Refusal,
    Request,
    SignedRelease,
    SignedRequest,
    SignedStudy,
    SiteEntry,
    StudySpec,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.receipts import ReceiptError
from cohortmix.protocol.signing import Key, sign_request, verify_study
from cohortmix.server.acceptance import check_release
from cohortmix.server.result import SiteResult, StudyResult
from cohortmix.server.store import RefusalEntry, Store

NOT_ACCEPTED = "NOT_ACCEPTED"
"""Code of a reply that the coordinator turned down; the other codes are the sites' own."""

Round = Literal[1, 2]
_M = TypeVar("_M")


class TooFewSites(Exception):  # noqa: N818 (what happened, not a fault of this program)
    """Not enough sites have answered round 1; `refusals` says why, where a site has said it."""

    def __init__(self, answered: int, spec: StudySpec, refusals: tuple[RefusalEntry, ...]) -> None:
        super().__init__(
            f"{answered} of {len(spec.sites)} sites answered round 1, min_sites={spec.min_sites}; run the study "
            "again: a site that has answered pays nothing to be asked again"
        )
        self.refusals = refusals


class Verdict(Enum):
    """What became of a reply; after LATER and REFUSED there is none."""

    ACCEPTED = "accepted"
    KNOWN = "known already"
    LATER = "asking again may bring an answer"
    REFUSED = "the site will not answer"


PASSING = frozenset({Code.NOT_APPROVED, Code.UNAVAILABLE, NOT_ACCEPTED})
"""Why a reply may follow later: a steward approves, a daemon starts again, another node speaks for the site."""


class Coordinator:
    """The state of one study; all of it that matters is in the store.

    Parameters
    ----------
    study : signed by the coordinator, as the stewards have approved it.
    key : the coordinator's; it signs the requests.
    schema : of the study.
    store : this study's; a restarted coordinator goes on from what is in it.

    Raises
    ------
    ValueError
        If the study is not signed by its coordinator, or key or schema are not the ones that it names.
    """

    def __init__(self, study: SignedStudy, key: Key, schema: Schema, store: Store) -> None:
        verify_study(study)
        self.spec = study.study
        _same("coordinator_key", self.spec.coordinator_key, key.public_hex)
        _same("schema_hash", self.spec.schema_hash, schema.hash)
        self._study, self._key, self._schema, self._store = study, key, schema, store
        self._given_up: set[str] = set()  # in this run; the next run asks again

    def requests(self) -> dict[str, bytes]:
        """The next request of every site that has one left, by site; the same bytes until it is answered."""
        rounds = {entry.name: self._next(entry) for entry in self.spec.sites}
        return {site: self._request(site, round) for site, round in rounds.items() if round}

    @property
    def round(self) -> Round:
        """The present round: 2 from the freeze on."""
        return 1 if self._store.common() is None else 2

    @property
    def waiting(self) -> tuple[str, ...]:
        """Sites whose answer the present round waits for; without any it is over.

        A site that missed round 1 does not hold up round 2, but is welcome for as long as that lasts.
        """
        return self.due if self.round == 1 else tuple(sorted(self._store.answered(1).intersection(self.due)))

    @property
    def due(self) -> tuple[str, ...]:
        """Sites from which anything is still to come, a late one's round 1 among it."""
        return tuple(entry.name for entry in self.spec.sites if self._next(entry))

    @property
    def answered(self) -> tuple[str, ...]:
        """Sites whose answer to the present round is kept."""
        return tuple(sorted(self._store.answered(self.round)))

    def accept(self, site: str, reply: bytes) -> Verdict:
        """Take a reply in: kept durably if it is the site's answer to our request, noted otherwise."""
        try:
            message = decode(reply)
            if isinstance(message, Refusal):
                return self.refuse(site, message.code, message.sentence)
            if not isinstance(message, SignedRelease) or message.receipt.site != site:
                raise ReceiptError(f"expected a release of site={site!r}")
            request = self._asked(site, message.receipt.round)
            check_release(message, request, self.plan(self._entry(site)))
        except (MessageError, ReceiptError) as error:
            return self.refuse(site, NOT_ACCEPTED, str(error))
        round, receipt = message.receipt.round, message.receipt.hash
        if self._store.keep_reply(site, round, receipt, reply):
            self._given_up.discard(site)
            return Verdict.ACCEPTED
        if _read(self._store.replies(round)[site], SignedRelease).receipt.hash == receipt:
            return Verdict.KNOWN
        second = "a second release for one request; the first one counts. Was the site's ledger set back?"
        self._store.keep_refusal(RefusalEntry(site, round, NOT_ACCEPTED, second))
        return Verdict.REFUSED

    def refuse(self, site: str, code: str, sentence: str) -> Verdict:
        """Note why there is no answer yet: LATER for a cause that can pass, REFUSED for one that will not."""
        round = 2 if site in self._store.answered(1) else 1
        printable = "".join(letter if letter.isprintable() else " " for letter in sentence)
        self._store.keep_refusal(RefusalEntry(site, round, str(code), printable))
        return Verdict.LATER if code in PASSING else Verdict.REFUSED

    def give_up(self, site: str) -> None:
        """Wait no longer for this site, in this run."""
        self._given_up.add(site)

    def begin(self, now: float) -> float:
        """Note that the present round has begun; return when it ends, counted from its first beginning.

        Parameters
        ----------
        now : seconds since 1970. A clock that jumps ends the waiting early or late, and changes nothing else.
        """
        return self._store.keep_moment(f"round {self.round}", now) + self.spec.round_deadline_seconds

    def complete(self, now: float) -> None:
        """Note that both rounds are over."""
        self._store.keep_moment("complete", now)

    def freeze(self) -> None:
        """Fix the common groups and margins from the answers of round 1 so far; only the first time counts.

        Raises
        ------
        TooFewSites
            Below min_sites answers.
        """
        if self.round == 1:
            self._store.keep_common(canonical(self._total(self._sums()).plain()))

    def finish(self) -> StudyResult:
        """What the study knows by now; a site without round 2 counts with its class centroids.

        It can be called at any time and changes nothing: before the freeze, with the common facts that a freeze
        would fix now.

        Raises
        ------
        TooFewSites
            Below min_sites answers.
        """
        sums = self._sums()
        common = (self._common() or self._total(sums)).to_core()
        entries = [entry for entry in self.spec.sites if entry.name in sums]
        sites = tuple(self._result(entry, sums[entry.name], common) for entry in entries)
        return StudyResult(self._study, self._schema, common, sites, self._store.refusals())

    def plan(self, entry: SiteEntry) -> Plan:
        """What this site computes, from public facts alone."""
        spec = self.spec
        return Plan(self._schema, spec.mu2, entry.patients, spec.share, float(spec.alpha))

    def _next(self, entry: SiteEntry) -> Round | None:
        """The round that this site is to be asked for next."""
        if entry.name in self._given_up:
            return None
        if entry.name not in self._store.answered(1):
            return 1
        done = self.round == 1 or not self.plan(entry).fits_mixture or entry.name in self._store.answered(2)
        return None if done else 2

    def _request(self, site: str, round: Round) -> bytes:
        kept = self._store.requests(round).get(site)
        if kept is not None:
            return kept
        id = request_id(self.spec.hash, site, round)
        common = self._common() if round == 2 else None
        request = Request(study=self._study, round=round, request_id=id, common=common)
        signed = sign_request(self._key, request)
        return self._store.keep_request(site, round, id, request.hash, encode(signed))

    def _asked(self, site: str, round: int) -> Request:
        kept = self._store.requests(round).get(site)
        if kept is None:
            raise ReceiptError(f"site={site!r} was not asked for round {round}")
        return _read(kept, SignedRequest).request

    def _entry(self, site: str) -> SiteEntry:
        entry = self.spec.site(site)
        assert entry is not None  # it was asked
        return entry

    def _total(self, sums: Mapping[str, Answer]) -> Common:
        """Common groups and margins of the sites that have answered round 1."""
        if len(sums) < self.spec.min_sites:
            raise TooFewSites(len(sums), self.spec, self._store.refusals())
        plans = {entry.name: self.plan(entry) for entry in self.spec.sites if entry.name in sums}
        return Common.of(pipeline.common(list(plans.values()), [sums[site] for site in plans]))

    def _sums(self) -> dict[str, Answer]:
        releases = {site: signed.release for site, signed in self._releases(1).items()}
        return {
            site: release.answer.to_core() for site, release in releases.items() if isinstance(release, ClassSums)
        }

    def _releases(self, round: Round) -> dict[str, SignedRelease]:
        return {site: _read(reply, SignedRelease) for site, reply in self._store.replies(round).items()}

    def _common(self) -> Common | None:
        kept = self._store.common()
        return None if kept is None else Common.model_validate_json(kept)

    def _result(self, entry: SiteEntry, sums: Answer, common: CommonFacts) -> SiteResult:
        given = [releases[entry.name] for round in (1, 2) if entry.name in (releases := self._releases(round))]
        last = given[-1].release
        centroids = (
            last.to_core()
            if isinstance(last, Centroids)
            else pipeline.class_centroids(self.plan(entry), common, sums)
        )
        return SiteResult(entry, sums, centroids, tuple(signed.signed_receipt for signed in given))


def _same(name: str, expected: str, came: str) -> None:
    if came != expected:
        raise ValueError(f"the study names {name}={expected[:12]}..., got {came[:12]}...; use the one it names")


def _read(data: bytes, kind: type[_M]) -> _M:
    """A message of the store, which holds only what was checked before."""
    message = decode(data)
    assert isinstance(message, kind)
    return message
