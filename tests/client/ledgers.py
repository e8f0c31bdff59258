"""A ledger's requests: reserved, answered, sealed."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.reservation import Reservation
from cohortmix.core.privacy.meter import Answer
from cohortmix.protocol.messages import (
    ClassSumsRelease,
    NoisedAnswer,
    Request,
    SignedRelease,
    SiteEntry,
    StudySpec,
)
from cohortmix.protocol.receipts import issue
from cohortmix.protocol.signing import Key, sign_study

KEY = Key.from_bytes(bytes(range(32)))
STUDY, OTHER = "a" * 64, "b" * 64
HASH = "c" * 64
CAP = Decimal("0.3")
LARGE = Fraction(100)


def mu2(text: str) -> Fraction:
    return Fraction(text) ** 2


def answer(cost: Fraction = Fraction(1, 2**6), question: str = "d" * 64, value: int = 7) -> Answer:
    sigma = 2**33
    sensitivity2 = cost * sigma**2
    assert sensitivity2.denominator == 1
    return Answer(np.array([value, -(2**40)]), sigma, 2**20, int(sensitivity2), cost, question)


def request(request_id: str = "request-1") -> Request:
    study = StudySpec(
        name="study",
        schema_hash="e" * 64,
        target="outcome",
        mu=Decimal("0.3"),
        delta=Decimal("0.00001"),
        overlap="disjoint",
        sites=(SiteEntry(name="site", key=KEY.public_hex, patients=100),),
        min_sites=1,
        round_deadline_seconds=60,
        version="0.1.0",
        coordinator_key=KEY.public_hex,
    )
    return Request(study=sign_study(KEY, study), round=1, request_id=request_id)


def reserve(ledger: Ledger, message: Request) -> Reservation:
    reserved = ledger.reserve(message.study.study.hash, message.request_id, message.hash, Fraction(1, 64), LARGE)
    assert isinstance(reserved, Reservation)
    return reserved


def sealing(message: Request, drawn: Answer) -> Callable[[str], SignedRelease]:
    content = NoisedAnswer.of(drawn)
    return lambda previous: issue(
        KEY, "site", message, ClassSumsRelease(answer=content), {"class sums": content}, 100, previous
    )


def fulfil(ledger: Ledger, message: Request, drawn: Answer) -> bytes:
    reserved = reserve(ledger, message)
    reserved.debit(0, drawn.question, drawn.mu2)
    reserved.store(0, drawn)
    return ledger.commit(reserved, sealing(message, drawn))


# --- the cap's own history


def signing(path: Path, cap: str) -> Ledger:
    return Ledger(path, Decimal(cap), key=KEY.public_hex)
