"""Reading a sum: what the coordinator does with the sites' masked inputs and shares.

Everything that is reconstructed is checked against what its site had announced: a false share is noticed, and the
sum is then not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cohortmix.protocol.masking.masks import Words, masks_of, own_mask
from cohortmix.protocol.masking.part import Roster
from cohortmix.protocol.masking.seeds import MaskingError, check_of, private_of, public_of
from cohortmix.protocol.masking.sharing import combine
from cohortmix.protocol.steps import Shares


class Reading:
    """One sum, from the point where its sites are known.

    Parameters
    ----------
    roster : all sites that have given keys.
    senders : those of them that have sent boxes; each has masks in common with each.
    survivors : those of them whose inputs are in the sum.
    threshold : T.
    """

    def __init__(self, roster: Roster, senders: Iterable[str], survivors: Iterable[str], threshold: int) -> None:
        self._places = {site: place for place, site in enumerate(roster.keys)}
        self._sharing, self._survivors, self._threshold = roster.of(senders), set(survivors), threshold
        self._keys = self._sharing.keys

    def read(self, masked: Words, replies: Mapping[str, Shares]) -> Words:
        """The sum of the survivors' vectors, mod 2^64.

        Parameters
        ----------
        masked : the sum of the masked inputs of exactly the survivors.
        replies : by site, those to step 5 that came.

        Raises
        ------
        MaskingError
            If fewer than T replies came and a secret is missing, or if shares do not give what was announced.
        """
        out, hash = masked.copy(), self._sharing.hash
        for site in sorted(self._survivors):
            out -= own_mask(self._own(site, replies), hash, len(out))
        left = {site: self._keys[site].mask for site in self._survivors}
        for site in sorted(set(self._keys) - self._survivors):
            out += masks_of(site, self._mask(site, replies), left, hash, len(out))
        return out

    def _own(self, site: str, replies: Mapping[str, Shares]) -> str:
        """The secret of a survivor's own mask: its own word, or else from the shares of the others."""
        if site in replies and check_of(replies[site].own) == self._keys[site].check:
            return replies[site].own
        secret = self._combined(site, replies)
        if check_of(secret) != self._keys[site].check:
            raise MaskingError(f"the shares of the mask of {site!r} do not fit together; a site gave a false one")
        return secret

    def _mask(self, site: str, replies: Mapping[str, Shares]) -> str:
        """The seed of the mask key of a site that dropped out."""
        secret = self._combined(site, replies)
        if public_of(private_of(secret, "mask")) != self._keys[site].mask:
            raise MaskingError(f"the shares of the key of {site!r} do not fit together; a site gave a false one")
        return secret

    def _combined(self, site: str, replies: Mapping[str, Shares]) -> str:
        shares = {
            self._places[giver]: share.share
            for giver, reply in replies.items()
            for share in reply.shares
            if share.site == site
        }
        if len(shares) < self._threshold:
            raise MaskingError(
                f"expected shares of {site!r} from {self._threshold} sites at least, got {len(shares)}: the sum "
                "cannot be read"
            )
        return combine(shares, self._threshold)
