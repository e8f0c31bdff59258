"""The ledger: reserve, store before reading, commit; nothing is drawn twice and no cap is passed."""

import sqlite3
import stat
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import CAP, HASH, LARGE, OTHER, STUDY, answer, fulfil, mu2, request, reserve

from cohortmix.client.ledger.ledger import Ledger, RequestConflict
from cohortmix.client.ledger.policy import Refused
from cohortmix.client.ledger.reservation import Reservation
from cohortmix.core.privacy.meter import BudgetExceeded
from cohortmix.protocol.messages import Code

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
    for number, hundredth in enumerate(hundredths):
        cost = mu2(f"{hundredth}/100")
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
    for opened in set(ledgers):
        opened.close()


_ASKS_WHEN_TOLD = """
import sys
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.core.privacy.meter import BudgetExceeded

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


def at_once(path: Path, mark: Path, *requests: tuple[str, str, str]) -> list[str]:
    """What several processes get that ask at the same moment, each for one (study, request id, mu)."""
    command = [sys.executable, "-c", _ASKS_WHEN_TOLD, str(path), str(mark)]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes: list[Any] = [subprocess.Popen([*command, *arguments], **pipes) for arguments in requests]
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
    ledger.reserve(OTHER, "request-1", "f" * 64, mu2("0.1"), LARGE)  # another study may use the same id
    assert ledger.spent_mu2 == 2 * mu2("0.1")


def test_an_answered_request_gives_its_bytes(ledger: Ledger) -> None:
    message = request()
    data = fulfil(ledger, message, answer())
    again = ledger.reserve(message.study.study.hash, message.request_id, message.hash, Fraction(1, 64), LARGE)
    assert again == data
    assert ledger.spent_mu2 == Fraction(1, 64)
    with pytest.raises(RequestConflict):
        ledger.reserve(message.study.study.hash, message.request_id, HASH, Fraction(1, 64), LARGE)


def test_another_id_is_another_purchase(ledger: Ledger) -> None:
    fulfil(ledger, request(), answer())
    fulfil(ledger, request("request-2"), answer())
    assert ledger.spent_mu2 == Fraction(2, 64)


# --- revocations


def test_of_a_revoked_study_nothing_is_reserved_or_sent_until_it_is_approved(ledger: Ledger, path: Path) -> None:
    message, study = request(), request().study.study.hash
    sent = fulfil(ledger, message, answer())
    ledger.revoke(study)
    other = Ledger(path, CAP)
    for opened in (ledger, other):
        for id in ("request-1", "request-2"):
            with pytest.raises(Refused, match="has revoked this study") as refused:
                reserve(opened, request(id))
            assert refused.value.refusal.code == Code.NOT_APPROVED
    other.close()
    assert [entry.request_id for entry in ledger.entries()] == ["request-1"]  # it stays, and stays spent
    assert isinstance(ledger.reserve(OTHER, "request-1", HASH, mu2("0.01"), LARGE), Reservation)
    ledger.approve(study)
    assert ledger.reserve(study, message.request_id, message.hash, Fraction(1, 64), LARGE) == sent
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


def test_entries_say_what_is_reserved_and_what_is_committed(ledger: Ledger) -> None:
    assert ledger.entries() == ()
    message = request()
    fulfil(ledger, message, answer())
    ledger.reserve(OTHER, "request-2", HASH, Fraction(1, 128), LARGE)
    found = [(entry.study, entry.request_id, entry.mu2, entry.committed) for entry in ledger.entries()]
    assert found == [
        (message.study.study.hash, "request-1", Fraction(1, 64), True),
        (OTHER, "request-2", Fraction(1, 128), False),
    ]


def test_the_file_is_its_owners(path: Path, ledger: Ledger) -> None:
    fulfil(ledger, request(), answer())
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    rows = sqlite3.connect(path).execute("PRAGMA journal_mode").fetchall()
    assert rows == [("wal",)]
