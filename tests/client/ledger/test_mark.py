"""The high-water mark: a ledger that was set back is noticed, a crash between commit and mark is not a fault."""

import errno
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from cohortmix.client.ledger.journal import MARK_FILE, HistoryError, LedgerError
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.protocol.signing import Key
from cohortmix.protocol.storage import mark

KEY = Key.from_bytes(bytes(range(32)))
CAP, HASH, LARGE = Decimal("0.3"), "c" * 64, Fraction(100)
COST = Fraction(1, 10**4)


class Place:
    """A ledger in one folder and its mark in another, as a site has them."""

    def __init__(self, root: Path) -> None:
        self.state, self.mark = root / "state", root / "mark"
        self.state.mkdir()
        self.mark.mkdir()

    def open(self) -> Ledger:
        return Ledger(self.state / "ledger.db", CAP, self.mark, KEY.public_hex)

    def renew(self, key: Key = KEY) -> None:
        Ledger.renew_mark(self.state / "ledger.db", CAP, self.mark, key)

    def spend(self, *requests: str) -> Fraction:
        """Reserve for each of these requests, and return what is spent then."""
        ledger = self.open()
        try:
            for request in requests:
                ledger.reserve("a" * 64, f"request-{request}", HASH, COST, LARGE)
            return ledger.spent_mu2
        finally:
            ledger.close()

    def backup(self, folder: Path, of: str) -> Path:
        return Path(shutil.copytree(getattr(self, of), folder))

    def restore(self, backup: Path, of: str) -> None:
        shutil.rmtree(getattr(self, of))
        shutil.copytree(backup, getattr(self, of))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_mark_follows_every_step(place: Place) -> None:
    assert place.spend() == 0
    seen = {(place.mark / MARK_FILE).read_bytes()}
    for number in range(3):
        place.spend(str(number))
        seen.add((place.mark / MARK_FILE).read_bytes())
    assert len(seen) == 4
    assert place.spend("0") == 3 * COST  # the same request again is no step
    assert (place.mark / MARK_FILE).read_bytes() in seen
    assert stat.S_IMODE((place.mark / MARK_FILE).stat().st_mode) == 0o600


def test_a_restored_backup_is_refused(place: Place, tmp_path: Path) -> None:
    place.spend("1")
    backup = place.backup(tmp_path / "backup", "state")
    place.spend("2")
    newest = place.backup(tmp_path / "newest", "state")
    place.restore(backup, "state")
    with pytest.raises(
        HistoryError, match="set back: it has 1 steps, its mark says 2; put the newest ledger back"
    ):
        place.open()
    place.restore(newest, "state")
    assert place.spend() == 2 * COST


def test_a_ledger_that_was_begun_anew_is_refused(place: Place) -> None:
    place.spend("1")
    for file in place.state.iterdir():
        file.unlink()
    with pytest.raises(HistoryError, match="it has 0 steps, its mark says 1"):
        place.open()


@pytest.mark.parametrize("more", [0, 1, 2])
def test_another_history_is_refused_however_long_it_is(place: Place, tmp_path: Path, more: int) -> None:
    """A backup that was used on: with fewer, as many, and more steps than the mark."""
    place.spend("1")
    backup = place.backup(tmp_path / "backup", "state")
    place.spend("2", "3")
    place.restore(backup, "state")
    elsewhere = Ledger(place.state / "ledger.db", CAP)
    for number in range(1 + more):
        elsewhere.reserve("b" * 64, f"request-{number}", HASH, COST, LARGE)
    elsewhere.close()
    with pytest.raises(HistoryError, match="set back" if more == 0 else "another history"):
        place.open()


def test_a_backup_with_its_old_mark_cannot_be_noticed_here(place: Place, tmp_path: Path) -> None:
    """The limit of the mark: it must be on other storage. The receipts' chain shows the fork to others."""
    place.spend("1")
    backups = {of: place.backup(tmp_path / f"backup-{of}", of) for of in ("state", "mark")}
    place.spend("2")
    for of, backup in backups.items():
        place.restore(backup, of)
    assert place.spend() == COST


