"""The benchmark of utility: cells are computed once, tables say what they hold, and floors keep their guarantee.

What it measures is in `tests/benchmarks/results/utility`; here it runs on made data.
"""

from __future__ import annotations

import json
from importlib import import_module
from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.gaussian.levels import Levels
from cohortmix.core.utility.target import Target

BENCHMARKS = Path(__file__).parent / "benchmarks"
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
            "ward": rng.choice(["a", "b", "c", None], rows),
            "outcome": np.where(ill, "ill", "well"),
        }
    )


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The benchmark's modules, which name each other as scripts do; results go to a folder of the test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("cells", "datasets", "floors", "methods", "quoted", "scores", "settings", "tables", "targets")
    modules = SimpleNamespace(**{name: import_module(name) for name in names})

    def load(name: str, split: int) -> Any:
        table = made(600, split)
        held_out = np.arange(600) % 4 == 0
        return modules.datasets.Dataset(name, table, SCHEMA, np.full(600, "made"), held_out)

    monkeypatch.setattr(modules.cells, "RESULTS", tmp_path)
    monkeypatch.setattr(modules.cells, "load", load)
    monkeypatch.setitem(modules.targets.TARGETS, "made", TARGETS)
    return modules


# --- cells


def test_a_cell_is_computed_once(bench: Any) -> None:
    cell = bench.cells.Cell("made", "one", "label-star", 1.0, 0)
    other = bench.cells.Cell("made", "one", "label-star", 1.0, 1)
    assert bench.cells.pending([cell, other]) == [cell, other]
    bench.cells.compute(cell, "a command")
    assert bench.cells.pending([cell, other]) == [other]
    assert bench.cells.pending([cell, other], again=True) == [cell, other]
    facts = bench.cells.read(bench.cells.RESULTS)
    assert list(facts) == [cell]
    assert facts[cell]["command"] == "a command"
    assert facts[cell]["patients"] == [450]
    assert facts[cell]["budget"]["delta"] == pytest.approx(1 / 450, rel=1e-4)


