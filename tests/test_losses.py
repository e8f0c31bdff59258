"""Steps between the real records and a release: each loses what its name says, and nothing more."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from cohortmix.core import Budget
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.synthesis import synthesize

BENCHMARKS = Path(__file__).parent / "benchmarks"
SCHEMA = Schema.model_validate(
    {
        "name": "made",
        "target": "outcome",
        "columns": {
            "age": {"type": "number", "min": 18, "max": 98},
            "sex": {"type": "category", "values": ["F", "M"]},
            "ward": {"type": "category", "values": ["a", "b", "c"], "missing": True},
            "outcome": {"type": "category", "values": ["well", "ill"]},
        },
    }
)
BUDGET = Budget.from_epsilon(8)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return SimpleNamespace(**{name: import_module(name) for name in ("cells", "losses", "steps")})


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age = 18 + 80 * rng.random(900)
    ill = rng.random(900) < (age - 18) / 80
    return pd.DataFrame(
        {
            "age": age,
            "sex": rng.choice(["F", "M"], 900),
            "ward": rng.choice(["a", "b", "c", None], 900),
            "outcome": np.where(ill, "ill", "well"),
        }
    )


def fine(table: pd.DataFrame) -> NDArray[np.int32]:
    batches = TableSource(table, tuple(SCHEMA.columns)).batches()
    return np.concatenate([np.column_stack(Encoding.of(SCHEMA).codes(batch)) for batch in batches])


def test_on_cells_a_record_keeps_its_cells_and_loses_where_it_lies_in_them(
    bench: Any, table: pd.DataFrame
) -> None:
    blurred = bench.steps.on_cells(table, SCHEMA)
    np.testing.assert_array_equal(fine(blurred), fine(table))
    assert (blurred["age"].to_numpy(float) != table["age"]).all()
    assert "NOT PRIVATE" in blurred.attrs["warning"]


def test_on_groups_a_record_keeps_its_groups_and_loses_its_cells(bench: Any, table: pd.DataFrame) -> None:
    groups = synthesize(table, SCHEMA, BUDGET, noise=KeyedNoise(0)).pool.groups
    blurred = bench.steps.on_groups(table, SCHEMA, BUDGET, KeyedNoise(0))
    cells = fine(table), fine(blurred)
    of = [np.column_stack([np.asarray(g)[each[:, j]] for j, g in enumerate(groups)]) for each in cells]
    np.testing.assert_array_equal(of[0], of[1])
    np.testing.assert_array_equal(cells[0][:, -1], cells[1][:, -1])
    assert (cells[0] != cells[1]).any()
    assert "NOT PRIVATE" in blurred.attrs["warning"]


def test_without_noise_answers_are_exact_and_a_release_is_marked(bench: Any, table: pd.DataFrame) -> None:
    exact, noised = (
        bench.steps.without_noise(table, SCHEMA, BUDGET),
        synthesize(table, SCHEMA, BUDGET, noise=KeyedNoise(0)),
    )
    known = pd.Series(table["ward"]).isna().sum(), table["outcome"].value_counts()["ill"]
    classes = SCHEMA.classes.index("ill")
    for release, exactly in ((exact, True), (noised, False)):
        flat = release.answers[0].estimate.reshape(2, -1)
        wards = flat[:, -5:-1].sum(axis=0)  # a, b, c, missing; the last number is the class's own
        ill = flat[classes, -5:-1].sum()
        assert np.allclose([wards[-1], ill], known, atol=1e-3) == exactly
        assert "NOT PRIVATE" in release.receipt["warning"]
    assert exact.answers[0].sigma == noised.answers[0].sigma


def facts(auc: float) -> dict[str, Any]:
    model = {"targets": {"outcome": auc}, "mean": auc - 0.1}
    return {"figures": {"trees": model, "tvd2": 0.05}}


def test_the_table_has_a_line_for_each_step_and_each_epsilon_that_is_stored(bench: Any) -> None:
    cell = bench.cells.Cell
    stored = {
        cell("heart", "one", "real", None, 0): facts(0.9),
        cell("heart", "one", "on-cells", 1.0, 0): facts(0.88),
        cell("heart", "one", "ours", 1.0, 0): facts(0.8),
        cell("heart", "one", "ours", 1.0, 1): facts(0.82),
        cell("heart", "one", "ours", 10.0, 0): facts(0.87),
        cell("adult", "one", "ours", 10.0, 1): facts(0.1),  # not one of the splits that are shown
    }
    lines = bench.losses.markdown(stored).splitlines()[2:]
    assert [line.split(" | ")[1:3] for line in lines] == [
        ["real records", "1"],
        ["on fine cells", "1"],
        ["release, epsilon 1", "2"],
        ["release, epsilon 10", "1"],
    ]
    assert ".810 +- .014" in lines[2]
    assert "| .870 | .770 | .050 |" in lines[3]


def test_the_picture_is_drawn_where_cells_are_missing(
    bench: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bench.losses, "RESULTS", tmp_path)
    bench.losses.draw({bench.cells.Cell("heart", "one", "real", None, 0): facts(0.9)})
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
