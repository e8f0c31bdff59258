"""Ed25519 signatures over canonical JSON, with the kind of content as part of what is signed.

A study is signed so that a steward knows whose it is, a request so that a relay cannot spend a site's budget by
itself, a receipt so that anyone can check what a release cost.
"""

from __future__ import annotations

from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Wire
from cohortmix.protocol.messages import (
    Receipt,
    Request,
    SignedReceipt,
    SignedRequest,
    SignedStep,
    SignedStudy,
    StepRequest,
    StudySpec,
)
from cohortmix.protocol.points import is_weak
from cohortmix.protocol.steps import SignedReply, StepReply

SignedKind = Literal["study", "request", "step", "reply", "receipt", "manifest", "common", "total", "act"]
"""Everything that is signed: three messages, and a joint study's steps and replies; a published folder's manifest
and a store's common facts and sums, by the coordinator (`server/publish/manifest.py`, `server/kept.py`); a
steward's act in a site's ledger (`client/ledger/signed_act.py`)."""


class SignatureError(ValueError):
    """A signature does not belong to its message and key."""


class Key:
    """An Ed25519 private key; printing it shows the public half only."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def generate(cls) -> Key:
        """A new key from the system's random source."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, private: bytes) -> Key:
        """The key with these 32 private bytes, as `to_bytes` gave them."""
        return cls(Ed25519PrivateKey.from_private_bytes(private))

    def to_bytes(self) -> bytes:
        """The 32 private bytes, for a file that only its owner can read."""
        return self._private.private_bytes_raw()

    @property
    def public_hex(self) -> str:
        """The public key as 64 hexadecimal digits."""
        return self._private.public_key().public_bytes_raw().hex()

    def sign(self, message: bytes) -> str:
        """Signature of `message` as 128 hexadecimal digits."""
        return self._private.sign(message).hex()

    def __repr__(self) -> str:
        return f"Key(public_hex={self.public_hex!r})"


def verify(public_hex: str, message: bytes, signature: str) -> None:
    """Raise SignatureError unless `signature` is that of `message` under the key `public_hex`.

    A key that is a point of small order, or a second spelling of a point, has no signatures; nor does a signature
    count whose first half is such a point.
    """
    try:
        key, made = bytes.fromhex(public_hex), bytes.fromhex(signature)
        if is_weak(key) or is_weak(made[:32]):
            raise InvalidSignature
        Ed25519PublicKey.from_public_bytes(key).verify(made, message)
    except (InvalidSignature, ValueError):
        raise SignatureError(
            f"the signature is not by key={public_hex[:12]}... over this content; ask its author for it again"
        ) from None


def sign_study(key: Key, study: StudySpec) -> SignedStudy:
    """The study under its coordinator's signature."""
    return SignedStudy(study=study, signature=key.sign(signed_bytes("study", study)))


def verify_study(signed: SignedStudy) -> None:
    """Raise SignatureError unless the coordinator that the study names has signed it."""
    verify(signed.study.coordinator_key, signed_bytes("study", signed.study), signed.signature)


def sign_request(key: Key, request: Request) -> SignedRequest:
    """The request under its coordinator's signature."""
    return SignedRequest(request=request, signature=key.sign(signed_bytes("request", request)))


def verify_request(signed: SignedRequest) -> None:
    """Raise SignatureError unless the study's coordinator has signed both the study and this request."""
    verify_study(signed.request.study)
    key = signed.request.study.study.coordinator_key
    verify(key, signed_bytes("request", signed.request), signed.signature)


def sign_step(key: Key, step: StepRequest) -> SignedStep:
    """The step under its coordinator's signature."""
    return SignedStep(step=step, signature=key.sign(signed_bytes("step", step)))


def verify_step(signed: SignedStep) -> None:
    """Raise SignatureError unless the study's coordinator has signed both the study and this step."""
    verify_study(signed.step.request.study)
    key = signed.step.request.study.study.coordinator_key
    verify(key, signed_bytes("step", signed.step), signed.signature)


def sign_reply(key: Key, reply: StepReply) -> SignedReply:
    """The reply to a step under its site's signature."""
    return SignedReply(reply=reply, signature=key.sign(signed_bytes("reply", reply)))


def verify_reply(signed: SignedReply, public_hex: str) -> None:
    """Raise SignatureError unless the site with the key `public_hex` has signed this reply to a step."""
    verify(public_hex, signed_bytes("reply", signed.reply), signed.signature)


def sign_receipt(key: Key, receipt: Receipt) -> SignedReceipt:
    """The receipt under its site's signature."""
    return SignedReceipt(receipt=receipt, signature=key.sign(signed_bytes("receipt", receipt)))


def verify_receipt(signed: SignedReceipt, public_hex: str) -> None:
    """Raise SignatureError unless the site with the key `public_hex` has signed the receipt."""
    verify(public_hex, signed_bytes("receipt", signed.receipt), signed.signature)


def signed_bytes(kind: SignedKind, content: Wire) -> bytes:
    """The bytes that a signature of this kind covers."""
    form = content.canonical if isinstance(content, Request) else canonical(content.plain())
    return under_prefix(kind, form)


def under_prefix(kind: SignedKind, form: bytes) -> bytes:
    """Canonical bytes behind the prefix of their kind, so that a signature of one kind is never one of another.

    >>> under_prefix("study", b"{}")
    b'cohortmix/study/1\\n{}'
    """
    return f"cohortmix/{kind}/1\n".encode() + form
