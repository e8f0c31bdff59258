"""What crosses the wire between a coordinator and a site: six messages, versioned, closed to unknown fields.

    SignedStudy      coordinator -> stewards     what will be computed, at which cost, by whom
    SignedRequest    coordinator -> site         one round of a signed study
    SignedRelease    site -> coordinator         what the site releases, and its receipt
    Refusal          site -> coordinator         one code of a closed enumeration
    SignedReceipt    anyone                      a receipt on its own, as it is published
    Description      site -> anyone              the public facts of a site

Their parts are in `study.py`, `payload.py` and `fields.py`. Signatures are made and checked in `signing.py`,
receipts in `receipts.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import FailFast, Field, TypeAdapter, ValidationError, model_validator

from cohortmix.core.privacy.noise_source import NOT_PRIVATE
from cohortmix.protocol.canonical import canonical, sha256
from cohortmix.protocol.fields import (
    MOST_PATIENTS,
    BigInt,
    Exact,
    Hash,
    Name,
    Patients,
    PublicKey,
    Ratio,
    Signature,
    Version,
    Wire,
)
from cohortmix.protocol.payload import Centroids, ClassSums, Common, NoisedAnswer, Release
from cohortmix.protocol.study import NEIGHBOURS, SiteEntry, StudySpec

__all__ = [
    "ANSWER_NAMES", "NEIGHBOURS", "Centroids", "ClassSums", "Code", "Common", "Description", "Message",
    "MessageError", "NoisedAnswer", "Receipt", "Refusal", "Release", "Reply", "Request", "SignedReceipt",
    "SignedRelease", "SignedRequest", "SignedStudy", "SiteEntry", "Statement", "StudySpec", "VersionError",
    "decode", "encode", "request_id",
]  # fmt: skip

PROTOCOL = 1
MAX_BYTES = 64 * 2**20
"""Longest message that is read."""

MOST_KEYS, MOST_PARTS = 2**15, 2**21
"""Most colons and commas of a message: a study of 1000 sites has 3000 keys, and arrays are one text each.

Counted before anything is read, since each key and part takes a hundred times its bytes until it is refused.
"""

TEST_WARNING = NOT_PRIVATE
"""What every output says that was made with the keyed noise source."""


class MessageError(ValueError):
    """Bytes that are not a message of this protocol; the text names the fields, never their values."""


class VersionError(MessageError):
    """A message of another protocol version."""


class _Message(Wire):
    """A message that stands alone: it says which it is, and in which version."""

    protocol: Literal[1] = 1


# --- the study


class SignedStudy(_Message):
    """A study and its coordinator's signature."""

    type: Literal["study"] = "study"
    study: StudySpec
    signature: Signature


# --- a request


class Request(Wire):
    """One round of a study. Asked again with the same id and content, it gives the same bytes."""

    study: SignedStudy
    round: Literal[1, 2]
    request_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{8,64}$")]
    common: Common | None = None

    @property
    def hash(self) -> str:
        """Covers the study, the round, the request id and the common groups and margins."""
        return hashlib.sha256(self.canonical).hexdigest()

    @property
    def canonical(self) -> bytes:
        """The request as canonical JSON, of which its hash and its signature are made."""
        return _canonical(self)

    @model_validator(mode="after")
    def _common_in_round_two(self) -> Request:
        if (self.common is None) == (self.round == 2):
            raise ValueError(f"expected common groups in round 2 and only there, got round={self.round}")
        return self


@lru_cache(maxsize=1)
def _canonical(request: Request) -> bytes:
    return canonical(request.plain())


def request_id(study: str, site: str, round: int) -> str:
    """The id of a site's request for one round of the study of this hash.

    It follows from the study, so that a steward's preview and the coordinator ask for the same release.
    """
    return sha256([study, site, round])[:32]


class SignedRequest(_Message):
    """A request and the coordinator's signature, so that nobody between spends a site's budget."""

    type: Literal["request"] = "request"
    request: Request
    signature: Signature


# --- a release and its receipt

ANSWER_NAMES = {1: ("class sums",), 2: ("second moments",)}
"""What a receipt calls the answers that each round draws, if it draws any."""

MOST_STATEMENTS = 8
"""Of one receipt: more than any round draws; their sum is still a number to be printed."""


