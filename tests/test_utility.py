"""The benchmark of utility on made data: cells are computed once, tables say what is stored, floors are private.

What it measures stands in `tests/benchmarks/results`, and is quoted by docs/benchmarks.md and README.md.
"""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import cell_runs
import floor_baselines
import numpy as np
import pandas as pd
import pytest
import quoted_tables
import result_cells
import scoring
import site_settings
import synthesizers
from markdown_tables import figure, markdown
from numpy.typing import NDArray
from public_data import Dataset
from public_tables import LOADERS, OUTCOME_LOADERS
from quoted_tables import QUOTED
from result_cells import Cell, Facts
from synthesizers import Made, Task

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.gaussian.levels import Levels
from cohortmix.core.utility.target import Target

SCHEMAS = Path(__file__).parent / "benchmarks" / "schemas"
SCHEMA = Schema.model_validate(
    {
        "name": "made",
        "target": "outcome",
        "columns": {
            "age": {"type": "number", "min": 18, "max": 98, "integer": True},
            "dose": {"type": "number", "min": 0, "max": 10, "missing": True},
            "sex": {"type": "category", "values": ["F", "M"]},
            "ward": {"type": "category", "values": ["a", "b", "c"], "missing": True},
            "outcome": {"type": "category", "values": ["well", "ill"]},
        },
    }
)
TARGETS = {"outcome": (), "age>=58": (), "sex=F": ("ward",), "dose>5": ()}


def made(rows: int, seed: int) -> pd.DataFrame:
    """Patients of whom the older are ill more often."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 99, rows)
    ill = rng.random(rows) < (age - 18) / 80
    return pd.DataFrame(
        {
            "patient": rng.permutation(rows) // 2,
            "age": age,
            "dose": np.where(rng.random(rows) < 0.1, np.nan, 10 * rng.random(rows)),
            "sex": rng.choice(["F", "M"], rows),
            "ward": rng.choice(np.array(["a", "b", "c", None]), rows),
            "outcome": np.where(ill, "ill", "well"),
        }
    )


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Runs are on made data, and their results go to a folder of the test."""

    def load(name: str, split: int) -> Dataset:
        return Dataset(name, made(600, split), SCHEMA, np.full(600, "made"), np.arange(600) % 4 == 0)

    monkeypatch.setattr(result_cells, "RESULTS", tmp_path)
    monkeypatch.setattr(cell_runs, "load", load)
    monkeypatch.setitem(scoring.TARGETS, "made", TARGETS)
    return tmp_path


# --- cells


@pytest.mark.usefixtures("results")
def test_a_cell_is_computed_once() -> None:
    cell = Cell("made", "one", "label-star", 1.0, 0)
    other = Cell("made", "one", "label-star", 1.0, 1)
    assert cell_runs.pending([cell, other]) == [cell, other]
    cell_runs.compute(cell, "a command")
    assert cell_runs.pending([cell, other]) == [other]
    assert cell_runs.pending([cell, other], again=True) == [cell, other]
    stored = result_cells.read()
    assert list(stored) == [cell]
    assert stored[cell]["command"] == "a command"
    assert stored[cell]["patients"] == [450]
    assert stored[cell]["budget"]["delta"] == pytest.approx(1 / 450, rel=1e-4)


@pytest.mark.usefixtures("results")
def test_the_same_cell_has_the_same_figures() -> None:
    """Another split does not."""
    figures = []
    for split in (0, 0, 1):
        cell = Cell("made", "one", "gaussian-floor", 1.0, split)
        cell_runs.compute(cell, "", again=True)
        figures.append(result_cells.read()[cell]["figures"])
    assert figures[0] == figures[1]
    assert figures[0] != figures[2]


