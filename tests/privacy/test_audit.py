"""The audit finds nothing where the guarantee holds, and finds each way in which it is broken here.

A fault is planted in the vault, in the noise or in the mechanism; the audit that passes without it has to see it.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from audited import SCHEMA, table
from numpy.typing import NDArray

from cohortmix.core.audit.audit import Audit, audit, measure
from cohortmix.core.audit.lower_bound import RUNS, log_likelihood_ratios
from cohortmix.core.audit.neighbours import MANY_ROWS, Cohort, worst
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.audit.pairs import furthest, level_questions, on_vault, questions, replay_random, replay_worst
from cohortmix.core.audit.replay import Replays, Run, distance2, run
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy import vault
from cohortmix.core.privacy.noise import OpenDPNoise
from cohortmix.core.privacy.noise_source import NoiseSource
from cohortmix.core.privacy.questions.class_marginals import ClassMarginals
from cohortmix.core.privacy.questions.pair_tables import PairTables
from cohortmix.core.privacy.questions.question import QUESTIONS
from cohortmix.core.privacy.questions.sign_products import SignProducts
from cohortmix.core.privacy.questions.value_counts import ValueCounts

NOISE = KeyedNoise(3)
MU = Fraction(3, 10)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return Cohort.of(TableSource(table()), SCHEMA, most=1000)


@pytest.fixture(scope="module")
def tables(cohort: Cohort) -> dict[str, pa.Table]:
    """The named neighbours."""
    patient = cohort.patients[5]
    return {name: cohort.replaced(patient, records) for name, records in worst(cohort, patient).items()}


GROUPS = Groups(tuple(tuple(cell * 3 // size for cell in range(size)) for size in Encoding.of(SCHEMA).sizes))
RELEASED = questions(SCHEMA, GROUPS, MU)
ASKED = (*RELEASED, *level_questions(SCHEMA, MU))


def vault_on(tables: dict[str, pa.Table], cohort: Cohort) -> Replays:
    return replay_worst(tables, cohort.schema, ASKED, NOISE)[0]


def asked_of(table: pa.Table, cohort: Cohort, noise: NoiseSource = NOISE) -> Run:
    return run(on_vault(table, cohort.schema, RELEASED), noise)


# The guarantee holds, and the audit comes close to it.


@pytest.fixture(scope="module")
def audited(few_steps: None, cohort: Cohort) -> Audit:
    whole = ("label flip", f"{MANY_ROWS} rows")
    return audit(cohort, NOISE, mu=Fraction(2), random_pairs=30, whole=whole, runs=2000)


def test_an_audit_of_the_mechanism_finds_no_violation(audited: Audit) -> None:
    assert audited.violations == ()
    versions = len(worst(Cohort.of(TableSource(table()), SCHEMA, 60), "0"))
    assert {variant: each.pairs for variant, each in audited.whole.items()} == {"cells": 2, "gaussian": 2}
    assert audited.named.pairs == versions * (versions - 1) // 2
    assert (audited.patients, audited.at_random.pairs) == (180, 30)
    assert (audited.bound.runs, audited.pipelines.runs, audited.one_run.canaries) == (2000, 14, 180)
    assert [each.claimed for each in (audited.pipelines, audited.one_run)] == pytest.approx([2, 2])


def test_replays_come_up_to_the_declared_sensitivity_of_every_question(audited: Audit) -> None:
    cells = ["sum", "second moment"]
    levels = ["level sum", "level second moment", "score moment", "sign products", "class second moment"]
    levels += ["value counts"]
    for replays, asked in (
        (audited.whole["cells"], [*cells, "sign products"]),
        (audited.named, cells + levels),
        (audited.at_random, cells + levels),
    ):
        assert list(replays.shares) == asked
        assert all(0.5 <= share <= 1 for share in replays.shares.values())  # one half: a product in another class
    assert list(audited.whole["gaussian"].shares) == [levels[0], "class second moment"]
    assert len(audited.whole["gaussian"].reached) == 3
    assert all(share > 0.995 for share in audited.named.shares.values())


def test_a_question_that_is_not_expected_is_shown_all_the_same() -> None:
    assert Replays(("sum", "moment", "sum"), reached={0: 0.2, 1: 0.3, 2: 0.4, 3: 0.5}).shares == {
        "sum": 0.4,
        "moment": 0.3,
        "question 3": 0.5,
    }


def test_processes_find_what_one_finds(cohort: Cohort) -> None:
    """In any order of the calls, the pairs are the same ones."""
    alone = replay_random(cohort, ASKED, NOISE, 25, random.Random(7))

    def backwards(function: Callable[[Any], Any], over: Iterable[Any], /) -> Iterator[Any]:
        tasks = pickle.loads(pickle.dumps([(function, each) for each in over]))
        return iter([function(each) for function, each in reversed(tasks)][::-1])

    assert replay_random(cohort, ASKED, NOISE, 25, random.Random(7), each=backwards) == alone


def test_the_measured_mu_is_near_the_claim_and_not_above_it(tables: dict[str, pa.Table], cohort: Cohort) -> None:
    _, versions = replay_worst(tables, cohort.schema, RELEASED, NOISE)
    one, other = (versions[name] for name in furthest(versions, 2))
    bound = measure(one, other, NOISE, RUNS)
    assert bound.claimed == pytest.approx(0.3, abs=1e-6)
    assert 0.8 * bound.claimed <= bound.measured <= bound.claimed
    assert bound.enough
    assert bound.holds


def test_the_statistic_of_real_noise_has_its_law(tables: dict[str, pa.Table], cohort: Cohort) -> None:
    """N(0, mu^2) about D and N(mu^2, mu^2) about D'; within five standard errors."""
    one, other = (asked_of(tables[name], cohort) for name in ("as it is", "label flip"))
    runs, mu2 = 400, float(sum((answer.mu2 for answer in one.answers), Fraction(0)))
    share = sum(
        Fraction(distance2(a.exact, b.exact), a.sigma**2) for a, b in zip(one.entries, other.entries, strict=True)
    )
    expected = float(share)  # below mu^2 where a record has fewer numbers than it may have
    assert 0.5 * mu2 < expected <= mu2
    for statistic, mean in zip(
        log_likelihood_ratios(one.entries, other.entries, OpenDPNoise(), runs), (0.0, expected), strict=True
    ):
        assert abs(statistic.mean() - mean) < 5 * (expected / runs) ** 0.5
        assert abs(statistic.var() / expected - 1) < 5 * (2 / runs) ** 0.5


