"""What crosses the wire between a coordinator and a site: eight messages, versioned, without unknown fields.

    SignedStudy      coordinator -> stewards     what will be computed, at which cost, by whom
    SignedRequest    coordinator -> site         one round of a signed study
    SignedStep       coordinator -> site         one step of a round of a joint study
    SignedRelease    site -> coordinator         what the site releases, and its receipt
    SignedStepReply  site -> coordinator         a site's reply to a step, if it is not a release
    Refusal          site -> coordinator         one of a fixed list of codes
    SignedReceipt    anyone                      a receipt by itself, as it is published
    Description      site -> anyone              the public facts of a site

Their parts are in `study.py`, `payload.py`, `cost.py`, `steps.py` and `fields.py`, and can be imported from here.
Signatures are made and checked in `signing.py`, receipts in `receipts.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import FailFast, Field, TypeAdapter, ValidationError, model_validator

from cohortmix.protocol.canonical import canonical, sha256
from cohortmix.protocol.cost import ANSWER_NAMES, Receipt, Statement
from cohortmix.protocol.fields import MOST_PATIENTS, Hash, Name, PublicKey, RequestId, Signature, Version, Wire
from cohortmix.protocol.payload import (
    CentroidsRelease,
    ClassSumsRelease,
    CommonMessage,
    MaskedRelease,
    NoisedAnswer,
    SiteRelease,
)
from cohortmix.protocol.steps import Ask, SignedReply
from cohortmix.protocol.study import NEIGHBOURS, SiteEntry, StudySpec

__all__ = [
    "ANSWER_NAMES", "NEIGHBOURS", "CentroidsRelease", "ClassSumsRelease", "Code", "CommonMessage", "Description",
    "MaskedRelease", "Message", "MessageError", "NoisedAnswer", "Receipt", "Refusal", "Reply", "Request",
    "SignedReceipt", "SignedRelease", "SignedRequest", "SignedStep", "SignedStepReply", "SignedStudy", "SiteEntry",
    "SiteRelease", "Statement", "StepRequest", "StudySpec", "VersionError", "decode", "encode", "request_id",
]  # fmt: skip

PROTOCOL = 1
MAX_BYTES = 64 * 2**20
"""Longest message that is read; a site refuses a study whose release could be longer (`client/site/room.py`)."""

MOST_KEYS, MOST_PARTS = 2**15, 2**21
"""Most colons and commas of a message: a study of 1000 sites has 3000 keys, and an array is a single text.

They are counted before the message is parsed, since a parsed key or part takes a hundred times its bytes.
"""


class MessageError(ValueError):
    """Bytes that are not a message of this protocol; the text names the fields, never their values."""


class VersionError(MessageError):
    """A message of another version of the protocol."""


class _Message(Wire):
    """A message that stands alone: it says what it is (`type`) and of which version (`protocol`)."""

    protocol: Literal[1] = 1


class SignedStudy(_Message):
    """A study and its coordinator's signature."""

    type: Literal["study"] = "study"
    study: StudySpec
    signature: Signature


class Request(Wire):
    """One round of a study. The same request always gets the same bytes in reply."""

    study: SignedStudy
    round: Literal[1, 2]
    request_id: RequestId
    common: CommonMessage | None = None

    @property
    def hash(self) -> str:
        """Covers the study, the round, the request id, and the common groups and margins."""
        return hashlib.sha256(self.canonical).hexdigest()

    @property
    def sum(self) -> str:
        """Names one sum of a joint study: the same at all sites that are asked the same question, only there."""
        return sha256([self.study.study.hash, self.round, None if self.common is None else self.common.plain()])

    @property
    def canonical(self) -> bytes:
        """The request as canonical JSON, over which its hash and its signature are made."""
        return _canonical(self)

    @model_validator(mode="after")
    def _common_in_round_two(self) -> Request:
        if (self.common is None) == (self.round == 2):
            raise ValueError(f"expected common groups in round 2 and only there, got round={self.round}")
        return self


@lru_cache(maxsize=1)  # a request of round 2 is megabytes, and is needed once for its hash, once for its signature
def _canonical(request: Request) -> bytes:
    return canonical(request.plain())


def request_id(study: str, site: str, round: int) -> str:
    """The id of a site's request for one round of the study with this hash.

    It follows from the study, so that a steward's preview and the coordinator ask for the same release.
    """
    return sha256([study, site, round])[:32]


