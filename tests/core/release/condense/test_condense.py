"""Condensed rows: they obey the schema, come near to the model of all records, and are not made of unfit ones."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohortmix.core.condensing import condense
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.release.condense.condensation import Condensed
from cohortmix.core.steps.progress import observed

COLUMNS: dict[str, Any] = {
    "x": {"type": "number", "min": 0, "max": 10, "decimals": 2, "missing": True},
    "beside": {"type": "number", "min": 0, "max": 9, "integer": True, "missing": True, "with": "x"},
    "first": {"type": "date", "min": "2020-01-01", "max": "2020-12-31"},
    "later": {"type": "date", "min": "2020-01-01", "max": "2021-12-31", "after": "first"},
    "smoker": {"type": "category", "values": [True, False]},
    "days": {"type": "number", "min": 0.5, "max": 100},
    "y": {"type": "category", "values": ["alive", "dead"]},
}
CLASSES = Schema.model_validate({"name": "t", "target": "y", "columns": COLUMNS})
SURVIVAL = Schema.model_validate(
    {"name": "t", "target": {"time": "days", "event": "y", "happened": "dead"}, "columns": COLUMNS}
)


def cohort(rows: int = 600, seed: int = 0) -> pd.DataFrame:
    """Records as a release has them; x and smoker say the risk."""
    rng = np.random.default_rng(seed)
    x, smoker = rng.uniform(0, 10, rows).round(2), rng.random(rows) < 0.4
    risk = x + 4 * smoker - 6
    absent = rng.random(rows) < 0.1
    first = pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), "D")
    later = first + pd.to_timedelta(rng.integers(0, 200, rows), "D")
    days = np.clip(rng.exponential(20 * np.exp(-risk / 2)), 0.5, 100)
    return pd.DataFrame(
        {
            "x": pd.Series(x).mask(absent).astype("Float64"),
            "beside": pd.Series(rng.integers(0, 10, rows)).mask(absent).astype("Int64"),
            "first": first.date,
            "later": later.date,
            "smoker": pd.array(smoker, dtype="boolean"),
            "days": pd.array(days, dtype="Float64"),
            "y": pd.array(np.where(rng.random(rows) < 1 / (1 + np.exp(-risk)), "dead", "alive"), dtype="string"),
        }
    )


def found(
    model: Any, schema: Schema = CLASSES, size: int = 20, evaluations: int = 150, seed: int = 0
) -> Condensed:
    return condense(cohort(), schema, model, size, evaluations=evaluations, seed=seed)


# --- what rows are


@pytest.mark.parametrize(
    ("model", "schema"),
    [("tree", CLASSES), ("logistic", CLASSES), ("cox", SURVIVAL)],
)
def test_rows_obey_the_schema(model: str, schema: Schema) -> None:
    """Its types, bounds, declared values, and what ties columns to each other."""
    records, rows = cohort(), found(model, schema).rows
    assert len(rows) == 20
    assert list(rows.columns) == [*schema.columns, "weight"]
    assert rows.drop(columns="weight").dtypes.equals(records.dtypes)
    assert (rows["x"].isna() == rows["beside"].isna()).all()
    assert (rows["first"] <= rows["later"]).all()
    for name in schema.columns:
        assert set(rows[name].dropna()) <= set(records[name].dropna()), name  # all values are released ones
    if schema is SURVIVAL:
        pairs = set(zip(records["days"], records["y"], strict=True))
        assert set(zip(rows["days"], rows["y"], strict=True)) <= pairs  # a time stays with its event


def test_weights_are_positive_and_add_up_to_the_records_that_were_learned_from() -> None:
    condensed = found("tree")
    weight = condensed.rows["weight"]
    assert (weight > 0).all()
    assert weight.sum() == pytest.approx(condensed.facts["records"])
    assert condensed.facts["records"] + condensed.facts["held_out"] == 600


def test_the_same_seed_gives_the_same_rows_and_another_one_others() -> None:
    one, same, other = found("tree"), found("tree"), found("tree", seed=1)
    pd.testing.assert_frame_equal(one.rows, same.rows)
    assert one.facts == same.facts
    assert not one.rows["weight"].equals(other.rows["weight"])


# --- how good they are


@pytest.mark.parametrize(
    ("model", "schema"),
    [("tree", CLASSES), ("logistic", CLASSES), ("cox", SURVIVAL)],
)
def test_a_search_comes_near_to_the_model_of_all_records(model: str, schema: Schema) -> None:
    facts = condense(cohort(3000), schema, model, 30, evaluations=500).facts  # type: ignore[arg-type]
    assert facts["loss"]["condensed"] < facts["loss"]["start"]
    assert facts["reached"]["condensed"] > facts["reached"]["all records"] - 0.05


def test_more_evaluations_are_never_worse_and_one_is_the_start() -> None:
    losses = [found("tree", evaluations=number).facts["loss"] for number in (1, 30, 150)]
    assert losses[0]["condensed"] == losses[0]["start"]
    assert losses[0]["start"] == losses[1]["start"] == losses[2]["start"]
    assert losses[2]["condensed"] <= losses[0]["condensed"]


def test_a_model_is_fitted_as_often_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from cohortmix.core.release.condense import search

    fits, inner = [], search.fit_rows

    def counted(*given: Any) -> Any:
        fits.append(given)
        return inner(*given)

    monkeypatch.setattr(search, "fit_rows", counted)
    steps: list[tuple[str, int, int]] = []
    with observed(lambda *step: steps.append(step)):
        found("tree", evaluations=40)
    assert 30 <= len(fits) <= 40  # rows of one class are not fitted
    assert steps[-1] == ("condensing", 40, 40)


@pytest.mark.parametrize(("model", "schema"), [("forest", CLASSES), ("boosted", CLASSES)])
def test_models_of_many_trees(model: str, schema: Schema) -> None:
    facts = found(model, schema, evaluations=4).facts
    assert 0.5 < facts["reached"]["condensed"] <= 1


def test_survival_forest() -> None:
    pytest.importorskip("sksurv", reason="scikit-survival is not installed")
    facts = found("survival-forest", SURVIVAL, evaluations=3).facts
    assert facts["figure"] == "concordance"
    assert 0.5 < facts["reached"]["all records"] <= 1


def test_without_scikit_survival_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sksurv.ensemble", None)
    with pytest.raises(InputError, match=r"scikit-survival is not installed.*pip install 'cohortmix\[survival\]'"):
        found("survival-forest", SURVIVAL, evaluations=2)


# --- what is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nets"}, "expected model to be 'tree', 'forest'"),
        ({"size": 0}, "expected size to be at least 2, got size=0"),
        ({"size": 1}, "expected size to be at least 2"),
        ({"size": 601}, "at most the 600 records of the release, got size=601"),
        ({"size": 500}, "500 is too many rows: 480 records are learned from"),
        ({"size": 2.5}, "expected size to be a whole number, got float"),
        ({"evaluations": 0}, "expected evaluations to be at least 1"),
        ({"seed": -1}, "expected seed to be at least 0"),
        ({"model": "cox"}, "'cox' does not suit the target 'y', which is no time and its event"),
        ({"schema": SURVIVAL}, "'tree' does not suit the target 'days, y', which is a time and its event"),
        ({"records": cohort().assign(y="alive")}, "the records have one class of the target"),
        ({"records": cohort().assign(x=11.0)}, "column 'x' holds values that its schema does not declare"),
        ({"records": cohort().assign(later=None)}, "column 'later' holds values that its schema does not declare"),
        ({"records": cohort().assign(y="lost")}, "column 'y' holds values that its schema does not declare"),
        ({"records": cohort().drop(columns="x")}, "missing column 'x'"),
        ({"records": "release"}, "expected records to be a DataFrame or a pyarrow Table, got str"),
        ({"schema": "s.yaml"}, "expected schema to be a Schema"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"records": cohort(), "schema": CLASSES, "model": "tree", "size": 20, "evaluations": 5}
    condense(**given)
    with pytest.raises(InputError, match=message) as caught:
        condense(**(given | change))
    assert "\n" not in str(caught.value)


def test_survival_without_an_event_is_refused() -> None:
    with pytest.raises(InputError, match="no record has an event that another outlives"):
        condense(cohort().assign(y="alive"), SURVIVAL, "cox", 20)


@pytest.mark.parametrize("target", ["x", None])
def test_a_number_and_no_target_are_not_predicted(target: str | None) -> None:
    known = {
        "x": COLUMNS["x"] | {"missing": False},
        "beside": COLUMNS["beside"] | {"missing": False, "with": None},
    }
    columns = COLUMNS | known
    schema = Schema.model_validate({"name": "t", "target": target, "columns": columns})
    message = (
        "has nothing to predict" if target is None else "a model predicts a category, or a time and its event"
    )
    with pytest.raises(InputError, match=message):
        condense(cohort().fillna({"x": 1.0, "beside": 1}), schema, "tree", 20)


def test_the_vault_is_out_of_reach() -> None:
    """Nothing but released records can be asked, whatever is computed of them."""
    program = (
        "import sys, cohortmix.core.condensing, cohortmix.core.release.condense.condensation; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "cohortmix.core.release.condense.search" in loaded
    assert not [
        name for name in loaded if name.startswith(("cohortmix.core.privacy", "cohortmix.client", "opendp"))
    ]
