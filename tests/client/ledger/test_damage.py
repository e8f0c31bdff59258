"""A ledger whose bytes were damaged is refused in one sentence, or holds all that it held: nothing in between."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from damages import DAMAGES, Files, campaign
from ledgers import HASH, KEY, LARGE, STUDY, answer, fulfil, request, reserve, sealing

from cohortmix.client.ledger.journal import HistoryError, LedgerError, LedgerJournal
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Refused
from cohortmix.client.ledger.reservation import Reservation
from cohortmix.core.privacy.meter import BudgetExceeded
from cohortmix.protocol.messages import NoisedAnswer
from cohortmix.protocol.storage.database import Database

CAP, COST = Decimal("0.6"), Fraction(1, 64)
REVOKED = "f" * 64
LARGE_ANSWER = replace(answer(), values=np.arange(2000))


@dataclass
class Truth:
    """What a ledger holds, and its copies: closed, and open with its write-ahead log."""

    folder: Path
    sent: dict[str, bytes] = field(default_factory=dict)
    before: list[Path] = field(default_factory=list)

    @property
    def spent(self) -> Fraction:
        """mu^2 of the answered requests, of two that are open, and of one of a study that was revoked."""
        return (len(self.sent) + 3) * COST

    def open(self, folder: Path | None = None) -> Ledger:
        """The ledger in a folder, which holds its mark too."""
        folder = folder or self.folder
        return Ledger(folder / "ledger.db", CAP, folder, KEY.public_hex)

    def copy(self, name: str) -> Path:
        """The files as they are now."""
        return Path(shutil.copytree(self.folder, self.folder.with_name(name)))


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Eight requests that were answered, one that was drawn and not committed, one reserved, one revoked."""
    folder = tmp_path_factory.mktemp("truth") / "ledger"
    folder.mkdir()
    truth = Truth(folder)
    ledger = truth.open()
    ledger.reserve(REVOKED, "request-r", HASH, COST, LARGE)
    ledger.raise_cap(Decimal("0.7"), KEY)
    ledger.revoke(REVOKED)
    for number in range(8):
        message = request(f"request-{number}")
        drawn = LARGE_ANSWER if number == 3 else answer(value=number)  # of some pages, or of a part of one
        truth.sent[message.request_id] = fulfil(ledger, message, drawn)
        if number in (2, 5, 6):
            truth.before.append(truth.copy(f"open {number}"))
    open_one = reserve(ledger, request("request-drawn"))
    open_one.debit(0, answer().question, COST)
    truth.before.append(truth.copy("paid"))
    open_one.store(0, answer(value=99))
    ledger.reserve(STUDY, "request-open", HASH, COST, LARGE)
    truth.copy("open")
    ledger.close()
    truth.copy("closed")
    return truth


def use(truth: Truth, folder: Path, ledger: Ledger) -> None:
    """Everything that a ledger decides; AssertionError where it is not what was written."""
    first = request()
    assert ledger.spent_mu2 == truth.spent, "a budget is un-spent"
    assert ledger.own_cap == Decimal("0.7"), "another cap"
    assert ledger.revoked() == {REVOKED}, "a revocation is gone"
    for id, sent in truth.sent.items():
        message = request(id)
        reply = ledger.reserve(first.study.study.hash, id, message.hash, COST, LARGE)
        assert reply == sent, "another release, or a second draw"
    drawn = reserve(ledger, request("request-drawn"))
    stored = drawn.load(0)
    assert stored is not None, "a second draw"
    assert NoisedAnswer.of(stored) == NoisedAnswer.of(answer(value=99)), "another answer"
    with pytest.raises(LedgerError, match="has an answer already"):
        drawn.store(0, answer(value=1))
    assert isinstance(ledger.reserve(STUDY, "request-open", HASH, COST, LARGE), Reservation)
    with pytest.raises(Refused):
        ledger.reserve(REVOKED, "request-r", HASH, COST, LARGE)
    with pytest.raises(BudgetExceeded):
        ledger.reserve(STUDY, "request-large", HASH, Fraction(CAP) ** 2 - truth.spent + Fraction(1, 10**9), LARGE)
    assert ledger.spent_mu2 == truth.spent, "something was charged twice"
    ledger.commit(drawn, sealing(request("request-drawn"), answer(value=99)))
    ledger.reserve(STUDY, "request-new", HASH, COST, LARGE)
    assert ledger.spent_mu2 == truth.spent + COST


