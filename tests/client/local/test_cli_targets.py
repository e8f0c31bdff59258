"""`evaluate` with a number, a time to an event, or no target: what it prints, writes, draws and refuses."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from commands import EVALUATE, refused, report, run

SCHEMA = """
name: trial
target: {time: days, event: died}
columns:
  days: {type: number, min: 1, max: 1000, integer: true}
  died: {type: category, values: [no, yes]}
  age: {type: number, min: 0, max: 10}
  arm: {type: category, values: ["A<b>", B]}
"""


def trial(rows: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age, arm = rng.uniform(0, 10, rows), rng.integers(0, 2, rows)
    ends, leaves = rng.exponential(300 * np.exp(-0.5 * (age - 5))), rng.uniform(1, 1000, rows)
    return pd.DataFrame(
        {
            "days": np.clip(np.ceil(np.minimum(ends, leaves)), 1, 1000).astype(int),
            "died": np.where(ends <= leaves, "yes", "no"),
            "age": age.round(3),
            "arm": np.array(["A<b>", "B"])[arm],
        }
    )


@pytest.fixture
def trials(folder: Path) -> Path:
    (folder / "s.yaml").write_text(SCHEMA)
    trial().to_csv("t.csv", index=False)
    trial(seed=1).to_parquet("other.parquet")
    return folder


def drawing(path: Path) -> ET.Element:
    """An SVG file that a browser takes, with as many curves as there are."""
    return ET.fromstring(path.read_text(encoding="utf-8"))


def marks(root: ET.Element, name: str, kind: str = "") -> list[ET.Element]:
    found = root.iter(f"{{http://www.w3.org/2000/svg}}{name}")
    return [element for element in found if kind in element.get("class", "").split() or not kind]


def test_a_time_to_an_event_is_printed_written_and_drawn(trials: Path) -> None:
    out, _ = run(*EVALUATE, "--json", "f.json", "--figure", "f.svg", "--strata", "arm")
    (target,) = report(trials / "f.json")["targets"]
    assert target["kind"] == "survival"
    assert target["models"]["cox"]["tstr"]["harrell_c"] > 0.6
    assert f"{target['models']['cox']['tstr']['harrell_c']:.3f}" in out
    assert f"{target['curves']['distance']:.3f}" in out
    assert "Cox model: Uno's C" in out
    assert "survival forest: integrated Brier score" in out
    assert len(target["strata"]["groups"]) == 2
    root = drawing(trials / "f.svg")
    assert len([path for path in marks(root, "path", "curve") if path.get("d", "").count("H") > 1]) == 4
    assert len([path for path in marks(root, "path", "synthetic") if path.get("d", "").count("H") > 1]) == 2
    assert "A<b>, real" in "".join(root.itertext())  # a name is no markup
    assert "not private" in "".join(root.itertext())


def test_lines_fit_eighty_columns(trials: Path) -> None:
    out, _ = run(*EVALUATE, "--target", "days, died", "--target", "age", "--target", "arm", "--target", "age>=5")
    lines = out.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("TSTR"))
    for line in lines[1 : lines.index("", start)]:
        assert len(line) <= 82, line
    assert any(re.match(r"linear model: R\^2 +-?\d\.\d{3} +-?\d\.\d{3} +-?\d\.\d{3}", line) for line in lines)


def test_targets_of_each_kind_have_a_panel_each(trials: Path) -> None:
    kinds = ("--target", "days, died", "--target", "age", "--target", "arm")
    run(*EVALUATE, *kinds, "--json", "f.json", "--figure", "f.svg")
    targets = report(trials / "f.json")["targets"]
    assert [target["kind"] for target in targets] == ["survival", "regression", "classification"]
    root = drawing(trials / "f.svg")
    assert len(marks(root, "text", "title")) == 3
    groups = sum(len(groups) for target in targets[1:] for groups in target["groups"].values())
    assert len(marks(root, "circle")) == groups + 4  # and in the keys
    assert len(marks(root, "line", "span")) == sum(len(groups) for groups in targets[1]["groups"].values())
    box = [float(side) for side in root.get("viewBox", "").split()]
    for circle in marks(root, "circle"):
        if circle.get("cx") != "12":
            assert box[0] <= float(circle.get("cx", "nan")) <= box[2]
            assert box[1] <= float(circle.get("cy", "nan")) <= box[3]


def test_where_no_model_can_be_the_figure_says_why(trials: Path) -> None:
    trial().assign(arm="B").to_csv("t.csv", index=False)
    trial(seed=1).assign(died="no").to_parquet("other.parquet")
    out, _ = run(*EVALUATE, "--json", "f.json", "--figure", "f.svg")
    assert "days, died: no event is among the synthetic records" in out
    assert len(marks(drawing(trials / "f.svg"), "path", "curve")) == 4
    trial().assign(arm=None).to_csv("t.csv", index=False)
    (trials / "s.yaml").write_text(SCHEMA.replace("B]}", "B], missing: true}"))
    run(*EVALUATE, "--target", "arm", "--json", "g.json", "--figure", "g.svg")
    assert "nothing to draw: the real records have no value" in "".join(drawing(trials / "g.svg").itertext())


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("days", 0, "the time is zero or below in 1 row (first in row 3)"),
        ("days", -4, "the time is zero or below in 1 row (first in row 3)"),
        ("days", None, "the time is missing in 1 row (first in row 3)"),
        ("died", "lost", "the event holds 1 value that is not one of the declared values 'no' and 'yes'"),
        ("died", None, "the event is missing in 1 row (first in row 3)"),
    ],
)
@pytest.mark.usefixtures("trials")
def test_a_follow_up_that_is_not_known_is_one_sentence_and_nothing_is_written(
    column: str, value: Any, sentence: str
) -> None:
    table = trial().astype({"days": object})
    table.loc[2, column] = value
    table.to_csv("t.csv", index=False)
    said = refused(*EVALUATE, "--json", "f.json", "--figure", "f.svg")
    assert f"column {column!r}: {sentence}" in said
    made = trial(seed=1).astype({"days": object})
    made.loc[2, column] = value
    trial().to_csv("t.csv", index=False)
    Path("other.parquet").unlink()
    made.to_csv("other.csv", index=False)
    said = refused("evaluate", "--synthetic", "other.csv", *EVALUATE[3:], "--json", "f.json")
    assert "the synthetic table" in said
    assert f"column {column!r}: {sentence}" in said
    spent = refused("synthesize", "--data", "other.csv", "--schema", "s.yaml", "--epsilon", "1", "--out", "out")
    assert f"column {column!r}: {sentence}" in spent


def test_a_schema_without_a_target_has_marginals_and_nothing_to_draw(trials: Path) -> None:
    (trials / "s.yaml").write_text(SCHEMA.replace("target: {time: days, event: died}", "target: null"))
    out, _ = run(*EVALUATE, "--json", "f.json")
    assert report(trials / "f.json")["targets"] == []
    assert "TSTR" not in out
    assert "total variation distance" in out
    assert "the schema has no target to draw" in refused(*EVALUATE, "--figure", "f.svg")
    run(*EVALUATE, "--target", "days, died", "--figure", "f.svg")
    assert (trials / "f.svg").exists()


def test_a_figure_never_takes_the_place_of_a_file_unless_it_is_allowed(trials: Path) -> None:
    (trials / "f.svg").write_text("do not lose this")
    assert "'f.svg' exists" in refused(*EVALUATE, "--figure", "f.svg")
    run(*EVALUATE, "--figure", "f.svg", "--replace")
    assert drawing(trials / "f.svg").tag.endswith("svg")
