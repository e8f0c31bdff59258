"""A reservation: each question is paid for and answered once, and it is committed once, whatever crashes."""

import signal
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from ledgers import CAP, HASH, LARGE, STUDY, answer, mu2, request, reserve, sealing

from cohortmix.client.ledger import ledger as module
from cohortmix.client.ledger import reservation
from cohortmix.client.ledger.journal import LedgerError, step_content
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.reservation import Reservation
from cohortmix.core.privacy.meter import BudgetExceeded
from cohortmix.protocol.messages import NoisedAnswer, decode
from cohortmix.protocol.storage.database import Database

# --- the meter


def test_a_reservation_bounds_its_questions(ledger: Ledger) -> None:
    reserved = ledger.reserve(STUDY, "request-1", HASH, mu2("0.25"), LARGE)
    assert isinstance(reserved, Reservation)
    reserved.debit(0, "d" * 64, mu2("0.15"))
    with pytest.raises(BudgetExceeded, match=r"spent 0\.15, asked 0\.21, reserved 0\.25"):
        reserved.debit(1, "e" * 64, mu2("0.21"))
    reserved.debit(1, "e" * 64, mu2("0.20"))


def test_debit_is_idempotent_for_one_question_only(ledger: Ledger) -> None:
    reserved = reserve(ledger, request())
    for _ in range(3):
        reserved.debit(0, "d" * 64, Fraction(1, 64))
    for question, cost in (("e" * 64, Fraction(1, 64)), ("d" * 64, Fraction(1, 128))):
        with pytest.raises(BudgetExceeded, match="another one"):
            reserved.debit(0, question, cost)


def test_an_answer_is_stored_once(ledger: Ledger) -> None:
    reserved = reserve(ledger, request())
    reserved.debit(0, "d" * 64, Fraction(1, 64))
    assert reserved.load(0) is None
    reserved.store(0, answer(value=7))
    with pytest.raises(LedgerError, match="has an answer already"):
        reserved.store(0, answer(value=8))  # a second draw for one price
    stored = reserved.load(0)
    assert stored is not None
    assert NoisedAnswer.of(stored) == NoisedAnswer.of(answer(value=7))


def test_an_answer_must_be_paid_for(ledger: Ledger) -> None:
    reserved = reserve(ledger, request())
    with pytest.raises(LedgerError, match="not paid for"):
        reserved.store(0, answer())
    reserved.debit(0, "e" * 64, Fraction(1, 64))
    with pytest.raises(LedgerError, match="not paid for"):
        reserved.store(0, answer(question="d" * 64))
    assert reserved.answers() == ()


# --- crashes

