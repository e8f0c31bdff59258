"""The secrets of one site for one sum, and the public keys that follow from them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import Field

from cohortmix.protocol.fields import Wire
from cohortmix.protocol.steps import SEED_BYTES, Keys, Seed
from cohortmix.protocol.study import MOST_SITES

DrawSeed = Callable[[str], bytes]
"""A new secret of SEED_BYTES for a purpose."""


class MaskingError(ValueError):
    """A step of a sum does not hold; the text says what is wrong, and holds no secret."""


def new_seed(purpose: str) -> bytes:
    """A secret from the system's random source, whatever the purpose."""
    return secrets.token_bytes(SEED_BYTES)


class Seeds(Wire):
    """Three seeds of 128 bits: of the key that opens boxes, of the key of shared masks, and of the own mask."""

    seal: Seed = Field(repr=False)  # a log must not hold one
    mask: Seed = Field(repr=False)
    own: Seed = Field(repr=False)

    @classmethod
    def draw(cls, seed: DrawSeed = new_seed) -> Seeds:
        """New ones; they are for one sum alone."""
        return cls(seal=seed("seal").hex(), mask=seed("mask").hex(), own=seed("own").hex())

    @property
    def keys(self) -> Keys:
        """What the other sites are told."""
        return Keys(
            seal=public_of(private_of(self.seal, "seal")),
            mask=public_of(private_of(self.mask, "mask")),
            check=check_of(self.own),
        )


def private_of(seed: str, purpose: str) -> X25519PrivateKey:
    """The X25519 key that follows from a seed."""
    return X25519PrivateKey.from_private_bytes(derived(bytes.fromhex(seed), f"{purpose} key"))


def public_of(private: X25519PrivateKey) -> str:
    """Its public half, hexadecimal."""
    return private.public_key().public_bytes_raw().hex()


def check_of(own: str) -> str:
    """What shows that a seed is the one that a site has shared; it says nothing of the mask made of it."""
    return derived(bytes.fromhex(own), "check").hex()


def agreed(private: X25519PrivateKey, public: str, purpose: str) -> bytes:
    """32 bytes that only the owners of two keys know, for one purpose.

    Raises
    ------
    MaskingError
        If the other key is a point of small order, so that everybody would know them.
    """
    try:
        secret = private.exchange(X25519PublicKey.from_public_bytes(bytes.fromhex(public)))
    except ValueError:
        raise MaskingError("a key of another site is no X25519 key that keeps a secret") from None
    return derived(secret, purpose)


def require_agreement(keys: Keys) -> None:
    """Raise MaskingError unless both public keys of a site can keep a secret with others."""
    for public in (keys.seal, keys.mask):
        _require_agreement(public)


@lru_cache(maxsize=4 * MOST_SITES)  # every site looks at the keys of all, in three steps of a sum
def _require_agreement(public: str) -> None:
    agreed(private_of("00" * SEED_BYTES, "any"), public, "any")  # a point of small order fails with every key


def derived(secret: bytes, purpose: str) -> bytes:
    """32 bytes from a secret (HKDF with SHA-256); different purposes give independent ones."""
    return HKDF(SHA256(), length=32, salt=None, info=f"cohortmix/{purpose}/1".encode()).derive(secret)
