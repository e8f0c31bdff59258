"""Names of columns, targets and folders as files have them, through whole commands."""

from pathlib import Path

import pytest
import yaml
from commands import cohort, report, run

NAMES = {"x": "RR [/min] :cross_mark:", "sex": "[bold]=1+1[/bold]\x1b[2J", "y": "out\ncome $a_b$"}
SHOWN = {"x": "RR [/min] :cross_mark:", "sex": "[bold]=1+1[/bold]\\x1b[2J", "y": "out\\ncome $a_b$"}
OUT = "out[/v2]"


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    schema = {
        "name": "t [/]",
        "target": NAMES["y"],
        "columns": {
            NAMES["x"]: {"type": "number", "min": 0, "max": 10, "missing": True},
            NAMES["sex"]: {"type": "category", "values": ["F", "M"]},
            NAMES["y"]: {"type": "category", "values": ["alive", "dead"]},
        },
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(schema, sort_keys=False))
    cohort().rename(columns=NAMES).to_parquet(tmp_path / "t.parquet", index=False)
    cohort(seed=1).rename(columns=NAMES).to_parquet(tmp_path / "other.parquet", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_evaluate_names_every_column_and_target(hostile: Path) -> None:
    rule = NAMES["x"] + ">=5"
    out, _ = run(
        *("evaluate", "--synthetic", "other.parquet", "--real", "t.parquet", "--schema", "s.yaml"),
        *("--json", "e.json"),
        *("--target", NAMES["y"], "--target", rule),
    )
    flat = "".join(out.split())
    for shown in (*SHOWN.values(), SHOWN["x"] + ">=5"):
        assert "".join(shown.split()) in flat
    assert "\x1b" not in out
    assert {one["column"] for one in report(hostile / "e.json")["columns"]} == set(NAMES.values())


def test_synthesize_and_simulate_write_to_the_folder_that_was_named(hostile: Path) -> None:
    files = ("--data", "t.parquet", "--schema", "s.yaml", "--epsilon", "0.05", "--accept-degraded", "--seed", "1")
    assert run("synthesize", *files, "--out", OUT)[0].endswith(f"written to {OUT}\n")
    assert "[/v2]" in run("synthesize", *files, "--out", OUT, status=2)[1]
    (hostile / "s.yaml").write_text((hostile / "s.yaml").read_text().replace("t [/]", "t"))
    assert run("simulate", *files, "--sites", "2", "--out", f"2{OUT}")[0].endswith(f"written to 2{OUT}\n")
    page = (hostile / f"2{OUT}" / "report.html").read_text("utf-8")
    assert "out\\ncome $a_b$" in page
    assert "\x1b" not in page


def test_an_error_names_what_is_not_there_without_taking_it_for_markup(hostile: Path) -> None:
    wanted = "[/min]\x1b[2J"
    _, err = run(
        "evaluate",
        "--synthetic",
        "other.parquet",
        "--real",
        "t.parquet",
        "--schema",
        "s.yaml",
        "--target",
        wanted,
        status=2,
    )
    assert "[/min]\\x1b[2J" in err
    _, err = run("evaluate", "--synthetic", "t.parquet", f"--{wanted}", status=2)
    assert "\x1b" not in err
    assert "[/min]\\x1b[2J" in err
