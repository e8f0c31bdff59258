"""The ledger's history: one chain of receipts, and no step is edited, cut off or put elsewhere unseen."""

import sqlite3
from fractions import Fraction
from pathlib import Path

import pytest
from ledgers import CAP, HASH, LARGE, OTHER, STUDY, answer, fulfil, mu2, request

from cohortmix.client.ledger.journal import HistoryError, LedgerError
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.protocol.receipts import GENESIS, verify_chain
from cohortmix.protocol.storage.hash_chain import Step

# --- the chain


def test_receipts_are_chained(path: Path) -> None:
    for number in range(3):
        ledger = Ledger(path, CAP)
        fulfil(ledger, request(f"request-{number}"), answer())
        ledger.close()
    ledger = Ledger(path, CAP)
    receipts = [signed.receipt for signed in ledger.receipts()]
    assert receipts[0].previous == GENESIS
    assert [receipt.previous for receipt in receipts[1:]] == [receipt.hash for receipt in receipts[:-1]]
    assert ledger.previous_receipt_hash == receipts[-1].hash
    verify_chain(receipts, complete=True)
    assert [signed.receipt for signed in ledger.releases(receipts[0].study)] == receipts
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
    receipts = [signed.receipt for opened in (ledger, restored) for signed in opened.receipts()]
    verify_chain(receipts[:2], complete=True)
    with pytest.raises(ValueError, match="set back"):
        verify_chain(receipts)
    for opened in (ledger, restored):
        opened.close()


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
    """Whoever knows how hashes are computed has to compute all later ones anew."""
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
    """A chain without its last steps is consistent; only the mark knows that there was more."""
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
