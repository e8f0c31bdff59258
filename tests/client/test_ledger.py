"""The ledger: reserve, store before reading, commit; nothing is drawn twice and no cap is passed."""

import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortmix.client.act import Act
from cohortmix.client.database import LedgerError
from cohortmix.client.journal import Journal, Step
from cohortmix.client.ledger import Ledger, RequestConflict
from cohortmix.client.mark import HistoryError
from cohortmix.client.policy import Refused
from cohortmix.client.reservation import Reservation
from cohortmix.core.meter import Answer, BudgetExceeded
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.messages import (
    ClassSums,
    Code,
    NoisedAnswer,
    Request,
    SignedRelease,
    SiteEntry,
    StudySpec,
    decode,
    encode,
)
from cohortmix.protocol.receipts import GENESIS, issue, verify_chain
from cohortmix.protocol.signing import Key, sign_study

KEY = Key.from_bytes(bytes(range(32)))
STUDY, OTHER = "a" * 64, "b" * 64
HASH = "c" * 64
CAP = Decimal("0.3")
LARGE = Fraction(100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path, CAP)
    yield ledger
    ledger.close()


def mu2(text: str) -> Fraction:
    return Fraction(text) ** 2


def answer(cost: Fraction = Fraction(1, 2**6), question: str = "d" * 64, value: int = 7) -> Answer:
    sigma = 2**33
    sensitivity2 = cost * sigma**2
    assert sensitivity2.denominator == 1
    return Answer(np.array([value, -(2**40)]), sigma, 2**20, int(sensitivity2), cost, question)


def request(request_id: str = "request-1") -> Request:
    study = StudySpec(
        name="study",
        schema_hash="e" * 64,
        target="outcome",
        mu=Decimal("0.3"),
        delta=Decimal("0.00001"),
        overlap="disjoint",
        sites=(SiteEntry(name="site", key=KEY.public_hex, patients=100),),
        min_sites=1,
        round_deadline_seconds=60,
        version="0.1.0",
        coordinator_key=KEY.public_hex,
    )
    return Request(study=sign_study(KEY, study), round=1, request_id=request_id)


def reserve(ledger: Ledger, asked: Request) -> Reservation:
    reserved = ledger.reserve(asked.study.study.hash, asked.request_id, asked.hash, Fraction(1, 64), LARGE)
    assert isinstance(reserved, Reservation)
    return reserved


def sealing(asked: Request, drawn: Answer) -> Callable[[str], SignedRelease]:
    content = NoisedAnswer.of(drawn)
    return lambda previous: issue(
        KEY, "site", asked, ClassSums(answer=content), {"class sums": content}, 100, previous
    )


def fulfil(ledger: Ledger, asked: Request, drawn: Answer) -> bytes:
    reserved = reserve(ledger, asked)
    reserved.debit(0, drawn.question, drawn.mu2)
    reserved.store(0, drawn)
    return ledger.commit(reserved, sealing(asked, drawn))


# --- the cap and the approved budget


def test_over_the_cap_is_refused_with_the_parts_apart(ledger: Ledger) -> None:
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.20"), LARGE)
    with pytest.raises(BudgetExceeded, match=r"spent 0\.20, asked 0\.25, cap 0\.30"):
        ledger.reserve(OTHER, "request-2", HASH, mu2("0.25"), LARGE)
    assert ledger.spent_mu2 == mu2("0.20")


def test_the_cap_can_be_spent_to_the_last_bit(ledger: Ledger) -> None:
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.18"), LARGE)
    ledger.reserve(OTHER, "request-2", HASH, mu2("0.24"), LARGE)  # 0.18^2 + 0.24^2 = 0.30^2
    assert ledger.spent_mu2 == mu2("0.30")
    with pytest.raises(BudgetExceeded):
        ledger.reserve(OTHER, "request-3", HASH, Fraction(1, 10**40), LARGE)
    ledger.reserve(OTHER, "request-4", HASH, Fraction(0), LARGE)  # post-processing is free


