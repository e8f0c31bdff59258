"""A site of 120 patients in one process, requests to it, and its replies."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site.site import Site
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import Source, TableSource
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.messages import (
    ClassSumsRelease,
    Code,
    CommonMessage,
    Refusal,
    Request,
    SignedRelease,
    SignedRequest,
    SiteEntry,
    StudySpec,
    decode,
    request_id,
)
from cohortmix.protocol.signing import Key, sign_request, sign_study

KEY, COORDINATOR, STRANGER = (Key.from_bytes(bytes([number] * 32)) for number in (1, 2, 3))
SMALL, LARGE = "0.05", "4"  # at 120 patients: class centroids only, and a mixture
CAP = Decimal(5)
SCHEMA = Schema.from_yaml(
    """
name: small
target: outcome
columns:
  AGE: {type: number, min: 16, max: 105, integer: true}
  SEX: {type: category, values: [F, M], missing: true}
  outcome: {type: category, values: [well, ill]}
"""
)


@dataclass
class CountingNoise:
    """A real source that counts its draws and can fail at one of them."""

    source: NoiseSource = field(default_factory=lambda: KeyedNoise(1))
    draws: int = 0
    fails_at: int = -1

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def private(self) -> bool:
        return self.source.private

    def add(self, values: Any, sigma: int, purpose: str) -> Any:
        self.draws += 1
        if self.draws == self.fails_at:
            raise OSError("the machine stopped")
        return self.source.add(values, sigma, f"{purpose}:{self.draws}")  # no two draws are the same


def table(patients: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    age = rng.integers(16, 105, patients)
    ill = rng.random(patients) < age / 120
    return pd.DataFrame(
        {"AGE": age, "SEX": rng.choice(["F", "M"], patients), "outcome": np.where(ill, "ill", "well")}
    )


def study(mu: str = SMALL, **changes: Any) -> StudySpec:
    values: dict[str, Any] = {
        "name": "study",
        "schema_hash": SCHEMA.hash,
        "target": "outcome",
        "mu": Decimal(mu),
        "delta": Decimal("0.00001"),
        "overlap": "disjoint",
        "sites": (SiteEntry(name="site", key=KEY.public_hex, patients=120),),
        "min_sites": 1,
        "round_deadline_seconds": 60,
        "noise": "TEST",
        "version": "0.1.0",
        "coordinator_key": COORDINATOR.public_hex,
    }
    return StudySpec(**values | changes)


def asking(
    spec: StudySpec, round: Literal[1, 2] = 1, id: str | None = None, common: CommonMessage | None = None
) -> SignedRequest:
    id = id or request_id(spec.hash, "site", round)
    request = Request(study=sign_study(COORDINATOR, spec), round=round, request_id=id, common=common)
    return sign_request(COORDINATOR, request)


def site(ledger: Ledger, *approved: StudySpec, source: Source | None = None, **changes: Any) -> Site:
    policy = Policy(coordinators=(COORDINATOR.public_hex,))
    for spec in approved:
        policy = policy.approve(spec)
    values: dict[str, Any] = {
        "name": "site",
        "source": source or TableSource(table()),
        "schema": SCHEMA,
        "ledger": ledger,
        "policy": policy,
        "key": KEY,
        "noise": KeyedNoise(1),
    }
    return Site(**values | changes)


def release(data: bytes) -> SignedRelease:
    message = decode(data)
    assert isinstance(message, SignedRelease), message
    return message


def refused(data: bytes) -> Code:
    message = decode(data)
    assert isinstance(message, Refusal), message
    return message.code


def common_of(spec: StudySpec, first: SignedRelease) -> CommonMessage:
    assert isinstance(first.release, ClassSumsRelease)
    plan = Plan(SCHEMA, spec.mu2, 120, spec.share, float(spec.alpha))
    return CommonMessage.of(pipeline.common([plan], [first.release.answer.to_core()]))
