"""One sum of a joint study as the coordinator has it: what each site is told, which replies hold, and the sum."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.table import InputError
from cohortmix.protocol.masking.masks import integers, total, words
from cohortmix.protocol.masking.part import Roster
from cohortmix.protocol.masking.reading import Reading
from cohortmix.protocol.masking.seeds import MaskingError, require_agreement
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
        self._replies: dict[Step, dict[str, SignedReply]] = {}  # of steps that have ended, which do not change

    def ended(self, step: Step) -> tuple[str, ...]:
        """The sites with which a step has ended; none before."""
        return self._store.sites(Stage(self._round, step).place) or ()

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
            boxes = [(sender, self._boxes(reply)[site]) for sender, reply in self.replies("shares").items()]
            return AskInput(boxes=tuple(Box(site=sender, sealed=sealed) for sender, sealed in boxes))
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
        survivors, shares, spared = self.ended("input"), {}, 0
        masked = total(words(self._kept.masked(site, self._round)) for site in survivors)
        place = Stage(self._round, "unmask").place
        for site in sorted(self._store.answered(place)):  # one at a time: spare noise is as long as an answer
            content = self._signed_by(site, self._reply(self._store.reply(site, place))).reply.content
            if isinstance(content, Shares):
                shares[site] = content.model_copy(update={"spare": None})
                if content.spare is not None:
                    masked -= words(content.spare.numpy())
                    spared += 1
        reading = Reading(self._roster(), self.ended("shares"), survivors, self._study.terms.threshold)
        return integers(reading.read(masked, shares)), spared

    def replies(self, step: Step) -> dict[str, SignedReply]:
        """The replies to a step that has ended, by site."""
        if step not in self._replies:
            kept = self._store.replies(Stage(self._round, step).place)
            self._replies[step] = {site: self._reply(kept[site]) for site in self.ended(step)}
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
        sharing = self._roster().of(self.ended("shares"))
        return hash_of_sites(self.ended("input"), sharing.hash)

    @staticmethod
    def _boxes(signed: SignedReply) -> dict[str, str]:
        """By receiver."""
        content = signed.reply.content
        assert isinstance(content, Boxes)  # nothing else was kept
        return {box.site: box.sealed for box in content.boxes}


def _require_agreement(keys: Keys) -> None:
    """A key that keeps no secret would make every other site refuse the list that it is in."""
    try:
        require_agreement(keys)
    except MaskingError as error:
        raise ReceiptError(str(error)) from None


def _require_parts(named: list[str], expected: Iterable[str]) -> None:
    if sorted(named) != sorted(expected):
        raise ReceiptError("expected one part for each site that takes part, and no other")