def test_the_approved_budget_covers_all_requests_of_a_study(ledger: Ledger) -> None:
    approved = mu2("0.25")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.15"), approved)
    ledger.reserve(STUDY, "request-2", HASH, mu2("0.20"), approved)
    with pytest.raises(BudgetExceeded, match=r"spent 0\.25, asked 0\.10, approved 0\.25"):
        ledger.reserve(STUDY, "request-3", HASH, mu2("0.10"), approved)
    ledger.reserve(OTHER, "request-3", HASH, mu2("0.10"), approved)  # another study's own approval


@given(st.lists(st.integers(1, 40), max_size=12))
def test_spent_never_passes_the_cap(hundredths: list[int]) -> None:
    ledger, granted = Ledger(":memory:", CAP), Fraction(0)
    for number, each in enumerate(hundredths):
        cost = mu2(f"{each}/100")
        try:
            ledger.reserve(STUDY, f"request-{number}", HASH, cost, LARGE)
        except BudgetExceeded:
            assert granted + cost > mu2("0.3")
        else:
            granted += cost
        assert ledger.spent_mu2 == granted <= mu2("0.3")
    ledger.close()


@pytest.mark.parametrize("shared", [True, False], ids=["one connection", "one per process"])
def test_cap_holds_under_concurrency(path: Path, shared: bool) -> None:
    """Eight requests of 0.22 at once under a cap of 0.3: exactly one gets it."""
    ledgers = [Ledger(path, CAP)] * 8 if shared else [Ledger(path, CAP) for _ in range(8)]
    start, outcomes = threading.Barrier(8), []

    def ask(number: int) -> None:
        start.wait()
        try:
            ledgers[number].reserve(STUDY, f"request-{number}", HASH, mu2("0.22"), LARGE)
            outcomes.append("granted")
        except BudgetExceeded:
            outcomes.append("refused")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["granted"] + ["refused"] * 7
    assert ledgers[0].spent_mu2 == mu2("0.22")
    for each in set(ledgers):
        each.close()


_ASKS_WHEN_TOLD = """
import sys
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from cohortmix.client.ledger import Ledger
from cohortmix.core.meter import BudgetExceeded

path, mark, study, request, cost = sys.argv[1:]
ledger = Ledger(path, Decimal("0.3"), Path(mark))
print("ready", flush=True)
sys.stdin.readline()
try:
    ledger.reserve(study, request, "c" * 64, Fraction(cost) ** 2, Fraction(100))
    print("granted")
except BudgetExceeded:
    print("refused")
"""


def at_once(path: Path, mark: Path, *asked: tuple[str, str, str]) -> list[str]:
    """What processes of their own get that all ask at the same moment: (study, request id, mu)."""
    command = [sys.executable, "-c", _ASKS_WHEN_TOLD, str(path), str(mark)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([*command, *each], **pipes) for each in asked]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate()[0].strip() for process in processes]


def test_processes_that_ask_at_once_share_one_cap(path: Path, tmp_path: Path) -> None:
    """Two studies that together exceed the cap, one of them asked twice: one study is granted, and paid once."""
    Ledger(path, CAP, tmp_path).close()
    one, other = (STUDY, "request-1", "0.22"), (OTHER, "request-2", "0.22")
    outcomes = at_once(path, tmp_path, one, one, other)
    assert outcomes in (["granted", "granted", "refused"], ["refused", "refused", "granted"])
    ledger = Ledger(path, CAP, tmp_path)
    assert ledger.spent_mu2 == mu2("0.22")
    ledger.close()


# --- the identity of a request


def test_a_request_is_charged_once(ledger: Ledger) -> None:
    first = ledger.reserve(STUDY, "request-1", HASH, mu2("0.2"), LARGE)
    again = ledger.reserve(STUDY, "request-1", HASH, mu2("0.2"), LARGE)
    assert isinstance(first, Reservation)
    assert isinstance(again, Reservation)
    assert ledger.spent_mu2 == mu2("0.2")


