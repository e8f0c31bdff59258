"""One sum of a joint study as the coordinator has it: what each site is told, which replies hold, and the sum."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.table import InputError
from cohortmix.protocol.masking.masks import integers, total, words
from cohortmix.protocol.masking.part import Roster
from cohortmix.protocol.masking.reading import Reading
from cohortmix.protocol.masking.seeds import MaskingError, check_of, require_agreement
from cohortmix.protocol.messages import SignedStepReply, SiteEntry, StudySpec, decode
from cohortmix.protocol.receipts import ReceiptError
from cohortmix.protocol.signing import SignatureError, verify_reply
from cohortmix.protocol.steps import (
    Ask,
    AskConsent,
    AskInput,
    AskKeys,
    AskShares,
    AskUnmask,
    Box,
    Boxes,
    Consent,
    Keys,
    Shares,
    SignedReply,
    Step,
    hash_of_sites,
)
from cohortmix.server.kept import Kept
from cohortmix.server.stages import Stage
from cohortmix.server.store import CURE, Store


class SumRound:
    """The steps of one round, as far as they have ended.

    Parameters
    ----------
    round : 1 or 2.
    """

    def __init__(self, store: Store, kept: Kept, study: StudySpec, round: int) -> None:
        self._store, self._kept, self._study, self._round = store, kept, study, round
        # What an ended step leaves does not change. There are S^2 boxes: they stay only while they are sent on.
        self._ended: dict[Step, tuple[str, ...]] = {}
        self._replies: dict[Step, dict[str, SignedReply]] = {}
        self._sealed: dict[str, list[Box]] = {}  # by receiver
        self._agreed: str | None = None

    def ended(self, step: Step) -> tuple[str, ...]:
        """The sites with which a step has ended; none before."""
        if step not in self._ended:
            sites = self._store.sites(Stage(self._round, step).place)
            if sites is None:
                return ()
            self._ended[step] = sites
        return self._ended[step]

    def end(self, step: Step, sites: tuple[str, ...]) -> None:
        """End a step with these sites; only the first time counts."""
        self._store.keep_sites(Stage(self._round, step).place, sites)
        self._sealed = {}

    @property
    def is_spared(self) -> bool:
        """Whether spare noise was added, and no site is missing from the sum: then each site gives its own."""
        return self._study.terms.dropouts > 0 and len(self.ended("input")) == self._study.terms.sites

    def ask(self, step: Step, site: str) -> Ask:
        """What a site is told in a step; it follows from the steps before."""
        if step == "keys":
            return AskKeys()
        if step == "shares":
            return AskShares(keys=self._roster().replies)
        if step == "input":
            return AskInput(boxes=tuple(self._boxes()[site]))
        if step == "consent":
            return AskConsent(survivors=self.ended("input"))
        return AskUnmask(consents=tuple(self.replies("consent").values()))

    def check(self, signed: SignedReply, sum: str, entry: SiteEntry, step: Step) -> None:
        """Raise ReceiptError unless this is the site's own reply to a step of this sum, and complete.

        Parameters
        ----------
        sum : the hash of what is asked in this round.
        """
        reply, content = signed.reply, signed.reply.content
        if (reply.site, reply.sum, content.step) != (entry.name, sum, step):
            raise ReceiptError(f"expected the reply of site={entry.name!r} to the step {step!r} of this sum")
        try:
            verify_reply(signed, entry.key)
        except SignatureError as error:
            raise ReceiptError(str(error)) from None
        if isinstance(content, Boxes):
            _require_parts([box.site for box in content.boxes], self.ended("keys"))
        elif isinstance(content, Shares):
            _require_parts([share.site for share in content.shares], self.ended("shares"))
            if (content.spare is not None) != self.is_spared:
                raise ReceiptError("expected the site's spare noise where no site is missing, and only there")
        elif isinstance(content, Keys):
            _require_agreement(content)
        elif isinstance(content, Consent) and content.survivors != self._consent():
            raise ReceiptError("the site has signed for another set of sites")

    def read(self) -> tuple[NDArray[np.int64], int]:
        """The sum of the inputs, as integers, and of how many sites the spare noise was taken off.

        Raises
        ------
        MaskingError
            If it cannot be read from the replies that have come.
        """
        survivors, senders, shares, spared = self.ended("input"), self.ended("shares"), dict[str, Shares](), 0
        masked = total(words(self._kept.masked(site, self._round)) for site in survivors)
        silent = set(survivors) - self._store.answered(Stage(self._round, "unmask").place)
        hidden = set(senders) - set(survivors) | silent
        for site, content in self._last_replies():
            shares[site] = _only(content, hidden)
            if content.spare is not None:
                masked -= words(content.spare.numpy())
                spared += 1
        keys = self._roster().keys
        false = {site for site, content in shares.items() if check_of(content.own) != keys[site].check}
        if false:  # what they should have said follows from the shares of the others, which are read once more
            shares = {site: _only(content, hidden | false) for site, content in self._last_replies()}
        reading = Reading(self._roster(), senders, survivors, self._study.terms.threshold)
        return integers(reading.read(masked, shares)), spared

    def _last_replies(self) -> Iterator[tuple[str, Shares]]:
        """Those to the last step, one at a time: spare noise is as long as an answer, and each has S shares."""
        place = Stage(self._round, "unmask").place
        for site in sorted(self._store.answered(place)):
            content = self._signed_by(site, self._reply(self._store.reply(site, place))).reply.content
            if isinstance(content, Shares):
                yield site, content

    def replies(self, step: Step) -> dict[str, SignedReply]:
        """The replies to a step that has ended, by site."""
        if step not in self._replies:
            place = Stage(self._round, step).place
            self._replies[step] = {site: self._reply(self._store.reply(site, place)) for site in self.ended(step)}
        return self._replies[step]

    def _signed_by(self, site: str, signed: SignedReply) -> SignedReply:
        """What comes back from the store counts by its site's signature, as it did when it went in."""
        entry = self._study.site(site)
        try:
            if entry is None or signed.reply.site != site:
                raise SignatureError
            verify_reply(signed, entry.key)
        except SignatureError:
            raise InputError(f"the study's store holds a reply that {site!r} has not signed; {CURE}") from None
        return signed

    @staticmethod
    def _reply(kept: bytes) -> SignedReply:
        message = decode(kept)
        assert isinstance(message, SignedStepReply)  # nothing else was kept
        return message.signed

    def _roster(self) -> Roster:
        return Roster(tuple(self.replies("keys").values()))

    def _consent(self) -> str:
        if self._agreed is None:
            sharing = self._roster().of(self.ended("shares"))
            self._agreed = hash_of_sites(self.ended("input"), sharing.hash)
        return self._agreed

    def _boxes(self) -> dict[str, list[Box]]:
        """By receiver, the boxes for it, each with its sender; from one reply after the other."""
        if not self._sealed:
            place, sealed = Stage(self._round, "shares").place, defaultdict[str, list[Box]](list)
            for sender in self.ended("shares"):
                content = self._reply(self._store.reply(sender, place)).reply.content
                assert isinstance(content, Boxes)  # nothing else was kept
                for box in content.boxes:
                    sealed[box.site].append(Box(site=sender, sealed=box.sealed))
            self._sealed = dict(sealed)
        return self._sealed


def _require_agreement(keys: Keys) -> None:
    """A key that keeps no secret would make every other site refuse the list that it is in."""
    try:
        require_agreement(keys)
    except MaskingError as error:
        raise ReceiptError(str(error)) from None


def _only(content: Shares, sites: Collection[str]) -> Shares:
    """Without spare noise, and without the shares of other sites."""
    wanted = tuple(share for share in content.shares if share.site in sites)
    return content.model_copy(update={"spare": None, "shares": wanted})


def _require_parts(named: list[str], expected: Iterable[str]) -> None:
    if sorted(named) != sorted(expected):
        raise ReceiptError("expected one part for each site that takes part, and no other")
