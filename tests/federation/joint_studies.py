"""Joint studies on one machine, carried stage by stage, and what the sites' own ledgers keep of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from by_hand import carry
from numpy.typing import NDArray

from cohortmix.client.ledger.history import COMMITTED, RESERVED
from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.reservation import ANSWERED, PAID, Reservation
from cohortmix.client.ledger.sum_steps import TAKEN
from cohortmix.client.table.data import open_table
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.meter import Answer
from cohortmix.core.privacy.questions.question import Question
from cohortmix.core.privacy.vault import Vault
from cohortmix.deploy.simulation.consortium import Consortium, Terms
from cohortmix.protocol.messages import SignedStep, StepRequest, decode, request_id
from cohortmix.protocol.study import JointNoise
from cohortmix.server.acceptance import parts_of_sum
from cohortmix.server.coordinator import Coordinator, Verdict
from cohortmix.server.joint_coordinator import JointCoordinator

FIVE = {"ITAL": 120, "NORW": 90, "ROMA": 60, "UK": 60, "tiny": 1}  # patients; one of the sites has a single one
ONE_OUT = JointNoise(conspirators=1, tolerated_dropouts=1)  # of five sites: T = 4, and four share the noise
ONE_ROUND, TWO_ROUNDS = 0.03, 0.8  # mu; at the first one 331 patients are too few for pairs
KINDS = (RESERVED, PAID, ANSWERED, COMMITTED, TAKEN)
SCHEMA = Schema.from_yaml(
    """
name: toy
target: outcome
columns:
  AGE: {type: number, min: 16, max: 105, integer: true}
  SEX: {type: category, values: [F, M]}
  SIDE: {type: category, values: [left, right, none], missing: true}
  outcome: {type: category, values: [good, bad]}
"""
)

Integers = NDArray[np.int64]


def records(patients: int, seed: int) -> pd.DataFrame:
    """Patients whose outcome follows from their age."""
    rng = np.random.default_rng([7, seed])
    age = rng.integers(20, 100, patients)
    return pd.DataFrame(
        {
            "AGE": age,
            "SEX": rng.choice(["F", "M"], patients),
            "SIDE": rng.choice(["left", "right", "none"], patients),
            "outcome": np.where(rng.random(patients) < (age - 20) / 80, "bad", "good"),
        }
    )


def arrow(frame: pd.DataFrame) -> pa.Table:
    """As a site's reader gives it."""
    return pa.Table.from_batches(list(TableSource(frame).batches()))


def tables_of(sizes: Mapping[str, int]) -> dict[str, pa.Table]:
    """Other patients for each site."""
    return {name: arrow(records(size, place)) for place, (name, size) in enumerate(sizes.items())}


def joint_consortium(
    folder: Path, sizes: Mapping[str, int] = FIVE, mu: float = ONE_ROUND, **terms: Any
) -> Consortium:
    """A consortium of sites with so many patients each, in a study whose noise is joint."""
    values: dict[str, Any] = {"budget": Budget.from_mu(mu), "seed": 1, "joint": ONE_OUT} | terms
    schema = values.pop("schema", SCHEMA)
    tables = values.pop("tables", None) or tables_of(sizes)
    return Consortium.create(folder, tables, schema, Terms(**values))


# Stages


def names_of(coordinator: Coordinator) -> set[str]:
    return {entry.name for entry in coordinator.spec.sites}


def carry_without(
    consortium: Consortium, coordinator: Coordinator, gone: Collection[str] = ()
) -> dict[str, Verdict]:
    """One stage: each site that is asked replies, but for those that are gone."""
    return carry(consortium, coordinator, only=names_of(coordinator) - set(gone))


def carry_to(consortium: Consortium, coordinator: Coordinator, stage: str, gone: Collection[str] = ()) -> None:
    """All stages before this one, such as "round 1, input"."""
    while coordinator.stage != stage:
        carry_without(consortium, coordinator, gone)
        assert coordinator.advance(), f"the study has no stage {stage!r}"


def carry_through(consortium: Consortium, coordinator: Coordinator, gone: Collection[str] = ()) -> None:
    """All stages that are left."""
    carry_without(consortium, coordinator, gone)
    while coordinator.advance():
        carry_without(consortium, coordinator, gone)


@contextmanager
def coordinating(consortium: Consortium) -> Iterator[JointCoordinator]:
    """The coordinator at the point that the study has reached."""
    with consortium.coordinator() as coordinator:
        assert isinstance(coordinator, JointCoordinator)
        yield coordinator


def total(coordinator: JointCoordinator, round: int) -> Integers | None:
    """The sum that the coordinator has read; None before."""
    kept = coordinator._kept.total(round)
    return None if kept is None else kept.values.numpy()


def step_of(message: bytes) -> StepRequest:
    """What a site is asked."""
    signed = decode(message)
    assert isinstance(signed, SignedStep)
    return signed.step


# What nobody but a site, or whoever has all tables, can know


@contextmanager
def ledger_of(consortium: Consortium, site: str) -> Iterator[Ledger]:
    """A site's ledger, read beside the site."""
    ledger = Ledger(consortium.root / "sites" / site / "ledger.sqlite", Decimal(1000))
    try:
        yield ledger
    finally:
        ledger.close()


def own_answer(consortium: Consortium, site: str, round: int) -> Answer | None:
    """A site's answer with its share of the noise, as its ledger keeps it."""
    study = consortium.study.study.hash
    with ledger_of(consortium, site) as ledger:
        return Reservation(ledger._journal, study, request_id(study, site, round), Fraction(0)).load(0)


def sum_of_answers(
    consortium: Consortium, sites: Collection[str], round: int, silent: Collection[str] = ()
) -> Integers:
    """The sum of their own answers; of all sites, without the spare noise of all but the `silent` ones."""
    answers = {site: own_answer(consortium, site, round) for site in sites}
    added: Integers = np.sum([answer.values for answer in answers.values() if answer is not None], axis=0)
    if set(sites) != {entry.name for entry in consortium.study.study.sites}:
        return added
    for site, answer in answers.items():
        if answer is not None and answer.spare is not None and site not in silent:
            added = added - answer.spare
    return added


def counts(consortium: Consortium, site: str) -> dict[str, int]:
    """How many steps of each kind a site's ledger has."""
    with ledger_of(consortium, site) as ledger:
        return {kind: len(ledger._journal.steps(kind)) for kind in KINDS}


def exact_answer(consortium: Consortium, site: str, question: Question, mu2: Fraction) -> Answer:
    """What a site would answer without noise."""
    schema = Schema.from_yaml((consortium.root / "sites" / site / "schema.yaml").read_text())
    source = open_table(consortium.root / "sites" / site / "table.parquet", schema)
    vault = Vault(source, schema, lambda values, sigma, purpose: values, MemoryMeter(mu2))
    return vault.answer(question, mu2, consortium.study.study.terms)


def exact_sums(consortium: Consortium, coordinator: JointCoordinator, sites: Iterable[str]) -> dict[str, Answer]:
    """By site, its class sums without noise."""
    plan = coordinator._whole
    (part,) = parts_of_sum(coordinator.spec, plan, None)
    return {site: exact_answer(consortium, site, part.question, plan.mu2_sums) for site in sites}
