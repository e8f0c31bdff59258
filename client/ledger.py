"""The site's ledger: what has been spent, on which request, with which receipt.

A request is reserved (durably, before the vault opens), its answers are stored one by one, and it is committed
with its release and receipt in one transaction. What was reserved is spent, whether or not it is ever committed:
a crash after a draw must not buy a second draw. The currency is mu^2, as an exact fraction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from cohortmix.client import reservation
from cohortmix.client.database import Database
from cohortmix.client.reservation import LedgerError, Reservation, check_limit, total_mu2
from cohortmix.protocol.fields import ratio_text
from cohortmix.protocol.messages import SignedReceipt, SignedRelease, decode, encode
from cohortmix.protocol.receipts import GENESIS

_TABLES = f"""
CREATE TABLE IF NOT EXISTS requests (  -- reserved; answered once `release` is there
    study TEXT NOT NULL, id TEXT NOT NULL, hash TEXT NOT NULL, mu2 TEXT NOT NULL, release BLOB,
    PRIMARY KEY (study, id)
) STRICT;
{reservation.TABLE}
CREATE TABLE IF NOT EXISTS receipts (  -- a chain: no two receipts have one predecessor
    number INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, previous TEXT NOT NULL UNIQUE,
    study TEXT NOT NULL, id TEXT NOT NULL, receipt BLOB NOT NULL,
    FOREIGN KEY (study, id) REFERENCES requests
) STRICT;
"""
_LAST = "SELECT hash FROM receipts ORDER BY number DESC LIMIT 1"


class RequestConflict(LedgerError):  # noqa: N818 (a conflict, not a fault of this program)
    """A request id came back with other content."""


class Ledger:
    """A site's ledger in one SQLite file, safe across threads and processes.

    Parameters
    ----------
    path : where the file is or shall be; ":memory:" for a simulation.
    cap_mu : the most that all studies together may ever cost one patient.

    Guarantee
    ---------
    test_cap_holds_under_concurrency. Whatever is asked, in whichever order, by how many threads: the sum of mu^2
    over all reservations is at most cap_mu^2, and no answer is drawn outside of a reservation. This makes the
    cap a privacy filter: studies may be chosen after seeing former ones (Smith and Thakurta 2022).
    """

    def __init__(self, path: str | Path, cap_mu: Decimal) -> None:
        self._cap2 = Fraction(cap_mu) ** 2
        self._database = Database(path, _TABLES)

    def close(self) -> None:
        """Close the file; the ledger cannot be used afterwards."""
        self._database.close()

    def reserve(
        self, study: str, request_id: str, request_hash: str, mu2: Fraction, approved_mu2: Fraction
    ) -> Reservation | bytes:
        """Set `mu2` aside for a request, or give back the bytes that it was answered with.

        Parameters
        ----------
        study : hash of the study.
        request_hash : hash of the request's whole content.
        approved_mu2 : the most that all requests of this study together may cost.

        Raises
        ------
        RequestConflict
            If the id was used in this study for another content.
        BudgetExceeded
            Over the approved budget or the cap; nothing is reserved then.
        """
        with self._database.transaction() as db:
            known = db.execute(
                "SELECT hash, mu2, release FROM requests WHERE study = ? AND id = ?", (study, request_id)
            ).fetchone()
            if known is None:
                self._afford(db, study, mu2, approved_mu2)
                new = (study, request_id, request_hash, ratio_text(mu2))
                db.execute("INSERT INTO requests (study, id, hash, mu2) VALUES (?, ?, ?, ?)", new)
                known = (request_hash, ratio_text(mu2), None)
        known_hash, known_mu2, release = known
        if known_hash != request_hash:
            raise RequestConflict(f"request_id={request_id} was used for another content; choose a new one")
        return release or Reservation(self._database, study, request_id, Fraction(known_mu2))

    def commit(self, reserved: Reservation, seal: Callable[[str], SignedRelease]) -> bytes:
        """Close a reservation: its release and receipt become durable together, or not at all.

        Parameters
        ----------
        seal : given the hash of the previous receipt, the release under its signed receipt. It is called inside
            the transaction, so that no other receipt can take the same place in the chain.

        Returns
        -------
        bytes
            The encoded release, with which the same request is answered from now on.
        """
        with self._database.transaction() as db:
            previous = _previous(db.execute(_LAST).fetchall())
            signed = seal(previous)
            _check_sealed(signed, reserved, previous)
            data, key = encode(signed), (reserved.study, reserved.request_id)
            closed = db.execute(
                "UPDATE requests SET release = ? WHERE study = ? AND id = ? AND release IS NULL", (data, *key)
            )
            if closed.rowcount != 1:
                raise LedgerError("this reservation is closed already; ask again for the stored release")
            db.execute(
                "INSERT INTO receipts (hash, previous, study, id, receipt) VALUES (?, ?, ?, ?, ?)",
                (signed.receipt.hash, previous, *key, encode(signed.signed_receipt)),
            )
        return data

    @property
    def spent_mu2(self) -> Fraction:
        """Sum of mu^2 over everything ever reserved."""
        return total_mu2(mu2 for (mu2,) in self._database.read("SELECT mu2 FROM requests"))

    @property
    def previous_receipt_hash(self) -> str:
        """Hash of the last receipt; GENESIS before the first."""
        return _previous(self._database.read(_LAST))

    def receipts(self) -> tuple[SignedReceipt, ...]:
        """All receipts, in the order of their chain."""
        rows = self._database.read("SELECT receipt FROM receipts ORDER BY number")
        return tuple(message for (data,) in rows if isinstance(message := decode(data), SignedReceipt))

    def releases(self, study: str) -> tuple[SignedRelease, ...]:
        """The committed releases of a study, in the order of their receipts."""
        rows = self._database.read(
            "SELECT release FROM receipts JOIN requests USING (study, id) WHERE study = ? ORDER BY number", study
        )
        return tuple(message for (data,) in rows if isinstance(message := decode(data), SignedRelease))

    def _afford(self, db: sqlite3.Connection, study: str, mu2: Fraction, approved_mu2: Fraction) -> None:
        rows = db.execute("SELECT study, mu2 FROM requests").fetchall()
        check_limit("approved", total_mu2(cost for of, cost in rows if of == study), mu2, approved_mu2)
        check_limit("cap", total_mu2(cost for _, cost in rows), mu2, self._cap2)


def _previous(last: list[tuple[str]]) -> str:
    return last[0][0] if last else GENESIS


def _check_sealed(signed: SignedRelease, reserved: Reservation, previous: str) -> None:
    receipt = signed.receipt
    if (receipt.study, receipt.request_id, receipt.previous) != (reserved.study, reserved.request_id, previous):
        raise LedgerError("the receipt is not the next one of this reservation")
    if receipt.mu2 > reserved.mu2:
        raise LedgerError("the receipt costs more than was reserved")
