"""The site's ledger: what has been spent, on which request, with which receipt.

A request is reserved (durably, before the vault opens), its answers are stored one by one, and it is committed
with its release and receipt in one step. What was reserved is spent, whether or not it is ever committed: a crash
after a draw must not buy a second draw. The currency is mu^2, as an exact fraction.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from cohortmix.client.ledger.history import (
    COMMITTED,
    DECIDED,
    RESERVED,
    SEEN,
    SIGNED,
    History,
    ReservedCost,
    SeenDay,
)
from cohortmix.client.ledger.journal import (
    CURE,
    HistoryError,
    LedgerError,
    LedgerJournal,
    step_content,
    step_message,
)
from cohortmix.client.ledger.policy import Refused
from cohortmix.client.ledger.reservation import Reservation, check_limit, total_mu2
from cohortmix.client.ledger.signed_act import Act, Decision, Kind, under
from cohortmix.client.ledger.sum_steps import SumSteps
from cohortmix.core.data.words import in_quotes
from cohortmix.protocol.messages import MAX_BYTES, Code, SignedRelease
from cohortmix.protocol.signing import Key


class RequestConflict(LedgerError):  # noqa: N818 (a conflict, not a fault of this program)
    """A request id came back with other content."""


class Ledger(History):
    """A site's ledger in one SQLite file, safe across threads and processes.

    Parameters
    ----------
    path : where the file is or shall be; ":memory:" for a simulation.
    cap_mu : the most that all studies together may ever cost one patient. In force is the smaller of this and
        the ledger's own, which is that of the first reservation until `raise_cap` signs a larger one.
    mark : the folder of the high-water mark, on other storage; it exists. None for a simulation.
    key : the site's public key, by which signed acts and receipts are checked; without it no act is signed.

    Raises
    ------
    HistoryError
        If the ledger was altered, or set back behind its mark.
    LedgerError
        If it cannot be read, or was kept under another key.

    Guarantee
    ---------
    test_cap_holds_under_concurrency. Whatever is requested, in whichever order, by how many threads and processes:
    the sum of mu^2 over all reservations is at most cap_mu^2, and no answer is drawn outside of a reservation.
    This makes the cap a privacy filter: studies may be chosen after seeing former ones (Smith and Thakurta 2022).
    """

    def __init__(
        self, path: str | Path, cap_mu: Decimal, mark: Path | None = None, key: str | None = None
    ) -> None:
        self._configured_cap = cap_mu
        super().__init__(path, mark, key)

    @property
    def cap_mu(self) -> Decimal:
        """The cap in force."""
        return self._configured_cap if self.own_cap is None else min(self._configured_cap, self.own_cap)

    def reserve(
        self,
        study: str,
        request_id: str,
        request_hash: str,
        mu2: Fraction,
        approved_mu2: Fraction,
        coordinator: str | None = None,
    ) -> Reservation | bytes:
        """Set `mu2` aside for a request, or give back the bytes that it was answered with.

        Parameters
        ----------
        study : hash of the study.
        request_hash : hash of the request's whole content.
        approved_mu2 : the most that all requests of this study together may cost.
        coordinator : the key that signed the request, written down for the steward.

        Raises
        ------
        Refused
            NOT_APPROVED, for a study that is revoked.
        RequestConflict
            If the id was used in this study for another content.
        BudgetExceeded
            Over the approved budget or the cap; nothing is reserved then.
        LedgerError
            If the step would not read back, or the ledger is not as it was; nothing is reserved then.
        """
        with self._journal.transaction():
            self._require_present_key()
            if self._revoked(study):
                raise Refused(Code.NOT_APPROVED, "The steward of this site has revoked this study.")
            costs = [self._cost(step) for step in self._journal.steps(RESERVED, study, request_id)]
            if not costs:
                self._require_affordable(study, mu2, approved_mu2)
                costs = [self._add_reservation(study, request_id, request_hash, mu2, coordinator)]
            committed = self._journal.steps(COMMITTED, study, request_id)
        if costs[0].request != request_hash:
            raise RequestConflict(f"request_id={request_id} was used for another content; draft a new study")
        if committed:
            return committed[0].content
        return Reservation(self._journal, study, request_id, costs[0].mu2)

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

        Raises
        ------
        LedgerError
            If the reservation is closed already, or the receipt is not its next one; nothing is written then.
        """
        with self._journal.transaction():
            if self._journal.steps(COMMITTED, reserved.study, reserved.request_id):
                raise LedgerError("this reservation is closed already; ask again for the stored release")
            self._require_present_key()
            previous = self.previous_receipt_hash
            signed = seal(previous)
            _require_next_receipt(signed, reserved, previous, self._key)
            content = step_content(signed, MAX_BYTES)  # a longer one could not be read again, nor sent
            self._journal.append(COMMITTED, reserved.study, reserved.request_id, 0, content)
        return content

    def sum_steps(self, study: str, request_id: str) -> SumSteps:
        """The steps of a joint study's request, which must have been reserved."""
        return SumSteps(self._journal, study, request_id)

    def revoke(self, study: str) -> None:
        """Answer nothing of the study of this hash, new or stored, until `approve`.

        The approvals are a file that a backup can bring back; the ledger is not set back unnoticed.
        """
        self._decide(study, revoked=True)

    def approve(self, study: str) -> bool:
        """Lift a revocation, and say whether there was one. No study is allowed by this alone."""
        return self._decide(study, revoked=False)

    def raise_cap(self, cap_mu: Decimal, key: Key) -> None:
        """Sign a larger cap: the steward's act, for good in the ledger. The configured cap bounds it as before.

        Raises
        ------
        LedgerError
            If it is not larger, or `key` is not the site's.
        """
        if self.own_cap is not None and cap_mu <= self.own_cap:
            raise LedgerError(f"expected a cap above {self.own_cap}, the ledger's own, got {cap_mu}")
        self._sign(key, "raise cap", cap_mu)

    def change_key(self, key: Key, new: str) -> None:
        """Sign the public key `new` with the present one: from now on the ledger opens with the new key."""
        self._sign(key, "new key", key=new)
        self._key = new

    def correct_clock(self, key: Key) -> None:
        """Sign that this machine's clock is correct again: days written down before this act no longer count.

        Raises
        ------
        LedgerError
            If the ledger has seen no day after the clock's, or `key` is not the site's.
        """
        if self.today <= (now := self.clock):
            raise LedgerError(f"the ledger has seen no day after {now}, the clock's: there is nothing to correct")
        self._sign(key, "correct clock")

    def keep_today(self) -> None:
        """Write the day down, unless the ledger has it or a later one: at most one step a day.

        For a study that is refused as expired: a clock that is set back afterwards does not revive it.
        """
        with self._journal.transaction():
            day = self.today
            if day not in self._days():
                earlier = len(self._journal.steps(SEEN))
                self._journal.append(SEEN, "", "", earlier, step_content(SeenDay(day=day)))

    @classmethod
    def renew_mark(cls, path: Path, cap_mu: Decimal, mark: Path, key: Key) -> None:
        """Write a lost mark anew, and sign for it: the steward's word that this is the newest ledger.

        Nothing can check the word; it stays in the ledger. A mark that contradicts it is not overwritten, and
        nobody can sign for a ledger that is not there, or is empty.

        Raises
        ------
        HistoryError
            If there is no ledger, it is empty, or there is a mark that contradicts it.
        LedgerError
            If the ledger was kept under another key.
        """
        if not path.exists():  # opening it would make an empty one
            raise HistoryError(f"there is no ledger {in_quotes(path)} to sign for; {CURE}")
        cls(path, cap_mu, None, key.public_hex).close()  # whose key it is, before anything is written
        LedgerJournal(path, mark, renew=True).close()
        ledger = cls(path, cap_mu, mark, key.public_hex)
        try:
            ledger._sign(key, "renew mark")
        finally:
            ledger.close()

    def _require_affordable(self, study: str, mu2: Fraction, approved_mu2: Fraction) -> None:
        entries = self.entries()
        of_study = total_mu2(entry.mu2 for entry in entries if entry.study == study)
        check_limit("approved", of_study, mu2, approved_mu2)
        check_limit("cap", total_mu2(entry.mu2 for entry in entries), mu2, Fraction(self.cap_mu) ** 2)

    def _add_reservation(
        self, study: str, request_id: str, request_hash: str, mu2: Fraction, coordinator: str | None
    ) -> ReservedCost:
        cost = step_message(
            ReservedCost,
            request=request_hash,
            mu2=mu2,
            cap=self.cap_mu,
            key=self._key,
            coordinator=coordinator,
            day=self.today,
        )
        self._journal.append(RESERVED, study, request_id, 0, step_content(cost))
        return cost

    def _decide(self, study: str, revoked: bool) -> bool:
        with self._journal.transaction():
            changes = self._revoked(study) != revoked
            if changes:
                earlier = len(self._journal.steps(DECIDED, study))
                decision = Decision(decision="revoked" if revoked else "approved", day=self.today)
                self._journal.append(DECIDED, study, "", earlier, step_content(decision))
        return changes

    def _sign(self, by: Key, kind: Kind, cap: Decimal | None = None, key: str | None = None) -> None:
        if by.public_hex != self._key:
            raise LedgerError("only the site's own key signs in its ledger")
        with self._journal.transaction():
            self._require_present_key()
            day = self.clock if kind == "correct clock" else self.today
            act = Act.sign(by, self._journal.place.hash, kind, cap, key, day)
            self._journal.append(SIGNED, "", "", len(self._acts()), step_content(act))

    def _require_present_key(self) -> None:
        """What an earlier key signs after its successor would be in nobody's name."""
        keys = [act.key for _, act in self._acts() if act.key is not None]
        if self._key is not None and keys and keys[-1] != self._key:
            raise LedgerError("the site's key was replaced while this ledger was open; start the daemon again")


def _require_next_receipt(signed: SignedRelease, reserved: Reservation, previous: str, key: str | None) -> None:
    receipt = signed.receipt
    if (receipt.study, receipt.request_id, receipt.previous) != (reserved.study, reserved.request_id, previous):
        raise LedgerError("the receipt is not the next one of this reservation")
    if receipt.mu2 > reserved.mu2:
        raise LedgerError("the receipt costs more than was reserved")
    if key is not None and not under(key, signed.signed_receipt):
        raise LedgerError("the receipt is not signed with the site's key")