def test_one_id_has_one_content(ledger: Ledger) -> None:
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.1"), LARGE)
    with pytest.raises(RequestConflict, match="another content"):
        ledger.reserve(STUDY, "request-1", "f" * 64, mu2("0.1"), LARGE)
    ledger.reserve(OTHER, "request-1", "f" * 64, mu2("0.1"), LARGE)  # ids are a study's own
    assert ledger.spent_mu2 == 2 * mu2("0.1")


def test_an_answered_request_gives_its_bytes(ledger: Ledger) -> None:
    asked = request()
    data = fulfil(ledger, asked, answer())
    again = ledger.reserve(asked.study.study.hash, asked.request_id, asked.hash, Fraction(1, 64), LARGE)
    assert again == data
    assert ledger.spent_mu2 == Fraction(1, 64)
    with pytest.raises(RequestConflict):
        ledger.reserve(asked.study.study.hash, asked.request_id, HASH, Fraction(1, 64), LARGE)


def test_another_id_is_another_purchase(ledger: Ledger) -> None:
    fulfil(ledger, request(), answer())
    fulfil(ledger, request("request-2"), answer())
    assert ledger.spent_mu2 == Fraction(2, 64)


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


# --- revocations


def test_of_a_revoked_study_nothing_is_reserved_or_sent_until_it_is_approved(ledger: Ledger, path: Path) -> None:
    asked, study = request(), request().study.study.hash
    sent = fulfil(ledger, asked, answer())
    ledger.revoke(study)
    other = Ledger(path, CAP)
    for each in (ledger, other):
        for id in ("request-1", "request-2"):
            with pytest.raises(Refused, match="has revoked this study") as refused:
                reserve(each, request(id))
            assert refused.value.refusal.code == Code.NOT_APPROVED
    other.close()
    assert [entry.request_id for entry in ledger.entries()] == ["request-1"]  # it stays, and stays spent
    assert isinstance(ledger.reserve(OTHER, "request-1", HASH, mu2("0.01"), LARGE), Reservation)
    ledger.approve(study)
    assert ledger.reserve(study, asked.request_id, asked.hash, Fraction(1, 64), LARGE) == sent
    assert isinstance(reserve(ledger, request("request-2")), Reservation)


def test_the_last_decision_counts_and_is_written_once(ledger: Ledger, path: Path) -> None:
    for decide, decisions in (
        (ledger.approve, 0),  # what was never revoked needs no step
        (ledger.revoke, 1),
        (ledger.revoke, 1),
        (ledger.approve, 2),
        (ledger.approve, 2),
        (ledger.revoke, 3),
    ):
        decide(STUDY)
        with sqlite3.connect(path) as reader:
            assert reader.execute("SELECT count(*) FROM steps").fetchall() == [(decisions,)]
        reader.close()
    with pytest.raises(Refused, match="has revoked this study"):
        ledger.reserve(STUDY, "request-1", HASH, mu2("0.01"), LARGE)


# --- crashes

