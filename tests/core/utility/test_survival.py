"""A time to an event as the target: figures of scikit-survival, and what models of three tables reach."""

import builtins
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored, concordance_index_ipcw, integrated_brier_score
from sksurv.util import Surv

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.dictionary.outcome import Survival
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.utility import survival
from cohortmix.core.utility.evaluate import evaluate
from cohortmix.core.utility.kaplan_meier import FollowUp
from cohortmix.core.utility.survival import concordance, figures, integrated_brier
from cohortmix.core.utility.target import Target, parse

SCHEMA = Schema.from_yaml("""
name: trial
patient_key: id
target: {time: days, event: died}
columns:
  days: {type: number, min: 1, max: 1000, integer: true}
  died: {type: category, values: [no, yes]}
  age: {type: number, min: 0, max: 10, missing: true}
  arm: {type: category, values: [A, B]}
  grade: {type: category, values: [I, II, III]}
""")


def trial(rows: int = 400, seed: int = 0, effect: float = 0.6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, arm = rng.uniform(0, 10, rows), rng.integers(0, 2, rows)
    ends = rng.exponential(300 * np.exp(-effect * (age - 5) - arm))
    leaves = rng.uniform(1, 1000, rows)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "days": np.clip(np.ceil(np.minimum(ends, leaves)), 1, 1000),
            "died": np.where(ends <= leaves, "yes", "no"),
            "age": np.where(rng.random(rows) < 0.1, np.nan, age),
            "arm": np.array(["A", "B"])[arm],
            "grade": rng.choice(["I", "II", "III"], rows, p=[0.2, 0.5, 0.3]),
        }
    )


REAL, LIKE = trial(), trial(seed=1)


def report(
    made: pd.DataFrame, real: pd.DataFrame, schema: Schema = SCHEMA, *targets: str, **more: Any
) -> dict[str, Any]:
    (found,) = evaluate(made, real, schema, targets, **more)["targets"]
    return dict(found)


def followed(rows: int, seed: int, times: int = 40) -> tuple[FollowUp, np.ndarray[Any, np.dtype[np.float64]]]:
    """With ties in time and in risk."""
    rng = np.random.default_rng(seed)
    risk = np.round(rng.normal(size=rows), 1)
    ends, leaves = np.ceil(rng.exponential(times / 2 * np.exp(-risk))), np.ceil(rng.uniform(1, times, rows))
    return FollowUp(np.minimum(ends, leaves), ends <= leaves, np.ones(rows)), risk


@pytest.mark.parametrize("rows", [2, 3, 50, 257])
@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_scikit_survival(rows: int, seed: int) -> None:
    here, risk = followed(rows, seed)
    y = Surv.from_arrays(here.event, here.time)
    pairs = (here.time[:, None] < here.time) | ((here.time[:, None] == here.time) & ~here.event)
    if not (pairs & here.event[:, None]).any():
        assert concordance(here, risk, np.ones(rows)) is None
        return
    found = concordance(here, risk, np.ones(rows))
    assert found == pytest.approx(concordance_index_censored(here.event, here.time, risk)[0], abs=1e-12)
    if rows < 50:
        return
    times = np.quantile(here.time, np.linspace(0.05, 0.8, 20))
    times = np.unique(times)
    prediction = np.exp(-np.outer(np.exp(risk), times) / 20)
    both = figures(here, np.column_stack([risk, prediction]), times)
    uno = concordance_index_ipcw(y, y, risk, tau=times[-1])[0]
    assert both["uno_c"] == pytest.approx(uno, abs=1e-12)
    assert both["integrated_brier"] == pytest.approx(integrated_brier_score(y, y, prediction, times), abs=1e-12)


