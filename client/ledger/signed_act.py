"""The steward in the ledger: decisions, and signed acts (raised cap, renewed mark, new key, corrected clock)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Literal

from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Exact, PublicKey, Signature, Wire
from cohortmix.protocol.messages import SignedReceipt
from cohortmix.protocol.signing import Key, SignatureError, under_prefix, verify, verify_receipt

Kind = Literal["raise cap", "renew mark", "new key", "correct clock"]


class Act(Wire):
    """One act, signed with the site's key for its place in the ledger: behind another step it is not valid.

    `by` is the key that signs it, `cap` the new cap, `key` the new key, `day` when it was signed (None in acts
    that were signed before days were written down).
    """

    act: Kind
    by: PublicKey
    cap: Exact | None = None
    key: PublicKey | None = None
    day: date | None = None
    signature: Signature

    @classmethod
    def sign(
        cls, by: Key, previous: str, act: Kind, cap: Decimal | None, key: str | None, day: date | None = None
    ) -> Act:
        """A signed act whose place is behind the step of hash `previous`."""
        unsigned = cls(act=act, by=by.public_hex, cap=cap, key=key, day=day, signature="0" * 128)
        return unsigned.model_copy(update={"signature": by.sign(unsigned._message(previous))})

    def verify(self, previous: str) -> None:
        """Raise SignatureError unless `by` signed this act for this place."""
        verify(self.by, self._message(previous), self.signature)

    def _message(self, previous: str) -> bytes:
        plain = {name: value for name, value in self.plain().items() if name != "signature"}
        if self.day is None:  # what was signed without a day keeps its signature
            del plain["day"]
        return under_prefix("act", canonical(plain | {"previous": previous}))


class Decision(Wire):
    """The steward's word on a study: revoked, or approved again after that. `day` is None in older ledgers."""

    decision: Literal["approved", "revoked"]
    day: date | None = None

    @classmethod
    def read(cls, content: bytes) -> Decision:
        """The decision that a step holds; pydantic's ValidationError if it holds none.

        Older ledgers hold the word alone.
        """
        if content in (b"approved", b"revoked"):
            return cls(decision="revoked" if content == b"revoked" else "approved")
        return cls.model_validate_json(content)

    @property
    def revokes(self) -> bool:
        """Whether the site answers nothing of the study from here on."""
        return self.decision == "revoked"


class ForeignKeyError(SignatureError):
    """The site's key is not the one under which its ledger was kept last."""


def verify_signed(entries: Sequence[tuple[str, Act | SignedReceipt | str]], public_hex: str) -> None:
    """Raise SignatureError unless each act and each receipt is signed with the site's key of its time.

    They are checked from the newest to the oldest, since each change of the key names the one before. Whether the
    newest is under the present key says whose ledger this is; whether the older ones are, says if it was altered.

    Parameters
    ----------
    entries : acts, receipts, and the keys that reservations name, in the ledger's order, each after the hash of
        the step before it.
    public_hex : the site's present key.

    Raises
    ------
    ForeignKeyError
        If the newest entry is not under this key.
    SignatureError
        If an older one is not under the key that was then the site's.
    """
    signer = public_hex
    for age, (previous, entry) in enumerate(reversed(entries)):
        if not under(signer, entry):
            wrong = ForeignKeyError if age == 0 else SignatureError
            raise wrong(f"expected an entry signed with the site's key of its time, {signer[:12]}...")
        if isinstance(entry, Act):
            entry.verify(previous)
            signer = entry.by


def under(signer: str, entry: Act | SignedReceipt | str) -> bool:
    """Whether an act or a reservation names this key as the site's, or this key has signed a receipt."""
    if isinstance(entry, str):
        return entry == signer
    if isinstance(entry, Act):
        return (entry.by if entry.key is None else entry.key) == signer
    try:
        verify_receipt(entry, signer)
    except SignatureError:
        return False
    return True