def test_the_same_cell_has_the_same_figures(bench: Any) -> None:
    """Another split does not."""
    cells = [bench.cells.Cell("made", "one", "gaussian-floor", 1.0, split) for split in (0, 0, 1)]
    found = []
    for cell in cells:
        bench.cells.compute(cell, "", again=True)
        found.append(json.loads(cell.path.read_text())["figures"])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_a_run_that_is_killed_leaves_no_half_of_a_cell(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = bench.cells.Cell("made", "one", "real", None, 0)

    def killed(self: Path, text: str) -> int:
        with self.open("w") as file:
            file.write(text[: len(text) // 2])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.cells.compute(cell, "")
    assert bench.cells.read(bench.cells.RESULTS) == {}
    assert bench.cells.pending([cell]) == [cell]


def test_more_rows_come_of_the_same_release(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made once for both, and again only for the one that is not stored."""
    runs = []

    def ours(task: Any) -> Any:
        runs.append(task.seed)
        return bench.methods.Made({"ours": task.table, "ours-more": lambda: pd.concat([task.table] * 4)})

    monkeypatch.setitem(bench.methods.METHODS, "ours", ours)
    both = [bench.cells.Cell("made", "one", method, 1.0, 0) for method in ("ours", "ours-more")]
    assert bench.cells.pending(both) == both[:1]
    bench.cells.compute(both[0], "first")
    assert bench.cells.pending(both) == []
    both[1].path.unlink()
    assert bench.cells.pending(both) == both[:1]
    bench.cells.compute(both[0], "second")
    facts = bench.cells.read(bench.cells.RESULTS)
    assert [facts[cell]["command"] for cell in both] == ["first", "second"]
    assert [facts[cell]["figures"]["rows"] for cell in both] == [450, 1800]
    assert runs == [0, 0]


# --- targets and settings


def test_more_rows_are_four_times_as_many_and_enough_where_patients_are_few(bench: Any) -> None:
    assert [bench.methods.more(patients) for patients in (100, 6_000, 10_000)] == [24_000, 24_000, 40_000]


def test_no_target_stands_alone(bench: Any) -> None:
    """The declared one comes first, and three others at least."""
    schemas = {path.stem: Schema.from_yaml(path.read_text()) for path in (BENCHMARKS / "schemas").glob("*.yaml")}
    assert len(schemas) >= 5
    for name, schema in schemas.items():
        first, *others = bench.targets.TARGETS[name]
        assert first == schema.target
        assert len(others) >= 3
        for target, hidden in bench.targets.TARGETS[name].items():
            assert Target.parse(target, schema).classes == 2
            assert set(hidden) <= set(schema.columns)


@pytest.mark.parametrize(("setting", "sites"), [("one", 1), ("five", 5), ("ten", 10), ("skew", 5), ("few", 1)])
def test_a_patient_is_at_one_site(bench: Any, monkeypatch: pytest.MonkeyPatch, setting: str, sites: int) -> None:
    monkeypatch.setitem(bench.settings.FEATURE, "made", "age")
    schema = SCHEMA.model_copy(update={"patient_key": "patient"})
    table = made(3_000, 0)
    data = bench.datasets.Dataset("made", table, schema, np.full(3_000, "made"), np.zeros(3_000, dtype=bool))
    records, site = bench.settings.SETTINGS[setting](data, 0)
    assert len(np.unique(site)) == sites
    assert (pd.Series(site).groupby(records["patient"].to_numpy()).nunique() == 1).all()
    assert records["patient"].nunique() == (1_000 if setting == "few" else 1_500)
    ages = records.groupby(site)["age"].mean()
    assert (np.ptp(ages) > 10) == (setting == "skew")


# --- tables


def facts(trees: float, split: int) -> dict[str, Any]:
    model = {"targets": {"outcome": trees, "sex=F": trees / 2}, "mean": trees * 0.75}
    figures = {"trees": model, "logistic": model, "tvd1": trees / 10, "tvd2": trees / 5, "rows": 10}
    return {"figures": figures, "cpu seconds": 12.0, "peak GB": 0.52}


def test_a_row_has_mean_and_standard_deviation_over_splits(bench: Any) -> None:
    values = [0.8, 0.84, 0.91]
    cells = {
        bench.cells.Cell("adult", "one", "ours", 1.0, split): facts(value, split)
        for split, value in enumerate(values)
    }
    row = bench.tables.markdown(cells).splitlines()[2]
    for factor in (1, 0.75, 0.1, 0.2):
        mean, deviation = (f"{factor * each(values):.3f}"[1:] for each in (np.mean, lambda x: np.std(x, ddof=1)))
        assert f" {mean} +- {deviation} " in row
    assert "| ours | 3 |" in row
    assert "+-" not in bench.tables.markdown(dict(list(cells.items())[:1]))


def test_of_several_classes_the_accuracy_is_shown(bench: Any) -> None:
    plain = facts(0.8, 0)
    assert bench.tables.figure(plain, ("figures", "trees", "declared")) == 0.8
    plain["figures"]["trees"] = {"accuracy": 0.7, **plain["figures"]["trees"]}
    assert bench.tables.figure(plain, ("figures", "trees", "declared")) == 0.7


def test_the_published_method_is_marked(bench: Any) -> None:
    """It has no valid guarantee, wherever it is shown."""
    cell = bench.cells.Cell("adult", "one", "published", 1.0, 0)
    for shown in (bench.tables.markdown, bench.quoted.markdown):
        assert sum("no valid guarantee" in line for line in shown({cell: facts(0.8, 0)}).splitlines()) == 1


# --- the README


def test_sites_that_gain_are_counted(bench: Any) -> None:
    """By the mean over splits: the pooled release reaches .8, a site alone .7, .79 and .83."""
    pooled = {
        bench.cells.Cell("heart", "natural", "ours", 1.0, split): facts(0.78 + split / 25, 0) for split in (0, 1)
    }
    alone = {"north": 0.7, "south": 0.83, "west": 0.79}
    own = {"figures": {"trees": alone, "logistic": alone}}
    (told,) = bench.quoted.markdown({**pooled, bench.cells.Cell("heart", "natural", "own", None, 0): own}).split(
        "- "
    )[-1:]
    assert "boosted trees .700 (north) to .830 (south), and the pooled release serves 2 of 3 better" in told
    assert "real records alone" not in bench.quoted.markdown(pooled)


def test_a_wrong_number_in_the_readme_is_noticed(bench: Any) -> None:
    stored = {bench.cells.Cell("adult", "one", "ours", 1.0, 0): facts(0.8, 0)}
    begin, end = bench.quoted.BEGIN, bench.quoted.END
    right = bench.quoted.filled(f"before\n{begin}\n{end}\nafter", stored)
    assert ".800 / .600" in right
    assert right.startswith("before\n")
    assert right.endswith("\nafter")
    assert bench.quoted.filled(right, stored) == right
    wrong = right.replace(".800", ".801")
    assert bench.quoted.filled(wrong, stored) != wrong


def test_the_table_of_the_readme_is_what_is_stored(bench: Any) -> None:
    readme = bench.quoted.README.read_text(encoding="utf-8")
    stored = bench.cells.read(BENCHMARKS / "results" / "utility")
    assert bench.quoted.filled(readme, stored) == readme


# --- floors


def weighted(moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the Gaussian floor adds noise to."""
    return (moment * np.where(np.eye(len(moment)), 1, sqrt(2)))[np.triu_indices(len(moment))]


@pytest.mark.parametrize("key", [None, "patient"])
def test_sensitivity_of_the_gaussian_floor(bench: Any, key: str | None) -> None:
    """Replacing one patient moves it by at most sqrt(2) (D + 1), and by nearly as much for opposite ones."""
    schema = SCHEMA.model_copy(update={"patient_key": key})
    levels, bound = Levels.of(Encoding.of(schema)), sqrt(2) * (len(schema.features) + 1)
    table, other = made(40, 0), made(40, 1)
    table["patient"] = other["patient"] = np.arange(40) // 2
    table.loc[:1, ["age", "dose", "sex", "ward", "outcome"]] = [98, 10.0, "F", "a", "ill"]
    other.loc[:1, ["age", "dose", "sex", "ward", "outcome"]] = [18, 0.0, "M", "b", "well"]
    moved = []
    for patient in range(20):
        rows = table.index[table["patient"] == patient] if key else [patient]
        neighbour = table.copy()
        neighbour.loc[rows] = other.loc[rows]
        exact, n = bench.floors._second_moment(levels, table, schema)
        changed, m = bench.floors._second_moment(levels, neighbour, schema)
        assert n == m == (20 if key else 40)
        moved.append(float(np.linalg.norm(weighted(exact) - weighted(changed))))
    assert max(moved) <= bound
    assert max(moved) > 0.7 * bound


def test_noise_of_the_gaussian_floor(bench: Any) -> None:
    """sigma on the diagonal and sigma / sqrt(2) off it; neither 2/3 nor 3/2 of it."""
    noised = bench.floors._noised(np.zeros((300, 300)), 5.0, KeyedNoise(0))
    assert (noised == noised.T).all()
    off = noised[np.triu_indices(300, 1)]
    assert off.std() == pytest.approx(5 / sqrt(2), rel=0.02)
    assert np.diag(noised).std() == pytest.approx(5, rel=0.2)


@pytest.mark.parametrize("floor", ["label_star", "class_gaussians"])
def test_floors_learn_what_they_may(bench: Any, floor: str) -> None:
    """The outcome follows age, with a large budget and two sites; not with next to none."""
    table = made(2_000, 0)
    tables, noise = [table[:900], table[900:]], [KeyedNoise(0), KeyedNoise(1)]
    gaps = []
    for mu in (5.0, 1e-3):
        records = getattr(bench.floors, floor)(tables, SCHEMA, mu, noise)
        assert len(records) == 2_000
        ages = records["age"].astype(float).groupby(records["outcome"]).mean().reindex(["ill", "well"])
        gaps.append(float(ages["ill"] - ages["well"]))
    true = table.groupby("outcome")["age"].mean()
    assert gaps[0] == pytest.approx(true["ill"] - true["well"], abs=3)
    assert gaps[1] != pytest.approx(true["ill"] - true["well"], abs=3)