def test_concordance_counts_pairs_by_the_weights_of_both() -> None:
    here, risk = followed(40, 5)
    weight = np.random.default_rng(6).uniform(0.1, 1, 40)
    weighted = FollowUp(here.time, here.event, weight)
    pairs = (here.time[:, None] < here.time) | ((here.time[:, None] == here.time) & ~here.event)
    counts = pairs * here.event[:, None] * np.outer(weight, weight)
    wins = (risk[:, None] > risk) + 0.5 * (risk[:, None] == risk)
    assert concordance(weighted, risk, np.ones(40)) == pytest.approx(
        (counts * wins).sum() / counts.sum(), abs=1e-12
    )


def test_all_figures_count_a_record_by_its_weight() -> None:
    here, risk = followed(60, 7)
    m = np.random.default_rng(8).integers(1, 4, 60)
    copied = np.repeat(np.arange(60), m)
    times = np.linspace(0, 20, 11)
    predicted = np.column_stack([risk, np.exp(-np.outer(np.exp(risk), times) / 20)])
    plain = figures(here, predicted, times)
    weighted = FollowUp(here.time[copied], here.event[copied], (1 / m)[copied])
    assert figures(weighted, predicted[copied], times) == pytest.approx(plain, abs=1e-12)
    unweighted = FollowUp(here.time[copied], here.event[copied], np.ones(len(copied)))
    assert figures(unweighted, predicted[copied], times) != pytest.approx(plain, abs=1e-3)


def test_a_prediction_that_knows_the_end_has_no_error_and_a_guess_a_quarter() -> None:
    time = np.arange(1.0, 101)
    here = FollowUp(time, np.ones(100, dtype=bool), np.ones(100))
    times = np.linspace(0, 50, 51)
    assert integrated_brier(here, (time[:, None] > times).astype(float), times) == 0
    assert integrated_brier(here, np.full((100, 51), 0.5), times) == pytest.approx(0.25)
    assert concordance(here, -time, np.ones(100)) == 1
    assert concordance(here, time, np.ones(100)) == 0
    assert concordance(here, np.zeros(100), np.ones(100)) == 0.5


def test_cox_is_that_of_scikit_survival_on_standardized_columns() -> None:
    rng = np.random.default_rng(9)
    x = rng.normal(2, 3, (300, 2))
    ends, leaves = rng.exponential(np.exp(-x[:, 0] / 3)) + 0.01, rng.uniform(0, 2, 300)
    y = Surv.from_arrays(ends <= leaves, np.minimum(ends, leaves))
    times = np.linspace(0, 1, 11)
    found = survival.cox(x, y, times)(x)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    model = CoxPHSurvivalAnalysis(alpha=1).fit(z, y)
    np.testing.assert_allclose(found[:, 0], model.predict(z), atol=1e-9)
    within = times >= y["time"].min()
    expected = [function(times[within]) for function in model.predict_survival_function(z)]
    np.testing.assert_allclose(found[:, 1:][:, within], expected, atol=1e-9)
    assert (found[:, 1] == 1).all()  # at time 0


def test_where_cox_does_not_converge_an_elastic_net_takes_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise ValueError("search direction contains NaN or infinite values")

    monkeypatch.setattr(CoxPHSurvivalAnalysis, "fit", never)
    found = report(LIKE, REAL)
    assert found["reason"] is None
    assert found["models"]["cox"]["tstr"]["harrell_c"] > 0.7


def test_records_of_the_same_law_predict_in_all_three_ways_and_shuffled_ones_in_none() -> None:
    found = report(LIKE, REAL)
    assert (found["target"], found["kind"], found["reason"]) == ("days, died", "survival", None)
    assert (found["time"], found["event"], found["happened"]) == ("days", "died", "yes")
    for ways in found["models"].values():
        for way in ("tstr", "trtr", "trts"):
            assert ways[way]["harrell_c"] > 0.7
            assert ways[way]["uno_c"] > 0.7
            assert ways[way]["integrated_brier"] < 0.2
    order = np.random.default_rng(2).permutation(len(LIKE))
    shuffled = LIKE.assign(days=LIKE["days"].to_numpy()[order], died=LIKE["died"].to_numpy()[order])
    lost = report(shuffled, REAL)
    for model, ways in lost["models"].items():
        assert ways["tstr"]["harrell_c"] < 0.62
        assert ways["trtr"] == found["models"][model]["trtr"]
    assert lost["curves"] == found["curves"]  # they know nothing of other columns


