"""Steps between the real records and a release: each loses what its name says, and nothing more."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import bench_losses
import loss_ladder
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from result_cells import Cell, Facts, read

from cohortmix.core import Budget
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.synthesis import synthesize

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


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    age = 18 + 80 * rng.random(900)
    ill = rng.random(900) < (age - 18) / 80
    return pd.DataFrame(
        {
            "age": age,
            "sex": rng.choice(["F", "M"], 900),
            "ward": rng.choice(np.array(["a", "b", "c", None]), 900),
            "outcome": np.where(ill, "ill", "well"),
        }
    )


def fine(table: pd.DataFrame) -> NDArray[np.int32]:
    batches = TableSource(table, tuple(SCHEMA.columns)).batches()
    return np.concatenate([np.column_stack(Encoding.of(SCHEMA).codes(batch)) for batch in batches])


# --- records between the real ones and a release


def test_on_cells_a_record_keeps_its_cells_and_loses_where_it_lies_in_them(table: pd.DataFrame) -> None:
    blurred = loss_ladder.on_cells(table, SCHEMA)
    np.testing.assert_array_equal(fine(blurred), fine(table))
    assert (blurred["age"].to_numpy(float) != table["age"]).all()
    assert "NOT PRIVATE" in blurred.attrs["warning"]


def test_on_groups_a_record_keeps_its_groups_and_loses_its_cells(table: pd.DataFrame) -> None:
    groups = synthesize(table, SCHEMA, BUDGET, noise=KeyedNoise(0)).pool.groups
    blurred = loss_ladder.on_groups(table, SCHEMA, BUDGET, KeyedNoise(0))
    before, after = fine(table), fine(blurred)
    np.testing.assert_array_equal(groups.one_hot(before), groups.one_hot(after))
    np.testing.assert_array_equal(before[:, -1], after[:, -1])
    assert (before != after).any()
    assert "NOT PRIVATE" in blurred.attrs["warning"]


def test_without_noise_answers_are_exact_and_a_release_is_marked(table: pd.DataFrame) -> None:
    exact, noised = (
        loss_ladder.without_noise(table, SCHEMA, BUDGET),
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


# --- table and figure


def facts(auc: float) -> dict[str, Any]:
    model = {"targets": {"outcome": auc}, "mean": auc - 0.1}
    return {"figures": {"trees": model, "tvd2": 0.05}}


STORED: dict[Cell, Facts] = {
    Cell("heart", "one", "real", None, 0): facts(0.9),
    Cell("heart", "one", "on-cells", 1.0, 0): facts(0.88),
    Cell("heart", "one", "ours", 1.0, 0): facts(0.8),
    Cell("heart", "one", "ours", 1.0, 1): facts(0.82),
    Cell("heart", "one", "ours", 10.0, 0): facts(0.87),
    Cell("adult", "one", "ours", 10.0, 1): facts(0.1),  # not one of the splits that are shown
}


def test_the_table_has_a_line_for_each_step_and_each_epsilon_that_is_stored() -> None:
    lines = bench_losses.markdown(STORED).splitlines()[2:]
    assert [line.split(" | ")[1:3] for line in lines] == [
        ["real records", "1"],
        ["on fine cells", "1"],
        ["release, epsilon 1", "2"],
        ["release, epsilon 10", "1"],
    ]
    assert ".810 +- .014" in lines[2]
    assert "| .870 | .770 | .050 |" in lines[3]


SVG = "{http://www.w3.org/2000/svg}"


def test_the_figure_shows_what_is_stored_and_leaves_gaps() -> None:
    """A dot for each cell and line, and two in the key; a join where both neighbours are stored."""
    drawn = ElementTree.fromstring(bench_losses.figure(STORED))
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert len(list(drawn.iter(f"{SVG}circle"))) == 2 + 2 * 3 + 2 * 2
    assert len([path for path in drawn.iter(f"{SVG}path") if path.get("stroke-width")]) == 2
    for shown in (".900", ".800", ".880", ".780", ".810", ".710", "UCI heart", "declared target"):
        assert texts.count(shown) == 1
    assert not any("nan" in str(value) for part in drawn.iter() for value in part.attrib.values())


def test_a_higher_figure_is_drawn_higher() -> None:
    drawn = ElementTree.fromstring(bench_losses.figure(STORED))
    of_line = [dot for dot in drawn.iter(f"{SVG}circle") if dot.get("fill") == "#1b4f72"][1:]
    heights = [float(dot.attrib["cy"]) for dot in of_line]
    assert heights[0] < heights[1] < heights[2]  # .900, .880, .810


def test_documents_say_what_is_stored() -> None:
    """If not, `make bench-tables` writes docs/benchmarks.md and docs/losses.svg."""
    text = bench_losses.TABLE.document.read_text(encoding="utf-8")
    assert bench_losses.TABLE.filled(text, bench_losses.markdown(read())) == text
    assert bench_losses.FIGURE.read_text(encoding="utf-8") == bench_losses.figure(read())
