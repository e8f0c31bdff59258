"""The steward's signed acts in the ledger: a raised cap, a mark written anew, a new signing key."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Exact, PublicKey, Signature, Wire
from cohortmix.protocol.signing import Key, SignatureError, verify

Kind = Literal["raise cap", "renew mark", "new key"]


class Act(Wire):
    """One act, signed with the site's key for its place in the ledger: behind another step it is not valid.

    `by` is the key that signs it, `cap` the new cap, `key` the new key.
    """

    act: Kind
    by: PublicKey
    cap: Exact | None = None
    key: PublicKey | None = None
    signature: Signature

    @classmethod
    def sign(cls, by: Key, previous: str, act: Kind, cap: Decimal | None, key: str | None) -> Act:
        """An act that follows the step of hash `previous`."""
        unsigned = cls(act=act, by=by.public_hex, cap=cap, key=key, signature="0" * 128)
        return unsigned.model_copy(update={"signature": by.sign(unsigned._message(previous))})

    def verify(self, previous: str) -> None:
        """Raise SignatureError unless `by` signed this act for this place."""
        verify(self.by, self._message(previous), self.signature)

    def _message(self, previous: str) -> bytes:
        plain = {name: value for name, value in self.plain().items() if name != "signature"}
        return b"cohortmix/act/1\n" + canonical(plain | {"previous": previous})


def verify_acts(acts: Sequence[tuple[str, Act]], public_hex: str) -> None:
    """Raise SignatureError unless each act is signed with the site's key of its time, the last of which is this.

    Parameters
    ----------
    acts : each with the hash of the step before it, in their order.
    public_hex : the site's present key.
    """
    signer = public_hex
    for previous, act in reversed(acts):
        named = act.by if act.key is None else act.key
        if named != signer:
            raise SignatureError(f"expected the site's key {named[:12]}..., got {signer[:12]}...; see site.yaml")
        act.verify(previous)
        signer = act.by
