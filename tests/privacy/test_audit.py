"""The audit finds nothing where the guarantee holds, and finds each way in which it is broken here.

A fault is planted in the vault, in the noise or in the mechanism; the audit that passes without it has to see it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, norm

from cohortmix.core import Schema
from cohortmix.core.audit import (
    Audit,
    audit,
    measure,
    queries,
    replay_random,
    replay_worst,
)
from cohortmix.core.encoding import Encoding
from cohortmix.core.lower_bound import (
    RUNS,
    attainable,
    clopper_pearson,
    log_likelihood_ratios,
    lower_bound,
    runs_needed,
)
from cohortmix.core.meter import Answer, MemoryMeter
from cohortmix.core.neighbours import KEY, MANY_ROWS, Cohort, at_random, worst
from cohortmix.core.noise import NoiseSource, OpenDPNoise
from cohortmix.core.noise_keyed import KeyedNoise
from cohortmix.core.replay import Mechanism, Replays, Run, ask, differences, distance2, fingerprint, run
from cohortmix.core.table import InputError, TableSource
from cohortmix.core.vault import Vault

SCHEMA = Schema.from_yaml(
    """
name: cohort
patient_key: pid
target: outcome
columns:
  age: {type: number, min: 0, max: 9, integer: true}
  dose: {type: number, min: 0, max: 20, missing: true}
  sex: {type: category, values: [F, M], missing: true}
  day: {type: date, min: 1991-01-01, max: 1996-12-31}
  outcome: {type: category, values: [ill, well]}
