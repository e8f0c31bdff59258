"""Where a study stands: what was drafted, who has answered, and until when it waits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cohortmix.protocol.messages import Code, Receipt, SignedRelease, SiteEntry, StudySpec, decode
from cohortmix.protocol.receipts import total
from cohortmix.server.commands.reduced import reduced_sites
from cohortmix.server.stages import present
from cohortmix.server.store import NOT_ACCEPTED, RefusalEntry, Store
from cohortmix.server.study import Study


class State(StrEnum):
    """The states of a study, in order; the store notes when the rounds began, and the end, under these names."""

    DRAFTED = "drafted"
    SIGNED = "signed"
    ROUND_1 = "round 1"
    ROUND_2 = "round 2"
    COMPLETE = "complete"
    PUBLISHED = "published"


IN_WORDS = {
    Code.NOT_APPROVED: "its rules do not allow the study",
    Code.BAD_SIGNATURE: "it does not recognise the coordinator's signature",
    Code.OVER_BUDGET: "the study would exceed its budget",
    Code.TOO_FEW_PATIENTS: "it has too few patients",
    Code.UNKNOWN_COLUMN: "its schema does not fit the study",
    Code.UNKNOWN_VERSION: "it runs another version",
    Code.BAD_STEP: "a step of a joint sum does not hold",
    Code.UNAVAILABLE: "it is not available",
    NOT_ACCEPTED: "its reply was not accepted",
}
"""What each code of a refusal means, as the end of a sentence about the site."""


@dataclass(frozen=True)
class SiteStatus:
    """One site of a study.

    Attributes
    ----------
    entry : as the study names it.
    rounds : how many rounds it takes part in; 1 if it has too few patients for a mixture.
    answered : the rounds whose release is kept.
    refusal : its latest reply without a release, if that came in a round that it has not answered since.
    """

    entry: SiteEntry
    rounds: int
    answered: tuple[int, ...] = ()
    refusal: RefusalEntry | None = None

    @property
    def missing(self) -> bool:
        """Whether a release is still to come from it."""
        return len(self.answered) < self.rounds


@dataclass(frozen=True)
class Status:
    """A study as it stands.

    Attributes
    ----------
    deadline : when the present round ends, in seconds since 1970; None when no round is going on.
    published : the folder of the latest publication, if there is one.
    """

    spec: StudySpec
    state: State
    sites: tuple[SiteStatus, ...]
    deadline: float | None = None
    published: str | None = None

    @classmethod
    def of(cls, study: Study) -> Status:
        """Read it from the study's folder; InputError if there is no study in it."""
        spec, schema = study.spec, study.schema
        small = {entry.name for entry in reduced_sites(spec, schema)}
        rounds = {entry.name: 1 if entry.name in small else 2 for entry in spec.sites}
        if not study.begun:
            sites = tuple(SiteStatus(entry, rounds[entry.name]) for entry in spec.sites)
            return cls(spec, State.SIGNED if study.is_signed else State.DRAFTED, sites)
        with study.store() as store:
            state, publication = _state(store), store.publication()
            began = _began(store, spec, state, max(rounds.values()))
            return cls(
                spec,
                state,
                tuple(_site(store, entry, rounds[entry.name]) for entry in spec.sites),
                None if began is None else began + spec.round_deadline_seconds,
                None if publication is None else publication.folder,
            )

    @property
    def missing(self) -> tuple[SiteStatus, ...]:
        """The sites from which a release is still to come."""
        return tuple(site for site in self.sites if site.missing)

    @property
    def over(self) -> bool:
        """Whether there is nothing left to ask; a sum that was read is never read again with another site."""
        ended = self.state in (State.COMPLETE, State.PUBLISHED)
        return ended and (not self.missing or self.spec.joint is not None)

    @property
    def publishable(self) -> bool:
        """Whether at least min_sites have answered round 1 or, in a joint study, its sum has been read."""
        if self.spec.joint is not None:
            return self.state in (State.ROUND_2, State.COMPLETE, State.PUBLISHED)
        return sum(1 in site.answered for site in self.sites) >= self.spec.min_sites

    def count(self, round: int) -> tuple[int, int]:
        """How many sites have answered this round, and how many take part in it."""
        due = [site for site in self.sites if round <= site.rounds]
        return sum(round in site.answered for site in due), len(due)


def spent(study: Study) -> dict[str, float]:
    """By name, the mu that the receipts of a site add up to so far; only sites that have answered."""
    if not study.begun:
        return {}
    receipts: dict[str, list[Receipt]] = {}
    with study.store() as store:
        for site, round in [(site, each) for each in (1, 2) for site in sorted(store.answered(each))]:
            message = decode(store.reply(site, round))  # one at a time: those of a joint study are large
            assert isinstance(message, SignedRelease)  # nothing else is kept
            receipts.setdefault(site, []).append(message.receipt)
    return {site: total(issued).mu for site, issued in receipts.items()}


def _began(store: Store, spec: StudySpec, state: State, rounds: int) -> float | None:
    """When the present round began, or the present step of one; None if nothing is going on."""
    if state not in (State.ROUND_1, State.ROUND_2):
        return None
    stage = None if spec.joint is None else present(store, rounds)
    return store.moment(state if stage is None else stage.name)


def _state(store: Store) -> State:
    if store.moment(State.COMPLETE) is not None:
        publication = store.publication()
        whole = publication is not None and publication.receipts == store.receipts()
        return State.PUBLISHED if whole else State.COMPLETE
    if store.common() is not None:
        return State.ROUND_2
    return State.SIGNED if store.moment(State.ROUND_1) is None else State.ROUND_1


def _site(store: Store, entry: SiteEntry, rounds: int) -> SiteStatus:
    answered = tuple(round for round in (1, 2) if entry.name in store.answered(round))
    refusals = [
        refusal for refusal in store.refusals() if refusal.site == entry.name and refusal.round not in answered
    ]
    return SiteStatus(entry, rounds, answered, refusals[-1] if refusals else None)
