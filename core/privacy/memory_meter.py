"""The meter of one process: what `synthesize` and tests pay from, where a site has its ledger."""

from __future__ import annotations

from fractions import Fraction

from cohortmix.core.privacy.meter import Answer, BudgetExceeded


class MemoryMeter:
    """A meter for one process, with a limit on the sum of mu^2."""

    def __init__(self, limit: Fraction) -> None:
        self.limit = limit
        self.answers: dict[int, Answer] = {}
        self._paid: dict[int, tuple[str, Fraction]] = {}

    @property
    def spent(self) -> Fraction:
        """Sum of mu^2 so far."""
        return sum((mu2 for _, mu2 in self._paid.values()), Fraction(0))

    def load(self, index: int) -> Answer | None:
        return self.answers.get(index)

    def debit(self, index: int, question: str, mu2: Fraction) -> None:
        if index in self._paid and self._paid[index] != (question, mu2):
            raise BudgetExceeded(f"question {index} was already paid for and differs; start a new request")
        if index not in self._paid and self.spent + mu2 > self.limit:
            spent, asked, cap = (float(x) ** 0.5 for x in (self.spent, mu2, self.limit))
            raise BudgetExceeded(f"spent mu={spent:.4g}, asked mu={asked:.4g}, cap mu={cap:.4g}")
        self._paid[index] = (question, mu2)

    def store(self, index: int, answer: Answer) -> None:
        self.answers[index] = answer
