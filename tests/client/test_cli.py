"""The commands of one hospital: what they print and write, and how they end."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cohortmix.deploy.cli import app

SCHEMA = """
name: t
target: y
columns:
  x: {type: number, min: 0, max: 10, missing: true}
  sex: {type: category, values: [F, M]}
  y: {type: category, values: [alive, dead]}
"""


def cohort(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 10, rows)
    y = np.where(x + rng.normal(0, 1, rows) > 5, "dead", "alive")
    return pd.DataFrame({"x": x.round(3), "sex": rng.choice(["F", "M"], rows), "y": y})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a table, another one of the same law, and their schema."""
    cohort().to_csv(tmp_path / "t.csv", index=False)
    cohort(seed=1).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "s.yaml").write_text(SCHEMA)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, status: int = 0) -> tuple[str, str]:
    """Standard output and error of a command that ends with `status`."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


def refused(*arguments: str, status: int = 2) -> str:
    """The one sentence of a command that fails, writes nothing and prints nothing else."""
    before = sorted(Path().rglob("*"))
    out, err = run(*arguments, status=status)
    sentence = [line for line in err.splitlines() if line.startswith("cohortmix: ")]
    assert len(sentence) == 1, err
    assert "Traceback" not in err
    assert out == ""
    assert sorted(Path().rglob("*")) == before
    return sentence[0]


EVALUATE = ("evaluate", "--synthetic", "other.parquet", "--real", "t.csv", "--schema", "s.yaml")


def report(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def test_evaluate_prints_figures_under_a_banner_and_writes_them(folder: Path) -> None:
    out, _ = run(*EVALUATE, "--json", "figures.json")
    assert out.startswith("Figures on real records are NOT PRIVATE")
    written = report(folder / "figures.json")
    (outcome,) = written["targets"]
    assert outcome["target"] == "y"
    assert outcome["auc"] > 0.9
    assert f"{outcome['auc']:.3f}" in out
    assert f"{written['tvd']['pairs']:.3f}" in out


@pytest.mark.parametrize(
    "targets", [("--target", "y", "sex", "x>3"), ("--target", "y", "--target", "sex", "--target", "x>3")]
)
def test_evaluate_takes_several_targets(folder: Path, targets: tuple[str, ...]) -> None:
    run(*EVALUATE, *targets, "--json", "figures.json")
    assert [one["target"] for one in report(folder / "figures.json")["targets"]] == ["y", "sex", "x>3"]


def test_a_figure_that_is_not_defined_is_null_and_a_dash(folder: Path) -> None:
    cohort().assign(y="alive").to_csv("t.csv", index=False)
    out, _ = run(*EVALUATE, "--json", "figures.json")
    assert report(folder / "figures.json")["targets"] == [{"target": "y", "auc": None, "ceiling_auc": None}]
    assert out.splitlines()[2].split() == ["y", "-", "-"]


def test_synthetic_records_need_no_patient_key(folder: Path) -> None:
    (folder / "s.yaml").write_text(SCHEMA.replace("target: y", "patient_key: id\ntarget: y"))
    cohort().assign(id=range(300)).to_csv("t.csv", index=False)
    run(*EVALUATE)
    assert "missing column 'id'" in refused(*EVALUATE[:4], "other.parquet", *EVALUATE[5:])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((*EVALUATE, "--target", "z"), "no column 'z'"),
        ((*EVALUATE, "--target", "x"), "say where to cut it"),
        ((*EVALUATE, "z"), "name targets with --target"),
        ((*EVALUATE, "--json", "no/such/folder.json"), "cannot write 'no/such/folder.json'"),
        (("evaluate", "--synthetic", "none.csv", *EVALUATE[3:]), "there is no file 'none.csv'"),
        (("evaluate", "--synthetic", "s.yaml", *EVALUATE[3:]), "neither a .csv nor a .parquet file"),
        ((*EVALUATE[:-1], "none.yaml"), "cannot read the schema 'none.yaml'"),
        ((*EVALUATE[:-1], "other.parquet"), "cannot read the schema 'other.parquet': it is not UTF-8 text"),
        (EVALUATE[:-2], "Missing option '--schema'; see cohortmix evaluate --help"),
        (("evaluat",), "No such command 'evaluat'. Did you mean 'evaluate'?"),
        ((), "Missing command; see cohortmix --help"),
        (("schema", "draft", "--data", "none.csv"), "there is no file 'none.csv'"),
        (("schema", "draft", "--colour", "red"), "No such option"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_wrong_usage_gets_one_sentence(arguments: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*arguments)


def test_schema_draft_prints_a_schema_to_complete(folder: Path) -> None:
    out, err = run("schema", "draft", "--data", "t.csv")
    assert out.startswith("# A draft")
    assert "x: {type: number, min: null, max: null, missing: true, confirmed: false}" in out
    assert err == ""
    (folder / "draft.yaml").write_text(out)
    assert "target: this key is required" in refused(*EVALUATE[:-1], "draft.yaml")


def test_the_console_script_ends_with_the_status_and_one_sentence(folder: Path) -> None:
    command = [Path(sys.executable).with_name("cohortmix"), *EVALUATE[:-1], "none.yaml"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "cohortmix: cannot read the schema 'none.yaml': No such file or directory\n"