_DIES_AFTER_ONE_ANSWER = """
import os, signal, sys
from decimal import Decimal
from fractions import Fraction
import numpy as np
from cohortmix.client.ledger import Ledger
from cohortmix.core.meter import Answer

reserved = Ledger(sys.argv[1], Decimal("0.3")).reserve(
    "a" * 64, "request-1", "c" * 64, Fraction("0.25") ** 2, Fraction(100)
)
reserved.debit(0, "d" * 64, Fraction(1, 64))
reserved.store(0, Answer(np.array([41]), 2**33, 2**20, 2**60, Fraction(1, 64), "d" * 64))
reserved.debit(1, "e" * 64, Fraction(1, 64))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_resumes_with_its_stored_answers(path: Path) -> None:
    """After the first of two answers the process is gone; the next one finds it and pays nothing twice."""
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


def test_a_commit_is_everything_or_nothing(path: Path, ledger: Ledger) -> None:
    """The disk is full: neither release nor receipt is there, and a second attempt works."""
    asked, drawn = request(), answer()
    reserved = reserve(ledger, asked)
    reserved.debit(0, drawn.question, drawn.mu2)
    reserved.store(0, drawn)
    other = sqlite3.connect(path)
    other.execute("CREATE TRIGGER full BEFORE INSERT ON steps BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    with pytest.raises(sqlite3.Error, match="disk full"):
        ledger.commit(reserved, sealing(asked, drawn))
    assert ledger.receipts() == ()
    other.execute("DROP TRIGGER full")
    other.close()
    again = reserve(ledger, asked)  # still a reservation: no release was left behind
    data = ledger.commit(again, sealing(asked, drawn))
    assert ledger.releases(reserved.study) == (decode(data),)
    assert ledger.spent_mu2 == Fraction(1, 64)


def test_a_reservation_is_committed_once(ledger: Ledger) -> None:
    asked, drawn = request(), answer()
    first, second = reserve(ledger, asked), reserve(ledger, asked)
    first.debit(0, drawn.question, drawn.mu2)
    first.store(0, drawn)
    ledger.commit(first, sealing(asked, drawn))
    with pytest.raises(LedgerError, match="closed already"):
        ledger.commit(second, sealing(asked, drawn))
    assert len(ledger.receipts()) == 1


def test_a_receipt_belongs_to_its_reservation(ledger: Ledger) -> None:
    asked = request()
    reserved = reserve(ledger, asked)
    seal = sealing(asked, answer())
    with pytest.raises(LedgerError, match="next one"):
        ledger.commit(reserved, sealing(request("request-2"), answer()))
    with pytest.raises(LedgerError, match="next one"):
        ledger.commit(reserved, lambda previous: seal("f" * 64))
    with pytest.raises(LedgerError, match="more than was reserved"):
        ledger.commit(reserved, sealing(asked, answer(cost=Fraction(1, 32))))
    assert ledger.receipts() == ()


# --- the chain


def test_receipts_are_chained(path: Path) -> None:
    for number in range(3):
        ledger = Ledger(path, CAP)
        fulfil(ledger, request(f"request-{number}"), answer())
        ledger.close()
    ledger = Ledger(path, CAP)
    receipts = [signed.receipt for signed in ledger.receipts()]
    assert receipts[0].previous == GENESIS
    assert [each.previous for each in receipts[1:]] == [each.hash for each in receipts[:-1]]
    assert ledger.previous_receipt_hash == receipts[-1].hash
    verify_chain(receipts, complete=True)
    assert [each.receipt for each in ledger.releases(receipts[0].study)] == receipts
    assert ledger.releases(OTHER) == ()
    ledger.close()


def test_a_restored_backup_shows_as_a_fork(path: Path, tmp_path: Path) -> None:
    ledger = Ledger(path, CAP)
    fulfil(ledger, request("request-0"), answer())
    backup = tmp_path / "backup.db"
    with sqlite3.connect(path) as source, sqlite3.connect(backup) as target:
        source.backup(target)
    fulfil(ledger, request("request-1"), answer())
    restored = Ledger(backup, CAP)
    fulfil(restored, request("request-2"), answer())
    receipts = [signed.receipt for each in (ledger, restored) for signed in each.receipts()]
    verify_chain(receipts[:2], complete=True)
    with pytest.raises(ValueError, match="set back"):
        verify_chain(receipts)
    for each in (ledger, restored):
        each.close()


# --- tampering


def written(path: Path) -> None:
    """Two requests, one committed and one reserved, in a ledger that is then closed."""
    ledger = Ledger(path, CAP)
    fulfil(ledger, request("request-1"), answer())
    ledger.reserve(OTHER, "request-2", HASH, Fraction(1, 128), LARGE)
    ledger.close()


def edit(path: Path, sql: str) -> None:
    with sqlite3.connect(path) as editor:
        assert editor.execute(sql).rowcount > 0, "the edit found its row"
    editor.close()


EDITS = {
    "a reservation is removed": "DELETE FROM steps WHERE kind = 'reserved' AND number = 1",
    "the last receipt is removed": "DELETE FROM steps WHERE kind = 'committed'",
    "a cost is lowered": "UPDATE steps SET content = CAST(replace(CAST(content AS TEXT), '1/64', '1/99') AS BLOB) "
    "WHERE kind = 'reserved'",
    "an answer is replaced": "UPDATE steps SET content = (SELECT content FROM steps WHERE kind = 'paid') "
    "WHERE kind = 'answered'",
    "a request is renamed": "UPDATE steps SET id = 'request-9' WHERE kind = 'reserved'",
    "steps change places": "UPDATE steps SET number = -number",
    "a cap is written in": "INSERT INTO steps VALUES (99, 'signed act', '', '', 0, x'7b7d', '00')",
    "a hash is cut": "UPDATE steps SET hash = substr(hash, 2) WHERE number = 1",
}


@pytest.mark.parametrize("sql", EDITS.values(), ids=EDITS)
def test_an_edited_ledger_does_not_open(path: Path, sql: str) -> None:
    written(path)
    Ledger(path, CAP).close()
    edit(path, sql)
    with pytest.raises(HistoryError, match=r"was altered: step .* put the newest ledger back"):
        Ledger(path, CAP)


def test_a_step_with_a_right_hash_of_its_own_breaks_the_next(path: Path) -> None:
    """Whoever knows how hashes are made has to make all later ones anew."""
    written(path)
    with sqlite3.connect(path) as editor:
        row = editor.execute("SELECT * FROM steps WHERE number = 1").fetchone()
        forged = Step(*row)._replace(content=row[5].replace(b"1/64", b"1/99"))
        edited = (forged.content, forged.hash_after(GENESIS))
        assert forged.content != row[5]
        editor.execute("UPDATE steps SET content = ?, hash = ? WHERE number = 1", edited)
    editor.close()
    with pytest.raises(HistoryError, match="step 2 is not the one that was written"):
        Ledger(path, CAP)


def test_the_last_steps_are_guarded_by_the_mark_alone(path: Path, tmp_path: Path) -> None:
    """A chain that is cut at its end is a good chain; the mark knows that there was more."""
    written(path)
    edit(path, "DELETE FROM steps WHERE number = (SELECT max(number) FROM steps)")
    shorter = Ledger(path, CAP)
    assert shorter.spent_mu2 == Fraction(1, 64)
    shorter.close()
    marked = tmp_path / "marked.db"
    ledger = Ledger(marked, CAP, tmp_path)
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.1"), LARGE)
    ledger.close()
    edit(marked, "DELETE FROM steps")
    with pytest.raises(HistoryError, match="set back: it has 0 steps, its mark says 1"):
        Ledger(marked, CAP, tmp_path)


def test_a_file_that_is_no_ledger_is_one_sentence(path: Path, tmp_path: Path) -> None:
    path.write_text("not a database, but long enough to be read as the head of one\n" * 20)
    with pytest.raises(LedgerError, match="cannot read the ledger"):
        Ledger(path, CAP)
    with pytest.raises(LedgerError, match="cannot open the ledger"):
        Ledger(tmp_path / "none" / "ledger.db", CAP)


# --- the cap's own history


def signing(path: Path, cap: str) -> Ledger:
    return Ledger(path, Decimal(cap), key=KEY.public_hex)


def test_a_configured_cap_cannot_raise_what_the_ledger_has_begun_with(path: Path) -> None:
    ledger = signing(path, "0.2")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.2"), LARGE)
    ledger.close()
    ledger = signing(path, "0.3")
    assert ledger.cap_mu == Decimal("0.2")
    with pytest.raises(BudgetExceeded, match=r"spent 0\.20, asked 0\.01, cap 0\.20"):
        ledger.reserve(STUDY, "request-2", HASH, mu2("0.01"), LARGE)
    ledger.close()


def test_a_signed_cap_and_the_configured_one_bound_together(path: Path) -> None:
    ledger = signing(path, "0.2")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.2"), LARGE)
    ledger.raise_cap(Decimal("0.3"), KEY)
    assert ledger.cap_mu == Decimal("0.2")  # site.yaml still says so
    ledger.close()
    for configured, cap in (("0.25", "0.25"), ("0.3", "0.3"), ("0.9", "0.3"), ("0.1", "0.1")):
        ledger = signing(path, configured)
        assert ledger.cap_mu == Decimal(cap)
        ledger.close()


def test_the_cap_is_raised_by_the_sites_key_and_upwards_only(path: Path) -> None:
    ledger = signing(path, "0.2")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.2"), LARGE)
    with pytest.raises(LedgerError, match="own key signs"):
        ledger.raise_cap(Decimal("0.3"), Key.generate())
    for lower in ("0.2", "0.1"):
        with pytest.raises(LedgerError, match=r"expected a cap above 0\.2"):
            ledger.raise_cap(Decimal(lower), KEY)
    ledger.raise_cap(Decimal("0.3"), KEY)
    ledger.close()
    with pytest.raises(LedgerError, match="acts signed by the site"):
        Ledger(path, CAP)
    with pytest.raises(LedgerError, match="is not the one that this ledger was kept under"):
        Ledger(path, CAP, key=Key.generate().public_hex)


def test_a_signed_cap_is_good_at_its_place_only(path: Path, tmp_path: Path) -> None:
    """The same act, with a chain that was written anew around it, in a ledger that has come further."""
    ledgers = []
    for name in ("one.db", "other.db"):
        ledger = signing(tmp_path / name, "0.2")
        ledger.reserve(STUDY if name == "one.db" else OTHER, "request-1", HASH, mu2("0.2"), LARGE)
        ledgers.append(ledger)
    ledgers[0].raise_cap(Decimal("0.3"), KEY)
    (act,) = (step for step in ledgers[0]._journal.steps("signed act"))
    with ledgers[1]._journal.transaction():
        ledgers[1]._journal.append(*act[1:6])
    for ledger in ledgers:
        ledger.close()
    signing(tmp_path / "one.db", "0.3").close()
    with pytest.raises(HistoryError, match="not by key"):
        signing(tmp_path / "other.db", "0.3")


def test_a_new_key_is_signed_with_the_one_before(path: Path) -> None:
    keys = [KEY, Key.generate(), Key.generate()]
    ledger = signing(path, "0.2")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.1"), LARGE)
    for number, (old, new) in enumerate(pairwise(keys), 3):
        ledger.raise_cap(Decimal(f"0.{number}"), old)
        with pytest.raises(LedgerError, match="own key signs"):
            ledger.change_key(new, KEY.public_hex)
        ledger.change_key(old, new.public_hex)
    ledger.close()
    for former in (*keys[:2], Key.generate()):
        with pytest.raises(LedgerError, match="is not the one that this ledger was kept under"):
            Ledger(path, CAP, key=former.public_hex)
    ledger = Ledger(path, Decimal(1), key=keys[2].public_hex)
    assert ledger.cap_mu == Decimal("0.4")
    ledger.close()


def test_receipts_alone_say_whose_ledger_it_is(path: Path) -> None:
    """A site.key that was replaced by hand, no act in the ledger; and the ledger is not called damaged."""
    ledger = signing(path, "0.3")
    fulfil(ledger, request(), answer())
    ledger.close()
    with pytest.raises(LedgerError, match=r"put that key back.* --new-key") as caught:
        Ledger(path, CAP, key=Key.generate().public_hex)
    assert not isinstance(caught.value, HistoryError)
    assert "does not hold" not in str(caught.value)
    signing(path, "0.3").close()


def test_a_reservation_says_whose_ledger_it_is_before_anything_is_signed(path: Path) -> None:
    """A crash in the first round: something is spent. As long as nothing is, any key will do."""
    signing(path, "0.3").close()
    Ledger(path, CAP, key=Key.generate().public_hex).close()
    ledger = signing(path, "0.3")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.1"), LARGE)
    ledger.close()
    with pytest.raises(LedgerError, match=r"put that key back.* --new-key"):
        Ledger(path, CAP, key=Key.generate().public_hex)
    signing(path, "0.3").close()


def test_each_receipt_is_under_the_key_of_its_time(path: Path) -> None:
    """The newest entry is the new key's; an older receipt that the site has not signed is found all the same."""
    ledger, new = signing(path, "0.3"), Key.generate()
    fulfil(ledger, request(), answer())
    ledger.change_key(KEY, new.public_hex)
    ledger.close()
    Ledger(path, CAP, key=new.public_hex).close()
    forged = forged_copy(path)
    with pytest.raises(
        HistoryError, match="does not hold: expected an entry signed with the site's key of its time"
    ):
        Ledger(forged, CAP, key=new.public_hex)


