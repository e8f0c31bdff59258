"""One sum of a joint study at a site: each step in its order, kept before it is replied, for one content only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cohortmix.client.ledger.policy import Refused
from cohortmix.client.ledger.sum_steps import StepConflict, SumSteps
from cohortmix.core.privacy.meter import Answer
from cohortmix.protocol.fields import Array
from cohortmix.protocol.masking.masks import integers
from cohortmix.protocol.masking.part import Part
from cohortmix.protocol.masking.seeds import DrawSeed, MaskingError, Seeds
from cohortmix.protocol.messages import Code, MaskedRelease, Request
from cohortmix.protocol.signing import Key
from cohortmix.protocol.steps import (
    STEPS,
    Ask,
    AskConsent,
    AskInput,
    AskKeys,
    AskShares,
    AskUnmask,
    SignedReply,
)


class JointSum:
    """This site's part in one sum, as far as its ledger has it.

    Parameters
    ----------
    site, key : this site's name and signing key.
    request : what is asked in every step of this sum.
    steps : of this request, in the ledger.
    draw : a new secret for a purpose.

    Notes
    -----
    All but `masked` raise Refused for what does not hold: another content than before, a step that comes
    too early, a list of sites that is not signed by them, too few sites.
    """

    def __init__(self, site: str, key: Key, request: Request, steps: SumSteps, draw: DrawSeed) -> None:
        self._site, self._key, self._request, self._steps, self._draw = site, key, request, steps, draw

    def require_turn(self, ask: Ask) -> None:
        """Raise Refused for a step that comes before its turn, before anything is reserved for it."""
        try:
            for step in STEPS[: STEPS.index(ask.step)]:
                self._steps.before(step)
        except StepConflict as error:
            raise Refused(Code.BAD_STEP, str(error)) from None

    def reply(self, ask: Ask, committed: bool) -> SignedReply:
        """The reply to any step but `input`.

        Parameters
        ----------
        committed : whether this site's input was released, without which it signs for no set of sites.
        """
        try:
            taken = self._steps.same(ask)
            if taken is None:
                seeds = Seeds.draw(self._draw) if isinstance(ask, AskKeys) else None
                taken = self._steps.take(ask, self._computed(ask, seeds, committed), seeds)
        except (MaskingError, StepConflict) as error:
            raise Refused(Code.BAD_STEP, str(error)) from None
        assert taken.reply is not None
        return taken.reply

    def begin_input(self, ask: AskInput) -> None:
        """Check and keep the boxes, before anything is read from records; asked again, the same ones only."""
        try:
            if self._steps.same(ask) is None:
                self._part().opened(self._told(), ask)
                self._steps.take(ask, None)
        except (MaskingError, StepConflict) as error:
            raise Refused(Code.BAD_STEP, str(error)) from None

    def masked(self, ask: AskInput, answers: Sequence[Answer]) -> MaskedRelease:
        """A site's noised answers, one after the other, under its masks; the same ones always give the same bytes.

        What could fail in it was checked when the keys and boxes came, before anything was paid for.
        """
        values = np.concatenate([answer.values for answer in answers])
        return MaskedRelease(values=Array.of(integers(self._part().masked(self._told(), ask, values))))

    def _computed(self, ask: Ask, seeds: Seeds | None, committed: bool) -> SignedReply:
        part = self._part(seeds)
        if isinstance(ask, AskKeys):
            return part.keys()
        if isinstance(ask, AskShares):
            return part.shares(ask)
        boxes = self._steps.before("input").ask
        if not committed or not isinstance(boxes, AskInput):
            raise StepConflict("this site has not sent its input to this sum")
        if isinstance(ask, AskConsent):
            return part.consent(self._told(), boxes, ask)
        consent = self._steps.before("consent").ask
        assert isinstance(ask, AskUnmask)
        assert isinstance(consent, AskConsent)
        return part.unmask(self._told(), boxes, consent, ask, self._steps.spare())

    def _part(self, seeds: Seeds | None = None) -> Part:
        seeds = seeds or self._steps.before("keys").seeds
        assert seeds is not None  # the first step is kept with them
        return Part(self._request.study.study, self._request.sum, self._site, self._key, seeds)

    def _told(self) -> AskShares:
        told = self._steps.before("shares").ask
        assert isinstance(told, AskShares)
        return told
