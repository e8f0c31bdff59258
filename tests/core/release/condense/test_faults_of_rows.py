"""Condensed rows keep the schema's rules, and what could not be kept is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohortmix.core import Schema, condense
from cohortmix.core.data.table import InputError

TEXT = """
name: ward
target: Y
columns:
  SEX: {type: category, values: [F, M]}
  PREG: {type: category, values: ['no', 'yes']}
  X: {type: number, min: -4, max: 4}
  Y: {type: category, values: ['no', unknown, 'yes']}
rules:
  - SEX=M -> PREG=no
"""


def records(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    sex, x = rng.choice(["F", "M"], n), rng.normal(size=n).clip(-4, 4)
    pregnant = np.where((sex == "F") & (rng.random(n) < 0.5), "yes", "no")
    outcome = np.where(x + (sex == "M") - 2 * (pregnant == "yes") + rng.normal(size=n) > 0, "yes", "no")
    return pd.DataFrame({"SEX": sex, "PREG": pregnant, "X": x, "Y": outcome}).astype(
        dict.fromkeys(["SEX", "PREG", "Y"], "string")
    )


@pytest.mark.parametrize("model", ["logistic", "tree"])
def test_rules_hold_in_every_row_and_a_class_that_nobody_has_is_no_obstacle(model: Any) -> None:
    rows = condense(records(), Schema.from_yaml(TEXT), model=model, size=20, evaluations=400).rows
    assert not ((rows["SEX"] == "M") & (rows["PREG"] == "yes")).any()
    assert {"F", "M"} == set(rows["SEX"])
    assert set(rows["Y"]) <= {"no", "unknown", "yes"}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("SEX=M -> PREG=no", "PREG=yes -> Y=yes", "is about the outcome"),
        ("  X:", "  weight:", "column 'weight'"),
    ],
)
def test_what_rows_could_not_keep_is_refused(old: str, new: str, sentence: str) -> None:
    schema = Schema.from_yaml(TEXT.replace(old, new))
    with pytest.raises(InputError, match=sentence):
        condense(records().rename(columns={"X": new.strip(" :")}), schema, model="tree", size=20, evaluations=5)


@pytest.mark.parametrize("model", ["cox", "survival-forest"])
@pytest.mark.parametrize("seed", range(3))
def test_few_events_are_enough_to_begin_with(model: Any, seed: int) -> None:
    text = TEXT.split("rules:")[0].replace("target: Y", "target: {time: T, event: E}")
    schema = Schema.from_yaml(
        text + "  T: {type: number, min: 0.1, max: 100}\n  E: {type: category, values: [0, 1]}\n"
    )
    rng = np.random.default_rng(seed)
    table = records(300).assign(T=rng.uniform(0.1, 100, 300), E=pd.array(["0"] * 292 + ["1"] * 8, dtype="string"))
    rows = condense(table, schema, model=model, size=6, evaluations=3, seed=seed).rows
    assert (rows["E"] == "1").any()
