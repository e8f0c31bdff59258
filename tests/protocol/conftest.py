"""Fixed messages of a small study, for the golden bytes and for the tests of what is altered."""

import sys
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any, Literal

import numpy as np
import pytest

from cohortmix.protocol.fields import Array
from cohortmix.protocol.messages import (
    CentroidsRelease,
    ClassSumsRelease,
    CommonMessage,
    NoisedAnswer,
    Request,
    SignedRelease,
    SignedStudy,
    SiteEntry,
    StudySpec,
)
from cohortmix.protocol.receipts import GENESIS, issue
from cohortmix.protocol.signing import Key, sign_study

COORDINATOR = Key.from_bytes(bytes(range(32)))
SITE = Key.from_bytes(bytes(range(32, 64)))
OTHER = Key.from_bytes(bytes(range(64, 96)))


@pytest.fixture(scope="session")
def examples() -> ModuleType:
    """The functions and keys of this file."""
    return sys.modules[__name__]


def study(**changes: Any) -> StudySpec:
    values: dict[str, Any] = {
        "name": "stroke",
        "schema_hash": "5" * 64,
        "target": "outcome",
        "mu": Decimal("0.268"),
        "delta": Decimal("0.00001"),
        "overlap": "disjoint",
        "sites": (
            SiteEntry(name="UK", key=SITE.public_hex, patients=4689),
            SiteEntry(name="NORW", key=OTHER.public_hex, patients=394),
        ),
        "min_sites": 2,
        "round_deadline_seconds": 600,
        "version": "0.1.0",
        "coordinator_key": COORDINATOR.public_hex,
    }
    return StudySpec(**values | changes)


def signed_study(**changes: Any) -> SignedStudy:
    return sign_study(COORDINATOR, study(**changes))


def common() -> CommonMessage:
    cells = np.array([[0.25, 0.75], [0.5, 0.5]])
    masses = np.array([30.0, 20.0])
    return CommonMessage(groups=((0, 1),), cells=Array.of(cells), masses=Array.of(masses), s_a=Decimal("12.5"))


def request(round: Literal[1, 2] = 1, request_id: str = "request-1", **changes: Any) -> Request:
    return Request(
        study=signed_study(**changes),
        round=round,
        request_id=request_id,
        common=common() if round == 2 else None,
    )


def answer(sigma: int = 2**33, sensitivity: int = 2**30) -> NoisedAnswer:
    return NoisedAnswer(
        values=Array.of(np.array([2**40, -(2**41), 7])),
        sigma=sigma,
        unit=2**20,
        sensitivity2=sensitivity**2,
        mu2=Fraction(sensitivity**2, sigma**2),
        question="a" * 64,
    )


def centroids() -> CentroidsRelease:
    return CentroidsRelease(
        masses=Array.of(np.array([30.0, 20.0])),
        means=Array.of(np.array([[0.1, 0.9], [1.0, 0.0]])),
        labels=Array.of(np.eye(2)),
        kinds=("mixture", "class"),
        noise_std=Decimal("88.5"),
        support_points=Array.of(np.zeros((0, 2))),
        support_labels=Array.of(np.zeros((0, 2))),
    )


def release(
    round: Literal[1, 2] = 1, previous: str = GENESIS, request_id: str = "request-1", **changes: Any
) -> SignedRelease:
    content = ClassSumsRelease(answer=answer()) if round == 1 else centroids()
    name = "class sums" if round == 1 else "second moments"
    asked = request(round, request_id, **changes)
    return issue(SITE, "UK", asked, content, {name: answer()}, 4689, previous)