"""
)
NOISE = KeyedNoise(3)
MU = Fraction(3, 10)


def table(patients: int = 180) -> pa.Table:
    """Each third patient has two records; one row belongs to nobody."""
    rng = np.random.default_rng(1)
    pid = [*range(patients), *range(0, patients, 3), None]
    rows = len(pid)
    age = rng.integers(0, 10, rows)
    return pa.table(
        {
            "pid": pid,
            "age": age,
            "dose": [None if rng.random() < 0.1 else float(x) for x in rng.exponential(2, rows)],
            "sex": rng.choice(["F", "M"], rows).tolist(),
            "day": pa.array(rng.integers(7670, 9800, rows).astype(np.int32)).cast(pa.date32()),
            "outcome": np.where(rng.random(rows) < age / 10, "ill", "well").tolist(),
        }
    )


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return Cohort.of(TableSource(table()), SCHEMA, most=1000)


@pytest.fixture(scope="module")
def tables(cohort: Cohort) -> dict[str, pa.Table]:
    """The named neighbours."""
    patient = cohort.patients[5]
    return {name: cohort.replaced(patient, records) for name, records in worst(cohort, patient).items()}


ASKED = queries(
    SCHEMA, tuple(tuple(cell * 3 // size for cell in range(size)) for size in Encoding.of(SCHEMA).sizes), MU
)


def vault_on(tables: dict[str, pa.Table], cohort: Cohort) -> Replays:
    return replay_worst(tables, cohort.schema, ASKED, NOISE)[0]


def asked_of(table: pa.Table, cohort: Cohort, noise: NoiseSource = NOISE) -> Run:
    return run(lambda tape: (ask(table, cohort.schema, ASKED, tape), None), noise)


# The guarantee holds, and the audit comes close to it.


@pytest.fixture(scope="module")
def audited(few_steps: None, cohort: Cohort) -> Audit:
    whole = ("label flip", f"{MANY_ROWS} rows")
    return audit(cohort, NOISE, mu=Fraction(2), random_pairs=30, whole=whole, runs=2000)


def test_an_audit_of_the_mechanism_finds_no_violation(audited: Audit) -> None:
    assert audited.violations == ()
    versions = len(worst(Cohort.of(TableSource(table()), SCHEMA, 60), "0"))
    assert (audited.whole.pairs, audited.named.pairs) == (2, versions * (versions - 1) // 2)
    assert (audited.patients, audited.at_random.pairs) == (180, 30)


def test_replays_come_up_to_the_declared_sensitivity_of_both_questions(audited: Audit) -> None:
    for replays in (audited.whole, audited.named, audited.at_random):
        assert set(replays.reached) == {0, 1}
        assert all(0.5 < share <= 1 for share in replays.reached.values())
    assert all(share > 0.999 for share in audited.named.reached.values())


def test_the_measured_mu_is_near_the_claim_and_not_above_it(tables: dict[str, pa.Table], cohort: Cohort) -> None:
    _, furthest = replay_worst(tables, cohort.schema, ASKED, NOISE)
    bound = measure(*(asked_of(tables[name], cohort) for name in furthest), NOISE, RUNS)
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


@pytest.mark.parametrize("question", [0, 1])
def test_a_sensitivity_declared_too_small_is_caught(
    question: int, tables: dict[str, pa.Table], cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    rightly = Vault._answer

    def answer(self: Vault, query: Any, unit: int, sensitivity2: int, largest: int, mu2: Fraction) -> Answer:
        declared = sensitivity2 * 9 // 10 if query is ASKED[question][0] else sensitivity2
        return rightly(self, query, unit, declared, largest, mu2)

    assert vault_on(tables, cohort).violations == []
    monkeypatch.setattr(Vault, "_answer", answer)
    violations = vault_on(tables, cohort).violations
    assert any(f"question {question} moved by 1.111 of its sensitivity^2" in text for text in violations)
    assert not any(f"question {1 - question} moved" in text for text in violations)


def test_a_missing_patient_weight_is_caught(
    tables: dict[str, pa.Table], cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    rightly = Vault._parts
    monkeypatch.setattr(Vault, "_parts", lambda self, *args: (rightly(self, *args) > 0).astype(np.int64))
    caught = {text.partition(":")[0] for text in vault_on(tables, cohort).violations}
    assert f"as it is / {MANY_ROWS} rows" in caught
    assert "as it is / label flip" not in caught


def test_a_missing_patient_weight_is_caught_at_random(cohort: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    assert replay_random(cohort, ASKED, NOISE, 20, random.Random(0)).violations == []
    rightly = Vault._parts
    monkeypatch.setattr(Vault, "_parts", lambda self, *args: (rightly(self, *args) > 0).astype(np.int64))
    assert replay_random(cohort, ASKED, NOISE, 20, random.Random(0)).violations


@dataclass(frozen=True)
class Weak:
    """A noise source that draws a share of the noise that it was asked for."""

    share: float
    name: str = "TEST"
    private: bool = False

    def add(self, values: NDArray[np.int64], sigma: int, purpose: str) -> NDArray[np.int64]:
        noise = KeyedNoise(3).add(np.zeros_like(values), sigma, purpose)
        return values + np.rint(self.share * noise).astype(np.int64)


@pytest.mark.parametrize("share", [2 / 3, 1.0, 3 / 2])
def test_noise_at_two_thirds_is_caught(share: float, tables: dict[str, pa.Table], cohort: Cohort) -> None:
    runs = [asked_of(tables[name], cohort, Weak(share)) for name in ("as it is", "label flip")]
    bound = measure(runs[0], runs[1], Weak(share), RUNS)
    assert bound.holds == (share >= 1)
    assert bound.measured == pytest.approx(bound.claimed / share, abs=0.08)


def test_an_answer_charged_at_another_scale_or_not_noised_is_caught(
    tables: dict[str, pa.Table], cohort: Cohort
) -> None:
    one = asked_of(tables["as it is"], cohort)
    assert differences(one, one) == []
    entry, answer = one.entries[0], one.answers[0]
    scaled = replace(one, entries=(replace(entry, sigma=entry.sigma * 2 // 3), *one.entries[1:]))
    assert "answer 0 was noised at another scale than it was charged for" in differences(scaled, scaled)
    exact = replace(one, answers=(replace(answer, values=entry.exact), *one.answers[1:]))
    assert differences(exact, exact) == ["answer 0 is not what the noise gave"]


# Mechanisms that tell more than their answers do.


def some_cell(table: pa.Table) -> bool:
    """True of the outlier alone."""
    return bool(pc.any(pc.equal(table["dose"], "1e308")).as_py())


def one_more(table: pa.Table, cohort: Cohort) -> Mechanism:
    return lambda noise: (ask(table, cohort.schema, ASKED * (1 + some_cell(table)), noise), None)


def another_order(table: pa.Table, cohort: Cohort) -> Mechanism:
    return lambda noise: (ask(table, cohort.schema, ASKED[::-1] if some_cell(table) else ASKED, noise), None)


def one_less(table: pa.Table, cohort: Cohort) -> Mechanism:
    return lambda noise: (ask(table, cohort.schema, ASKED[: 1 if some_cell(table) else 2], noise), None)


def refuses(table: pa.Table, cohort: Cohort) -> Mechanism:
    def mechanism(noise: NoiseSource) -> tuple[Sequence[Answer], object]:
        if some_cell(table):
            raise ValueError("no such dose")
        return ask(table, cohort.schema, ASKED, noise), None

    return mechanism


def counts_rows(table: pa.Table, cohort: Cohort) -> Mechanism:
    return lambda noise: (ask(table, cohort.schema, ASKED, noise), some_cell(table) + 10)


@pytest.mark.parametrize(
    ("mechanism", "says"),
    [
        (one_more, "a run stopped: Diverged: question 2 is another one"),
        (another_order, "a run stopped: Diverged: question 0 is another one"),
        (one_less, "the questions differ in number, order, text or noise"),
        (refuses, "a run stopped: ValueError: no such dose"),
        (counts_rows, "what leaves differs"),
    ],
)
def test_a_difference_in_control_flow_or_in_what_leaves_is_caught(
    mechanism: Callable[[pa.Table, Cohort], Mechanism], says: str, tables: dict[str, pa.Table], cohort: Cohort
) -> None:
    recorded = run(mechanism(cohort.table, cohort), NOISE)
    for name, expected in (("label flip", []), ("outlier far from everything", [says])):
        other = run(mechanism(tables[name], cohort), NOISE, recorded)
        assert [text for text in differences(recorded, other) if text in (says, *expected)] == expected


def test_a_replayed_run_reads_the_recorded_answers(tables: dict[str, pa.Table], cohort: Cohort) -> None:
    recorded = asked_of(cohort.table, cohort)
    replayed = run(
        lambda tape: (ask(tables["label flip"], cohort.schema, ASKED, tape), None), KeyedNoise(9), recorded
    )
    for first, second in zip(recorded.answers, replayed.answers, strict=True):
        np.testing.assert_array_equal(first.values, second.values)
    assert all(distance2(a.exact, b.exact) for a, b in zip(recorded.entries, replayed.entries, strict=True))


def test_a_fingerprint_is_of_every_bit() -> None:
    values = np.array([1.0, 2.0])
    assert fingerprint((values, "a")) == fingerprint((values.copy(), "a"))
    others = (np.nextafter(values, 3), "a"), (values.astype(np.float32), "a"), (values, "b"), (values[:1], "a")
    assert len({fingerprint(each) for each in ((values, "a"), *others)}) == 5


# The lower bound.


@pytest.mark.parametrize("errors", [0, 3, 400, 999])
def test_clopper_pearson_is_exact(errors: int) -> None:
    bound = clopper_pearson(np.array([errors]), 1000, 0.025)[0]
    assert binom.cdf(errors, 1000, bound) == pytest.approx(0.025)
    assert clopper_pearson(np.array([1000]), 1000, 0.025)[0] == 1


def gaussian(mu: float, runs: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, runs), rng.normal(mu, 1, runs)


@pytest.mark.parametrize("mu", [0.3, 1.0, 3.0])
def test_the_bound_is_below_mu_and_not_far_below(mu: float) -> None:
    bound = lower_bound(*gaussian(mu, RUNS, 1), claimed=mu)
    assert 0.8 * mu <= bound.measured <= mu
    assert bound.measured == pytest.approx(-norm.ppf(bound.fpr) - norm.ppf(bound.fnr))
    assert not lower_bound(*gaussian(1.3 * mu, RUNS, 1), claimed=mu).holds


def test_the_bound_fails_no_more_often_than_its_confidence_says() -> None:
    """At 50 % confidence, so that failures are common enough to be counted."""
    for confidence, least, most in ((0.5, 5, 100), (0.95, 0, 10)):
        seen = [lower_bound(*gaussian(1.0, 600, seed), 1.0, confidence).holds for seed in range(200)]
        assert least <= seen.count(False) <= most


def test_two_equal_laws_show_nothing_and_a_rare_leak_shows() -> None:
    one, other = gaussian(0.0, RUNS, 2)
    assert lower_bound(one, other, 0.3).measured < 0.02
    leaks = other + 50 * (np.random.default_rng(3).random(RUNS) < 0.02)
    assert not lower_bound(one, leaks, 0.3).holds


def test_too_few_draws_are_known_to_be_too_few() -> None:
    assert not lower_bound(*gaussian(0.3, 1000, 1), 0.3).enough
    enough = runs_needed(0.3)
    assert 1000 < enough <= RUNS
    assert attainable(0.3, enough) >= 0.24 > attainable(0.3, enough // 2)
    for null, alternative in ((5, 5), (100, 99)):
        with pytest.raises(ValueError, match="equally many draws"):
            lower_bound(np.zeros(null), np.zeros(alternative), 0.3)


# Neighbours.


def test_neighbours_differ_in_one_patient(cohort: Cohort) -> None:
    rng = random.Random(4)
    everybody = dict.fromkeys(cohort.patients)
    for _ in range(20):
        patient, records = at_random(cohort, rng)
        neighbour = cohort.replaced(patient, records)
        others = pc.not_equal(cohort.table[KEY], patient)
        assert neighbour.filter(pc.not_equal(neighbour[KEY], patient)).equals(cohort.table.filter(others))
        own = neighbour.filter(pc.equal(neighbour[KEY], patient)).select(list(SCHEMA.columns)).to_pylist()
        assert own == [dict(record) for record in records]
        assert dict.fromkeys(neighbour.column(KEY).to_pylist()).keys() == everybody.keys()


def test_the_worst_cases_are_what_they_are_called(cohort: Cohort) -> None:
    cases = worst(cohort, cohort.patients[5])
    own, flipped = cases["as it is"][0], cases["label flip"][0]
    assert {name for name in SCHEMA.columns if own[name] != flipped[name]} == {"outcome"}
    assert len(cases[f"{MANY_ROWS} rows"]) == MANY_ROWS
    assert [value for name, value in cases["missing everywhere"][0].items() if name != "outcome"] == [None] * 4
    ages = [float(each["age"]) for each in cohort.table.to_pylist()]
    assert min(ages) < float(cases["between two clusters"][0]["age"] or "nan") < max(ages)
    assert cases["outlier far from everything"][0]["dose"] == "1e308"


def test_a_cohort_reads_as_its_table_does(cohort: Cohort) -> None:
    """As text, cells are the same; nobody's row is left out; where a row is a patient, it gets a key."""
    assert len(cohort.patients) == 180
    meter = MemoryMeter(Fraction(1))
    typed = Vault(TableSource(table()), SCHEMA, NOISE, meter)
    as_text = Vault(TableSource(cohort.table), cohort.schema, NOISE, meter)
    assert typed.patients == as_text.patients
    (sums, _), (moments, _) = ASKED
    np.testing.assert_array_equal(typed._sums(sums), as_text._sums(sums))
    np.testing.assert_array_equal(typed._moments(moments), as_text._moments(moments))
    rows = Cohort.of(TableSource(table()), SCHEMA.model_copy(update={"patient_key": None}), most=50)
    assert rows.table.num_rows == len(rows.patients) == 50
    with pytest.raises(InputError, match="two patients"):
        Cohort.of(TableSource(table().slice(0, 1)), SCHEMA, most=50)


def test_a_table_with_one_feature_is_audited_too() -> None:
    columns = {name: SCHEMA.columns[name] for name in ("age", "outcome")}
    one = Cohort.of(TableSource(table()), SCHEMA.model_copy(update={"columns": columns}), most=60)
    found = audit(one, NOISE, random_pairs=5, whole=("label flip",), runs=300)
    assert found.violations == ()
    assert set(found.named.reached) == {0}


def test_an_audit_says_when_there_is_no_release(cohort: Cohort) -> None:
    few = Cohort.of(TableSource(table()), SCHEMA, most=20)
    with pytest.raises(InputError, match="20 patients are too few"):
        audit(few, NOISE)
    with pytest.raises(InputError, match="no release of this table to audit: OverflowError"):
        audit(cohort, NOISE, mu=Fraction(1, 2**62))