def forged_copy(path: Path) -> Path:
    """The same steps in a journal of another file, the receipt's signature replaced by another one."""
    steps, other = Journal(path), path.with_name("forged.db")
    forged = Journal(other)
    for kind in ("reserved", "paid", "answered", "committed"):
        for step in steps.steps(kind):
            content = step.content
            if kind == "committed":
                message = decode(content)
                assert isinstance(message, SignedRelease)
                content = encode(message.model_copy(update={"signature": "0" * 128}))
            with forged.transaction():
                forged.append(kind, step.study, step.id, step.part, content)
    (act,) = (Act.model_validate_json(step.content) for step in steps.steps("signed act"))
    with forged.transaction():
        signed = Act.sign(KEY, forged.place.hash, act.act, act.cap, act.key)
        forged.append("signed act", "", "", 0, canonical(signed.plain()))
    for each in (steps, forged):
        each.close()
    return other


def test_an_earlier_key_signs_nothing_after_its_successor(path: Path) -> None:
    """A daemon goes on while the steward replaces the key: its receipt would make the ledger nobody's."""
    daemon, steward, new = signing(path, "0.3"), signing(path, "0.3"), Key.generate()
    reserved = reserve(daemon, asked := request())
    reserved.debit(0, answer().question, answer().mu2)
    reserved.store(0, answer())
    steward.change_key(KEY, new.public_hex)
    for step in (
        lambda: daemon.commit(reserved, sealing(asked, answer())),
        lambda: daemon.reserve(OTHER, "request-2", HASH, mu2("0.01"), LARGE),
        lambda: daemon.raise_cap(Decimal("0.9"), KEY),
    ):
        with pytest.raises(LedgerError, match="replaced while this ledger was open"):
            step()
    steward.reserve(OTHER, "request-2", HASH, mu2("0.01"), LARGE)
    with pytest.raises(LedgerError, match="not signed with the site's key"):
        steward.commit(reserved, sealing(asked, answer()))  # under the former key
    for each in (daemon, steward):
        each.close()
    Ledger(path, CAP, key=new.public_hex).close()


def test_before_anything_is_spent_the_configuration_alone_is_the_cap(path: Path) -> None:
    for configured in ("0.2", "0.3"):
        ledger = signing(path, configured)
        assert ledger.cap_mu == Decimal(configured)
        ledger.close()


def test_entries_say_what_is_reserved_and_what_is_committed(ledger: Ledger) -> None:
    assert ledger.entries() == ()
    asked = request()
    fulfil(ledger, asked, answer())
    ledger.reserve(OTHER, "request-2", HASH, Fraction(1, 128), LARGE)
    found = [(each.study, each.request_id, each.mu2, each.committed) for each in ledger.entries()]
    assert found == [
        (asked.study.study.hash, "request-1", Fraction(1, 64), True),
        (OTHER, "request-2", Fraction(1, 128), False),
    ]


def test_the_file_is_its_owners(path: Path, ledger: Ledger) -> None:
    fulfil(ledger, request(), answer())
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    rows = sqlite3.connect(path).execute("PRAGMA journal_mode").fetchall()
    assert rows == [("wal",)]
