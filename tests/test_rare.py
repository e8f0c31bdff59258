"""The benchmark of the rare class: its figures, its verdicts, and what documents say of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import result_cells
from bench_rare import score_rare
from public_data import SPLITS, Dataset
from rare_tables import FILE, METHODS, MODELS, SETTING, TABLE, cells, markdown
from result_cells import RESULTS, Cell, Facts
from site_settings import SETTINGS

from cohortmix.core.data.schema import Schema

SCHEMA = Schema.model_validate(
    {
        "name": "made",
        "patient_key": "patient",
        "target": "sick",
        "columns": {
            "risk": {"type": "number", "min": -6, "max": 6},
            "sick": {"type": "category", "values": ["yes", "no"]},
        },
    }
)


def made(rows: int = 4_000) -> pd.DataFrame:
    """One patient in twenty is sick, and all of those have a high risk."""
    rng = np.random.default_rng(0)
    sick = np.arange(rows) % 20 == 0
    risk = (rng.standard_normal(rows) + 4 * sick).clip(-6, 6)
    return pd.DataFrame({"patient": np.arange(rows), "risk": risk, "sick": np.where(sick, "yes", "no")})


def data_of(table: pd.DataFrame) -> Dataset:
    return Dataset("made", table, SCHEMA, np.full(len(table), "made"), np.arange(len(table)) % 3 == 0)


def test_the_rare_class_is_found_by_who_learned_of_it_and_by_nobody_else() -> None:
    """A risk of somebody else finds about one in twenty, the share that is called positive."""
    data = data_of(made())
    shuffled = data.train.assign(risk=np.random.default_rng(1).permutation(data.train["risk"]))
    real, without = (score_rare(records, data) for records in (data.train, shuffled))
    assert (real["class"], real["share"]) == ("yes", pytest.approx(0.05, abs=0.001))
    for model in MODELS:
        assert real[model]["recall"] > 0.85
        assert real[model]["average_precision"] > 0.85
    assert without["trees"]["recall"] < 0.2


def test_the_threshold_is_of_the_real_records_whatever_a_release_says() -> None:
    """Twice as many sick ones among the records learned from: no more are called positive."""
    data = data_of(made())
    twice = pd.concat([data.train, data.train[data.train["sick"] == "yes"]])
    real, other = (score_rare(records, data) for records in (data.train, twice))
    assert other["share"] == real["share"]
    assert other["logistic"]["recall"] == pytest.approx(real["logistic"]["recall"], abs=0.02)


def stored_with(less: float, splits: int = 2) -> dict[Cell, Facts]:
    """Cells of sepsis, where both models of a release find so much less than those of the real records."""
    return {
        cell: {
            "figures": {
                "share": 0.07,
                **{model: {"recall": 0.3 - less * (cell.method == "ours")} for model in MODELS},
            }
        }
        for cell in cells(splits)
        if cell.setting == "physionet2019"
    }


@pytest.mark.parametrize(("less", "verdict"), [(0.049, "yes"), (-0.1, "yes"), (0.051, "no")])
def test_a_release_is_near_enough_or_not(less: float, verdict: str) -> None:
    rows = {row.split(" | ")[2]: row for row in markdown(stored_with(less)).splitlines()[2:]}
    assert set(rows) == set(METHODS)
    assert rows["ours"].endswith(f"| trees: {verdict}; logistic: {verdict} |")
    assert rows["real"].endswith("|  |")


def test_a_model_without_a_figure_is_not_near_enough() -> None:
    stored = stored_with(0.0)
    first = Cell(FILE, "physionet2019", "ours", 1.0, 0)
    stored[first] = {"figures": {**stored[first]["figures"], "trees": {"recall": None}}}
    assert "trees: no; logistic: yes" in markdown(stored)
    del stored[Cell(FILE, "physionet2019", "real", None, 0)]
    assert "trees: yes; logistic: yes" in markdown(stored)  # on the split that both have


# --- what is stored


def test_stored_cells_are_of_the_grid() -> None:
    stored = result_cells.read_file(RESULTS / f"{FILE}.jsonl")
    assert set(stored) <= set(cells(SPLITS))
    assert {(cell.setting, cell.method) for cell in stored} == {(d, m) for d in SETTING for m in METHODS}
    assert set(SETTING.values()) <= set(SETTINGS)


def test_documents_say_what_is_stored() -> None:
    """If not, `make bench-tables` writes docs/benchmarks.md."""
    stored = result_cells.read_file(RESULTS / f"{FILE}.jsonl")
    text = TABLE.document.read_text(encoding="utf-8")
    assert TABLE.filled(text, markdown(stored)) == text
