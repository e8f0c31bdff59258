"""A reservation: what one request may cost, and each noised answer before anyone reads it.

It is the `Meter` of a vault. A question is paid for, drawn, and stored, in this order, each durably: whatever
happens in between, the same question is never drawn twice for anyone to compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from cohortmix.client.ledger.journal import LedgerError, LedgerJournal, step_content, step_message
from cohortmix.core.privacy.meter import Answer, BudgetExceeded
from cohortmix.protocol.fields import Hash, Ratio, Wire
from cohortmix.protocol.messages import NoisedAnswer

PAID, ANSWERED = "paid", "answered"


class _Paid(Wire):
    """Content of a step: a question, by its hash, and what was paid for it."""

    question: Hash
    mu2: Ratio


class Reservation:
    """The part of a site's budget that the ledger has set aside for one request.

    Attributes
    ----------
    study, request_id : the request: the hash of its study, and its id in that study.
    mu2 : the most that its questions may cost together.
    """

    def __init__(self, journal: LedgerJournal, study: str, request_id: str, mu2: Fraction) -> None:
        self._journal = journal
        self.study, self.request_id, self.mu2 = study, request_id, mu2

    def load(self, index: int) -> Answer | None:
        """The answer that this or an earlier run of the request has drawn."""
        answer = self._answers().get(index)
        return None if answer is None else answer.to_core()

    def debit(self, index: int, question: str, mu2: Fraction) -> None:
        """Pay for a question; the same question under the same index is paid for once.

        Raises
        ------
        BudgetExceeded
            If the questions together cost more than the reservation, or the index has another question.
        """
        payment = step_message(_Paid, question=question, mu2=mu2)
        with self._journal.transaction():
            paid = self._paid()
            if index in paid:
                if paid[index] != payment:
                    raise BudgetExceeded(f"question {index} was another one; draft a new study")
                return
            spent = total_mu2(earlier.mu2 for earlier in paid.values())
            check_limit("reserved", spent, mu2, self.mu2)
            self._journal.append(PAID, self.study, self.request_id, index, step_content(payment))

    def store(self, index: int, answer: Answer) -> None:
        """Make an answer durable, once; LedgerError for a second draw, which nobody then reads."""
        payment = step_message(_Paid, question=answer.question, mu2=answer.mu2)
        with self._journal.transaction():
            if self._paid().get(index) != payment or index in self._answers():
                raise LedgerError(f"question {index} was not paid for, or has an answer already")
            content = step_content(NoisedAnswer.of(answer))
            self._journal.append(ANSWERED, self.study, self.request_id, index, content)

    def answers(self) -> tuple[NoisedAnswer, ...]:
        """All answers that the request has drawn, in the order of its questions."""
        return tuple(answer for _, answer in sorted(self._answers().items()))

    def _paid(self) -> dict[int, _Paid]:
        steps = self._journal.steps(PAID, self.study, self.request_id)
        return {step.part: self._journal.read(step, _Paid) for step in steps}

    def _answers(self) -> dict[int, NoisedAnswer]:
        steps = self._journal.steps(ANSWERED, self.study, self.request_id)
        return {step.part: self._journal.read(step, NoisedAnswer) for step in steps}


def total_mu2(costs: Iterable[Fraction]) -> Fraction:
    """The exact sum of costs, each a mu^2."""
    return sum(costs, Fraction(0))


def check_limit(name: str, spent: Fraction, asked: Fraction, limit: Fraction) -> None:
    """Raise BudgetExceeded, with the parts apart, if spent + asked > limit (all mu^2).

    Parameters
    ----------
    name : what the limit is, as the message calls it: "cap", "approved" or "reserved".
    """
    if spent + asked > limit:
        raise BudgetExceeded(
            f"over budget: spent {mu_text(spent)}, asked {mu_text(asked)}, {name} {mu_text(limit)} "
            "(mu; their squares add)"
        )


def mu_text(mu2: Fraction) -> str:
    """The mu of an exact mu^2 with four decimals, or with two where the others are zeros.

    >>> mu_text(Fraction(1, 4)), mu_text(Fraction(1, 3))
    ('0.50', '0.5774')
    """
    return f"{math.sqrt(mu2):.4f}".removesuffix("00")
