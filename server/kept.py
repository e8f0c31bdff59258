"""What comes back from a study's store counts by its signature, as it did when it went in.

The store's own chain shows damage; this shows content that somebody put there. A release is its site's by the key
that the study enrols and the hash in the receipt; the frozen common facts are the coordinator's. A request needs
no check here: the site that gets it checks it, and each receipt names its hash.
"""

from typing import NoReturn

from pydantic import ValidationError

from cohortmix.core.data.table import InputError
from cohortmix.protocol.canonical import canonical
from cohortmix.protocol.fields import Hash, Signature, Wire
from cohortmix.protocol.messages import CommonMessage, MessageError, SignedRelease, StudySpec, decode, request_id
from cohortmix.protocol.receipts import ReceiptError
from cohortmix.protocol.receipts import verify as verify_signed
from cohortmix.protocol.signing import Key, SignatureError, signed_bytes, verify
from cohortmix.server.store import CURE


class Frozen(Wire):
    """The common facts of one study, as they were fixed after round 1."""

    study: Hash
    common: CommonMessage


class SignedFrozen(Wire):
    """Common facts under their coordinator's signature."""

    frozen: Frozen
    signature: Signature


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
    """A site's release of one round, with its own receipt; InputError if it is not what that site has signed."""
    try:
        signed = decode(kept)
        if not isinstance(signed, SignedRelease):
            raise ReceiptError("it is no release")
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
