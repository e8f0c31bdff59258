"""Days in the ledger: when each thing was written and by whom; they stay there, and older ledgers hold none."""

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from ledgers import CAP, HASH, KEY, LARGE, OTHER, STUDY, answer, fulfil, mu2, request, signing

from cohortmix.client.ledger import history
from cohortmix.client.ledger.journal import HistoryError, LedgerError, LedgerJournal
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Refused
from cohortmix.client.ledger.signed_act import Act
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.signing import Key

FIRST, SECOND = date(2026, 3, 2), date(2026, 3, 5)


@pytest.fixture(autouse=True)
def _first(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, FIRST)


def on(monkeypatch: pytest.MonkeyPatch, day: date) -> None:
    monkeypatch.setattr(history, "today", lambda: day)


def test_a_reservation_keeps_its_day_and_who_asked(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.1"), LARGE, coordinator=KEY.public_hex)
    on(monkeypatch, SECOND)
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.1"), LARGE, coordinator="e" * 64)  # the same, again
    ledger.reserve(STUDY, "request-2", HASH, mu2("0.1"), LARGE)
    found = [(entry.request_id, entry.day, entry.coordinator) for entry in ledger.entries()]
    assert found == [("request-1", FIRST, KEY.public_hex), ("request-2", SECOND, None)]


def test_acts_and_decisions_keep_their_day(path: Path) -> None:
    ledger = signing(path, "0.2")
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.1"), LARGE)
    ledger.raise_cap(Decimal("0.3"), KEY)
    ledger.revoke(STUDY)
    ledger.close()
    steps = LedgerJournal(path)
    (act,), (decision,) = steps.steps("signed act"), steps.steps("steward's decision")
    steps.close()
    assert Act.model_validate_json(act.content).day == FIRST
    assert decision.content == b'{"day":"2026-03-02","decision":"revoked"}'


def test_the_day_of_an_act_is_signed(path: Path) -> None:
    """The same act under another day is refused, even with a chain that was written anew around it."""
    ledger = signing(path, "0.3")
    ledger.raise_cap(Decimal("0.9"), KEY)
    ledger.close()
    steps = LedgerJournal(path)
    (step,) = steps.steps("signed act")
    steps.close()
    act = Act.model_validate_json(step.content)
    for name, forged in (("same", act), ("forged", act.model_copy(update={"day": SECOND}))):
        other = LedgerJournal(path.with_name(name))
        with other.transaction():
            other.append("signed act", "", "", 0, canonical(forged.plain()))
        other.close()
    signing(path.with_name("same"), "0.3").close()
    with pytest.raises(HistoryError, match="not by key"):
        signing(path.with_name("forged"), "0.3")


def test_a_ledger_from_before_days_opens_and_holds(path: Path) -> None:
    """Its reservations, acts and decisions are as they were written before, with the signatures of that time."""
    old, key = LedgerJournal(path), KEY.public_hex.encode()
    with old.transaction():
        reserved = b'{"cap":"0.3","key":"%s","mu2":"1/100","request":"%s"}' % (key, HASH.encode())
        old.append("reserved", STUDY, "request-1", 0, reserved)
    for part, word in enumerate((b"revoked", b"approved", b"revoked")):
        with old.transaction():
            old.append("steward's decision", OTHER, "", part, word)
    with old.transaction():
        plain = {"act": "raise cap", "by": KEY.public_hex, "cap": "0.4", "key": None}
        signature = KEY.sign(b"cohortmix/act/1\n" + canonical(plain | {"previous": old.place.hash}))
        old.append("signed act", "", "", 0, canonical(plain | {"signature": signature}))
    old.close()
    ledger = Ledger(path, Decimal("0.4"), key=KEY.public_hex)
    try:
        assert ledger.cap_mu == Decimal("0.4")
        assert [(entry.day, entry.coordinator) for entry in ledger.entries()] == [(None, None)]
        assert ledger.revoked() == {OTHER}
        with pytest.raises(Refused, match="has revoked this study"):
            ledger.reserve(OTHER, "request-1", HASH, mu2("0.01"), LARGE)
        assert ledger.approve(OTHER)
        assert ledger.revoked() == frozenset()
    finally:
        ledger.close()


def test_a_wrong_clock_is_corrected_by_a_signed_act(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days before the act count no longer, whichever step has kept them; its own and later ones do."""
    ledger, wrong = signing(path, "0.3"), date(2126, 1, 1)
    with pytest.raises(LedgerError, match="has seen no day after 2026-03-02, the clock's"):
        ledger.correct_clock(KEY)
    on(monkeypatch, wrong)
    ledger.reserve(STUDY, "request-1", HASH, mu2("0.1"), LARGE)
    ledger.revoke(OTHER)
    ledger.raise_cap(Decimal("0.9"), KEY)
    ledger.keep_today()
    on(monkeypatch, SECOND)
    assert ledger.today == wrong
    with pytest.raises(LedgerError, match="own key signs"):
        ledger.correct_clock(Key.generate())
    ledger.correct_clock(KEY)
    assert ledger.today == SECOND
    on(monkeypatch, FIRST)
    assert ledger.today == SECOND, "the day of the act counts"
    ledger.close()
    ledger = signing(path, "0.3")
    assert ledger.today == SECOND
    later = date(2026, 3, 9)
    on(monkeypatch, later)
    ledger.reserve(STUDY, "request-2", HASH, mu2("0.1"), LARGE)
    on(monkeypatch, SECOND)
    assert ledger.today == later
    ledger.close()


def test_a_day_is_kept_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = signing(path, "0.3")
    for day in (FIRST, FIRST, SECOND, FIRST, SECOND):
        on(monkeypatch, day)
        ledger.keep_today()
    ledger.close()
    steps = LedgerJournal(path)
    assert [step.content for step in steps.steps("day seen")] == [b'{"day":"2026-03-02"}', b'{"day":"2026-03-05"}']
    steps.close()


def test_no_day_leaves_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent on one day is, byte for byte, what would have been sent on another."""
    sent = []
    for number, day in enumerate((FIRST, SECOND)):
        on(monkeypatch, day)
        ledger = Ledger(tmp_path / f"{number}.db", CAP)
        sent.append((fulfil(ledger, request(), answer()), fulfil(ledger, request("request-2"), answer())))
        ledger.close()
    assert sent[0] == sent[1]