def test_real_records_against_themselves_are_at_no_distance() -> None:
    found = report(REAL, REAL.sample(frac=1, random_state=0), strata="arm")
    for curves in (found["curves"], *found["strata"]["groups"]):
        assert curves["distance"] == 0
        assert curves["restricted_mean"]["real"] == curves["restricted_mean"]["synthetic"]
        assert curves["censored"]["real"] == curves["censored"]["synthetic"]


def test_a_wrong_hazard_is_seen_in_curves_and_means() -> None:
    found = report(LIKE.assign(days=np.clip(LIKE["days"] // 10, 1, None)), REAL)
    like = report(LIKE, REAL)
    assert found["curves"]["distance"] > 0.2 > 0.15 > like["curves"]["distance"]
    means = found["curves"]["restricted_mean"]
    assert means["synthetic"] < 0.85 * means["real"]
    never = report(LIKE.assign(died=np.where(np.arange(400) < 5, "yes", "no")), REAL)
    assert never["curves"]["censored"]["synthetic"] == pytest.approx(1 - 5 / 400)


def test_strata_tell_apart_what_all_records_do_not_show() -> None:
    """Arms swapped: the curve of all is the same, those of the arms are not."""
    swapped = REAL.assign(arm=REAL["arm"].map({"A": "B", "B": "A"}))
    found = report(swapped, REAL, strata="arm")
    assert found["curves"]["distance"] == 0
    groups = found["strata"]["groups"]
    assert {group["name"] for group in groups} == {"A", "B"}
    assert min(group["distance"] for group in groups) > 0.1
    assert groups[0]["records"]["real"] >= groups[1]["records"]["real"]
    by_rule = report(LIKE, REAL, strata="age>=5")["strata"]
    assert {group["name"] for group in by_rule["groups"]} == {"age>=5", "not age>=5"}
    gone = report(LIKE[LIKE["grade"] != "II"], REAL, strata="grade")["strata"]["groups"][0]
    assert (gone["name"], gone["distance"], gone["records"]["synthetic"]) == ("II", None, 0)
    assert gone["restricted_mean"]["real"] > 0


def test_any_time_and_event_can_be_named_and_only_what_has_them_has_strata() -> None:
    other = SCHEMA.model_copy(update={"target": "grade"})
    assert report(LIKE, REAL, other, "days, died")["models"] == report(LIKE, REAL)["models"]
    assert evaluate(LIKE, REAL, SCHEMA.model_copy(update={"target": None}))["targets"] == []
    for target, sentence in (
        ("days, grade", "which of its values says that the event happened"),
        ("age, died", "time='age' may not be missing"),
        ("arm, died", "time='arm' has type category"),
        ("days, nothing", "no column 'days, nothing'"),
    ):
        with pytest.raises(InputError, match=sentence):
            evaluate(LIKE, REAL, SCHEMA, (target,))
    with pytest.raises(InputError, match="strata='arm': expected a time and an event among the targets"):
        evaluate(LIKE, REAL, SCHEMA, ("grade",), "arm")
    with pytest.raises(InputError, match="no column 'ward'"):
        evaluate(LIKE, REAL, SCHEMA, (), "ward")


def test_names_of_a_time_and_an_event_may_hold_commas() -> None:
    column = SCHEMA.columns
    schema = SCHEMA.model_copy(
        update={"columns": {**column, "days, all": column["days"], "days, died": column["arm"]}}
    )
    assert parse("days, all, died", schema) == Survival("days, all", "died", "yes")
    assert parse("days,died", schema) == Survival("days", "died", "yes")
    assert parse("days, died", schema) == Target("days, died", 2)  # a column of this name comes first
    values = Category.model_validate({"type": "category", "values": ["A, died", "B"]})
    rule = parse("arm=A, died", SCHEMA.model_copy(update={"columns": {**column, "arm": values}}))
    assert rule == Target("arm", 2, "=", (0,))


def test_a_target_that_the_schema_declares_knows_what_happened() -> None:
    columns = {**SCHEMA.columns, "died": SCHEMA.columns["grade"]}
    target = {"time": "days", "event": "died", "happened": "II"}
    schema = Schema.model_validate({"name": "t", "target": target, "columns": columns})
    found = report(LIKE.assign(died=LIKE["grade"]), REAL.assign(died=REAL["grade"]), schema, "days,died")
    assert found["happened"] == "II"
    assert found["curves"]["censored"]["real"] == pytest.approx((REAL["grade"] != "II").mean())


def test_why_there_is_no_model_is_said_and_curves_are_there() -> None:
    none = report(LIKE.assign(died="no"), REAL)
    assert none["reason"] == "no event is among the synthetic records"
    assert none["models"] == {}
    assert none["curves"]["distance"] > 0.1
    few = report(LIKE, REAL.iloc[:3])
    assert few["models"] == {} or few["reason"] is None
    codes = {"type": "category", "values": [f"C{k}" for k in range(1_100)]}
    wide = Schema.model_validate(
        {"name": "t", "target": SCHEMA.target, "columns": {**SCHEMA.columns, "code": codes}}
    )
    found = report(LIKE.assign(code="C1"), REAL.assign(code="C2"), wide)
    assert found["reason"] == "codes would add more than 1,000 columns, too many for models of survival"
    assert found["models"] == {}


BROKEN: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "a single record": lambda table: table.iloc[:1],
    "two records": lambda table: table.iloc[:2],
    "one patient": lambda table: table.assign(id=1),
    "a column that tells the time": lambda table: table.assign(
        age=table["days"] / 100, arm=table["died"] == "yes"
    ),
    "a number far beyond its bounds": lambda table: table.assign(age=1e300),
    "nothing but the follow-up": lambda table: table.assign(age=None, arm=None, grade=None),
    "one time": lambda table: table.assign(days=7),
    "one event": lambda table: table.assign(died=np.where(np.arange(len(table)) == 3, "yes", "no")),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_degenerate_tables_do_not_break_it(broken: str) -> None:
    for made, real in ((LIKE, BROKEN[broken](REAL)), (BROKEN[broken](LIKE), REAL)):
        found = evaluate(made, real, SCHEMA, ("days, died", "age"), "grade")
        json.dumps(found, allow_nan=False)
        for target in found["targets"]:
            ways = [way for model in target["models"].values() for way in model.values()]
            undefined = len(ways) < 6 or any(None in way.values() for way in ways)
            assert (target["reason"] is not None) >= undefined


def test_a_row_weighs_as_it_does_in_a_release() -> None:
    """Each patient's record as often as it likes says no more than once: curves and figures are the same."""
    m = np.random.default_rng(3).integers(1, 4, len(REAL))
    often = REAL.loc[REAL.index.repeat(m)].reset_index(drop=True)
    once, repeated = report(LIKE, REAL), report(LIKE, often)
    assert repeated["horizon"] == once["horizon"]
    assert repeated["curves"]["restricted_mean"]["real"] == pytest.approx(
        once["curves"]["restricted_mean"]["real"]
    )
    for model, ways in once["models"].items():
        assert repeated["models"][model]["tstr"] == pytest.approx(ways["tstr"], abs=1e-9)
    by_row = report(LIKE, often.drop(columns="id"), SCHEMA.model_copy(update={"patient_key": None}))
    assert by_row["models"]["cox"]["tstr"] != pytest.approx(once["models"]["cox"]["tstr"], abs=1e-4)


def test_without_scikit_survival_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.split(".")[0] == "sksurv":
            raise ImportError(name)
        return real(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        InputError, match=r"needs scikit-survival, which is not there: install 'cohortmix\[survival\]'"
    ):
        evaluate(LIKE, REAL, SCHEMA)
    assert evaluate(LIKE, REAL, SCHEMA, ("grade",))["targets"]