def test_more_rows_come_from_the_same_release(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made once for both, and again only for the one that is not stored."""
    runs = []

    def ours(task: Task) -> Made:
        runs.append(task.seed)
        return Made({"ours": task.table, "ours-more": lambda: pd.concat([task.table] * 4)})

    monkeypatch.setattr(cell_runs, "METHODS", {**synthesizers.METHODS, "ours": ours})
    both = [Cell("made", "one", method, 1.0, 0) for method in ("ours", "ours-more")]
    assert cell_runs.pending(both) == both[:1]
    cell_runs.compute(both[0], "first")
    assert cell_runs.pending(both) == []
    file = results / both[0].file_name
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    assert cell_runs.pending(both) == both[:1]
    cell_runs.compute(both[0], "second")
    stored = result_cells.read()
    assert [stored[cell]["command"] for cell in both] == ["first", "second"]
    assert [stored[cell]["figures"]["rows"] for cell in both] == [450, 1800]
    assert runs == [0, 0]


# --- targets and settings


def test_more_rows_are_four_times_as_many_and_enough_where_patients_are_few() -> None:
    assert [synthesizers.more(patients) for patients in (100, 6_000, 10_000)] == [24_000, 24_000, 40_000]


def test_no_target_stands_alone() -> None:
    """The declared one comes first, and three others at least."""
    files = [path for path in SCHEMAS.glob("*.yaml") if path.stem not in OUTCOME_LOADERS]
    schemas = {path.stem: Schema.from_yaml(path.read_text()) for path in files}
    assert len(schemas) >= 5
    for name, schema in schemas.items():
        first, *others = scoring.TARGETS[name]
        assert first == schema.target_name
        assert len(others) >= 3
        for target, hidden in scoring.TARGETS[name].items():
            assert Target.parse(target, schema).classes == 2
            assert set(hidden) <= set(schema.columns)


@pytest.mark.parametrize(("setting", "sites"), [("one", 1), ("five", 5), ("ten", 10), ("skew", 5), ("few", 1)])
def test_a_patient_is_at_one_site(monkeypatch: pytest.MonkeyPatch, setting: str, sites: int) -> None:
    monkeypatch.setitem(site_settings.FEATURE, "made", "age")
    schema = SCHEMA.model_copy(update={"patient_key": "patient"})
    table = made(3_000, 0)
    data = Dataset("made", table, schema, np.full(3_000, "made"), np.zeros(3_000, dtype=bool))
    records, site = site_settings.SETTINGS[setting](data, 0)
    assert len(np.unique(site)) == sites
    assert (pd.Series(site).groupby(records["patient"].to_numpy()).nunique() == 1).all()
    assert records["patient"].nunique() == (1_000 if setting == "few" else 1_500)
    ages = records.groupby(site)["age"].mean().to_numpy()
    assert (np.ptp(ages) > 10) == (setting == "skew")


# --- tables


def facts(trees: float) -> dict[str, Any]:
    model = {"targets": {"outcome": trees, "sex=F": trees / 2}, "mean": trees * 0.75}
    figures = {"trees": model, "logistic": model, "tvd1": trees / 10, "tvd2": trees / 5, "rows": 10}
    return {"figures": figures, "cpu seconds": 12.0, "peak GB": 0.52}


def test_a_row_has_mean_and_standard_deviation_over_splits() -> None:
    values = [0.8, 0.84, 0.91]
    cells = {Cell("adult", "one", "ours", 1.0, split): facts(value) for split, value in enumerate(values)}
    row = markdown(cells).splitlines()[2]
    for factor in (1, 0.75, 0.1, 0.2):
        mean, deviation = (f"{factor * law:.3f}"[1:] for law in (np.mean(values), np.std(values, ddof=1)))
        assert f" {mean} +- {deviation} " in row
    assert "| ours | 3 |" in row
    assert "+-" not in markdown(dict(list(cells.items())[:1]))


def test_of_several_classes_the_accuracy_is_shown() -> None:
    plain = facts(0.8)
    assert figure(plain, ("figures", "trees", "declared")) == 0.8
    plain["figures"]["trees"] = {"accuracy": 0.7, **plain["figures"]["trees"]}
    assert figure(plain, ("figures", "trees", "declared")) == 0.7


def test_the_published_method_is_marked() -> None:
    """It has no valid guarantee, wherever it is shown."""
    stored = {Cell("adult", "one", "published", 1.0, 0): facts(0.8)}
    for shown in (markdown, quoted_tables.quoted_table):
        assert sum("no valid guarantee" in line for line in shown(stored).splitlines()) == 1


def test_variants_of_the_ablation_are_no_methods() -> None:
    """Their cells stand in the same files."""
    assert len(markdown({Cell("adult", "one", "no-mixture", 1.0, 0): facts(0.8)}).splitlines()) == 2


# --- documents


def test_sites_that_gain_are_counted() -> None:
    """By the mean over splits: the pooled release reaches .8, a site alone .7, .79 and .83."""
    pooled: dict[Cell, Facts] = {
        Cell("heart", "natural", "ours", 1.0, split): facts(0.78 + split / 25) for split in (0, 1)
    }
    alone = {"north": 0.7, "south": 0.83, "west": 0.79}
    own = {Cell("heart", "natural", "own", None, 0): {"figures": {"trees": alone, "logistic": alone}}}
    sentence = quoted_tables.quoted_table({**pooled, **own}).split("- ")[-1]
    assert "boosted trees .700 (north) to .830 (south), and the pooled release serves 2 of 3 better" in sentence
    assert "real records alone" not in quoted_tables.quoted_table(pooled)


def test_the_readme_has_the_better_floor_and_says_what_is_not_measured() -> None:
    """A row for each data set, whether anything of it is stored or not."""
    floors = {"label-star": 0.9, "gaussian-floor": 0.6}
    stored: dict[Cell, Facts] = {
        Cell("adult", "one", method, 1.0, 0): facts(value) for method, value in floors.items()
    }
    stored[Cell("adult", "one", "gaussian-floor", 1.0, 0)]["figures"]["trees"]["mean"] = 0.7
    stored[Cell("adult", "one", "ours", 1.0, 0)] = facts(0.8)
    stored[Cell("adult", "one", "ours", 1.0, 1)] = facts(0.84)
    _, _, adult, stroke, *_ = quoted_tables.readme_table(stored).splitlines()
    assert adult == "| UCI Adult | .820 / .615 | - | .900 / .700 | - | - |"
    assert stroke == "| International Stroke Trial | - | - | - | - | - |"


def test_a_wrong_number_in_a_document_is_noticed() -> None:
    begin, end = QUOTED.marks
    lines = quoted_tables.quoted_table({Cell("adult", "one", "ours", 1.0, 0): facts(0.8)})
    right = QUOTED.filled(f"before\n{begin}\n{end}\nafter", lines)
    assert ".800 / .600" in right
    assert right.startswith("before\n")
    assert right.endswith("\nafter")
    assert QUOTED.filled(right, lines) == right
    wrong = right.replace(".800", ".801")
    assert QUOTED.filled(wrong, lines) != wrong


@pytest.mark.parametrize("text", ["{0}", "{1}{0}", "{0}{1}{0}{1}", "nothing"])
def test_a_document_without_both_marks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected <!-- begin utility: .* once each in benchmarks\.md"):
        QUOTED.filled(text.format(*QUOTED.marks), "lines")


def test_documents_say_what_is_stored() -> None:
    """README.md and docs/benchmarks.md; if not, `make bench-tables` writes it."""
    for part, lines in quoted_tables.parts(result_cells.read()).items():
        text = part.document.read_text(encoding="utf-8")
        assert part.filled(text, lines) == text, part.name


# --- floors


def weighted(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the Gaussian floor adds noise to."""
    return np.asarray((moment * np.where(np.eye(len(moment)), 1, sqrt(2)))[np.triu_indices(len(moment))])


@pytest.mark.parametrize("key", [None, "patient"])
def test_sensitivity_of_the_gaussian_floor(key: str | None) -> None:
    """Replacing one patient moves it by at most sqrt(2) (D + 1), and by nearly as much for opposite ones."""
    schema = SCHEMA.model_copy(update={"patient_key": key})
    levels, bound = Levels.of(Encoding.of(schema)), sqrt(2) * (len(schema.features) + 1)
    table, other = made(40, 0), made(40, 1)
    table["patient"] = other["patient"] = np.arange(40) // 2
    most: dict[str, Any] = {"age": 98, "dose": 10.0, "sex": "F", "ward": "a", "outcome": "ill"}
    least: dict[str, Any] = {"age": 18, "dose": 0.0, "sex": "M", "ward": "b", "outcome": "well"}
    for name in schema.columns:
        table.loc[:1, name], other.loc[:1, name] = most[name], least[name]
    moved = []
    for patient in range(20):
        rows = np.flatnonzero(table["patient"] == patient) if key else [patient]
        neighbour = table.copy()
        neighbour.loc[rows] = other.loc[rows]
        exact, n = floor_baselines.second_moment(levels, table, schema)
        changed, m = floor_baselines.second_moment(levels, neighbour, schema)
        assert n == m == (20 if key else 40)
        moved.append(float(np.linalg.norm(weighted(exact) - weighted(changed))))
    assert max(moved) <= bound
    assert max(moved) > 0.7 * bound


def test_noise_of_the_gaussian_floor() -> None:
    """sigma on the diagonal and sigma / sqrt(2) off it; neither 2/3 nor 3/2 of it."""
    noised = floor_baselines.noised(np.zeros((300, 300)), 5.0, KeyedNoise(0))
    assert (noised == noised.T).all()
    off = noised[np.triu_indices(300, 1)]
    assert off.std() == pytest.approx(5 / sqrt(2), rel=0.02)
    assert np.diag(noised).std() == pytest.approx(5, rel=0.2)


@pytest.mark.parametrize("floor", [floor_baselines.label_star, floor_baselines.class_gaussians])
def test_floors_learn_what_they_may(floor: Any) -> None:
    """The outcome follows age, with a large budget and two sites; not with next to none."""
    table = made(2_000, 0)
    tables, noise = [table[:900], table[900:]], [KeyedNoise(0), KeyedNoise(1)]
    gaps = []
    for mu in (5.0, 1e-3):
        records = floor(tables, SCHEMA, mu, noise)
        assert len(records) == 2_000
        ages = records["age"].astype(float).groupby(records["outcome"]).mean().reindex(["ill", "well"])
        gaps.append(float(ages["ill"] - ages["well"]))
    true = table.groupby("outcome")["age"].mean()
    assert gaps[0] == pytest.approx(true["ill"] - true["well"], abs=3)
    assert gaps[1] != pytest.approx(true["ill"] - true["well"], abs=3)


def test_the_declared_target_is_not_below_label_histograms_on_any_table() -> None:
    """By no more than two standard errors of the difference over the splits; nor is any other target, by far."""
    stored = of_classes()
    apart: dict[Cell, list[list[float]]] = {}
    for cell, facts in stored.items():
        floor = stored.get(replace(cell, method="label-star"))
        if cell.method == "ours" and floor is not None:
            apart.setdefault(cell.row, []).append([_trees(facts)[k] - _trees(floor)[k] for k in range(2)])
    several = {row: np.array(off) for row, off in apart.items() if len(off) > 2}
    assert len({row.data for row in several}) >= 5
    for row, off in several.items():
        declared, mean = off.mean(axis=0)
        assert declared >= -2 * off[:, 0].std(ddof=1) / sqrt(len(off)), row
        assert mean > 0, row


def test_ten_times_the_budget_is_not_worse_on_any_table() -> None:
    """Pairs are no farther from real ones, nor models worse: over the splits that both have."""
    stored = of_classes()
    both: dict[Cell, list[list[tuple[float, float]]]] = {}
    for cell, facts in stored.items():
        larger = stored.get(replace(cell, epsilon=10.0))
        if cell.method == "ours" and cell.epsilon == 1 and larger is not None:
            both.setdefault(cell.row, []).append([_pairs_and_models(each) for each in (facts, larger)])
    assert len({row.data for row in both}) >= 8
    for row, found in both.items():
        (pairs, models), (pairs_of_larger, models_of_larger) = np.array(found).mean(axis=0)
        assert pairs_of_larger <= pairs + 0.001, row
        assert models_of_larger >= models - 0.01, row


def of_classes() -> dict[Cell, Facts]:
    """The stored cells of tables whose target is a category, which models of the same kind have scored."""
    return {cell: facts for cell, facts in result_cells.read().items() if cell.data in LOADERS}


def _pairs_and_models(facts: Facts) -> tuple[float, float]:
    """TVD of pairs, and the mean over targets of both models."""
    figures = facts["figures"]
    return figures["tvd2"], (figures["trees"]["mean"] + figures["logistic"]["mean"]) / 2


def _trees(facts: Facts) -> tuple[float, float]:
    """The declared target, and the mean over all."""
    trees = facts["figures"]["trees"]
    return next(iter(trees["targets"].values())), trees["mean"]
