"""Input of the commands for one table: odd tables that are accepted, and faulty ones, each in one sentence."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from commands import CHEAP, EVALUATE, SCHEMA, SYNTHESIZE, cohort, refused, report, run


def test_a_file_without_a_header_line_gets_a_sentence_without_its_records(folder: Path) -> None:
    for header in ("Smith0,40,HIV positive", "Smith0,Smith0,HIV positive"):
        (folder / "t.csv").write_text(f"{header}\nSmith1,50,HIV negative\n")
        for command in (SYNTHESIZE, EVALUATE, ("schema", "draft", "--data", "t.csv")):
            sentence = refused(*command)
            assert "has the file a header line?" in sentence
            assert "Smith" not in sentence
            assert "HIV" not in sentence


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


def a_folder_of_someone() -> None:
    Path("out").mkdir()
    Path("out/thesis.docx").touch()


BAD: dict[str, tuple[str, Callable[[], object], str]] = {
    "a missing column": (SCHEMA, lambda: cohort().drop(columns="sex").to_csv("t.csv"), "missing column 'sex'"),
    "a value outside its bounds": (
        SCHEMA.replace("max: 10,", "max: 10, outside: refuse,"),
        lambda: cohort().assign(x=[10.5, *[5.0] * 299]).to_csv("t.csv"),
        "column 'x': 1 value is not a number in 0 to 10 (first in row 1); correct the table, or declare `outside:",
    ),
    "a value outside its categories": (
        SCHEMA.replace("[F, M]", "[F, M], outside: refuse"),
        lambda: cohort().assign(sex=["X", *["F"] * 299]).to_csv("t.csv"),
        "column 'sex': 1 value is not one of the declared values 'F' and 'M'",
    ),
    "a class that is not declared": (
        SCHEMA,
        lambda: cohort().assign(y=["lost", *["dead"] * 299]).to_csv("t.csv"),
        "column 'y': the target holds 1 value that is not one of the declared values 'alive' and 'dead'",
    ),
    "one patient": (
        SCHEMA,
        lambda: cohort(1).to_csv("t.csv"),
        "the table has 1 patient, a site needs at least 50",
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
        a_folder_of_someone,
        "'out' holds files, such as 'thesis.docx'",
    ),
    "a file in place of the folder": (SCHEMA, lambda: Path("out").touch(), "'out' is a file; give a folder"),
    "a link in place of the folder": (
        SCHEMA,
        lambda: Path("out").symlink_to("there"),
        "'out' is a link; give the folder that it leads to",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_sentence_and_nothing_is_written(folder: Path, name: str) -> None:
    schema, prepare, sentence = BAD[name]
    (folder / "s.yaml").write_text(schema)
    prepare()
    assert sentence in refused(*SYNTHESIZE, "--seed", "1")


STRANGE = (
    ("synthesize", *CHEAP[1:]),
    EVALUATE,
    ("simulate", *CHEAP[1:], "--sites", "2"),
)


@pytest.mark.parametrize("command", STRANGE, ids=lambda command: command[0])
def test_what_is_not_as_declared_is_counted_by_column(folder: Path, command: tuple[str, ...]) -> None:
    cohort().assign(x=[77.0] * 13 + [5.0] * 287, sex=["F"] * 293 + [""] * 7).to_csv("t.csv", index=False)
    shown = run(*command)[1]
    (row,) = [line.replace("│", " ").split() for line in shown.splitlines() if " x " in line]
    assert row == ["x", "300", "13", "0", "0", "0", "1"]


@pytest.mark.parametrize("command", STRANGE, ids=lambda command: command[0])
def test_a_table_that_does_not_fit_has_a_line_for_each_problem(folder: Path, command: tuple[str, ...]) -> None:
    """A line break in a name makes no line."""
    names = {"x": "x\nspent: nothing", "sex": "sex"}
    schema = yaml.safe_load(SCHEMA)
    schema["columns"] = {names.get(name, name): column for name, column in schema["columns"].items()}
    (folder / "s.yaml").write_text(yaml.safe_dump(schema, sort_keys=False))
    bad = cohort().assign(x="n/a", sex="?").rename(columns=names)
    bad.to_parquet("t.parquet", index=False)
    cohort().rename(columns=names).to_parquet("other.parquet", index=False)
    command = tuple("t.parquet" if word == "t.csv" else word for word in command)
    prefix = "the real table: " if command[0] == "evaluate" else ""
    said = [line for line in run(*command, status=2)[1].splitlines() if not line.endswith("...")]
    assert said[0] == f"cohortmix: {prefix}2 problems of the table:"
    assert [line.partition(":")[0] for line in said[1:]] == ["  column 'x\\nspent", "  column 'sex'"]


@pytest.mark.parametrize("words", [("--out", ""), ("--out=",), ("--data", "")])
def test_an_empty_value_is_no_folder(folder: Path, words: tuple[str, ...]) -> None:
    assert f"{words[0].rstrip('=')} has an empty value" in refused(*SYNTHESIZE, *words)
    assert "an argument has an empty value" in refused("verify", "")
