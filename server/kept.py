"""What comes back from a study's store counts by its signature, as it did when it went in.

The store's own chain shows damage; the signatures show content that somebody put there. A release is its site's if
the key that the study enrols has signed the receipt, and the receipt names the release's hash; the frozen common
facts are the coordinator's. A request needs no check here: the site that gets it checks it, and each receipt names
its hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cohortmix.core.data.table import InputError
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.steps.centroids import SiteCentroids
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Array, BigInt, Hash, Signature, Wire
from cohortmix.protocol.messages import (
    CentroidsRelease,
    ClassSumsRelease,
    CommonMessage,
    MaskedRelease,
    MessageError,
    SignedReceipt,
    SignedRelease,
    StudySpec,
    decode,
    request_id,
)
from cohortmix.protocol.receipts import ReceiptError
from cohortmix.protocol.receipts import verify as verify_signed
from cohortmix.protocol.signing import Key, SignatureError, signed_bytes, verify
from cohortmix.server.store import CURE, Store


class Kept:
    """The releases and common facts in a study's store, each of them read and checked once.

    Of a release that was read its numbers stay here, and its bytes in the store: all releases together can fill
    the memory, so each is there once, in its shortest form. Every method raises InputError for what its site, or
    the coordinator, has not signed.
    """

    def __init__(self, store: Store, study: StudySpec) -> None:
        self._store, self._study = store, study
        self._released: dict[tuple[str, int], Released] = {}
        self._common: CommonMessage | None = None

    def release(self, site: str, round: int) -> SignedRelease:
        """The release of one site as it came, which it must have."""
        return kept_release(self._store.reply(site, round), self._study, site, round)

    def released(self, site: str, round: int) -> Released:
        """What one site has released, and its receipt."""
        if (site, round) not in self._released:
            self.remember(self.release(site, round))
        return self._released[site, round]

    def remember(self, signed: SignedRelease) -> None:
        """Take a release as read that is in the store and was checked when it arrived."""
        self._released[signed.receipt.site, signed.receipt.round] = Released.of(signed)

    def receipts(self, round: int) -> dict[str, SignedReceipt]:
        """The receipts of one round, by site."""
        return {site: self.released(site, round).receipt for site in sorted(self._store.answered(round))}

    def masked(self, site: str, round: int) -> NDArray[np.int64]:
        """The masked input of one site to the sum of a round."""
        release = self.release(site, round).release
        if not isinstance(release, MaskedRelease):
            _refuse(f"a release of {site!r} in round {round} that is not under masks")
        return release.values.numpy()

    def class_sums(self, site: str) -> Answer:
        """The class sums of one site, from round 1."""
        content = self.released(site, 1).content
        if not isinstance(content, Answer):
            _refuse(f"a release of {site!r} in round 1 that is not of class sums")
        return content

    def common(self) -> CommonMessage | None:
        """The frozen common facts, which do not change any more; None before the freeze."""
        if self._common is None and (kept := self._store.common()) is not None:
            self._common = frozen_common(kept, self._study)
        return self._common

    def total(self, round: int) -> SummedUp | None:
        """The sum of a round of a joint study, which does not change any more; None before it was read."""
        kept = self._store.total(round)
        return None if kept is None else read_total(kept, self._study, round)

    def keep_total(self, round: int, values: NDArray[np.int64], variances: tuple[int, ...], key: Key) -> None:
        """Keep the sum of a round, and the variances of the noise in it, under the coordinator's signature."""
        total = SummedUp(study=self._study.hash, round=round, values=Array.of(values), variances=variances)
        signed = SignedTotal(total=total, signature=key.sign(signed_bytes("total", total)))
        self._store.keep_total(round, canonical(signed.plain()))


@dataclass(frozen=True, eq=False)
class Released:
    """What one site has released in one round.

    Attributes
    ----------
    receipt : what it cost, under the site's signature.
    content : class sums or centroids; None for an input under masks, of which only the sum says anything.
    """

    receipt: SignedReceipt
    content: Answer | SiteCentroids | None

    @classmethod
    def of(cls, signed: SignedRelease) -> Released:
        """Without the texts in which its arrays travel."""
        if isinstance(signed.release, ClassSumsRelease):
            return cls(signed.signed_receipt, signed.release.answer.to_core())
        centroids = signed.release.to_core() if isinstance(signed.release, CentroidsRelease) else None
        return cls(signed.signed_receipt, centroids)


class Frozen(Wire):
    """The common facts of one study, as they were fixed after round 1."""

    study: Hash
    common: CommonMessage


class SignedFrozen(Wire):
    """Common facts under their coordinator's signature."""

    frozen: Frozen
    signature: Signature


class SummedUp(Wire):
    """The sum of one round of a joint study, as it was read, and the variance of its noise, in noise steps^2.

    There is a variance for each question of the round, whose answers stand one after the other.
    """

    study: Hash
    round: int
    values: Array
    variances: tuple[BigInt, ...]


class SignedTotal(Wire):
    """A sum under its coordinator's signature."""

    total: SummedUp
    signature: Signature


def read_total(kept: bytes, study: StudySpec, round: int) -> SummedUp:
    """The sum that `Kept.keep_total` kept for this study and round; InputError for any other."""
    try:
        signed = SignedTotal.model_validate_json(kept)
        verify(study.coordinator_key, signed_bytes("total", signed.total), signed.signature)
    except (ValidationError, SignatureError):
        _refuse("a sum which the coordinator has not signed")
    if (signed.total.study, signed.total.round) != (study.hash, round):
        _refuse("a sum of another study, or another round")
    return signed.total


def freeze(common: CommonMessage, study: StudySpec, key: Key) -> bytes:
    """The common facts of a study, signed, as bytes for its store."""
    frozen = Frozen(study=study.hash, common=common)
    return canonical(SignedFrozen(frozen=frozen, signature=key.sign(signed_bytes("common", frozen))).plain())


def frozen_common(kept: bytes, study: StudySpec) -> CommonMessage:
    """The common facts that `freeze` made for this study; InputError for any others."""
    try:
        signed = SignedFrozen.model_validate_json(kept)
        verify(study.coordinator_key, signed_bytes("common", signed.frozen), signed.signature)
    except (ValidationError, SignatureError):
        _refuse("common facts which the coordinator has not signed")
    if signed.frozen.study != study.hash:
        _refuse("common facts of another study")
    return signed.frozen.common


def kept_release(kept: bytes, study: StudySpec, site: str, round: int) -> SignedRelease:
    """A site's release of one round with its receipt; InputError if it is not what that site has signed."""
    try:
        signed = decode(kept)
        if not isinstance(signed, SignedRelease):
            raise ReceiptError("it is not a release")
        verify_signed(signed.signed_receipt, study)
    except (MessageError, ReceiptError) as error:
        _refuse(f"a release of {site!r} in round {round} that does not hold: {error}")
    receipt, id = signed.receipt, request_id(study.hash, site, round)
    if (receipt.site, receipt.round, receipt.request_id) != (site, round, id):
        _refuse(f"a release of another request in the place of {site!r} in round {round}")
    if receipt.release_hash != signed.release.hash:
        _refuse(f"a release of {site!r} in round {round} that is not the one of its receipt")
    return signed


def _refuse(what: str) -> NoReturn:
    raise InputError(f"the study's store holds {what}; {CURE}")
