"""The steps of a sum in the ledger: what the site was told, and what it replied, once and for good.

A step is answered for the first content that it comes with, and for no other, whatever happens in between: so one
set of sites is unmasked for each sum, ever.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from cohortmix.client.ledger.journal import LedgerJournal, step_content, step_message
from cohortmix.client.ledger.reservation import Reservation
from cohortmix.protocol.fields import Wire
from cohortmix.protocol.masking.seeds import Seeds
from cohortmix.protocol.steps import STEPS, Ask, SignedReply, Step

TAKEN = "step of a sum"


class StepConflict(Exception):  # noqa: N818 (a conflict, not a fault of this program)
    """A step of a sum came back with another content, or before the one that it follows."""


class Taken(Wire):
    """Content of a step: what was asked, and the reply; that to `input` is the release, which is kept as such.

    `seeds` are drawn in the first step. They never leave the ledger but as shares, sealed for other sites.
    """

    ask: Ask
    reply: SignedReply | None = None
    seeds: Seeds | None = None


class SumSteps:
    """The steps that one request has come to.

    Parameters
    ----------
    study, request_id : the request: the hash of its study, and its id in that study.
    """

    def __init__(self, journal: LedgerJournal, study: str, request_id: str) -> None:
        self._journal, self._study, self._id = journal, study, request_id
        self._read: dict[int, Taken] = {}  # a step never changes, and those of a large study take long to parse

    def taken(self, step: Step) -> Taken | None:
        """What is kept of a step; None before it."""
        part = STEPS.index(step)
        if part not in self._read:
            kept = [each for each in self._journal.steps(TAKEN, self._study, self._id) if each.part == part]
            self._read.update((part, self._journal.read(each, Taken)) for each in kept)
        return self._read.get(part)

    def before(self, step: Step) -> Taken:
        """What is kept of a step that another one needs; StepConflict if it has not been taken."""
        taken = self.taken(step)
        if taken is None:
            raise StepConflict(f"the step {step!r} of this sum comes first")
        return taken

    def same(self, ask: Ask) -> Taken | None:
        """What is kept of this step; None before it, and StepConflict if it was asked with another content."""
        taken = self.taken(ask.step)
        if taken is not None and taken.ask != ask:
            raise StepConflict(
                f"the step {ask.step!r} of this sum was answered for another content, and is for good"
            )
        return taken

    def take(self, ask: Ask, reply: SignedReply | None, seeds: Seeds | None = None) -> Taken:
        """Keep a step, durably; gives back what counts, which may be what another process has kept meanwhile."""
        taken = step_message(Taken, ask=ask, reply=reply, seeds=seeds)
        with self._journal.transaction():
            kept = self.same(ask)
            if kept is None:
                part, content = STEPS.index(ask.step), step_content(taken)
                self._journal.append(TAKEN, self._study, self._id, part, content)
        return kept or taken

    def spare(self) -> NDArray[np.int64] | None:
        """The noise in this site's answers that is taken off again where no site is missing; None without any."""
        answers = Reservation(self._journal, self._study, self._id, Fraction(0)).answers()
        spares = [answer.spare.numpy() for answer in answers if answer.spare is not None]
        return np.concatenate(spares) if spares else None