def survived(truth: Truth, rng: random.Random) -> Callable[[Path, Callable[[], None]], str]:
    """Opens a copy that was damaged, or damages one that is open, and uses it twice."""

    def used(folder: Path, strike: Callable[[], None]) -> str:
        early = rng.random() < 0.75
        if early:
            strike()
        ledger = truth.open(folder)
        try:
            if not early:
                strike()
            use(truth, folder, ledger)
        finally:
            ledger.close()
        again = truth.open(folder)  # what was written over the damage is whole
        try:
            assert again.spent_mu2 == truth.spent + COST, "what was spent since is un-spent"
        finally:
            again.close()
        return "harmless" if early else "harmless while open"

    return used


def test_a_damaged_ledger_un_spends_nothing_and_draws_nothing_twice(truth: Truth, tmp_path: Path) -> None:
    """Bits, ranges, pages and whole files of ledger, write-ahead log and mark."""
    copies = [Files(truth.folder.with_name(name), truth.before) for name in ("open", "closed")]
    assert {name for files in copies for name in files.names} >= {"ledger.db", "ledger.db-wal", "ledger.mark"}
    outcomes = campaign(copies, tmp_path, survived(truth, random.Random(5)), LedgerError, DAMAGES, seed=4)
    print(DAMAGES, dict(outcomes))  # shown by pytest -s
    assert outcomes["refused"] > DAMAGES // 10, "damage is seen"
    assert outcomes["harmless"] > DAMAGES // 50, "and what does no harm is not refused"


def test_an_undamaged_ledger_is_what_it_was(truth: Truth, tmp_path: Path) -> None:
    """The checks themselves accept an undamaged ledger."""
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        Files(truth.folder.with_name(name), truth.before).put(tmp_path / name)
        assert survived(truth, random.Random(1))(tmp_path / name, lambda: None).startswith("harmless")


def edited(truth: Truth, folder: Path, *sql: str) -> None:
    Files(truth.folder.with_name("closed"), truth.before).put(folder)
    editor = sqlite3.connect(folder / "ledger.db")
    editor.executescript(";".join(sql))
    editor.close()


def without_entry(folder: Path) -> None:
    """One row is missing from an index and still in its table: every look-up by that index misses it."""
    editor = sqlite3.connect(folder / "ledger.db")
    editor.execute("PRAGMA writable_schema = ON")
    (page,) = editor.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_steps_2'"
    ).fetchone()
    editor.executescript(
        "CREATE TABLE other (kind TEXT, study TEXT, id TEXT, part INTEGER, UNIQUE (kind, study, id, part));"
        "INSERT INTO other (rowid, kind, study, id, part)"
        " SELECT number, kind, study, id, part FROM steps WHERE kind <> 'answered';"
        f"UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = "
        f"'sqlite_autoindex_other_1') WHERE name = 'sqlite_autoindex_steps_2';"
        f"UPDATE sqlite_schema SET rootpage = {page} WHERE name = 'sqlite_autoindex_other_1';"
    )
    editor.close()
    editor = sqlite3.connect(folder / "ledger.db")
    editor.execute("PRAGMA writable_schema = ON")
    editor.executescript("DELETE FROM sqlite_schema WHERE tbl_name = 'other'")
    editor.close()


