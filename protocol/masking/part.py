"""What one site does in each step of a sum, and what it refuses; from its secrets and from what it was told.

Whoever keeps the state (a site's ledger) makes sure that each step is answered for one content only. Then, for
every honest site, the shares that are given out take off its own mask or the masks that it shares, and never both:
both would need 2 T of the shares, of which honest sites give S - t at most and conspirators 2 t, and 2 T > S + t.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cohortmix.protocol.fields import Array
from cohortmix.protocol.masking.boxes import seal, unseal
from cohortmix.protocol.masking.masks import Words, masks_of, own_mask, words
from cohortmix.protocol.masking.seeds import MaskingError, Seeds, private_of, require_agreement
from cohortmix.protocol.masking.sharing import split
from cohortmix.protocol.messages import StudySpec
from cohortmix.protocol.signing import Key, SignatureError, sign_reply, verify_reply
from cohortmix.protocol.steps import (
    AskConsent,
    AskInput,
    AskShares,
    AskUnmask,
    Box,
    Boxes,
    Consent,
    Keys,
    Share,
    Shares,
    SignedReply,
    StepReply,
    hash_of_keys,
    hash_of_sites,
)
from cohortmix.protocol.study import MOST_SITES


@dataclass(frozen=True)
class Roster:
    """The sites of one sum with their keys, each signed by its site."""

    replies: tuple[SignedReply, ...]

    @property
    def hash(self) -> str:
        """Names these sites with these keys."""
        return hash_of_keys(self.replies)

    @property
    def keys(self) -> dict[str, Keys]:
        """By site, in the order of their names."""
        pairs = sorted((one.reply.site, one.reply.content) for one in self.replies)
        return {site: content for site, content in pairs if isinstance(content, Keys)}

    def of(self, sites: Iterable[str]) -> Roster:
        """The part of it that these sites are."""
        wanted = set(sites)
        return Roster(tuple(one for one in self.replies if one.reply.site in wanted))


def require_replies(
    replies: Iterable[SignedReply], study: StudySpec, sum: str, kind: type[Keys | Consent]
) -> None:
    """Raise MaskingError unless these are of T different sites of the study at least, each signed for this sum."""
    sites, entries = set(), {entry.name: entry for entry in study.sites}
    for signed in replies:
        entry, reply = entries.get(signed.reply.site), signed.reply
        if entry is None or reply.site in sites or reply.sum != sum or not isinstance(reply.content, kind):
            raise MaskingError(f"a reply of {reply.site!r} does not belong to this step")
        try:
            _require_signed(signed, entry.key)
        except SignatureError:
            raise MaskingError(f"a reply of {reply.site!r} is not signed by this site") from None
        sites.add(reply.site)
    require_enough(sites, study)


@lru_cache(maxsize=4 * MOST_SITES)  # the keys of all sites are read in three steps, and at most these are kept
def _require_signed(signed: SignedReply, key: str) -> None:
    """As `verify_reply`, which a reply that has passed once passes again; one that has not is looked at anew."""
    verify_reply(signed, key)


def require_enough(sites: set[str], study: StudySpec) -> None:
    """Raise MaskingError below T = S - tolerated dropouts sites."""
    if len(sites) < study.terms.threshold:
        raise MaskingError(f"expected {study.terms.threshold} sites at least, got {len(sites)}")


@dataclass(frozen=True)
class Part:
    """One site's part in one sum.

    Attributes
    ----------
    study, sum : the study, and the hash of what is asked (`Request.sum`).
    site : this one's name.
    key : signs what it replies.
    seeds : drawn for this sum.
    """

    study: StudySpec
    sum: str
    site: str
    key: Key
    seeds: Seeds

    def keys(self) -> SignedReply:
        """Step 1: the public keys; always the same bytes."""
        return self._signed(self.seeds.keys)

    def shares(self, told: AskShares) -> SignedReply:
        """Step 2: a box for each site; the shares in it are new each time, so the first reply must be kept."""
        roster = self._roster(told)
        keys, threshold = roster.keys, self.study.terms.threshold
        masks = split(self.seeds.mask, threshold, len(keys))
        owns = split(self.seeds.own, threshold, len(keys))
        private, of_roster = private_of(self.seeds.seal, "seal"), roster.hash
        boxes = [
            Box(site=other, sealed=seal(private, theirs.seal, (of_roster, self.site, other), mask, own))
            for (other, theirs), mask, own in zip(keys.items(), masks, owns, strict=True)
        ]
        return self._signed(Boxes(boxes=tuple(boxes)))

    def opened(self, told: AskShares, boxes: AskInput) -> dict[str, tuple[str, str]]:
        """By sender, the shares in the boxes for this site: of its mask key's seed, and of its own mask's.

        Raises
        ------
        MaskingError
            Unless there is one box of each of T sites at least, this one among them, and each opens.
        """
        roster, private = self._roster(told), private_of(self.seeds.seal, "seal")
        keys, hash = roster.keys, roster.hash
        senders = [box.site for box in boxes.boxes]
        if len(set(senders)) < len(senders) or not set(senders) <= set(keys) or self.site not in senders:
            raise MaskingError("expected one box of each site, of sites that have given keys, and of this one")
        require_enough(set(senders), self.study)
        return {
            box.site: unseal(private, keys[box.site].seal, (hash, box.site, self.site), box.sealed)
            for box in boxes.boxes
        }

    def masked(self, told: AskShares, boxes: AskInput, values: NDArray[np.int64]) -> Words:
        """Step 3: `values` (d,) under the masks of this site; uniformly random to whoever does not know them."""
        sharing, size = Roster(told.keys).of(box.site for box in boxes.boxes), len(values)
        keys = {site: theirs.mask for site, theirs in sharing.keys.items()}
        shared = masks_of(self.site, self.seeds.mask, keys, sharing.hash, size)
        return words(values) + own_mask(self.seeds.own, sharing.hash, size) + shared

    def consent(self, told: AskShares, boxes: AskInput, asked: AskConsent) -> SignedReply:
        """Step 4: a signature that the sum is of these sites: T that had sent boxes, this one among them."""
        senders, survivors = {box.site for box in boxes.boxes}, set(asked.survivors)
        if len(survivors) < len(asked.survivors) or not survivors <= senders or self.site not in survivors:
            raise MaskingError("expected different sites of those that have sent boxes, this one among them")
        require_enough(survivors, self.study)
        return self._signed(self._consent(told, boxes, asked))

    def unmask(
        self,
        told: AskShares,
        boxes: AskInput,
        asked: AskConsent,
        consents: AskUnmask,
        spare: NDArray[np.int64] | None = None,
    ) -> SignedReply:
        """Step 5: what takes off the masks of these sites, if T of them have signed that it is these.

        The own mask's secret is this site's to give: its shares are, too, with T of the others. `spare` is given
        if these are all sites of the study: then nobody's noise has to be made up for.
        """
        require_replies(consents.consents, self.study, self.sum, Consent)
        expected = self.consent(told, boxes, asked).reply.content  # which checks that this site is one of them
        for one in consents.consents:
            if one.reply.site not in asked.survivors or one.reply.content != expected:
                raise MaskingError(f"{one.reply.site!r} has signed for another set of sites")
        survivors = set(asked.survivors)
        shares = [
            Share(site=site, share=own if site in survivors else mask)
            for site, (mask, own) in self.opened(told, boxes).items()
        ]
        complete = survivors == {entry.name for entry in self.study.sites}
        given = Array.of(spare) if complete and spare is not None else None
        return self._signed(Shares(own=self.seeds.own, spare=given, shares=tuple(shares)))

    def _consent(self, told: AskShares, boxes: AskInput, asked: AskConsent) -> Consent:
        sharing = Roster(told.keys).of(box.site for box in boxes.boxes)
        return Consent(survivors=hash_of_sites(asked.survivors, sharing.hash))

    def _roster(self, told: AskShares) -> Roster:
        """The sites that were told, each with its own signature; this one's keys must be those that it gave."""
        require_replies(told.keys, self.study, self.sum, Keys)
        for keys in Roster(told.keys).keys.values():  # before anything is paid for
            require_agreement(keys)
        if self.keys() not in told.keys:
            raise MaskingError("expected the keys that this site has given, got others, or none")
        return Roster(told.keys)

    def _signed(self, content: Keys | Boxes | Consent | Shares) -> SignedReply:
        return sign_reply(self.key, StepReply(site=self.site, sum=self.sum, content=content))
