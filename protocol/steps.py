"""The five steps by which the sites of a joint study add up their answers: what each is told, and what it replies.

    step       told                                     replies
    keys       -                                        its public keys for this sum
    shares     the keys of all sites that gave some     for each of them a sealed box with shares of its secrets
    input      the boxes that the others have for it    its noised answer under masks: a release, with its receipt
    consent    which sites' inputs came                 its signature that the sum is of exactly these sites
    unmask     the signatures of the others             shares by which the masks of these sites can be taken off;
                                                        and where no site is missing, its spare noise

After Bonawitz et al. 2017 (eprint 2017/281, Figure 4, with the consistency check). The reply to `input` is a
`SignedRelease`, every other one a `StepReply`. What is done with these messages is in `masking/`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import FailFast, Field, model_validator

from cohortmix.protocol.canonical import sha256
from cohortmix.protocol.fields import Array, Hash, Name, Signature, Wire
from cohortmix.protocol.study import MOST_SITES

SEED_BYTES = 16
"""Of each secret of a site: 128 bits, an element of the field of `masking/sharing.py`."""

BOX_BYTES = 2 * SEED_BYTES + 16
"""A share of each of two secrets, and the tag of the cipher."""

Step = Literal["keys", "shares", "input", "consent", "unmask"]
STEPS: tuple[Step, ...] = ("keys", "shares", "input", "consent", "unmask")

Seed = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * SEED_BYTES}}}$")]
SealedBox = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * BOX_BYTES}}}$")]
"""Hexadecimal, as keys and hashes are."""


class Box(Wire):
    """What one site has sealed for another one; `site` is the other one, as the message is read."""

    site: Name
    sealed: SealedBox


class Share(Wire):
    """A share of a secret of `site`: of its own mask where it is in the sum, of its mask key where it is not."""

    site: Name
    share: Seed = Field(repr=False)


class Keys(Wire):
    """A site's X25519 public keys for one sum, and a check value of the secret of its own mask."""

    step: Literal["keys"] = "keys"
    seal: Hash
    mask: Hash
    check: Hash


class Boxes(Wire):
    """One box for each site that has given keys, itself among them."""

    step: Literal["shares"] = "shares"
    boxes: Annotated[tuple[Box, ...], Field(min_length=1, max_length=MOST_SITES), FailFast()]


class Consent(Wire):
    """A signature under this says: the sum is of the sites in `survivors`, by their hash, and of no others."""

    step: Literal["consent"] = "consent"
    survivors: Hash


class Shares(Wire):
    """The secret of the site's own mask, and its share of one secret of each site that had sent boxes.

    `spare` (d,) is the noise that the site had added for sites that may be missing, where none is.
    """

    step: Literal["unmask"] = "unmask"
    own: Seed = Field(repr=False)
    spare: Array | None = Field(default=None, repr=False)
    shares: Annotated[tuple[Share, ...], Field(min_length=1, max_length=MOST_SITES), FailFast()]

    @model_validator(mode="after")
    def _whole_numbers(self) -> Shares:
        if self.spare is not None and (self.spare.dtype != "<i8" or len(self.spare.shape) != 1):
            raise ValueError("expected spare noise as a vector of whole numbers")
        return self


class StepReply(Wire):
    """A site's reply to one step of one sum."""

    site: Name
    sum: Hash
    content: Annotated[Keys | Boxes | Consent | Shares, Field(discriminator="step")]


class SignedReply(Wire):
    """A step's reply under its site's signature, as it is passed on to the other sites."""

    reply: StepReply
    signature: Signature


Replies = Annotated[tuple[SignedReply, ...], Field(min_length=1, max_length=MOST_SITES), FailFast()]


class AskKeys(Wire):
    """Begin a sum."""

    step: Literal["keys"] = "keys"


class AskShares(Wire):
    """The keys of all sites that take part."""

    step: Literal["shares"] = "shares"
    keys: Replies


class AskInput(Wire):
    """The boxes for this site; each names the site that has sealed it."""

    step: Literal["input"] = "input"
    boxes: Annotated[tuple[Box, ...], Field(min_length=1, max_length=MOST_SITES), FailFast()]


class AskConsent(Wire):
    """The sites whose inputs came."""

    step: Literal["consent"] = "consent"
    survivors: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_SITES), FailFast()]


class AskUnmask(Wire):
    """The consents of other sites."""

    step: Literal["unmask"] = "unmask"
    consents: Replies


Ask = Annotated[AskKeys | AskShares | AskInput | AskConsent | AskUnmask, Field(discriminator="step")]


def hash_of_sites(names: tuple[str, ...], roster: str) -> str:
    """What a consent signs: a set of sites, and the hash of the keys of all sites that have sent boxes."""
    return sha256([roster, sorted(names)])


@lru_cache(maxsize=4)  # of one sum, in each step: all sites, and those that have sent boxes
def hash_of_keys(keys: tuple[SignedReply, ...]) -> str:
    """The hash of a set of sites with their keys, in whichever order they are given."""
    return sha256([one.reply.plain() for one in sorted(keys, key=lambda one: one.reply.site)])
