"""A reservation: what one request may cost, and each noised answer before anyone reads it.

It is the `Meter` of a vault. A question is paid for, drawn, and stored, in this order, each durably: whatever
happens in between, the same question is never drawn twice for anyone to compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from cohortmix.client.database import Database
from cohortmix.core.meter import Answer, BudgetExceeded
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import ratio_text
from cohortmix.protocol.messages import NoisedAnswer

TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    study TEXT NOT NULL, id TEXT NOT NULL, number INTEGER NOT NULL,
    question TEXT NOT NULL, mu2 TEXT NOT NULL, answer BLOB,
    PRIMARY KEY (study, id, number),
    FOREIGN KEY (study, id) REFERENCES requests
) STRICT;
"""


class LedgerError(Exception):
    """The ledger refuses a step that its rules do not allow."""


class Reservation:
    """The part of a site's budget that the ledger has set aside for one request.

    Attributes
    ----------
    study, request_id : the request.
    mu2 : the most that its questions may cost together.
    """

    def __init__(self, database: Database, study: str, request_id: str, mu2: Fraction) -> None:
        self._database = database
        self.study, self.request_id, self.mu2 = study, request_id, mu2

    def load(self, index: int) -> Answer | None:
        """The answer that this or an earlier run of the request has drawn."""
        rows = self._database.read(
            "SELECT answer FROM answers WHERE study = ? AND id = ? AND number = ? AND answer IS NOT NULL",
            *(self.study, self.request_id, index),
        )
        return NoisedAnswer.model_validate_json(rows[0][0]).to_core() if rows else None

    def debit(self, index: int, question: str, mu2: Fraction) -> None:
        """Pay for a question; the same question under the same index is paid for once.

        Raises
        ------
        BudgetExceeded
            If the questions together cost more than the reservation, or the index has another question.
        """
        with self._database.transaction() as db:
            rows = db.execute(
                "SELECT number, question, mu2 FROM answers WHERE study = ? AND id = ?",
                (self.study, self.request_id),
            ).fetchall()
            paid = {number: (asked, cost) for number, asked, cost in rows}
            if index in paid:
                if paid[index] != (question, ratio_text(mu2)):
                    raise BudgetExceeded(f"question {index} was another one; start a new request")
                return
            check_limit("reserved", total_mu2(cost for _, cost in paid.values()), mu2, self.mu2)
            db.execute(
                "INSERT INTO answers (study, id, number, question, mu2) VALUES (?, ?, ?, ?, ?)",
                (self.study, self.request_id, index, question, ratio_text(mu2)),
            )

    def store(self, index: int, answer: Answer) -> None:
        """Make an answer durable, once; LedgerError for a second draw, which nobody then reads."""
        data = canonical(NoisedAnswer.of(answer).plain())
        with self._database.transaction() as db:
            stored = db.execute(
                "UPDATE answers SET answer = ? "
                "WHERE study = ? AND id = ? AND number = ? AND question = ? AND mu2 = ? AND answer IS NULL",
                (data, self.study, self.request_id, index, answer.question, ratio_text(answer.mu2)),
            )
            if stored.rowcount != 1:
                raise LedgerError(f"question {index} was not paid for, or has an answer already")

    def answers(self) -> tuple[NoisedAnswer, ...]:
        """All answers that the request has drawn, in the order of its questions."""
        rows = self._database.read(
            "SELECT answer FROM answers WHERE study = ? AND id = ? AND answer IS NOT NULL ORDER BY number",
            *(self.study, self.request_id),
        )
        return tuple(NoisedAnswer.model_validate_json(data) for (data,) in rows)


def total_mu2(texts: Iterable[str]) -> Fraction:
    """Exact sum of fractions as the database holds them."""
    return sum(map(Fraction, texts), Fraction(0))


def check_limit(name: str, spent: Fraction, asked: Fraction, limit: Fraction) -> None:
    """Raise BudgetExceeded, with the parts apart, if spent + asked > limit (all mu^2)."""
    if spent + asked > limit:
        raise BudgetExceeded(
            f"over budget: spent {_mu(spent)}, asked {_mu(asked)}, {name} {_mu(limit)} (mu; their squares add)"
        )


def _mu(mu2: Fraction) -> str:
    return f"{math.sqrt(mu2):.4f}".removesuffix("00")
