"""Point masses of a study: which cells all sites look into, and what stands out from the sum of their counts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohortmix.core import Schema
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.table import source_of
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import anonymize, pipeline
from cohortmix.core.steps.anonymize import Added
from cohortmix.core.steps.centroids import Common, Margins
from cohortmix.core.steps.plan import Plan
from cohortmix.core.steps.point_masses import COST, LEAST_NOISES, MOST_COUNTED, choose, possible, question, read

N, MU2 = 6000, Fraction(1, 10)
SCHEMA = Schema.from_yaml(
    """
name: points
target: outcome
columns:
  urine: {type: number, integer: true, min: 0, max: 10000}
  lactate: {type: number, min: 0, max: 30, decimals: 2, missing: true}
  age: {type: number, integer: true, min: 18, max: 100}
  outcome: {type: category, values: [well, ill]}
"""
)
ENCODING = Encoding.of(SCHEMA)
PLAN = Plan(SCHEMA, MU2, N)


def patients(n: int = N, imputed: float = 0.3, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    urine = rng.gamma(4, 600, n).clip(0, 10_000).round()
    return pd.DataFrame(
        {
            "urine": np.where(rng.random(n) < imputed, 2502, urine),
            "lactate": rng.gamma(2, 1, n).round(2),
            "age": rng.integers(18, 100, n),
            "outcome": rng.choice(["well", "ill"], n),
        }
    )


def vault_of(table: pd.DataFrame, seed: int = 1) -> Vault:
    source = source_of(table, ("urine", "lactate", "age", "outcome"))
    return Vault(source, SCHEMA, KeyedNoise(seed).add, MemoryMeter(MU2))


def common_of(**heavy: dict[int, float]) -> Common:
    """Even cells, but shares `heavy` of some; exact, of N patients."""
    cells = []
    for feature in ENCODING.features:
        found = np.full(feature.size, 1.0)
        given = heavy.get(feature.name, {})
        found /= (feature.size - len(given)) / (1 - sum(given.values()))
        found[list(given)] = list(given.values())
        cells.append(found)
    margins = Margins(cells=np.stack([np.concatenate(cells)] * 2), masses=np.array([0.4, 0.6]) * N, s_a=10.0)
    groups: Any = None  # which cells are looked into does not depend on them
    return Common(groups, margins)


HEAVY = common_of(urine={40: 0.5})


def test_of_one_site_a_study_finds_what_one_table_does() -> None:
    vault = vault_of(patients())
    answer_a = pipeline.class_sums(vault, PLAN)
    common = pipeline.common([PLAN], [answer_a])
    one = pipeline.with_looks(PLAN, common, answer_a)
    assert one.looks
    assert PLAN.looking(*pipeline.looks_of_study([PLAN], common)) == one
    site = pipeline.class_centroids(one, common, answer_a)
    answer_d = anonymize.answer_d(vault, one)
    of_table = pipeline.with_points(one, replace(site, counts=answer_d)).points
    assert [(point.feature, point.value) for point in of_table] == [("urine", 2502)]
    assert pipeline.points_of_study([one], [answer_a], [answer_d]) == of_table


def test_the_noise_of_each_site_is_in_the_sum() -> None:
    """What stands out from one noise in a table must stand out from sqrt(S) of them in a study of S sites."""
    for sites in (1, 4, 9):
        plan = replace(PLAN, patients=N // sites)
        margins = common_of(urine={40: 0.5}).margins
        _, share = pipeline.looks_of_study([plan] * sites, HEAVY)
        assert (
            share == choose(ENCODING, margins, np.ones(len(ENCODING.features)), N // sites * sites, MU2 / sites)[1]
        )
    lightest = LEAST_NOISES * sqrt(2 / float(COST * MU2)) / N
    for sites in (1, 4):
        plan = replace(PLAN, patients=N // sites)
        for times, looked in ((0.97, False), (1.03, True)):
            common = common_of(urine={40: times * lightest * sqrt(sites)})
            assert bool(pipeline.looks_of_study([plan] * sites, common)[0]) is looked


def test_sites_too_small_for_pairs_count_nothing_and_nobody_counts_on_them() -> None:
    small = replace(PLAN, patients=60)
    assert not small.fits_mixture
    assert pipeline.looks_of_study([small], HEAVY) == ((), Fraction(0))
    looks = pipeline.looks_of_study([PLAN], HEAVY)
    assert pipeline.looks_of_study([PLAN, *[small] * 9], HEAVY) == looks
    assert looks[0]
    assert small.looking(*looks) == small
    assert PLAN.looking(*looks).mu2_second == PLAN.mu2_second == PLAN.mu2 - PLAN.mu2_sums


def test_a_cell_without_anybody_at_the_sites_that_counted() -> None:
    """All sites together have some there; the answers of those that came to round 2 may leave it nothing."""
    looks = tuple(replace(look, mass=0.0) for look in pipeline.looks_of_study([PLAN], HEAVY)[0])
    nothing = np.zeros(question(looks).dimension(2))
    assert read(ENCODING, looks, Added(nothing, 10.0), N) == ()
    (point,) = read(ENCODING, looks, Added(np.append(60.0, nothing[1:]), 10.0), N)
    assert point.share == 1


@pytest.mark.parametrize(("share", "counts"), [("95/100", True), ("97/100", False), ("99/100", False)])
def test_counts_never_take_what_pairs_need(share: str, counts: bool) -> None:
    """A study may name nearly all of its budget for answer A; what is left for B then stays B's."""
    plan = replace(PLAN, patients=10**6, share=Fraction(share))
    assert plan.fits_mixture
    looking = plan.looking(pipeline.looks_of_study([PLAN], HEAVY)[0], COST)
    assert (looking != plan) is counts
    assert looking.mu2_moments >= looking.mu2_looks
    assert looking.mu2_moments > 0
    assert looking.s_b > 0


