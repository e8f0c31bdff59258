"""The site's ledger: what has been spent, on which request, with which receipt.

A request is reserved (durably, before the vault opens), its answers are stored one by one, and it is committed
with its release and receipt in one step. What was reserved is spent, whether or not it is ever committed: a crash
after a draw must not buy a second draw. The currency is mu^2, as an exact fraction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from pydantic import ValidationError

from cohortmix.client.act import Act, Decision, ForeignKeyError, under, verify_signed
from cohortmix.client.act import Kind as ActKind
from cohortmix.client.day import today
from cohortmix.client.journal import CURE, HistoryError, Journal, LedgerError, Step, made, written
from cohortmix.client.policy import Refused
from cohortmix.client.reservation import Reservation, check_limit, total_mu2
from cohortmix.protocol.fields import Exact, Hash, PublicKey, Ratio, Wire
from cohortmix.protocol.messages import MAX_BYTES, Code, MessageError, SignedReceipt, SignedRelease, decode
from cohortmix.protocol.receipts import GENESIS, ReceiptError, verify_chain
from cohortmix.protocol.signing import Key, SignatureError

RESERVED, COMMITTED, SIGNED, DECIDED = "reserved", "committed", "signed act", "steward's decision"
SEEN = "day seen"
OTHER_KEY = (
    "the site's key (`key` in site.yaml) is not the one that this ledger was kept under last: put that key back, "
    "or name its file in site.yaml; a key is replaced only by `cohortmix site ledger --new-key FILE`, signed with "
    "the one before"
)


class RequestConflict(LedgerError):  # noqa: N818 (a conflict, not a fault of this program)
    """A request id came back with other content."""


class _Reserved(Wire):
    """Content of a reservation: the request, its cost, the cap under which it was granted, and the site's key.

    `coordinator` is the key that signed the request and `day` when it was reserved; None in older ledgers.
    """

    request: Hash
    mu2: Ratio
    cap: Exact
    key: PublicKey | None = None
    coordinator: PublicKey | None = None
    day: date | None = None


class _Seen(Wire):
    """Content of a day on which a study was refused as expired."""

    day: date


@dataclass(frozen=True)
class Entry:
    """One request in the ledger: what it has cost, and whether it was answered; who asked for it, and when."""

    study: str
    request_id: str
    mu2: Fraction
    committed: bool
    coordinator: str | None = None
    day: date | None = None


class Ledger:
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
    test_cap_holds_under_concurrency. Whatever is asked, in whichever order, by how many threads and processes:
    the sum of mu^2 over all reservations is at most cap_mu^2, and no answer is drawn outside of a reservation.
    This makes the cap a privacy filter: studies may be chosen after seeing former ones (Smith and Thakurta 2022).
    """

    def __init__(
        self, path: str | Path, cap_mu: Decimal, mark: Path | None = None, key: str | None = None
    ) -> None:
        self._configured, self._key = cap_mu, key
        self._journal = Journal(path, mark)
        try:
            self._verify()
        except ForeignKeyError:
            self.close()
            raise LedgerError(OTHER_KEY) from None
        except (ReceiptError, SignatureError) as error:
            self.close()
            raise HistoryError(f"the ledger does not hold: {error}; {CURE}") from None
        except LedgerError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; the ledger cannot be used afterwards."""
        self._journal.close()

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
            known = [self._reserved(step) for step in self._journal.steps(RESERVED, study, request_id)]
            if not known:
                self._afford(study, mu2, approved_mu2)
                cap, key, day = self.cap_mu, self._key, self.today
                new = made(
                    _Reserved, request=request_hash, mu2=mu2, cap=cap, key=key, coordinator=coordinator, day=day
                )
                self._journal.append(RESERVED, study, request_id, 0, written(new))
                known = [new]
            committed = self._journal.steps(COMMITTED, study, request_id)
        if known[0].request != request_hash:
            raise RequestConflict(f"request_id={request_id} was used for another content; choose a new one")
        if committed:
            return committed[0].content
        return Reservation(self._journal, study, request_id, known[0].mu2)

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
        with self._journal.transaction():
            if self._journal.steps(COMMITTED, reserved.study, reserved.request_id):
                raise LedgerError("this reservation is closed already; ask again for the stored release")
            self._require_present_key()
            previous = self.previous_receipt_hash
            signed = seal(previous)
            _check_sealed(signed, reserved, previous, self._key)
            content = written(signed, MAX_BYTES)  # a longer one could not be read again, nor sent
            self._journal.append(COMMITTED, reserved.study, reserved.request_id, 0, content)
        return content

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
        self._act(key, "raise cap", cap_mu)

    def change_key(self, key: Key, new: str) -> None:
        """Sign the public key `new` with the present one: from now on the ledger opens with the new key."""
        self._act(key, "new key", key=new)
        self._key = new

    def correct_clock(self, key: Key) -> None:
        """Sign that this machine's clock is right now: days written down before this act count no longer.

        Raises
        ------
        LedgerError
            If the ledger has seen no day after the clock's, or `key` is not the site's.
        """
        if self.today <= (now := today()):
            raise LedgerError(f"the ledger has seen no day after {now}, the clock's: there is nothing to correct")
        self._act(key, "correct clock")

    def keep_today(self) -> None:
        """Write the day down, unless the ledger has it or a later one: at most one step a day.

        For a study that is refused as expired: a clock that is set back afterwards does not revive it.
        """
        with self._journal.transaction():
            day = self.today
            if day not in self._days():
                part = len(self._journal.steps(SEEN))
                self._journal.append(SEEN, "", "", part, written(_Seen(day=day)))

    @classmethod
    def renew_mark(cls, path: Path, cap_mu: Decimal, mark: Path, key: Key) -> None:
        """Write a lost mark anew, and sign for it: the steward's word that this is the newest ledger.

        Nothing can check the word; it stays in the ledger. A mark that contradicts it is not overwritten, and
        nobody can sign for a ledger that is not there, or is empty.
        """
        if not path.exists():  # opening it would make an empty one
            raise HistoryError(f"there is no ledger {str(path)!r} to sign for; {CURE}")
        cls(path, cap_mu, None, key.public_hex).close()  # whose key it is, before anything is written
        Journal(path, mark, renew=True).close()
        ledger = cls(path, cap_mu, mark, key.public_hex)
        try:
            ledger._act(key, "renew mark")
        finally:
            ledger.close()

    @property
    def cap_mu(self) -> Decimal:
        """The cap in force."""
        return self._configured if self.own_cap is None else min(self._configured, self.own_cap)

    @property
    def own_cap(self) -> Decimal | None:
        """The last raised cap, or that of the first reservation; None while nothing is spent."""
        raised = [act.cap for _, act in self._acts() if act.cap is not None]
        if raised:
            return raised[-1]
        first = self._journal.steps(RESERVED)[:1]
        return self._reserved(first[0]).cap if first else None

    @property
    def today(self) -> date:
        """The clock's day, or a later one that a step has written down since the clock was last corrected.

        Reservations, signed acts, decisions, and refusals of expired studies write their day down. A clock that is
        set back is noticed from the first of them on.
        """
        return max([today(), *self._days()])

    @property
    def spent_mu2(self) -> Fraction:
        """Sum of mu^2 over everything ever reserved."""
        return total_mu2(entry.mu2 for entry in self.entries())

    @property
    def previous_receipt_hash(self) -> str:
        """Hash of the last receipt; GENESIS before the first."""
        last = self._journal.last(COMMITTED)
        return GENESIS if last is None else self._released(last).receipt.hash

    def revoked(self) -> frozenset[str]:
        """Hashes of the studies that are revoked."""
        last = {step.study: step for step in self._journal.steps(DECIDED)}
        return frozenset(study for study, step in last.items() if self._decision(step).revokes)

    def entries(self) -> tuple[Entry, ...]:
        """All requests, in the order of their reservation."""
        committed = self._journal.keys(COMMITTED)
        reserved = [(step, self._reserved(step)) for step in self._journal.steps(RESERVED)]
        return tuple(
            Entry(step.study, step.id, of.mu2, (step.study, step.id) in committed, of.coordinator, of.day)
            for step, of in reserved
        )

    def by_steward(self) -> tuple[tuple[str, Act | Decision], ...]:
        """The steward's acts and decisions in their order, a decision with its study."""
        decided = ((step, Decision.read(step.content)) for step in self._journal.steps(DECIDED))
        entries: list[tuple[Step, Act | Decision]] = [*self._acts(), *decided]
        return tuple((step.study, each) for step, each in sorted(entries, key=lambda entry: entry[0].number))

    def receipts(self) -> tuple[SignedReceipt, ...]:
        """All receipts, in the order of their chain."""
        return tuple(self._released(step).signed_receipt for step in self._journal.steps(COMMITTED))

    def releases(self, study: str) -> tuple[SignedRelease, ...]:
        """The committed releases of a study, in the order of their receipts."""
        return tuple(self._released(step) for step in self._journal.steps(COMMITTED, study))

    def _afford(self, study: str, mu2: Fraction, approved_mu2: Fraction) -> None:
        entries = self.entries()
        check_limit("approved", total_mu2(each.mu2 for each in entries if each.study == study), mu2, approved_mu2)
        check_limit("cap", total_mu2(each.mu2 for each in entries), mu2, Fraction(self.cap_mu) ** 2)

    def _days(self) -> set[date]:
        """The days that were written down since the clock was last corrected, with the day of that act."""
        acts = self._acts()
        corrected = max((step.number for step, act in acts if act.act == "correct clock"), default=0)
        days: list[tuple[Step, date | None]] = [(step, act.day) for step, act in acts]
        days += [(step, self._reserved(step).day) for step in self._journal.steps(RESERVED)]
        days += [(step, self._decision(step).day) for step in self._journal.steps(DECIDED)]
        days += [(step, self._journal.read(step, _Seen).day) for step in self._journal.steps(SEEN)]
        return {day for step, day in days if day is not None and step.number >= corrected}

    def _revoked(self, study: str) -> bool:
        last = self._journal.steps(DECIDED, study)[-1:]
        return any(self._decision(step).revokes for step in last)

    def _decide(self, study: str, revoked: bool) -> bool:
        with self._journal.transaction():
            changes = self._revoked(study) != revoked
            if changes:
                part = len(self._journal.steps(DECIDED, study))
                decision = Decision(decision="revoked" if revoked else "approved", day=self.today)
                self._journal.append(DECIDED, study, "", part, written(decision))
        return changes

    def _verify(self) -> None:
        """Receipts are one chain; receipts and acts are signed with the site's keys, one after the other."""
        for step in self._journal.steps(DECIDED):
            self._decision(step)
        for step in self._journal.steps(SEEN):
            self._journal.read(step, _Seen)
        acts, reserved = self._acts(), [(step, self._reserved(step).key) for step in self._journal.steps(RESERVED)]
        committed = self._journal.steps(COMMITTED)
        receipts = [(step, self._released(step).signed_receipt) for step in committed]
        verify_chain([signed.receipt for _, signed in receipts], complete=True)
        if self._key is not None:
            entries: list[tuple[Step, Act | SignedReceipt | str]] = [*acts, *receipts]
            entries += [(step, key) for step, key in reserved if key is not None]
            entries.sort(key=lambda entry: entry[0].number)
            verify_signed([(self._journal.hash_of(step.number - 1), each) for step, each in entries], self._key)
        elif acts:
            raise LedgerError("this ledger holds acts signed by the site; open it with the site's key")

    def _require_present_key(self) -> None:
        """What an earlier key signs after its successor would be in nobody's name."""
        keys = [act.key for _, act in self._acts() if act.key is not None]
        if self._key is not None and keys and keys[-1] != self._key:
            raise LedgerError("the site's key was replaced while this ledger was open; start the daemon again")

    def _acts(self) -> list[tuple[Step, Act]]:
        return [(step, self._journal.read(step, Act)) for step in self._journal.steps(SIGNED)]

    def _act(self, by: Key, act: ActKind, cap: Decimal | None = None, key: str | None = None) -> None:
        if by.public_hex != self._key:
            raise LedgerError("only the site's own key signs in its ledger")
        with self._journal.transaction():
            self._require_present_key()
            day = today() if act == "correct clock" else self.today
            signed = Act.sign(by, self._journal.place.hash, act, cap, key, day)
            self._journal.append(SIGNED, "", "", len(self._acts()), written(signed))

    def _reserved(self, step: Step) -> _Reserved:
        return self._journal.read(step, _Reserved)

    def _released(self, step: Step) -> SignedRelease:
        try:
            message = decode(step.content)
        except MessageError:
            raise self._journal.altered(step.number) from None
        if not isinstance(message, SignedRelease):
            raise self._journal.altered(step.number)
        return message

    def _decision(self, step: Step) -> Decision:
        try:
            return Decision.read(step.content)
        except ValidationError:
            raise self._journal.altered(step.number) from None


def _check_sealed(signed: SignedRelease, reserved: Reservation, previous: str, key: str | None) -> None:
    receipt = signed.receipt
    if (receipt.study, receipt.request_id, receipt.previous) != (reserved.study, reserved.request_id, previous):
        raise LedgerError("the receipt is not the next one of this reservation")
    if receipt.mu2 > reserved.mu2:
        raise LedgerError("the receipt costs more than was reserved")
    if key is not None and not under(key, signed.signed_receipt):
        raise LedgerError("the receipt is not signed with the site's key")