class SignedRequest(_Message):
    """A request and the coordinator's signature, so that nobody on the way can spend a site's budget."""

    type: Literal["request"] = "request"
    request: Request
    signature: Signature


class StepRequest(Wire):
    """One step of a round of a joint study: the round's request, the same in every step, and what is asked now."""

    request: Request
    ask: Ask


class SignedStep(_Message):
    """A step and the coordinator's signature."""

    type: Literal["step"] = "step"
    step: StepRequest
    signature: Signature


class SignedStepReply(_Message):
    """A site's reply to a step, under its signature."""

    type: Literal["step reply"] = "step reply"
    signed: SignedReply


class SignedReceipt(_Message):
    """A receipt and its site's signature, as `receipts/SITE-ROUND.json` holds it."""

    type: Literal["receipt"] = "receipt"
    receipt: Receipt
    signature: Signature


class SignedRelease(_Message):
    """A release, its receipt, and the site's signature of the receipt, which names the release's hash."""

    type: Literal["release"] = "release"
    release: SiteRelease
    receipt: Receipt
    signature: Signature

    @property
    def signed_receipt(self) -> SignedReceipt:
        """The receipt and its signature without the release."""
        return SignedReceipt(receipt=self.receipt, signature=self.signature)


class Code(StrEnum):
    """Why a site does not answer; no code depends on a record."""

    NOT_APPROVED = "NOT_APPROVED"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    OVER_BUDGET = "OVER_BUDGET"
    TOO_FEW_PATIENTS = "TOO_FEW_PATIENTS"
    UNKNOWN_COLUMN = "UNKNOWN_COLUMN"
    UNKNOWN_VERSION = "UNKNOWN_VERSION"
    BAD_STEP = "BAD_STEP"
    UNAVAILABLE = "UNAVAILABLE"


class Refusal(_Message):
    """A code, and a sentence that this program wrote."""

    type: Literal["refusal"] = "refusal"
    code: Code
    sentence: Annotated[str, Field(min_length=1, max_length=300)]


class Description(_Message):
    """The public facts of a site: only the number of patients depends on its records."""

    type: Literal["description"] = "description"
    site: Name
    key: PublicKey
    patients: int = Field(ge=0, le=MOST_PATIENTS)
    schema_hash: Hash
    columns: Annotated[tuple[str, ...], FailFast()]
    version: Version


Message = (
    SignedStudy
    | SignedRequest
    | SignedStep
    | SignedRelease
    | SignedStepReply
    | SignedReceipt
    | Refusal
    | Description
)
Reply = SignedRelease | SignedStepReply | Refusal

_ANY: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


class _Header(Wire, extra="ignore"):
    protocol: int = Field(ge=0, lt=10**6)


def encode(message: Message) -> bytes:
    """The message as canonical JSON; equal messages give equal bytes."""
    return canonical(message.plain())


def decode(data: bytes, limit: int = MAX_BYTES) -> Message:
    """The message in `data`; its version is looked at before anything else.

    Raises
    ------
    VersionError
        If it is of another version of the protocol.
    MessageError
        If it is longer than `limit` bytes or not a message; no value of it is repeated in the text.
    """
    if len(data) > limit:
        raise MessageError(f"expected a message of at most {limit} bytes, got {len(data)}")
    if data.count(b":") > MOST_KEYS or data.count(b",") > MOST_PARTS:
        raise MessageError(f"expected a message of at most {MOST_KEYS} keys and {MOST_PARTS} parts, got more")
    try:
        version = _Header.model_validate_json(data).protocol
        if version != PROTOCOL:
            raise VersionError(f"expected protocol={PROTOCOL}, got protocol={version}; install the same version")
        return _ANY.validate_json(data)
    except ValidationError as error:
        raise MessageError(f"not a message of protocol {PROTOCOL}: {_faults(error)}") from None


def _faults(error: ValidationError) -> str:
    """The first faults with their keys; a key that somebody made up is not repeated."""
    faults: list[Any] = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{_place(fault['loc']) or 'message'}: {fault['type']}" for fault in faults[:5])


def _place(loc: Sequence[object]) -> str:
    parts = [str(part) for part in loc]
    return ".".join(part if re.fullmatch(r"\w{1,40}", part, re.ASCII) else "(unknown)" for part in parts)
