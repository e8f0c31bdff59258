"""A number as the target: figures of scipy and scikit-learn, and what models of three tables reach."""

import numpy as np
import pandas as pd
import pytest
from mixed_tables import LIKE, REAL, SCHEMA, cohort
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from cohortmix.core.data.schema import Schema
from cohortmix.core.utility.evaluate import evaluate
from cohortmix.core.utility.regression import figures, spearman


def test_figures_are_those_of_scipy_and_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 6, 200).astype(float)  # with ties
    predicted = np.round(y + rng.normal(0, 2, 200), 1)
    found = figures(y, predicted, None)
    assert found["r2"] == pytest.approx(r2_score(y, predicted), abs=1e-12)
    assert found["mean_absolute_error"] == pytest.approx(np.abs(y - predicted).mean(), abs=1e-12)
    assert found["spearman"] == pytest.approx(spearmanr(y, predicted).statistic, abs=1e-12)


def test_figures_count_a_record_by_its_weight() -> None:
    rng = np.random.default_rng(1)
    y, predicted, m = rng.normal(size=50), rng.normal(size=50), rng.integers(1, 4, 50)
    copied = np.repeat(np.arange(50), m)
    plain = figures(y, predicted, None)
    assert figures(y[copied], predicted[copied], (1 / m)[copied]) == pytest.approx(plain, abs=1e-12)
    assert figures(y[copied], predicted[copied], None) != pytest.approx(plain, abs=1e-12)


def test_the_mean_has_an_r2_of_zero_and_a_constant_has_none() -> None:
    y = np.arange(10.0)
    assert figures(y, np.full(10, 4.5), None) == {"r2": 0, "mean_absolute_error": 2.5, "spearman": None}
    assert figures(np.ones(10), y, None)["r2"] is None
    assert spearman(y, y**3) == pytest.approx(1)
    assert spearman(y, -y) == pytest.approx(-1)
    assert figures(np.empty(0), np.empty(0), None)["mean_absolute_error"] is None


def numbers(rows: int, seed: int) -> pd.DataFrame:
    """A number that follows from two columns, and noise."""
    table = cohort(rows, seed)
    stay = table["x"] * 2 + (table["sex"] == "F") * 5 + np.random.default_rng(seed).normal(0, 1, rows)
    return table.assign(whole=np.clip(stay.round(), 0, 30))


WIDER = {**SCHEMA.columns, "whole": SCHEMA.columns["whole"].model_copy(update={"max": 30})}
STAY = SCHEMA.model_copy(update={"columns": WIDER, "target": "whole", "patient_key": None})


def test_models_of_the_same_law_predict_in_all_three_ways_and_of_shuffled_numbers_in_none() -> None:
    real, like = numbers(600, 0), numbers(600, 1)
    (found,) = evaluate(like, real, STAY)["targets"]
    assert (found["target"], found["kind"], found["reason"], found["auc"]) == ("whole", "regression", None, None)
    assert set(found["models"]) == {"boosted_trees", "linear"}
    for ways in found["models"].values():
        for way in ("tstr", "trtr", "trts"):
            assert ways[way]["r2"] > 0.9
            assert ways[way]["spearman"] > 0.9
            assert 0.7 < ways[way]["mean_absolute_error"] < 1.5
    shuffled = like.assign(whole=np.random.default_rng(2).permutation(like["whole"]))
    (lost,) = evaluate(shuffled, real, STAY)["targets"]
    for model, ways in lost["models"].items():
        assert ways["tstr"]["r2"] < 0.1
        assert ways["trts"]["r2"] < 0.1
        assert ways["trtr"] == found["models"][model]["trtr"]  # the ceiling is of real records alone


def test_a_number_of_any_schema_is_a_target_by_its_name() -> None:
    (found,) = evaluate(LIKE, REAL, SCHEMA, ("x",))["targets"]
    assert found["kind"] == "regression"
    assert found["models"]["boosted_trees"]["tstr"]["r2"] > 0.5  # y tells it


def test_records_without_the_number_and_beyond_the_cap_take_no_part() -> None:
    real, like = numbers(300, 0), numbers(300, 1)
    gone = np.arange(300) % 3 == 0
    (with_gaps,) = evaluate(like, real.assign(whole=real["whole"].mask(gone)), STAY, ("whole",))["targets"]
    (kept,) = evaluate(like, real[~gone], STAY, ("whole",))["targets"]
    for model in ("boosted_trees", "linear"):
        assert with_gaps["models"][model]["tstr"] == pytest.approx(kept["models"][model]["tstr"])
    keyed = STAY.model_copy(update={"patient_key": "id", "max_rows_per_patient": 1})
    twice = pd.concat([real, real.assign(whole=0)], ignore_index=True)
    (capped,) = evaluate(like, twice, keyed)["targets"]
    (once,) = evaluate(like, real, keyed)["targets"]
    assert capped["models"] == once["models"]


def test_a_constant_number_has_a_reason_and_no_r2() -> None:
    real, like = numbers(100, 0), numbers(100, 1)
    (flat,) = evaluate(like, real.assign(whole=3), STAY)["targets"]
    assert flat["reason"] == "the real records have one value only"
    assert flat["models"]["linear"]["tstr"]["r2"] is None
    (nobody,) = evaluate(like.assign(whole=None), real, STAY)["targets"]
    assert nobody["reason"] == "the synthetic records have no value"
    assert nobody["models"]["linear"]["trts"]["mean_absolute_error"] is None


def test_codes_by_the_thousand_do_not_stop_a_regression() -> None:
    codes = [f"C{k}" for k in range(1_100)]
    schema = Schema.model_validate(
        {
            "name": "t",
            "target": "z",
            "columns": {
                "code": {"type": "category", "values": codes},
                "z": {"type": "number", "min": 0, "max": 10},
            },
        }
    )
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"code": rng.choice(codes[:4], 300)})
    table["z"] = table["code"].str[1:].astype(int) * 2 + rng.uniform(0, 1, 300)
    (found,) = evaluate(table.sample(frac=1, random_state=0), table, schema)["targets"]
    assert found["models"]["linear"]["trtr"]["r2"] > 0.9
    assert found["models"]["boosted_trees"]["trtr"]["r2"] > 0.9