def test_a_lost_mark_is_refused_unless_nothing_was_spent(place: Place) -> None:
    place.spend()
    (place.mark / MARK_FILE).unlink()
    place.spend("1")
    (place.mark / MARK_FILE).unlink()
    with pytest.raises(HistoryError, match=r"has 1 steps and its high-water mark .* is not there"):
        place.open()
    place.mark.rmdir()  # as storage that is not mounted
    with pytest.raises(HistoryError, match="mount its storage"):
        place.open()


def test_the_marks_folder_is_not_made_in_place_of_its_storage(place: Place) -> None:
    place.mark.rmdir()
    with pytest.raises(LedgerError, match="cannot write the high-water mark"):
        place.open()
    assert not place.mark.exists()


def test_a_damaged_mark_is_refused(place: Place) -> None:
    place.spend("1")
    good = (place.mark / MARK_FILE).read_bytes()
    for damaged in (b"", good[:-2], good.replace(b"1", b"-1", 1), b"[]"):
        (place.mark / MARK_FILE).write_bytes(damaged)
        with pytest.raises(HistoryError, match="damaged"):
            place.open()
    (place.mark / MARK_FILE).write_bytes(good)
    assert place.spend() == COST


def test_one_step_ahead_is_a_crash_and_two_are_not(place: Place, tmp_path: Path) -> None:
    place.spend("1")
    marks = []
    for number in ("2", "3"):
        marks.append(place.backup(tmp_path / f"before-{number}", "mark"))
        place.spend(number)
    place.restore(marks[0], "mark")
    with pytest.raises(HistoryError, match="mark was set back: it says 1 steps, the ledger has 3"):
        place.open()
    place.restore(marks[1], "mark")
    assert place.spend("4") == 4 * COST
    assert place.spend() == 4 * COST


_DIES_BETWEEN_COMMIT_AND_MARK = """
import os, signal, sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from cohortmix.protocol.storage import mark
from cohortmix.client.ledger.ledger import Ledger

ledger = Ledger(sys.argv[1], Decimal("0.3"), Path(sys.argv[2]))
mark.replace_file = lambda path, data: os.kill(os.getpid(), signal.SIGKILL)
ledger.reserve("a" * 64, "request-9", "c" * 64, Fraction(1, 10**4), Fraction(100))
"""


def test_a_crash_between_commit_and_mark_is_made_good(place: Place) -> None:
    place.spend("1")
    before = (place.mark / MARK_FILE).read_bytes()
    command = [
        sys.executable,
        "-c",
        _DIES_BETWEEN_COMMIT_AND_MARK,
        str(place.state / "ledger.db"),
        str(place.mark),
    ]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert (place.mark / MARK_FILE).read_bytes() == before
    with sqlite3.connect(place.state / "ledger.db") as reader:
        assert reader.execute("SELECT count(*) FROM steps").fetchall() == [(2,)]
    reader.close()
    assert place.spend() == 2 * COST
    assert (place.mark / MARK_FILE).read_bytes() != before


def test_without_its_mark_a_running_site_spends_nothing(place: Place) -> None:
    """While the mark's storage is gone, requests are refused before anything is reserved; then it goes on."""
    ledger = place.open()
    ledger.reserve("a" * 64, "request-1", HASH, COST, LARGE)
    away = place.mark.rename(place.mark.with_name("away"))
    with pytest.raises(HistoryError, match="is not there"):
        ledger.reserve("a" * 64, "request-2", HASH, COST, LARGE)
    assert ledger.spent_mu2 == COST
    away.rename(place.mark)
    ledger.reserve("a" * 64, "request-2", HASH, COST, LARGE)
    assert ledger.spent_mu2 == 2 * COST
    ledger.close()


