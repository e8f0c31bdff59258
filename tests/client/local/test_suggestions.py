"""`with` and `after` in a draft: what names imply, nothing that they do not, and a schema that loads."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohortmix.client.local.draft import draft
from cohortmix.client.local.suggestions import repeated, suggested
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.rows import rows_of_cells
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource

STAY = pd.DataFrame(
    {
        "outcome": ["well", "ill", "ill"],
        "HR_max": [90, 80, 70],
        "HR_mean": [75.5, 70.0, 60.5],
        "HR_count": [3, 2, 1],
        "HR_min": [60, 60, 50],
        "meanTemp": [36.5, 37.0, 37.5],
        "minTemp": [36.0, 36.5, 37.0],
        "systolic_bp": [120, 130, 140],
        "diastolic_bp": [80, 70, 60],
        "admission_date": ["2001-02-03"] * 3,
        "discharge_date": ["2001-02-09"] * 3,
        "no": [1, 2, 3],
    }
)
SUPPORT2 = """
age death sex hospdead slos d.time dzgroup dzclass num.co edu income scoma charges totcst totmcst avtisst race
sps aps surv2m surv6m hday diabetes dementia ca prg2m prg6m dnr dnrday meanbp wblc hrt resp temp pafi alb bili
crea sod ph glucose bun urine adlp adls sfdm2 adlsc
"""


def keys(types: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    return {name: (found.partner, found.before) for name, found in suggested(types).items()}


def numbers(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "number")


def dates(*names: str) -> dict[str, str]:
    return dict.fromkeys(names, "date")


def test_summaries_of_one_measurement_are_missing_together_and_in_order() -> None:
    assert keys(numbers("HR_mean", "HR_min", "HR_max")) == {
        "HR_mean": (None, "HR_min"),
        "HR_min": ("HR_mean", None),
        "HR_max": ("HR_mean", "HR_mean"),
    }
    assert keys(numbers("min_hr", "hrFirst", "LAST.HR", "medianHR", "HR max")) == {
        "hrFirst": ("min_hr", "min_hr"),
        "LAST.HR": ("min_hr", "min_hr"),
        "medianHR": ("min_hr", "min_hr"),
        "HR max": ("min_hr", "medianHR"),
    }
    assert keys({"stage_first": "category", "stage_last": "category"}) == {"stage_last": ("stage_first", None)}
    assert keys({"x_min": "number", "x_max": "category"}) == {"x_max": ("x_min", None)}  # an order needs one type


@pytest.mark.parametrize(
    "types",
    [
        numbers("max_heart_rate", "min_bp"),
        numbers("sex_first", "age_last"),
        numbers("min", "max"),  # of what?
        numbers("max_hr_min", "hr_min_max"),  # both ends sum up: the lowest of maxima, or the highest of minima
        numbers("HR_min", "hr.min", "HR_max"),  # two minima: which one belongs to the maximum?
        numbers("minute_x", "maxim_x", "meanbp", "minbp"),  # only whole words count
        numbers("HR_mean", "HR_count", "HR_sd"),  # a count is 0, and the deviation of one value missing
        numbers("weight_start", "weight_end", "admission_score", "discharge_score"),  # weights may fall
        numbers("SBP_mean", "DBP_mean"),  # means of other readings
        {"first_name": "category", "last_name": "category"},
        {"SBP": "number", "DBP": "category"},
        dates("admission_date", "ward_discharge_date"),
        dates("start_of_therapy", "end_of_study"),
        dates("visit_1", "visit_2"),
        dates("start_of_admission", "admission_discharge"),  # two words of a pair in one name
    ],
)
def test_nothing_is_suggested_that_names_do_not_imply(types: dict[str, str]) -> None:
    assert keys(types) == {}


def test_the_later_of_two_dates() -> None:
    assert keys(dates("admittime", "dischtime", "date_of_birth", "death_date")) == {
        "dischtime": (None, "admittime"),
        "death_date": (None, "date_of_birth"),
    }
    assert keys(dates("firstVisit", "lastVisit")) == {"lastVisit": ("firstVisit", "firstVisit")}
    assert keys(numbers("first_visit", "last_visit")) == {"last_visit": ("first_visit", None)}


def test_pressures_of_one_reading() -> None:
    assert keys(numbers("DBP", "SBP")) == {"SBP": ("DBP", "DBP")}
    assert keys(numbers("bp_systolic_1", "bp_diastolic_1", "bp_diastolic_2")) == {
        "bp_systolic_1": ("bp_diastolic_1", "bp_diastolic_1")
    }


def test_repeated_readings_are_left_to_a_person() -> None:
    types = numbers("sbp_1", "sbp_2", "sbp_3", "sbp_4", "q_1", "icd10")
    assert keys(types) == {}
    assert list(repeated(types)) == ["sbp_1"]
    assert repeated(types)["sbp_1"].startswith("if sbp_1, sbp_2, sbp_3 and 1 more are always taken together")


def completed(text: str) -> str:
    """A draft with its gaps filled and every line confirmed, as a person would."""
    text = text.replace("target: '?' ", "target: outcome ").replace("confirmed: false", "confirmed: true")
    text = re.sub(r"(type: number, min: )null, max: null", r"\g<1>0, max: 300", text)
    text = re.sub(r"(type: date, min: )null, max: null", r"\g<1>2000-01-01, max: 2002-01-01", text)
    return text.replace("values: [], missing: true", "values: [well, ill]")


def test_a_completed_draft_is_a_schema_with_its_suggestions_and_without_them() -> None:
    text = completed(draft(TableSource(STAY), "stay"))
    schema = Schema.from_yaml(text)
    schema.require_confirmed()
    said = {name: (column.with_, getattr(column, "after", None)) for name, column in schema.columns.items()}
    assert {name: pair for name, pair in said.items() if any(pair)} == {
        "HR_max": (None, "HR_mean"),
        "HR_mean": ("HR_max", "HR_min"),
        "HR_min": ("HR_max", None),
        "meanTemp": (None, "minTemp"),
        "minTemp": ("meanTemp", None),
        "systolic_bp": ("diastolic_bp", "diastolic_bp"),
        "discharge_date": (None, "admission_date"),
    }
    plain = Schema.from_yaml(re.sub(r"(?:with|after): [\w\"]+, ", "", text))
    assert not any(column.with_ or getattr(column, "after", None) for column in plain.columns.values())
    for name, (partner, before) in said.items():  # each key has its line of why above it
        line = next(at for at, line in enumerate(text.splitlines()) if line.startswith(f"  {name}:"))
        above = text.splitlines()[line - 1]
        assert (f"with {partner}:" in above, f"after {before}:" in above) == (bool(partner), bool(before))


def test_synthetic_rows_of_such_a_schema_keep_its_rules() -> None:
    schema = Schema.from_yaml(completed(draft(TableSource(STAY), "stay")))
    rng: Any = np.random.default_rng(1)
    codes = {cells.name: rng.integers(0, cells.size, 300, np.int32) for cells in Encoding.of(schema).features}
    for name in codes:  # half of the values are missing
        codes[name][rng.random(300) < 0.5] = Encoding.of(schema).features[schema.features.index(name)].missing
    rows = rows_of_cells(codes, rng.integers(0, 2, 300), schema, rng)
    for one, other in pairwise(("HR_min", "HR_mean", "HR_max")):
        known = rows[one].notna()
        assert (known == rows[other].notna()).all()
        assert known.any()
        assert (rows[one][known] <= rows[other][known]).all()


def test_names_that_would_break_a_file_do_not() -> None:
    table = pd.DataFrame({"null": ["a"], "y\n min": [1], "y\n max": [2], "outcome": ["x"]})
    columns = Schema.from_yaml(completed(draft(TableSource(table), "t"))).columns
    assert list(columns) == list(table.columns)
    assert getattr(columns["y\n max"], "after", None) == columns["y\n max"].with_ == "y\n min"


def test_the_columns_of_public_data_sets() -> None:
    """Names of PhysioNet 2019 (hourly values summed up for each patient) and of SUPPORT2 (one value each)."""
    stems = ("HR", "O2Sat", "SBP", "DBP", "Bilirubin_direct", "Bilirubin_total", "pH", "EtCO2")
    hourly = [f"{stem}_{kind}" for stem in stems for kind in ("mean", "min", "max", "count")]
    found = keys(numbers("Age", "HospAdmTime", "hours", "sepsis", "sepsis_first_hour", *hourly))
    assert found == {
        name: pair
        for stem in stems
        for name, pair in (
            (f"{stem}_mean", (None, f"{stem}_min")),
            (f"{stem}_min", (f"{stem}_mean", None)),
            (f"{stem}_max", (f"{stem}_mean", f"{stem}_mean")),
        )
    }
    once = SUPPORT2.split()
    assert (keys(numbers(*once)), repeated(numbers(*once))) == ({}, {})
