"""A study of one site in one process, and what that site's vault has answered in both rounds."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import anonymize, pipeline
from cohortmix.core.steps.centroids import Common
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.messages import (
    CentroidsRelease,
    CommonMessage,
    NoisedAnswer,
    Request,
    SignedRelease,
    SiteEntry,
    SiteRelease,
    StudySpec,
)
from cohortmix.protocol.receipts import GENESIS, issue
from cohortmix.protocol.signing import Key, sign_study

N, MU = 400, Decimal("0.4")
COORDINATOR, SITE = Key.from_bytes(bytes(range(32))), Key.from_bytes(bytes(range(32, 64)))
TOY = """
name: toy
target: y
columns:
  x: {type: number, min: 0, max: 10}
  sex: {type: category, values: [F, M]}
  y: {type: category, values: [alive, dead]}
"""
SCHEMA = Schema.from_yaml(TOY)
STUDY = StudySpec(
    name="toy study",
    schema_hash=SCHEMA.hash,
    target="y",
    mu=MU,
    delta=Decimal("0.00001"),
    overlap="disjoint",
    sites=(SiteEntry(name="UK", key=SITE.public_hex, patients=N),),
    min_sites=1,
    round_deadline_seconds=600,
    noise="TEST",
    version="0.1.0",
    coordinator_key=COORDINATOR.public_hex,
)
PLAN = Plan(SCHEMA, STUDY.mu2, N, STUDY.share, float(STUDY.alpha))


def vault() -> Vault:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, N)
    frame = pd.DataFrame({"x": x, "sex": rng.choice(["F", "M"], N), "y": np.where(x > 5, "dead", "alive")})
    return Vault(TableSource(frame), SCHEMA, KeyedNoise(0).add, MemoryMeter(PLAN.mu2))


def asked(common: Common | None = None) -> Request:
    return Request(
        study=sign_study(COORDINATOR, STUDY),
        round=1 if common is None else 2,
        request_id="request-1",
        common=None if common is None else CommonMessage.of(common),
    )


def signed(request: Request, release: SiteRelease, answers: dict[str, Answer]) -> SignedRelease:
    """What a site with a valid key can send, whatever is in it."""
    of_wire = {name: NoisedAnswer.of(answer) for name, answer in answers.items()}
    return issue(SITE, "UK", request, release, of_wire, N, GENESIS)


def cost(answer: Answer, **changes: Any) -> Answer:
    """The answer with changed numbers, and the cost that follows from them."""
    changed = replace(answer, **changes)
    return replace(changed, mu2=Fraction(changed.sensitivity2, changed.sigma**2))


SUMS = pipeline.class_sums(vault(), PLAN)
COMMON = pipeline.common([PLAN], [SUMS])
MOMENTS = anonymize.answer_b(vault(), PLAN, COMMON)
BY_CLASS = CentroidsRelease.of(pipeline.class_centroids(PLAN, COMMON, SUMS))
CENTROIDS = BY_CLASS.model_copy(update={"support_points": BY_CLASS.means, "support_labels": BY_CLASS.labels})
