"""What a site's ledger says: its requests, receipts, and the steward's acts and decisions, verified when it opens.

Nothing here adds a step; `ledger.py` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from pydantic import ValidationError

from cohortmix.client.ledger.day import today
from cohortmix.client.ledger.journal import CURE, HistoryError, LedgerError, LedgerJournal
from cohortmix.client.ledger.reservation import total_mu2
from cohortmix.client.ledger.signed_act import Act, Decision, ForeignKeyError, verify_signed
from cohortmix.client.ledger.sum_steps import TAKEN, Taken
from cohortmix.protocol.fields import Exact, Hash, PublicKey, Ratio, Wire
from cohortmix.protocol.messages import MessageError, SignedReceipt, SignedRelease, decode
from cohortmix.protocol.receipts import GENESIS, ReceiptError, verify_chain
from cohortmix.protocol.signing import SignatureError
from cohortmix.protocol.storage.hash_chain import Step

RESERVED, COMMITTED, SIGNED, DECIDED = "reserved", "committed", "signed act", "steward's decision"
SEEN = "day seen"
OTHER_KEY = (
    "the site's key (`key` in site.yaml) is not the one that this ledger was kept under last: put that key back, "
    "or name its file in site.yaml; a key is replaced only by `cohortmix site ledger --new-key FILE`, signed with "
    "the one before"
)


class ReservedCost(Wire):
    """Content of a reservation: the request, its cost, the cap under which it was granted, and the site's key.

    `coordinator` is the key that signed the request and `day` when it was reserved; None in older ledgers.
    """

    request: Hash
    mu2: Ratio
    cap: Exact
    key: PublicKey | None = None
    coordinator: PublicKey | None = None
    day: date | None = None


class SeenDay(Wire):
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

    @property
    def state(self) -> str:
        """What the request has come to; both count as spent."""
        return COMMITTED if self.committed else RESERVED


class History:
    """The steps of a ledger and what they say.

    Parameters
    ----------
    path : the file of the ledger; ":memory:" for a simulation.
    mark : the folder of the high-water mark; None for a simulation.
    key : the site's public key, by which signed acts and receipts are checked.

    Raises
    ------
    HistoryError
        If the ledger was altered, or set back behind its mark.
    LedgerError
        If it cannot be read, was kept under another key, or holds signed acts and no key is given.
    """

    def __init__(self, path: str | Path, mark: Path | None = None, key: str | None = None) -> None:
        self._key = key
        self._journal = LedgerJournal(path, mark)
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

    @property
    def own_cap(self) -> Decimal | None:
        """The ledger's own cap: the last one that was signed, or that of the first reservation; None before it."""
        signed = [act.cap for _, act in self._acts() if act.cap is not None]
        if signed:
            return signed[-1]
        first = self._journal.steps(RESERVED)[:1]
        return self._cost(first[0]).cap if first else None

    @property
    def clock(self) -> date:
        """The day by this machine's clock."""
        return today()

    @property
    def today(self) -> date:
        """The clock's day, or a later one that a step has written down since the clock was last corrected.

        Reservations, signed acts, decisions, and refusals of expired studies write their day down. A clock that is
        set back is noticed from the first of them on.
        """
        return max([self.clock, *self._days()])

    @property
    def spent_mu2(self) -> Fraction:
        """Sum of mu^2 over everything ever reserved."""
        return total_mu2(entry.mu2 for entry in self.entries())

    @property
    def previous_receipt_hash(self) -> str:
        """Hash of the last receipt; GENESIS before the first."""
        last = self._journal.last(COMMITTED)
        return GENESIS if last is None else self._release(last).receipt.hash

    def revoked(self) -> frozenset[str]:
        """Hashes of the studies that are revoked."""
        last = {step.study: step for step in self._journal.steps(DECIDED)}
        return frozenset(study for study, step in last.items() if self._decision(step).revokes)

    def entries(self) -> tuple[Entry, ...]:
        """All requests, in the order of their reservation."""
        committed = self._journal.keys(COMMITTED)
        costs = [(step, self._cost(step)) for step in self._journal.steps(RESERVED)]
        return tuple(
            Entry(step.study, step.id, cost.mu2, (step.study, step.id) in committed, cost.coordinator, cost.day)
            for step, cost in costs
        )

    def by_steward(self) -> tuple[tuple[str, Act | Decision], ...]:
        """The steward's acts and decisions in their order, a decision with the hash of its study."""
        decisions = ((step, self._decision(step)) for step in self._journal.steps(DECIDED))
        steps: list[tuple[Step, Act | Decision]] = [*self._acts(), *decisions]
        return tuple((step.study, message) for step, message in sorted(steps, key=lambda pair: pair[0].number))

    def receipts(self) -> tuple[SignedReceipt, ...]:
        """All receipts, in the order of their chain."""
        return tuple(self._release(step).signed_receipt for step in self._journal.steps(COMMITTED))

    def releases(self, study: str) -> tuple[SignedRelease, ...]:
        """The committed releases of a study, in the order of their receipts."""
        return tuple(self._release(step) for step in self._journal.steps(COMMITTED, study))

    def _verify(self) -> None:
        """Receipts are one chain; receipts and acts are signed with the site's keys, one after the other."""
        for step in self._journal.steps(DECIDED):
            self._decision(step)
        for step in self._journal.steps(SEEN):
            self._journal.read(step, SeenDay)
        for step in self._journal.steps(TAKEN):
            self._journal.read(step, Taken)
        acts = self._acts()
        reserved = [(step, self._cost(step).key) for step in self._journal.steps(RESERVED)]
        receipts = [(step, self._release(step).signed_receipt) for step in self._journal.steps(COMMITTED)]
        verify_chain([signed.receipt for _, signed in receipts], complete=True)
        if self._key is not None:
            key_uses: list[tuple[Step, Act | SignedReceipt | str]] = [*acts, *receipts]
            key_uses += [(step, key) for step, key in reserved if key is not None]
            key_uses.sort(key=lambda pair: pair[0].number)
            verify_signed([(self._journal.hash_of(step.number - 1), use) for step, use in key_uses], self._key)
        elif acts:
            raise LedgerError("this ledger holds acts signed by the site; open it with the site's key")

    def _days(self) -> set[date]:
        """The days that were written down since the clock was last corrected, with the day of that act."""
        acts = self._acts()
        corrected = max((step.number for step, act in acts if act.act == "correct clock"), default=0)
        days: list[tuple[Step, date | None]] = [(step, act.day) for step, act in acts]
        days += [(step, self._cost(step).day) for step in self._journal.steps(RESERVED)]
        days += [(step, self._decision(step).day) for step in self._journal.steps(DECIDED)]
        days += [(step, self._journal.read(step, SeenDay).day) for step in self._journal.steps(SEEN)]
        return {day for step, day in days if day is not None and step.number >= corrected}

    def _revoked(self, study: str) -> bool:
        last = self._journal.steps(DECIDED, study)[-1:]
        return any(self._decision(step).revokes for step in last)

    def _acts(self) -> list[tuple[Step, Act]]:
        return [(step, self._journal.read(step, Act)) for step in self._journal.steps(SIGNED)]

    def _cost(self, step: Step) -> ReservedCost:
        return self._journal.read(step, ReservedCost)

    def _release(self, step: Step) -> SignedRelease:
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
