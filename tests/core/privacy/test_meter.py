"""The meter: nothing is drawn unpaid, twice for one price, or read before it is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import pyarrow as pa
import pytest
from vaults import MOMENTS, MU2, SCHEMA, SUMS, CountingNoise, NoNoise, Rows, open_vault, table

from cohortmix.core.data.table import InputError
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer, BudgetExceeded
from cohortmix.core.privacy.questions.class_marginals import ClassMarginals
from cohortmix.core.privacy.vault import Vault


@dataclass
class BrokenMeter(MemoryMeter):
    """Fails when an answer is to be stored."""

    def __init__(self) -> None:
        super().__init__(Fraction(1))

    def store(self, index: int, answer: Answer) -> None:
        raise OSError("no space left")


def test_over_the_limit_nothing_is_drawn() -> None:
    meter, noise = MemoryMeter(Fraction(1, 100)), CountingNoise()
    opened = Vault(Rows(table()), SCHEMA, noise.add, meter)
    opened.answer(SUMS, Fraction(64, 10_000))
    with pytest.raises(BudgetExceeded, match=r"spent mu=0\.08, asked mu=0\.08, cap mu=0\.1"):
        opened.answer(SUMS, Fraction(64, 10_000))
    assert noise.draws == 1
    assert Fraction(639, 100_000) < meter.spent <= Fraction(64, 10_000)


def test_the_whole_limit_can_be_spent() -> None:
    meter = MemoryMeter(Fraction(1))
    meter.debit(0, "a", Fraction(1, 4))
    meter.debit(1, "b", Fraction(3, 4))
    with pytest.raises(BudgetExceeded):
        meter.debit(2, "c", Fraction(1, 10**9))
    opened = open_vault(Rows(table()), limit=1)
    opened.answer(SUMS, Fraction(1, 4))
    opened.answer(MOMENTS, Fraction(3, 4))


def test_a_stored_answer_is_not_drawn_again() -> None:
    meter, noise = MemoryMeter(Fraction(1)), CountingNoise()
    first, again = (Vault(Rows(table()), SCHEMA, noise.add, meter).answer(SUMS, MU2) for _ in range(2))
    assert again is first
    assert noise.draws == 1
    assert meter.spent == first.mu2


def test_another_question_under_the_same_index_is_refused() -> None:
    meter, noise = MemoryMeter(Fraction(1)), CountingNoise()
    Vault(Rows(table()), SCHEMA, noise.add, meter).answer(SUMS, MU2)
    others: list[Callable[[Vault], Answer]] = [
        lambda v: v.answer(MOMENTS, MU2),
        lambda v: v.answer(ClassMarginals(SUMS.blocks[1:], SUMS.label_weight, SUMS.unit), MU2),
    ]
    for ask in others:
        with pytest.raises(BudgetExceeded, match="another one"):
            ask(Vault(Rows(table()), SCHEMA, noise.add, meter))
    assert noise.draws == 1


def test_a_question_that_was_paid_for_is_drawn_once_and_for_that_price() -> None:
    """After a crash between paying and storing: the same question is free, another one is refused."""
    meter = MemoryMeter(Fraction(1))
    meter.debit(0, "a", Fraction(1, 2))
    meter.debit(0, "a", Fraction(1, 2))
    assert meter.spent == Fraction(1, 2)
    for question, mu2 in (("b", Fraction(1, 2)), ("a", Fraction(1, 4))):
        with pytest.raises(BudgetExceeded, match="already paid for and differs"):
            meter.debit(0, question, mu2)


@dataclass
class BreaksOff(Rows):
    """A table that cannot be read to its end, except when it is counted."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        for at, batch in enumerate(super().batches()):
            if self.readings > 1 and at == 2:
                raise InputError("the file is damaged")
            yield batch


def test_a_reading_that_breaks_off_costs_what_was_reserved_and_no_more() -> None:
    """Nothing is drawn or stored; the same question asked again is free, and has its answer."""
    meter, noise = MemoryMeter(Fraction(1)), CountingNoise()
    with pytest.raises(InputError, match="damaged"):
        Vault(BreaksOff(table(), 7), SCHEMA, noise.add, meter).answer(SUMS, MU2)
    spent = meter.spent
    assert (noise.draws, meter.answers) == (0, {})
    again = Vault(Rows(table()), SCHEMA, noise.add, meter).answer(SUMS, MU2)
    assert (noise.draws, meter.spent) == (1, spent)
    assert again.values.tolist() == open_vault(Rows(table())).answer(SUMS, MU2).values.tolist()


def test_an_answer_that_cannot_be_stored_is_not_given() -> None:
    meter = BrokenMeter()
    with pytest.raises(OSError, match="no space"):
        Vault(Rows(table()), SCHEMA, NoNoise().add, meter).answer(SUMS, MU2)
    assert meter.spent > 0


def test_what_is_given_is_what_was_stored() -> None:
    class Other(MemoryMeter):
        def store(self, index: int, answer: Answer) -> None:
            kept = Answer(answer.values * 0, answer.sigma, answer.unit, 1, answer.mu2, answer.question)
            super().store(index, kept)

    given_ = Vault(Rows(table()), SCHEMA, NoNoise().add, Other(Fraction(1))).answer(SUMS, MU2)
    assert not given_.values.any()
