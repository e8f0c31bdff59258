"""The benchmark of outcomes that are no category: its figures, its goals, and what documents say of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import outcome_scoring
import pandas as pd
import pytest
import result_cells
from outcome_tables import COX, EPSILONS, FILE, GOALS, METHODS, NUMBERS, TABLE, cells, markdown, place_of
from public_data import OFFICIAL, SPLITS, SPLITS_FILE, Dataset
from public_tables import LOADERS, OUTCOME_LOADERS
from result_cells import RESULTS, Cell, Facts
from site_settings import SETTINGS

from cohortmix.core.data.schema import Schema

SURVIVAL = Schema.model_validate(
    {
        "name": "made",
        "target": {"time": "days", "event": "died"},
        "columns": {
            "risk": {"type": "number", "min": -5, "max": 5},
            "arm": {"type": "category", "values": ["a", "b"]},
            "days": {"type": "number", "min": 0.001, "max": 100},
            "died": {"type": "category", "values": [0, 1]},
        },
    }
)
STAY = Schema.model_validate(
    {
        "name": "made",
        "patient_key": "patient",
        "target": "stay",
        "columns": {
            "risk": {"type": "number", "min": -5, "max": 5},
            "arm": {"type": "category", "values": ["a", "b"]},
            "stay": {"type": "number", "min": 0, "max": 20},
        },
    }
)


def made(rows: int = 1_200) -> pd.DataFrame:
    """A risk that tells the time and the stay well."""
    rng = np.random.default_rng(0)
    risk = rng.standard_normal(rows).clip(-4, 4)
    event, left = rng.exponential(20 * np.exp(-risk)), rng.exponential(60, rows)
    return pd.DataFrame(
        {
            "patient": np.arange(rows),
            "risk": risk,
            "arm": rng.choice(["a", "b"], rows),
            "days": np.minimum(event, left).clip(0.001, 100),
            "died": (event <= left).astype(int),
            "stay": (10 + 2 * risk + rng.standard_normal(rows)).clip(0, 20),
        }
    )


def data_of(schema: Schema) -> Dataset:
    table = made()
    return Dataset("made", table, schema, np.full(len(table), "made"), np.arange(len(table)) % 4 == 0)


def shuffled(table: pd.DataFrame) -> pd.DataFrame:
    """Whose risk is somebody else's."""
    return table.assign(risk=np.random.default_rng(1).permutation(table["risk"]))


# --- figures


def test_records_that_are_the_real_ones_are_at_no_distance_and_tell_the_time() -> None:
    data = data_of(SURVIVAL)
    figures = outcome_scoring.score_outcome(data.train, data)
    assert (figures["rows"], figures["km_distance"], figures["restricted_mean_ratio"]) == (900, 0, 1)
    assert figures["cox"]["harrell_c"] > 0.7
    assert figures["random_survival_forest"]["harrell_c"] > 0.7


def test_records_without_structure_keep_the_curve_and_tell_nothing() -> None:
    data = data_of(SURVIVAL)
    figures, real = (outcome_scoring.score_outcome(table, data) for table in (shuffled(data.train), data.train))
    assert figures["km_distance"] == 0
    for model in ("cox", "random_survival_forest"):
        assert figures[model]["harrell_c"] < 0.62 < real[model]["harrell_c"]
        assert figures[model]["integrated_brier"] > real[model]["integrated_brier"]


def test_a_curve_of_shorter_times_is_at_a_distance() -> None:
    data = data_of(SURVIVAL)
    figures = outcome_scoring.score_outcome(data.train.assign(days=data.train["days"] / 2 + 0.001), data)
    assert figures["km_distance"] > 0.1
    assert figures["restricted_mean_ratio"] < 0.9


def test_a_model_that_cannot_be_fitted_has_no_figures() -> None:
    """Without an event there is nothing to learn from; the curve has a distance all the same."""
    data = data_of(SURVIVAL)
    figures = outcome_scoring.score_outcome(data.train.assign(died=0), data)
    assert figures["cox"] is None
    assert figures["random_survival_forest"] is None
    assert figures["km_distance"] > 0.5


def test_a_number_is_predicted_from_what_tells_it() -> None:
    data = data_of(STAY)
    reverse = data.train.assign(risk=-data.train["risk"])
    tables = (data.train, shuffled(data.train), reverse)
    real, without, wrong = (outcome_scoring.score_outcome(table, data) for table in tables)
    for model in ("boosted_trees", "linear"):
        assert real[model]["r2"] > 0.6 > 0.1 > without[model]["r2"]
        assert real[model]["spearman"] > 0.8 > -0.8 > wrong[model]["spearman"]
        assert real[model]["mean_absolute_error"] < without[model]["mean_absolute_error"]


# --- goals