# Planted faults.


@pytest.mark.parametrize("question", range(8))
def test_a_sensitivity_declared_too_small_is_caught(
    question: int, tables: dict[str, pa.Table], cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind: Any = type(ASKED[question][0])
    rightly = kind.sensitivity2
    monkeypatch.setattr(kind, "sensitivity2", lambda asked, cap: rightly(asked, cap) * 9 // 10)
    violations = vault_on(tables, cohort).violations
    assert any(f"question {question} moved by 1.11" in text for text in violations)
    assert all(f"question {question} moved" in text for text in violations)


COUNTED = {ClassMarginals, PairTables, SignProducts, ValueCounts}
"""Of which there is nothing to clip: a row has one slot of a block at most, and a product of signs is a sign."""


def test_a_missing_clip_is_caught_on_signed_numbers(
    tables: dict[str, pa.Table], cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vault_on(tables, cohort).violations == []
    for kind in set(QUESTIONS) - COUNTED:
        monkeypatch.setattr(f"{kind.__module__}.clip_rows", lambda z, bound2: z)
    moved = {text.split(" moved ")[0].split()[-1] for text in vault_on(tables, cohort).violations}
    assert moved == {"2", "3", "4", "6"}


def test_a_missing_patient_weight_is_caught(
    tables: dict[str, pa.Table], cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    rightly = vault._parts
    monkeypatch.setattr(vault, "_parts", lambda *args: (rightly(*args) > 0).astype(np.int64))
    caught = {text.partition(":")[0] for text in vault_on(tables, cohort).violations}
    assert f"as it is / {MANY_ROWS} rows" in caught
    assert "as it is / label flip" not in caught


def test_a_missing_patient_weight_is_caught_at_random(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replay_random(cohort, ASKED, NOISE, 20, random.Random(0)).violations == []
    rightly = vault._parts
    monkeypatch.setattr(vault, "_parts", lambda *args: (rightly(*args) > 0).astype(np.int64))
    assert replay_random(cohort, ASKED, NOISE, 20, random.Random(0)).violations


@dataclass(frozen=True)
class Weak:
    """A noise source that draws a share of the noise that it was asked for."""

    share: float
    name: str = "TEST"
    private: bool = False

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        noise = KeyedNoise(3).add(np.zeros_like(values), sigma, purpose)
        weaker: NDArray[np.int64] = values + np.rint(self.share * noise).astype(np.int64)
        return weaker


@pytest.mark.parametrize("share", [2 / 3, 1.0, 3 / 2])
def test_noise_at_two_thirds_is_caught(share: float, tables: dict[str, pa.Table], cohort: Cohort) -> None:
    runs = [asked_of(tables[name], cohort, Weak(share)) for name in ("as it is", "label flip")]
    bound = measure(runs[0], runs[1], Weak(share), RUNS)
    assert bound.holds == (share >= 1)
    assert bound.measured == pytest.approx(bound.claimed / share, abs=0.08)