_DIES_AFTER_ONE_ANSWER = """
import os, signal, sys
from decimal import Decimal
from fractions import Fraction
import numpy as np
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.core.privacy.meter import Answer

reserved = Ledger(sys.argv[1], Decimal("0.3")).reserve(
    "a" * 64, "request-1", "c" * 64, Fraction("0.25") ** 2, Fraction(100)
)
reserved.debit(0, "d" * 64, Fraction(1, 64))
reserved.store(0, Answer(np.array([41]), 2**33, 2**20, 2**60, Fraction(1, 64), "d" * 64))
reserved.debit(1, "e" * 64, Fraction(1, 64))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_resumes_with_its_stored_answers(path: Path) -> None:
    """The process ends after the first of two answers; the next one finds that answer and pays nothing twice."""
    killed = subprocess.run([sys.executable, "-c", _DIES_AFTER_ONE_ANSWER, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    ledger = Ledger(path, CAP)
    assert ledger.spent_mu2 == mu2("0.25")  # reserved and not committed counts as spent
    again = ledger.reserve(STUDY, "request-1", HASH, mu2("0.25"), LARGE)
    assert isinstance(again, Reservation)
    stored = again.load(0)
    assert stored is not None
    assert stored.values[0] == 41
    assert again.load(1) is None
    again.debit(1, "e" * 64, Fraction(1, 64))
    again.store(1, answer(question="e" * 64))
    assert ledger.spent_mu2 == mu2("0.25")
    ledger.close()


def test_a_commit_is_everything_or_nothing(ledger: Ledger) -> None:
    """The disk is full: neither release nor receipt is there, and a second attempt works."""
    message, drawn = request(), replace(answer(), values=np.arange(10_000))  # more than fits on a page
    reserved = reserve(ledger, message)
    reserved.debit(0, drawn.question, drawn.mu2)
    reserved.store(0, drawn)
    pages = ledger._journal._database._connection.execute
    (room,) = pages("PRAGMA max_page_count").fetchone()
    pages("PRAGMA max_page_count = 1")  # SQLite's own limit, in place of a full disk: no page more than now
    with pytest.raises(LedgerError, match=r"cannot write the ledger .* database or disk is full"):
        ledger.commit(reserved, sealing(message, drawn))
    assert ledger.receipts() == ()
    pages(f"PRAGMA max_page_count = {room}")
    again = reserve(ledger, message)  # still a reservation: no release was left behind
    data = ledger.commit(again, sealing(message, drawn))
    assert ledger.releases(reserved.study) == (decode(data),)
    assert ledger.spent_mu2 == Fraction(1, 64)


def test_a_reservation_is_committed_once(ledger: Ledger) -> None:
    message, drawn = request(), answer()
    first, second = reserve(ledger, message), reserve(ledger, message)
    first.debit(0, drawn.question, drawn.mu2)
    first.store(0, drawn)
    ledger.commit(first, sealing(message, drawn))
    with pytest.raises(LedgerError, match="closed already"):
        ledger.commit(second, sealing(message, drawn))
    assert len(ledger.receipts()) == 1


def test_a_receipt_belongs_to_its_reservation(ledger: Ledger) -> None:
    message = request()
    reserved = reserve(ledger, message)
    seal = sealing(message, answer())
    with pytest.raises(LedgerError, match="next one"):
        ledger.commit(reserved, sealing(request("request-2"), answer()))
    with pytest.raises(LedgerError, match="next one"):
        ledger.commit(reserved, lambda previous: seal("f" * 64))
    with pytest.raises(LedgerError, match="more than was reserved"):
        ledger.commit(reserved, sealing(message, answer(cost=Fraction(1, 32))))
    assert ledger.receipts() == ()


# --- what could not be read again is not written


def test_a_cost_that_would_not_read_back_is_not_reserved(path: Path) -> None:
    """A share of 390 digits made a reservation that no later opening could read: the ledger was lost."""
    ledger = Ledger(path, CAP)
    for cost in (Fraction(1, 10**400 + 1), Fraction(10**400 + 1, 10**402)):
        with pytest.raises(LedgerError, match=r"would not read back .*; nothing was written"):
            ledger.reserve(STUDY, "request-1", HASH, cost, LARGE)
    ledger.reserve(STUDY, "request-1", HASH, Fraction(1, 10**300 + 1), LARGE)
    ledger.close()
    again = Ledger(path, CAP)
    assert again.spent_mu2 == Fraction(1, 10**300 + 1)
    again.close()


def test_a_step_that_could_not_be_read_again_is_not_written() -> None:
    """A message with a value that its own fields would refuse, or that has no canonical form."""
    paid = reservation._Paid
    assert step_content(paid(question="d" * 64, mu2=Fraction(1, 64)))
    for fields in ({"mu2": Fraction(1, 10**500)}, {"mu2": Fraction(1, 64), "question": "d"}):
        broken = paid.model_construct(**{"question": "d" * 64} | fields)
        with pytest.raises(LedgerError, match="would not read back"):
            step_content(broken)


def test_a_release_that_no_message_can_hold_is_not_committed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, message, drawn = Ledger(path, CAP), request(), answer()
    reserved = reserve(ledger, message)
    reserved.debit(0, drawn.question, drawn.mu2)
    reserved.store(0, drawn)
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(LedgerError, match="expected 1000 at most; nothing was written"):
        ledger.commit(reserved, sealing(message, drawn))
    monkeypatch.undo()
    ledger.close()
    again = Ledger(path, CAP)  # it opens, and the same reservation can be committed
    assert again.spent_mu2 == Fraction(1, 64)
    assert decode(again.commit(reserve(again, message), sealing(message, drawn)))
    again.close()


def test_a_step_is_read_back_before_it_counts(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Storage that loses or changes what it is given: then there is no step and no reservation."""
    write = Database.write

    def changed(database: Database, sql: str, *values: str | int | bytes) -> None:
        write(database, sql, *(b"{}" if isinstance(value, bytes) else value for value in values))

    for storage in (lambda *_: None, changed):
        monkeypatch.setattr(Database, "write", storage)
        with pytest.raises(LedgerError, match="did not read back as it was written"):
            reserve(ledger, request())
        assert ledger.entries() == ()
    monkeypatch.undo()
    reserve(ledger, request())
    assert len(ledger.entries()) == 1