def reaching(lower: Callable[[str], float]) -> dict[Cell, Facts]:
    """Cells of METABRIC at epsilon 1, whose figures lie below those of the real records."""
    stored: dict[Cell, Facts] = {}
    for method, epsilon in (("real", None), ("ours", 1.0)):
        for split in range(2):
            less = {name: lower(name) if method == "ours" else 0 for name in ("cox", "forest", "curve")}
            figures = {
                "cox": {"harrell_c": 0.65 + split / 100 - less["cox"]},
                "random_survival_forest": {"harrell_c": 0.65 - less["forest"]},
                "km_distance": less["curve"],
                "restricted_mean_ratio": 1.0,
            }
            stored[Cell(FILE, "metabric_survival", method, epsilon, split)] = {"figures": figures}
    return stored


@pytest.mark.parametrize(
    ("less", "expected"),
    [
        (0.029, "Cox within .035 of real: yes; forest within .035 of real: yes; KM distance <= .03: yes"),
        (0.031, "Cox within .035 of real: yes; forest within .035 of real: yes; KM distance <= .03: no"),
        (0.036, "Cox within .035 of real: no; forest within .035 of real: no; KM distance <= .03: no"),
    ],
)
def test_a_goal_is_reached_or_not(less: float, expected: str) -> None:
    rows = markdown(reaching(lambda name: less)).splitlines()
    shown = {row.split(" | ")[2]: row for row in rows if row.startswith("| metabric")}
    assert shown["ours"].endswith(f"| {expected} |")
    assert shown["real"].endswith("|  |")


def test_goals_are_of_splits_that_both_have_and_of_models_that_were_fitted() -> None:
    stored = reaching(lambda name: 0.0)
    late = Cell(FILE, "metabric_survival", "real", None, 1)
    stored[late] = {"figures": {**stored[late]["figures"], "cox": {"harrell_c": 0.9}}}
    assert "Cox within .035 of real: no" in markdown(stored)
    del stored[late]
    assert "Cox within .035 of real: yes" in markdown(stored)
    first = Cell(FILE, "metabric_survival", "ours", 1.0, 0)
    stored[first] = {"figures": {**stored[first]["figures"], "cox": None}}
    assert "Cox within .035 of real: no" in markdown(stored)


def test_every_release_has_goals() -> None:
    assert set(GOALS) == {(data, epsilon) for data, epsilons in EPSILONS.items() for epsilon in epsilons}
    for (data, _), goals in GOALS.items():
        assert any(goal.path == COX for goal in goals) == (data not in NUMBERS)


def test_a_release_of_sites_is_compared_with_the_real_records_of_all() -> None:
    stored: dict[Cell, Facts] = {
        Cell(FILE, "tcga_brca", "real", None, 0): {"figures": {"cox": {"harrell_c": 0.8}}},
        Cell(FILE, "tcga_brca_five", "ours", 5.0, 0): {"figures": {"cox": {"harrell_c": 0.67}}},
        Cell(FILE, "tcga_brca_six", "joint", 5.0, 0): {"figures": {"cox": {"harrell_c": 0.69}}},
    }
    rows = markdown(stored).splitlines()
    assert [row for row in rows if "tcga_brca_five" in row and row.endswith("| Cox >= .68: no |")]
    assert [row for row in rows if "tcga_brca_six" in row and row.endswith("| Cox >= .68: yes |")]


def test_a_site_that_adds_all_of_the_noise_has_patients_enough() -> None:
    """One of 49 patients is left out, with its records; one of 50 takes part."""
    table = made(200)
    site = np.repeat(["a", "b", "c"], [49, 50, 101])
    data = Dataset("made", table, SURVIVAL, site, np.zeros(200, dtype=bool))
    kept, of = SETTINGS["enough"](data, 0)
    assert (list(np.unique(of)), list(kept.index)) == (["b", "c"], list(range(49, 200)))
    assert set(SETTINGS["natural"](data, 0)[1]) == {"a", "b", "c"}


# --- what is stored


def test_outcomes_are_in_no_table_of_classification() -> None:
    assert {place_of(name).data for name in EPSILONS} == set(OUTCOME_LOADERS)
    assert not {*OUTCOME_LOADERS, FILE} & set(LOADERS)


def test_every_table_has_five_splits_and_official_ones_are_alike() -> None:
    packed = np.load(SPLITS_FILE)
    assert set(packed) == {*LOADERS, *OUTCOME_LOADERS}
    for name, splits in packed.items():
        assert len(splits) == SPLITS
        assert (splits == splits[0]).all() == (name in OFFICIAL)
    assert np.unpackbits(packed["tcga_brca"][0]).sum() == 222  # FLamby's
    assert (packed["diabetes_stay"] == packed["diabetes130"]).all()


def test_stored_cells_are_of_the_grid() -> None:
    stored = result_cells.read_file(RESULTS / f"{FILE}.jsonl")
    assert set(stored) <= set(cells(SPLITS))
    assert {cell.method for cell in stored} == set(METHODS)
    for cell, facts in stored.items():
        assert (facts["budget"] is None) == (cell.method == "real")


def test_documents_say_what_is_stored() -> None:
    """If not, `make bench-tables` writes docs/benchmarks.md."""
    stored = result_cells.read_file(RESULTS / f"{FILE}.jsonl")
    text = TABLE.document.read_text(encoding="utf-8")
    assert TABLE.filled(text, markdown(stored)) == text
