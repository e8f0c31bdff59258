"""The commands of one hospital: what they print and write, and how they end."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from cohortmix.client.output import FILES
from cohortmix.client.progress import step
from cohortmix.core.meter import BudgetExceeded
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


SYNTHESIZE = ("synthesize", "--data", "t.csv", "--schema", "s.yaml", "--epsilon", "3", "--out", "out")
CHEAP = (*SYNTHESIZE[:6], "0.05", *SYNTHESIZE[7:], "--seed", "1")  # class centroids only: no mixture is fitted
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


def test_a_file_without_a_header_line_gets_a_sentence_without_its_records(folder: Path) -> None:
    for header in ("Smith0,40,HIV positive", "Smith0,Smith0,HIV positive"):
        (folder / "t.csv").write_text(f"{header}\nSmith1,50,HIV negative\n")
        for command in (SYNTHESIZE, EVALUATE, ("schema", "draft", "--data", "t.csv")):
            sentence = refused(*command)
            assert "has the file a header line?" in sentence
            assert "Smith" not in sentence
            assert "HIV" not in sentence


def test_synthesize_writes_a_release_and_prints_what_it_cost(folder: Path) -> None:
    out, _ = run(*SYNTHESIZE)
    assert {path.name for path in (folder / "out").iterdir()} == FILES
    receipt, summary = report(folder / "out/receipt.json"), report(folder / "out/summary.json")
    assert (receipt["noise"], summary["noise"]) == ("opendp", "opendp")
    assert receipt["epsilon"] == pytest.approx(3, rel=1e-6)
    assert receipt["delta"] == 1e-5
    assert receipt["mu"] == pytest.approx(sum(Fraction(each["mu2"]) for each in receipt["statements"]) ** 0.5)
    assert (summary["n"], summary["rows"], summary["epsilon"]) == (300, 300, receipt["epsilon"])
    header, figures = (line.split() for line in out.splitlines()[:2])
    shown = dict(zip(header, figures, strict=True))
    assert (shown["N"], shown["delta"], shown["noise"]) == ("300", "1e-05", "opendp")
    assert shown["centroids"] == str(summary["centroids"])
    assert "NOT PRIVATE" not in out

    records = pd.read_parquet(folder / "out/records.parquet")
    assert list(records.columns) == ["x", "sex", "y"]
    assert records["x"].dropna().between(0, 10).all()
    centroids = pd.read_parquet(folder / "out/centroids.parquet")
    assert centroids["mass"].sum() == pytest.approx(300)
    assert (centroids["kind"] != "support").sum() == summary["centroids"]


def test_a_seed_repeats_a_run_and_marks_every_output(folder: Path) -> None:
    shown = [run(*SYNTHESIZE[:-1], out, "--seed", "7", "--rows", "20")[0] for out in ("one", "two")]
    assert all(text.startswith("NOT PRIVATE: test noise") for text in shown)
    for name in ("receipt.json", "summary.json"):
        assert report(folder / "one" / name)["warning"] == "NOT PRIVATE: test noise"
        assert report(folder / "one" / name)["noise"] == "TEST"
    for name in ("records.parquet", "centroids.parquet"):
        one, two = (pq.read_table(folder / out / name) for out in ("one", "two"))
        assert one.equals(two, check_metadata=True)
        assert b"NOT PRIVATE: test noise" in one.schema.metadata[b"cohortmix"]
    assert len(pd.read_parquet(folder / "one/records.parquet")) == 20
    for seed in ("1", "2"):
        run(*CHEAP, "--seed", seed, "--out", seed)
    assert report(folder / "1/receipt.json") == report(folder / "2/receipt.json")
    assert not pq.read_table(folder / "1/centroids.parquet").equals(pq.read_table(folder / "2/centroids.parquet"))


def test_a_table_too_small_for_pairs_of_columns_degrades_and_says_so(folder: Path) -> None:
    cohort(60).to_csv("t.csv", index=False)
    out, _ = run(*SYNTHESIZE[:5], "--epsilon", "0.2", "--out", "out", "--seed", "1")
    assert "one centroid per class" in out
    assert report(folder / "out/summary.json")["degraded_to_class_centroids"] is True
    assert set(pd.read_parquet(folder / "out/centroids.parquet")["kind"]) == {"class"}


def test_a_loose_delta_is_said_in_every_output(folder: Path) -> None:
    out, _ = run(*CHEAP, "--delta", "0.003", "--loose-delta")
    assert "delta is above 1/(10 N)" in out
    assert report(folder / "out/receipt.json")["loose_delta"] is True
    assert report(folder / "out/summary.json")["loose_delta"] is True
    out, _ = run(*CHEAP, "--delta", "0.0003", "--loose-delta")
    assert "1/(10 N)" not in out
    assert report(folder / "out/summary.json")["loose_delta"] is False


NO_NUMBER = SCHEMA.replace("  x: {type: number, min: 0, max: 10, missing: true}\n", "")
NO_CATEGORY = SCHEMA.replace("  sex: {type: category, values: [F, M]}\n", "")
NOT_FAULTS: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "no numeric column": (NO_NUMBER, lambda table: table),
    "no category column": (NO_CATEGORY, lambda table: table),
    "a constant column": (SCHEMA, lambda table: table.assign(sex="F")),
    "a column missing everywhere": (SCHEMA, lambda table: table.assign(x=None)),
    "a class that nobody has": (SCHEMA.replace("[alive, dead]", "[alive, dead, lost]"), lambda table: table),
    "one class only": (SCHEMA, lambda table: table.assign(y="alive")),
    "values outside, clipped": (SCHEMA, lambda table: table.assign(x=table["x"] * 3)),
    "a column that nobody declared": (SCHEMA, lambda table: table.assign(note="...")),
}


@pytest.mark.parametrize("name", NOT_FAULTS)
def test_what_is_no_fault_works(folder: Path, name: str) -> None:
    schema, change = NOT_FAULTS[name]
    (folder / "s.yaml").write_text(schema)
    change(cohort()).to_csv("t.csv", index=False)
    run(*CHEAP)
    records = pd.read_parquet(folder / "out/records.parquet")
    assert list(records.columns) == list(yaml.safe_load(schema)["columns"])
    assert len(records) == 300


def test_what_is_no_fault_works_with_a_mixture_as_well(folder: Path) -> None:
    """A constant column, one missing everywhere and a class that nobody has, at a budget for answer B."""
    (folder / "s.yaml").write_text(SCHEMA.replace("[alive, dead]", "[alive, dead, lost]"))
    cohort().assign(x=None, sex="F").to_csv("t.csv", index=False)
    run(*SYNTHESIZE, "--seed", "1")
    assert report(folder / "out/summary.json")["degraded_to_class_centroids"] is False
    records = pd.read_parquet(folder / "out/records.parquet")
    assert records["x"].isna().mean() > 0.9
    assert (records["sex"] == "F").mean() > 0.9
    assert (records["y"] == "lost").mean() < 0.1


def test_a_patient_counts_once_however_many_rows(folder: Path) -> None:
    (folder / "s.yaml").write_text(SCHEMA.replace("target: y", "patient_key: id\ntarget: y"))
    cohort().assign(id=[*range(100)] * 2 + [7] * 100).to_csv("t.csv", index=False)
    run(*CHEAP)
    summary, receipt = report(folder / "out/summary.json"), report(folder / "out/receipt.json")
    assert (summary["n"], receipt["patients"], summary["rows"]) == (100, 100, 100)
    assert 300 not in (*summary.values(), *receipt.values())  # the number of rows is not public
    cohort().assign(id=[*range(49)] * 6 + [None] * 6).to_csv("t.csv", index=False)
    sentence = refused(*CHEAP, "--out", "new")
    assert "the table has 49 patients, a site needs at least 50; 1 more would do" in sentence


BAD: dict[str, tuple[str, Callable[[], object], str]] = {
    "a missing column": (SCHEMA, lambda: cohort().drop(columns="sex").to_csv("t.csv"), "missing column 'sex'"),
    "a value outside its bounds": (
        SCHEMA.replace("max: 10,", "max: 10, outside: refuse,"),
        lambda: cohort().assign(x=[10.5, *[5.0] * 299]).to_csv("t.csv"),
        "column 'x': a value is not a number in 0 to 10; correct the table, or declare `outside: clip`",
    ),
    "a value outside its categories": (
        SCHEMA.replace("[F, M]", "[F, M], outside: refuse"),
        lambda: cohort().assign(sex=["X", *["F"] * 299]).to_csv("t.csv"),
        "column 'sex': a value is not one of the declared values 'F', 'M'",
    ),
    "a class that is not declared": (
        SCHEMA,
        lambda: cohort().assign(y=["lost", *["dead"] * 299]).to_csv("t.csv"),
        "column 'y': the target holds a value that is not one of the declared values 'alive', 'dead'",
    ),
    "an unreadable file": (SCHEMA, lambda: Path("t.csv").write_bytes(b"x,sex,y\n1,\xff,dead\n"), "not UTF-8"),
    "no file": (SCHEMA, lambda: Path("t.csv").unlink(), "there is no file 't.csv'"),
    "an empty file": (SCHEMA, lambda: Path("t.csv").write_text(""), "'t.csv' is empty"),
    "an empty table": (SCHEMA, lambda: cohort().iloc[:0].to_csv("t.csv"), "the table is empty"),
    "an unknown key": (SCHEMA.replace("max: 10,", "max: 10, colour: red,"), str, "columns.x.colour: unknown key"),
    "a number without bounds": (SCHEMA.replace("max: 10,", ""), str, "columns.x.max: this key is required"),
    "one class": (SCHEMA.replace("[alive, dead]", "[alive]"), str, "target='y' declares one class"),
    "an unconfirmed line": (SCHEMA.replace("max: 10,", "max: 10, confirmed: false,"), str, "not confirmed: x"),
    "a site that is too small": (
        SCHEMA,
        lambda: cohort(31).to_csv("t.csv"),
        "the table has 31 patients, a site needs at least 50; 19 more would do",
    ),
    "a folder that is not ours": (
        SCHEMA,
        lambda: (Path("out").mkdir(), Path("out/thesis.docx").touch()),
        "'out' holds other files, such as 'thesis.docx'",
    ),
    "a file in place of the folder": (SCHEMA, lambda: Path("out").touch(), "'out' is a file; give a folder"),
    "a folder that cannot be made": (
        SCHEMA,
        lambda: (Path("there").touch(), Path("out").symlink_to("there/out")),
        "cannot write",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_sentence_and_nothing_is_written(folder: Path, name: str) -> None:
    schema, prepare, sentence = BAD[name]
    (folder / "s.yaml").write_text(schema)
    prepare()
    assert sentence in refused(*SYNTHESIZE, "--seed", "1")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--epsilon", "0"), "epsilon above zero; got epsilon=0.0"),
        (("--epsilon", "-1"), "epsilon above zero"),
        (("--epsilon", "nan"), "epsilon above zero"),
        (("--epsilon", "inf"), "epsilon above zero"),
        (("--epsilon", "1e300"), "epsilon=1e+300 protects nobody: expected at most 1e+06"),
        (("--epsilon", "1000001"), "protects nobody"),
        (("--epsilon", "1e-30", "--delta", "1e-30"), "expected mu >= 1e-06; raise epsilon or delta"),
        (("--delta", "0"), "delta must be a probability strictly between 0 and 1; got delta=0.0"),
        (("--delta", "1", "--loose-delta"), "strictly between 0 and 1"),
        (("--delta", "0.001"), "delta must be at most 1/(10 N) = 0.000333 for N = 300 patients"),
        (("--epsilon", "much"), "Invalid value for '--epsilon'"),
        (("--rows", "0"), "Invalid value for '--rows'"),
        (("--schema", "none.yaml"), "cannot read the schema 'none.yaml'"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_an_impossible_budget_or_option_gets_one_sentence(options: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*SYNTHESIZE, *options)


@pytest.mark.parametrize("options", [("--epsilon", "1e6"), ("--epsilon", "3e-6", "--delta", "1e-7")])
@pytest.mark.usefixtures("folder")
def test_a_budget_at_the_limits_is_exact(options: tuple[str, ...]) -> None:
    run(*CHEAP, *options)


def test_an_earlier_release_is_replaced_as_a_whole(folder: Path) -> None:
    run(*CHEAP)
    (folder / "out/receipt.json").unlink()
    run(*CHEAP)
    assert {path.name for path in (folder / "out").iterdir()} == FILES
    assert sorted(path.name for path in folder.iterdir()) == ["other.parquet", "out", "s.yaml", "t.csv"]


def test_progress_is_plain_in_a_log_and_not_on_standard_output(folder: Path) -> None:
    out, err = run(*CHEAP)
    assert err.splitlines() == ["checking the table ...", "synthesizing ..."]
    assert "..." not in out
    terminal = io.StringIO()
    with step("working", Console(file=terminal, force_terminal=True)):
        pass
    assert "✓" in terminal.getvalue()


def test_over_the_budget_ends_with_status_3(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def over(*_: object) -> None:
        raise BudgetExceeded("spent mu=0.20, asked mu=0.15, cap mu=0.30")

    monkeypatch.setattr("cohortmix.client.cli._release", over)
    assert "spent mu=0.20, asked mu=0.15, cap mu=0.30" in refused(*SYNTHESIZE, status=3)


def test_the_console_script_ends_with_the_status_and_one_sentence(folder: Path) -> None:
    command = [Path(sys.executable).with_name("cohortmix"), *EVALUATE[:-1], "none.yaml"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "cohortmix: cannot read the schema 'none.yaml': No such file or directory\n"