def test_a_joint_study_counts_on_its_surplus() -> None:
    """A sum of whose noise a part is spare is as one over more sites."""
    apart = pipeline.looks_of_study([replace(PLAN, patients=N // 3)] * 3, HEAVY)
    assert pipeline.looks_of_study([replace(PLAN, surplus=Fraction(3))], HEAVY) == apart


def test_no_more_values_are_counted_than_the_kappa_of_a_study_is_for() -> None:
    """Where every third cell holds much, its other cells nothing, and each would be counted in 500 runs."""
    spread = {"type": "number", "min": 0, "max": 1}
    last = {"type": "category", "values": ["a", "b"]}
    schema = Schema.model_validate({"name": "t", "target": "y", "columns": {"u": spread, "v": spread, "y": last}})
    encoding = Encoding.of(schema)
    cells = [np.where(np.arange(feature.size) % 3 == 1, 1.0, 0.0) for feature in encoding.features]
    shares = np.concatenate([found / found.sum() for found in cells])
    common = Common(None, Margins(cells=np.stack([shares] * 2), masses=np.array([N, N]), s_a=1e-3))  # type: ignore[arg-type]
    plan = Plan(schema, Fraction(100), 10**6)
    looks, _ = pipeline.looks_of_study([plan], common)
    counted = question(looks).dimension(2)
    assert MOST_COUNTED - 500 < counted <= MOST_COUNTED
    assert len(looks) < sum(int(found.sum()) for found in cells)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_a_coordinator_says_no_more_is_counted_than_a_study_permits(seed: int) -> None:
    """A site knows that margins are distributions, and nothing else of them."""
    rng = np.random.default_rng(seed)
    cells = []
    for feature in ENCODING.features:
        found = rng.dirichlet(np.full(feature.size, 10.0 ** rng.integers(-3, 1)), 2)
        found[rng.random(found.shape) < 0.3] *= 1e-250
        cells.append(found / found.sum(axis=1, keepdims=True))
    masses = np.array([1e-200, 1e-200]) if seed % 3 == 0 else rng.dirichlet([1, 1]) * N
    s_a = (1e-60, 1.0, 1e60)[seed % 3]
    common = Common(None, Margins(cells=np.concatenate(cells, axis=1), masses=masses, s_a=s_a))  # type: ignore[arg-type]
    plan = replace(PLAN, patients=10**6, mu2=Fraction(1))
    looks, share = pipeline.looks_of_study([plan], common)
    assert 0 <= share <= COST
    assert bool(looks) == (share > 0)
    if looks:
        asked = question(looks)
        asked.check(ENCODING.sizes)
        assert asked.dimension(2) <= MOST_COUNTED
        assert plan.looking(looks, share).mu2_moments > 0


def test_a_schema_without_values_to_count_permits_none() -> None:
    assert possible(ENCODING)
    ages = {"type": "number", "integer": True, "min": 0, "max": 20}
    colour = {"type": "category", "values": ["a", "b"]}
    schema = Schema.model_validate(
        {"name": "t", "target": "y", "columns": {"age": ages, "colour": colour, "y": colour}}
    )
    assert not possible(Encoding.of(schema))


def test_a_point_mass_stands_out_from_the_noise_of_the_sum() -> None:
    """A count that is clear of the noise of one site, and not of that of nine, is none."""
    looks, share = pipeline.looks_of_study([PLAN], HEAVY)
    plan, answer_a = PLAN.looking(looks, share), pipeline.class_sums(vault_of(patients(imputed=0)), PLAN)
    counts, s = np.zeros(len(looks[0].edges) - 1), 20.0
    counts[7] = 6.5 * s
    nothing = Added(0 * answer_a.estimate, 0.0)
    alone = pipeline.points_of_study([plan], [answer_a], [Added(counts, s)])
    ninth, answers_a = replace(plan, patients=N // 9), [Added(answer_a.estimate, answer_a.std), *[nothing] * 8]
    of_nine = pipeline.points_of_study([ninth] * 9, answers_a, [Added(counts / 9, s)] * 9)
    assert (len(alone), len(of_nine)) == (1, 0)


def test_the_share_of_a_cell_is_that_of_the_sites_that_have_counted() -> None:
    """Of a site that is missing neither its counts nor its patients are in it."""
    tables = [patients(N, imputed, seed) for seed, imputed in enumerate((0.3, 0.3, 0.0))]
    spread = np.random.default_rng(0).integers(2505, 2595, N)  # in the same cell, and no value more than another
    tables[2]["urine"] = tables[2]["urine"].where(np.arange(N) > 0.4 * N, spread)
    vaults = [vault_of(table, seed) for seed, table in enumerate(tables)]
    answers = [pipeline.class_sums(vault, PLAN) for vault in vaults]
    common = pipeline.common([PLAN] * 3, answers)
    plan = PLAN.looking(*pipeline.looks_of_study([PLAN] * 3, common))
    cell = plan.looks[0]
    counts = [anonymize.answer_d(vault, plan) for vault in vaults]
    ends = [edge / cell.denominator for edge in (cell.edges[0], cell.edges[-1])]

    def real(some: list[pd.DataFrame]) -> float:
        urine = pd.concat(some)["urine"]
        inside = urine[(urine > ends[0]) & (urine < ends[1])]
        others = (inside != 2502).sum() / (ends[1] - ends[0])
        return float(((inside == 2502).sum() - others) / len(inside))

    for some in ([0, 1, 2], [0, 1]):
        (point,) = pipeline.points_of_study(
            [plan] * len(some), [answers[i] for i in some], [counts[i] for i in some]
        )
        assert point.value == 2502
        assert point.share == pytest.approx(real([tables[i] for i in some]), abs=0.12)
        assert (real([tables[i] for i in some]) > 0.8) is (len(some) == 2)
    assert real(tables) < 0.65
    assert pipeline.points_of_study([], [], []) == ()
