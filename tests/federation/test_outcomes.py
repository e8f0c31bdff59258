"""Studies whose outcome is a number, a time to an event, or nothing: from three hospitals to their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from three_hospitals import SITES, records, schema

from cohortmix.core.data.table import InputError
from cohortmix.core.privacy.budget import Budget
from cohortmix.core.utility.columns import read
from cohortmix.core.utility.kaplan_meier import Curve, FollowUp
from cohortmix.deploy.simulation.consortium import Terms
from cohortmix.deploy.simulation.simulation import Simulation, simulate
from cohortmix.deploy.verify import verify
from cohortmix.protocol.study import JointNoise

MEASURES = {"number": "r2", "survival": "concordance", "none": None}
OUTCOMES = {
    "number": "the outcome is the column “DAYS”",
    "survival": "the outcome is the time “DAYS” to the event “DEATH: yes”",
    "none": "the schema names no outcome",
}
NOISES = {"each": None, "joint": JointNoise(conspirators=1, tolerated_dropouts=0)}


def study(kind: str, noise: str, out: Path | None = None, epsilon: float = 5.0) -> Simulation:
    """A study of the three hospitals; where there is something to predict, models are compared."""
    terms = Terms(budget=Budget.from_epsilon(epsilon), seed=1, public_data=True, joint=NOISES[noise])
    held_out = None if kind == "none" else records(300, seed=9)
    return simulate(records(), schema(kind), SITES, terms, held_out=held_out, out=out, accept_degraded=True)


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("kind", MEASURES)
def test_a_study_of_any_outcome_is_published_and_verified(kind: str, noise: str, tmp_path: Path) -> None:
    simulated = study(kind, noise, tmp_path / "out")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary == simulated.summary
    assert (summary["measure"], summary["study"]["target"]) == (MEASURES[kind], schema(kind).target_name)
    for figure in (
        summary["pooled"]["score"],
        summary["ceiling_score"],
        *(s["own_score"] for s in summary["sites"]),
    ):
        assert (figure is not None) == (kind != "none")
    for site in summary["sites"] if kind != "none" else ():
        found = summary["pooled"]["score"] - site["own_score"]
        assert site["gain"]["estimate"] == pytest.approx(found, abs=1e-9)
    pooled = pd.read_parquet(tmp_path / "out" / "pooled.parquet")
    assert list(pooled.columns) == [*schema(kind).columns, "site"]
    assert pooled["DAYS"].between(0.5, 2000).all()
    assert set(pooled["DEATH"]) == {"no", "yes"}
    labels = [c for c in map(str, pd.read_parquet(tmp_path / "out" / "centroids.parquet").columns) if ": " in c]
    assert set(labels) >= {f"{schema(kind).target_name}: {name}" for name in schema(kind).classes}
    (verified,) = verify([tmp_path / "out"])
    assert verified.spec.target == schema(kind).target_name
    page = (tmp_path / "out" / "report.html").read_text()
    assert OUTCOMES[kind] in page
    assert ("Kaplan-Meier" in page) == (kind == "survival")
    assert "class of none" not in page


def distance(made: pd.DataFrame, real: pd.DataFrame) -> float:
    """The largest between the Kaplan-Meier curves of two tables."""
    description = schema("survival")
    assert description.outcome.survival is not None
    followed = [
        FollowUp.of(read(t, description), description.outcome.survival, description, "") for t in (made, real)
    ]
    return Curve.of(followed[0]).distance(Curve.of(followed[1]), followed[1].horizon)[0]


@pytest.mark.parametrize("noise", NOISES)
def test_pooled_records_keep_the_curve_of_all_hospitals_and_a_small_budget_does_not(
    noise: str, few_steps: None
) -> None:
    """The law: within a tenth of the real curve. Its negation: at next to no budget, it is further away."""
    kept = distance(study("survival", noise).records, records())
    lost = distance(study("survival", noise, epsilon=0.02).records, records())
    assert kept < 0.1 < lost


def test_nothing_to_predict_is_said_before_anything_is_spent(tmp_path: Path) -> None:
    terms = Terms(budget=Budget.from_epsilon(5.0), seed=1, public_data=True)
    with pytest.raises(InputError, match="the schema has no target, and models are compared by what they predict"):
        simulate(records(), schema("none"), SITES, terms, held_out=records(50, 1), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("DAYS", 0.0, "the time is zero or below in 1 row"),
        ("DAYS", np.nan, "the time is missing in 1 row"),
        ("DEATH", "perhaps", "the event holds 1 value that is not one of the declared values"),
        ("DEATH", None, "the event is missing in 1 row"),
    ],
)
def test_a_follow_up_that_is_not_known_at_one_hospital_stops_the_study(
    column: str, value: Any, sentence: str, tmp_path: Path
) -> None:
    table = records()
    table[column] = table[column].astype(object)
    table.loc[500, column] = value
    terms = Terms(budget=Budget.from_epsilon(5.0), seed=1)
    with pytest.raises(InputError, match=f"column '{column}': {sentence}") as refused:
        simulate(table, schema("survival"), SITES, terms, out=tmp_path / "out")
    assert "perhaps" not in str(refused.value)
    assert not (tmp_path / "out").exists()