class Statement(Wire):
    """What one noised answer cost: mu2 = sensitivity2 / sigma^2, all in noise steps."""

    question: Hash
    name: Annotated[str, Field(min_length=1, max_length=60)]
    dimension: int = Field(ge=1, le=2**40)
    sensitivity2: BigInt
    sigma: BigInt
    mu2: Ratio


class Receipt(Wire):
    """What one release cost the patients of a site, in numbers that anyone can check (`receipts.py`)."""

    site: Name
    study: Hash
    schema_hash: Hash
    request_id: Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{8,64}$")]
    request_hash: Hash
    round: Literal[1, 2]
    unit: Literal["patient"] = "patient"
    neighbours: Literal["replace-one-patient"] = NEIGHBOURS
    mu2: Ratio
    statements: Annotated[tuple[Statement, ...], Field(max_length=MOST_STATEMENTS), FailFast()]
    epsilon: Exact
    delta: Exact
    kappa: Exact
    noise: Literal["opendp", "TEST"]
    private: bool
    warning: str | None = Field(default=None, max_length=100)
    version: Version
    patients: Patients
    release_hash: Hash
    previous: Hash

    @property
    def hash(self) -> str:
        """What the site's next receipt names as `previous`."""
        return sha256(self.plain())


class SignedReceipt(_Message):
    """A receipt and its site's signature, as `receipts/SITE-ROUND.json` holds it."""

    type: Literal["receipt"] = "receipt"
    receipt: Receipt
    signature: Signature


class SignedRelease(_Message):
    """A release, its receipt, and the site's signature of the receipt, which names the release's hash."""

    type: Literal["release"] = "release"
    release: Release
    receipt: Receipt
    signature: Signature

    @property
    def signed_receipt(self) -> SignedReceipt:
        """The receipt and its signature without the release."""
        return SignedReceipt(receipt=self.receipt, signature=self.signature)


# --- refusals and public facts


class Code(StrEnum):
    """Why a site does not answer; no code depends on a record."""

    NOT_APPROVED = "NOT_APPROVED"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    OVER_BUDGET = "OVER_BUDGET"
    TOO_FEW_PATIENTS = "TOO_FEW_PATIENTS"
    UNKNOWN_COLUMN = "UNKNOWN_COLUMN"
    UNKNOWN_VERSION = "UNKNOWN_VERSION"
    UNAVAILABLE = "UNAVAILABLE"


class Refusal(_Message):
    """A code and a sentence of ours."""

    type: Literal["refusal"] = "refusal"
    code: Code
    sentence: Annotated[str, Field(min_length=1, max_length=300)]


class Description(_Message):
    """The public facts of a site: nothing here depends on a record but the number of patients."""

    type: Literal["description"] = "description"
    site: Name
    key: PublicKey
    patients: int = Field(ge=0, le=MOST_PATIENTS)
    schema_hash: Hash
    columns: Annotated[tuple[str, ...], FailFast()]
    version: Version


Message = SignedStudy | SignedRequest | SignedRelease | SignedReceipt | Refusal | Description
Reply = SignedRelease | Refusal

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
        When it is of another protocol version.
    MessageError
        When it is longer than `limit` bytes or not a message; no value of it is repeated in the text.
    """
    if len(data) > limit:
        raise MessageError(f"expected a message of at most {limit} bytes, got {len(data)}")
    if data.count(b":") > MOST_KEYS or data.count(b",") > MOST_PARTS:
        raise MessageError(f"expected a message of at most {MOST_KEYS} keys and {MOST_PARTS} parts, got more")
    try:
        version = _Header.model_validate_json(data).protocol
        if version != PROTOCOL:
            raise VersionError(f"expected protocol={PROTOCOL}, got protocol={version}; install one version")
        return _ANY.validate_json(data)
    except ValidationError as error:
        raise MessageError(f"not a message of protocol {PROTOCOL}: {_faults(error)}") from None


def _faults(error: ValidationError) -> str:
    """The first faults, each with its key; the name of a key can be whatever somebody sent."""
    faults: list[Any] = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{_place(fault['loc']) or 'message'}: {fault['type']}" for fault in faults[:5])


def _place(loc: Sequence[object]) -> str:
    parts = [str(part) for part in loc]
    return ".".join(part if re.fullmatch(r"\w{1,40}", part, re.ASCII) else "(unknown)" for part in parts)
