"""Sealed boxes: shares of a site's two secrets for another site, which the coordinator carries and cannot open.

A box's key follows from the keys of both sites, and from the sum, the list of all sites and the direction. It
seals one box alone, so the nonce is zero.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.masking.seeds import MaskingError, agreed
from cohortmix.protocol.steps import SEED_BYTES

_NONCE = bytes(12)


def seal(private: X25519PrivateKey, public: str, way: tuple[str, str, str], mask: str, own: str) -> str:
    """A box with a share of the mask key's seed and one of the own mask's.

    Parameters
    ----------
    private, public : the sender's key for boxes, and the receiver's.
    way : hash of the list of sites, sender, receiver.
    """
    return _cipher(private, public, way).encrypt(_NONCE, bytes.fromhex(mask + own), None).hex()


def unseal(private: X25519PrivateKey, public: str, way: tuple[str, str, str], sealed: str) -> tuple[str, str]:
    """The two shares in a box: of the mask key's seed, and of the own mask's.

    Raises
    ------
    MaskingError
        If the sender has not sealed it on this way.
    """
    try:
        content = _cipher(private, public, way).decrypt(_NONCE, bytes.fromhex(sealed), None).hex()
    except InvalidTag:
        raise MaskingError(f"the box from {way[1]!r} does not open") from None
    return content[: 2 * SEED_BYTES], content[2 * SEED_BYTES :]


def _cipher(private: X25519PrivateKey, public: str, way: tuple[str, str, str]) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(agreed(private, public, f"box {sha256(list(way))}"))
