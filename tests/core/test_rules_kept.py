"""Rules in releases of all three variants, on a generated table and on the stroke trial."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cohortmix.core import Budget, Schema, synthesize
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.table import InputError, TableSource
from cohortmix.core.single_release import Variant
from cohortmix.core.utility.checks.check import check
from cohortmix.deploy.simulation.consortium import Terms
from cohortmix.deploy.simulation.simulation import simulate
from cohortmix.protocol.local.checked import summary
from cohortmix.protocol.study import JointNoise

ROOT = Path(__file__).parents[2]
ROWS = 1500
COLUMNS = """
name: t
target: y
columns:
  DBP: {type: number, min: 20, max: 200, integer: true}
  SBP: {type: number, min: 50, max: 300, integer: true}
  AGE: {type: number, min: 0, max: 110, integer: true}
  SEX: {type: category, values: [F, M]}
  PREGNANT: {type: category, values: [no, yes], missing: true}
  BEGIN: {type: number, min: 0, max: 60}
  END: {type: number, min: 0, max: 90, missing: true}
  y: {type: category, values: [alive, dead]}
"""
RULES = """rules:
- DBP < SBP
- PREGNANT=yes -> SEX=F
- PREGNANT=yes -> AGE>=12
- AGE >= 60 and SEX=F -> PREGNANT=no
- BEGIN <= END
- y=dead -> END known
"""
VARIANTS: tuple[Variant, ...] = ("cells", "scores", "gaussian")


def table(rows: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = np.round(rng.normal(45, 20, rows).clip(0, 105))
    sex = rng.choice(["F", "M"], rows)
    sbp = np.round(rng.normal(95 + age / 2, 18).clip(60, 290))
    dbp = np.round(sbp - 1 - rng.gamma(2, 8, rows)).clip(25)
    can = (sex == "F") & (age >= 14) & (age <= 50)
    pregnant = pd.Series(np.where(can & (rng.random(rows) < 0.4), "yes", "no")).astype(object)
    begin = rng.gamma(2, 4, rows).clip(0, 60)
    dead = rng.random(rows) < 1 / (1 + np.exp(-(age - 65) / 10))
    end = pd.Series((begin + rng.exponential(5, rows)).clip(0, 90)).where(dead | (rng.random(rows) < 0.8))
    y = np.where(dead, "dead", "alive")
    columns = {"DBP": dbp, "SBP": sbp, "AGE": age, "SEX": sex, "PREGNANT": pregnant, "BEGIN": begin, "END": end}
    return pd.DataFrame(columns | {"y": y})


def breaking(rows: pd.DataFrame) -> dict[str, int]:
    """How many rows break each rule, in words of pandas."""
    pregnant, sex = rows["PREGNANT"].fillna("?") == "yes", rows["SEX"]
    broken = {
        "pressure": rows["DBP"] >= rows["SBP"],
        "sex": pregnant & (sex != "F"),
        "young": pregnant & (rows["AGE"] < 12),
        "old": pregnant & (rows["AGE"] >= 60) & (sex == "F"),
        "order": (rows["BEGIN"] > rows["END"]).fillna(False),
        "end": (rows["y"] == "dead") & rows["END"].isna(),
    }
    return {name: int(np.asarray(rows_of, dtype=bool).sum()) for name, rows_of in broken.items()}


@cache
def records(variant: Variant, rules: bool) -> pd.DataFrame:
    schema = Schema.from_yaml(COLUMNS + (RULES if rules else ""))
    release = synthesize(
        table(ROWS, 0), schema, Budget.from_mu(4.0), noise=KeyedNoise(0), variant=variant, accept_degraded=True
    )
    return release.records(4000)


@pytest.mark.parametrize("variant", VARIANTS)
def test_rules_hold_in_every_record(variant: Variant) -> None:
    assert breaking(table(ROWS, 0)) == dict.fromkeys(breaking(records(variant, True)), 0)
    assert set(breaking(records(variant, True)).values()) == {0}


@pytest.mark.parametrize("variant", VARIANTS)
def test_they_would_not_without_them(variant: Variant) -> None:
    found = breaking(records(variant, False))
    assert found["pressure"] > 50
    assert found["sex"] > 5
    assert found["order"] > 50


def shares(rows: pd.DataFrame, names: list[str]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    bins = [np.quantile(table(20_000, 1)[name].dropna(), np.arange(0.1, 1, 0.1)) for name in names]
    codes = [np.searchsorted(edges, rows[name].astype(float)) for edges, name in zip(bins, names, strict=True)]
    counts = np.zeros((10,) * len(names))
    np.add.at(counts, tuple(codes), 1)
    return counts / len(rows)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_rule_brings_its_pair_nearer_and_leaves_its_margins(variant: Variant) -> None:
    """Total variation distance from the law of the table, of 20,000 records of it."""
    real = table(20_000, 1)

    def distance(rules: bool, *names: str) -> float:
        apart = shares(real, list(names)) - shares(records(variant, rules), list(names))
        return float(np.abs(apart).sum() / 2)

    assert distance(True, "DBP", "SBP") < distance(False, "DBP", "SBP")
    for name in ("DBP", "SBP", "AGE"):
        assert distance(True, name) < distance(False, name) + 0.02


# --- the stroke trial

OF_STROKE = """rules:
- RVISINF=Y -> RCT=Y
- RDEF7=Y -> STYPE=POCS
- STYPE=LACS -> RDEF7=N
"""


def stroke() -> tuple[pd.DataFrame, Schema]:
    text = (ROOT / "deploy/demo/schema.yaml").read_text(encoding="utf-8")
    data = pd.read_parquet(ROOT / "deploy/demo/stroke.parquet")
    return data, Schema.from_yaml(text + OF_STROKE)


def breaking_stroke(rows: pd.DataFrame) -> int:
    invisible = (rows["RVISINF"] == "Y") & (rows["RCT"] != "Y")
    brainstem = (rows["RDEF7"] == "Y") & (rows["STYPE"] != "POCS")
    lacunar = (rows["STYPE"] == "LACS") & (rows["RDEF7"] != "N")
    return int((invisible | brainstem | lacunar).sum())


def test_on_the_stroke_trial() -> None:
    data, schema = stroke()
    release = synthesize(data, schema, Budget.from_epsilon(1.0), noise=KeyedNoise(1))
    assert {text: kept.broken for text, kept in release.checked.rules.items()} == dict(
        zip(schema.rules, (1, 0, 0), strict=True)
    )
    assert release.checked.rules[schema.rules[0]].first is not None
    drawn = release.records(5000)
    assert breaking_stroke(drawn) == 0
    free = synthesize(
        data, schema.model_copy(update={"rules": ()}), Budget.from_epsilon(1.0), noise=KeyedNoise(1)
    ).records(5000)
    assert breaking_stroke(free) > 0

    def distance(rows: pd.DataFrame, name: str) -> float:
        real = data[name].value_counts(normalize=True)
        return float(real.sub(rows[name].value_counts(normalize=True), fill_value=0).abs().sum() / 2)

    for tied in (
        ("RVISINF", "RCT"),
        ("RDEF7", "STYPE"),
    ):  # by a rule, through which the error of one is the other's
        otherwise = max(distance(free, name) for name in tied)
        assert max(distance(drawn, name) for name in tied) < otherwise + 0.01, tied


@pytest.mark.parametrize("joint", [None, JointNoise(conspirators=1, tolerated_dropouts=0)])
def test_in_a_study_of_several_hospitals(joint: JointNoise | None) -> None:
    data, schema = stroke()
    sites = list(np.repeat(["a", "b", "c"], [1600, 1200, 60]))
    rows = data.sample(len(sites), random_state=0).drop(columns="network", errors="ignore").reset_index(drop=True)
    terms = Terms(budget=Budget.from_epsilon(2.0), seed=1, joint=joint)
    pooled = simulate(rows, schema, sites, terms, accept_degraded=True).records
    assert len(pooled) == len(sites)
    assert breaking_stroke(pooled) == 0


def test_a_table_that_breaks_a_rule() -> None:
    """Counted by rule, with the first row; refused if nobody keeps it, or where a column has `outside: refuse`."""
    schema, budget, good = Schema.from_yaml(COLUMNS + RULES), Budget.from_mu(1.0), table(200, 0)
    bad = good.assign(DBP=good["DBP"].mask(np.arange(200) >= 190, 199), SBP=good["SBP"].clip(upper=190))
    checked = synthesize(bad, schema, budget, accept_degraded=True).checked
    assert (checked.rules["DBP < SBP"].broken, checked.rules["DBP < SBP"].first) == (10, 191)
    assert not checked.as_declared
    assert {kept.broken for text, kept in checked.rules.items() if text != "DBP < SBP"} == {0}
    with pytest.raises(
        InputError, match=r"rule 'DBP < SBP': 200 records of 200 break it \(first in row 1\), and none"
    ):
        synthesize(good.rename(columns={"DBP": "SBP", "SBP": "DBP"}), schema, budget)
    strict = Schema.from_yaml((COLUMNS + RULES).replace("max: 300, integer: true", "max: 300, outside: refuse"))
    with pytest.raises(
        InputError, match=r"10 records of 200 break it \(first in row 191\), and 'SBP' has `outside: ref"
    ):
        synthesize(bad, strict, budget)


def test_the_local_screen_names_the_rule_and_no_value() -> None:
    good = table(200, 0)
    bad = good.assign(DBP=good["DBP"].mask(np.arange(200) == 7, 199), SBP=good["SBP"].clip(upper=190))
    found = check(TableSource(bad), Schema.from_yaml(COLUMNS + RULES))
    assert "rule 'DBP < SBP': 1 record of 200 breaks it (first in row 8)" in summary(found)
    assert "rule" not in summary(check(TableSource(good), Schema.from_yaml(COLUMNS + RULES)))
    assert "199" not in summary(found)