def test_an_index_that_hides_rows_is_not_believed(
    truth: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither at the opening, nor where it is damaged under an open ledger, whose decisions ask no index."""
    edited(truth, tmp_path)
    without_entry(tmp_path)
    reader = sqlite3.connect(tmp_path / "ledger.db")
    looked_up = "SELECT count(*) FROM steps WHERE kind = 'answered' AND study <> '' AND id <> '' AND part = 0"
    assert reader.execute(looked_up).fetchone() == (0,), "SQLite itself believes the index"
    reader.close()
    with pytest.raises(HistoryError, match=r"its pages contradict each other; put the newest ledger back"):
        truth.open(tmp_path)
    monkeypatch.setattr(Database, "_require_whole", lambda _: None)
    ledger = truth.open(tmp_path)
    try:
        message = request("request-drawn")
        stored = reserve(ledger, message).load(0)
        assert stored is not None, "the draw that the index hides"
        assert ledger.spent_mu2 == truth.spent
    finally:
        ledger.close()


def test_a_release_that_changed_under_an_open_ledger_is_not_sent(truth: Truth, tmp_path: Path) -> None:
    """A large content is not held in memory: what is read again is what was verified, or is not used."""
    edited(truth, tmp_path)
    ledger = truth.open(tmp_path)
    message = request("request-3")
    again = partial(ledger.reserve, message.study.study.hash, message.request_id, message.hash, COST, LARGE)
    assert again() == truth.sent["request-3"]
    editor = sqlite3.connect(tmp_path / "ledger.db")
    changed = editor.execute(
        "UPDATE steps SET content = CAST(replace(CAST(content AS TEXT), 'AAAA', 'AAAB') AS BLOB) WHERE id = ?",
        ("request-3",),
    )
    assert changed.rowcount > 0
    editor.commit()
    editor.close()
    with pytest.raises(HistoryError, match=r"was altered: step .* is not the one that was written"):
        again()
    ledger.close()


SLIPPED_IN = {
    "a trigger": "CREATE TRIGGER t AFTER INSERT ON steps BEGIN DELETE FROM steps WHERE number = 1; END",
    "a view": "CREATE VIEW v AS SELECT * FROM steps",
    "a table": "CREATE TABLE t (a)",
    "an index": "CREATE INDEX i ON steps (part)",
}


@pytest.mark.parametrize("sql", SLIPPED_IN.values(), ids=SLIPPED_IN)
def test_what_does_not_belong_into_a_ledger_is_refused(sql: str, truth: Truth, tmp_path: Path) -> None:
    edited(truth, tmp_path)
    ledger = truth.open(tmp_path)
    edited_while_open = sqlite3.connect(tmp_path / "ledger.db")
    edited_while_open.execute(sql)
    edited_while_open.close()
    with pytest.raises(HistoryError, match="its tables are not the ones that were made"):
        ledger.reserve(STUDY, "request-new", HASH, COST, LARGE)
    ledger.close()
    with pytest.raises(HistoryError, match="its tables are not the ones that were made; put the newest ledger"):
        truth.open(tmp_path)


@pytest.mark.parametrize("kind", ["reserved", "committed", "signed act", "steward's decision"])
def test_a_step_that_says_nothing_is_one_sentence(kind: str, tmp_path: Path) -> None:
    """Also where the chain around it is consistent, and its mark knows the place."""
    for content in (b"", b"{}", b"[" * 5000, b"\xff", b'{"mu2":"1/0"}'):
        folder = tmp_path / str(len(content)) / str(content[:1].hex())
        folder.mkdir(parents=True)
        journal = LedgerJournal(folder / "ledger.db", folder)
        with journal.transaction():
            journal.append(kind, STUDY, "request-1", 0, content)
        journal.close()
        with pytest.raises(HistoryError, match="was altered: step 1 is not the one that was written"):
            Ledger(folder / "ledger.db", CAP, folder, KEY.public_hex)


def test_words_of_sqlite_that_are_no_text_are_one_sentence(truth: Truth, tmp_path: Path) -> None:
    """A damaged name in the schema is quoted by SQLite's message, byte for byte."""
    edited(truth, tmp_path)
    file = tmp_path / "ledger.db"
    data = file.read_bytes()
    outcomes = []
    for word in (b"content BLOB", b"UNIQUE (kind", b"STRICT", b"number INTEGER", b"CREATE TABLE"):
        file.write_bytes(data.replace(word, b"\xea" * len(word), 1))
        with pytest.raises(LedgerError) as caught:
            truth.open(tmp_path)
        outcomes.append(str(caught.value))
    assert all(sentence.isprintable() for sentence in outcomes)