def test_a_step_that_cannot_be_marked_is_spent_and_gives_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no reservation, so nothing is drawn; the next step finds the ledger one step ahead and goes on."""
    ledger = place.open()

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(mark, "replace_file", full)
        with pytest.raises(LedgerError, match="cannot write the high-water mark"):
            ledger.reserve("a" * 64, "request-1", HASH, COST, LARGE)
    assert ledger.spent_mu2 == COST
    ledger.reserve("a" * 64, "request-2", HASH, COST, LARGE)
    ledger.close()
    assert place.spend() == 2 * COST


def test_two_ledgers_open_at_once_share_the_mark(place: Place) -> None:
    one, other = place.open(), place.open()
    for number in range(6):
        (one, other)[number % 2].reserve("a" * 64, f"request-{number}", HASH, COST, LARGE)
    assert one.spent_mu2 == other.spent_mu2 == 6 * COST
    for opened in (one, other):
        opened.close()
    assert place.spend() == 6 * COST


def test_a_mark_that_is_not_readable_is_not_a_missing_one(place: Place) -> None:
    place.spend("1")
    (place.mark / MARK_FILE).unlink()
    os.symlink(MARK_FILE, place.mark / MARK_FILE)  # a link to itself: it can neither be read nor is it missing
    with pytest.raises(LedgerError, match="cannot read the high-water mark"):
        place.open()


# --- a mark that is lost


@pytest.mark.parametrize("loss", ["lost", "damaged", "too old"])
def test_a_lost_mark_is_written_anew_on_the_stewards_signed_word(place: Place, tmp_path: Path, loss: str) -> None:
    place.spend("1")
    old = place.backup(tmp_path / "old", "mark")
    place.spend("2", "3")
    if loss == "too old":
        place.restore(old, "mark")
    elif loss == "damaged":
        (place.mark / MARK_FILE).write_bytes(b"{}")
    else:
        (place.mark / MARK_FILE).unlink()
    with pytest.raises(HistoryError, match="--renew-mark"):
        place.open()
    place.renew()
    assert place.spend("4") == 4 * COST
    with sqlite3.connect(place.state / "ledger.db") as reader:
        (content,) = reader.execute("SELECT content FROM steps WHERE kind = 'signed act'").fetchone()
    reader.close()
    assert b'"renew mark"' in content


def test_a_mark_that_contradicts_the_steward_is_not_overwritten(place: Place, tmp_path: Path) -> None:
    place.spend("1")
    backup = place.backup(tmp_path / "backup", "state")
    place.spend("2")
    marked = (place.mark / MARK_FILE).read_bytes()
    place.restore(backup, "state")
    with pytest.raises(HistoryError, match="set back"):
        place.renew()
    with pytest.raises(HistoryError, match="set back"):
        place.open()
    assert (place.mark / MARK_FILE).read_bytes() == marked


@pytest.mark.parametrize("mark", [None, b"", b"{}"], ids=["lost", "empty", "damaged"])
@pytest.mark.parametrize("ledger", ["gone", "no bytes", "no steps"])
def test_nobody_signs_for_a_lost_ledger(place: Place, mark: bytes | None, ledger: str) -> None:
    """Ledger and mark are both lost: to sign that nothing was spent would free the whole cap again."""
    place.spend("1")
    (newest,) = (file.read_bytes() for file in place.state.iterdir())
    (place.state / "ledger.db").unlink()
    (place.mark / MARK_FILE).unlink() if mark is None else (place.mark / MARK_FILE).write_bytes(mark)
    marked = sorted(place.mark.iterdir())
    if ledger == "no bytes":
        (place.state / "ledger.db").touch()
    elif ledger == "no steps":
        Ledger(place.state / "ledger.db", CAP).close()
    with pytest.raises(
        HistoryError, match="put the newest ledger back; if it is lost, its whole cap counts as"
    ) as at:
        place.renew()
    assert "--renew-mark" not in str(at.value)
    assert (place.state / "ledger.db").exists() == (ledger != "gone")
    assert sorted(place.mark.iterdir()) == marked
    (place.state / "ledger.db").write_bytes(newest)
    place.renew()
    assert place.spend() == COST


def test_a_damaged_mark_of_an_empty_ledger_is_not_to_be_renewed(place: Place) -> None:
    place.spend("1")
    (place.mark / MARK_FILE).write_bytes(b"")
    with pytest.raises(
        HistoryError, match=r"damaged; if it is lost and this ledger is the newest, .*--renew-mark"
    ):
        place.open()
    (place.state / "ledger.db").unlink()
    for _ in range(2):  # also after the first try, which has made a file
        with pytest.raises(
            HistoryError, match="damaged; and the ledger is empty: put the newest ledger back"
        ) as at:
            place.open()
        assert "--renew-mark" not in str(at.value)


def test_a_mark_is_renewed_with_the_sites_key_only(place: Place) -> None:
    place.spend("1")
    place.renew()
    (place.mark / MARK_FILE).unlink()
    with pytest.raises(LedgerError, match="is not the one that this ledger was kept under"):
        place.renew(Key.generate())
    assert not (place.mark / MARK_FILE).exists()
