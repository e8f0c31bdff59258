"""The commands that set up a site: what they leave behind, and what they refuse without leaving anything."""

from __future__ import annotations

import os
import pty
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from typer.testing import CliRunner

from cohortmix.client.site.config import load_config
from cohortmix.client.table.snapshot import open_snapshot
from cohortmix.deploy.cli import app
from cohortmix.protocol.local.keyfile import read_key
from cohortmix.protocol.messages import Description, decode

COORDINATOR = "ab" * 32


def run(*arguments: str | Path, status: int = 0) -> str:
    """Standard output of a command that ends with `status`, or its one sentence."""
    result = CliRunner().invoke(app, ["site", *map(str, arguments)])
    assert result.exit_code == status, result.output
    if not status:
        return result.stdout
    (sentence,) = [line for line in result.stderr.splitlines() if line.startswith("cohortmix: ")]
    assert "Traceback" not in result.output
    return sentence


@pytest.fixture
def place(tmp_path: Path, cohort: Callable[..., Any], schema_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a table and its schema."""
    cohort().to_parquet(tmp_path / "t.parquet")
    (tmp_path / "s.yaml").write_text(schema_text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


INIT = ("init", "here", "--name", "A", "--data", "t.parquet", "--schema", "s.yaml", "--cap-mu", "0.5")


def test_init_makes_a_site_that_allows_nothing(place: Path) -> None:
    said = run(*INIT, "--coordinator", COORDINATOR)
    config = load_config(place / "here" / "site.yaml")
    assert read_key(config.key).public_hex in said
    assert config.coordinators == (COORDINATOR,)
    modes = {
        path: stat.S_IMODE(path.stat().st_mode)
        for path in (place / "here", config.state, config.mark, config.socket.parent, config.key)
    }
    assert list(modes.values()) == [0o711, 0o700, 0o700, 0o2750, 0o600]
    assert not config.policy_file.exists()
    assert run("serve", "-c", "nowhere.yaml", status=2).startswith(
        "cohortmix: cannot read the site's configuration"
    )


@pytest.mark.parametrize("mode", [0o700, 0o750])
def test_init_leaves_the_mode_of_a_folder_that_is_there(place: Path, mode: int) -> None:
    """It let others pass through the home of the daemon's user, which is 0700."""
    (place / "here").mkdir()
    (place / "here").chmod(mode)
    run(*INIT)
    assert stat.S_IMODE((place / "here").stat().st_mode) == mode


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("0.5", "much"), "cap_mu: expected a decimal"),
        (("0.5", "0"), "cap_mu: expected a mu above 0"),
        (("A", "a/b"), "the new site: name: expected 1 to 64 letters and digits"),
        (("s.yaml", "nowhere.yaml"), "cannot read the schema"),
        (("t.parquet", "gone.parquet"), "--data names no file or folder that can be seen: 'gone.parquet'"),
        (
            ("t.parquet", "postgresql+psycopg://user@/db"),
            "data: expected {file: PATH}, {sql: URL, table: NAME}",
        ),
        (("t.parquet", "sqlite:///t.db?password=hunter2"), "leave the password out of the URL"),
    ],
)
def test_init_refuses_and_writes_nothing(change: tuple[str, str], expected: str, place: Path) -> None:
    assert expected in run(*(change[1] if word == change[0] else word for word in INIT), status=2)
    assert not (place / "here").exists()


def test_a_file_has_no_table(place: Path) -> None:
    assert "data: expected {file: PATH}, {sql: URL" in run(*INIT, "--table", "patients", status=2)
    assert not (place / "here").exists()


def test_init_replaces_no_site(place: Path) -> None:
    run(*INIT)
    key = (place / "here" / "site.key").read_bytes()
    assert "is not an empty folder" in run(*INIT, status=2)
    assert (place / "here" / "site.key").read_bytes() == key


def test_check_pins_the_table_and_describes_the_site(place: Path) -> None:
    run(*INIT)
    assert "60 patients" in run("check", "-c", "here/site.yaml")
    config = load_config(Path("here/site.yaml"))
    facts = decode(config.description_file.read_bytes())
    assert isinstance(facts, Description)
    assert (facts.site, facts.patients, facts.columns) == ("A", 60, ("AGE", "SEX", "outcome"))
    assert facts.key == read_key(config.key).public_hex
    assert (
        sum(batch.num_rows for batch in open_snapshot(config.snapshot_folder, config.read_schema()).batches())
        == 60
    )


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("AGE", 999, "does not fit its schema, in 'AGE'; run `cohortmix site check` on a terminal"),
        ("outcome", None, "does not fit its schema, in 'outcome'"),
        ("id", None, "it holds no record with a value of 'id'"),
    ],
)
def test_check_refuses_what_does_not_fit_and_keeps_what_was_served(
    column: str, value: object, expected: str, place: Path, cohort: Callable[..., Any]
) -> None:
    run(*INIT)
    run("check", "-c", "here/site.yaml")
    served = {path.name: path.read_bytes() for path in load_config(Path("here/site.yaml")).state.rglob("*.[jp]*")}
    cohort().assign(**{column: value}).to_parquet("t.parquet")
    sentence = run("check", "-c", "here/site.yaml", status=2)
    assert expected in sentence
    assert "999" not in sentence
    assert served == {path.name: path.read_bytes() for path in Path("here/state").rglob("*.[jp]*")}


@pytest.mark.parametrize(("patients", "small"), [(1, True), (49, True), (50, False)])
@pytest.mark.usefixtures("place")
def test_a_site_of_few_patients_is_served_and_told_for_which_studies(
    patients: int, small: bool, cohort: Callable[..., Any]
) -> None:
    """N is public; below the threshold only a sum over several sites may be about them."""
    run(*INIT)
    cohort().iloc[:patients].to_parquet("t.parquet")
    said = run("check", "-c", "here/site.yaml")
    assert ("this site can take part in studies with `noise: joint` only" in said) == small


def on_a_terminal(*arguments: str, error: bool = False) -> str:
    """What a command writes where its standard output, or its standard error, is a terminal."""
    command = [str(Path(sys.executable).with_name("cohortmix")), "site", *arguments]
    outer, inner = pty.openpty()
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL if error else inner,
        stderr=inner if error else subprocess.DEVNULL,
        env=os.environ | {"COLUMNS": "120", "TERM": "dumb"},
    ):
        os.close(inner)
        shown = b""
        with suppress(OSError):  # the other end is closed
            while piece := os.read(outer, 4096):
                shown += piece
    os.close(outer)
    return shown.decode()


def test_what_does_not_fit_is_counted_on_a_terminal_and_nowhere_else(
    place: Path, cohort: Callable[..., Any]
) -> None:
    run(*INIT)
    said, told = [], []
    for age in (cohort()["AGE"], [999] * 13 + [None] * 17 + [50] * 30):
        cohort().assign(AGE=age).to_parquet("t.parquet")
        said.append(run("check", "-c", "here/site.yaml"))
        told.append(Path("here/state/description.json").read_bytes())
    assert said[0] == said[1]
    assert told[0] == told[1]
    assert "shown on a terminal only" in said[0]
    shown = on_a_terminal("check", "-c", "here/site.yaml")
    assert "NOT PRIVATE: they stay on this terminal" in shown
    (row,) = [line.replace("│", " ").split() for line in shown.splitlines() if " AGE " in line]
    assert row == ["AGE", "60", "13", "0", "0", "17", "1"]
    cohort().assign(AGE=999).to_parquet("t.parquet")
    shown = on_a_terminal("check", "-c", "here/site.yaml", error=True)
    assert "column 'AGE': none of its values is a number in 0 to 100 (first in row 1)" in " ".join(shown.split())
    cohort().to_parquet("t.parquet")
    shown = on_a_terminal("check", "-c", "here/site.yaml")
    assert "every value is what the schema declares" in shown
    assert "clipped" not in shown


def test_check_refuses_lines_that_nobody_confirmed(place: Path, schema_text: str) -> None:
    run(*INIT)
    (place / "s.yaml").write_text(schema_text.replace("max: 100,", "max: 100, confirmed: false,"))
    assert "not confirmed: AGE" in run("check", "-c", "here/site.yaml", status=2)


def test_a_database_is_read_once(place: Path, cohort: Callable[..., Any]) -> None:
    with sqlite3.connect("t.db") as db:
        cohort().to_sql("patients", db, index=False)
    db.close()
    words = ["sqlite:///t.db" if word == "t.parquet" else word for word in INIT]
    run(*words, "--table", "patients")
    assert yaml.safe_load(Path("here/site.yaml").read_text())["data"] == {"sql": words[5], "table": "patients"}
    assert "60 patients" in run("check", "-c", "here/site.yaml")
    Path("t.db").unlink()
    config = load_config(Path("here/site.yaml"))
    assert len(list(open_snapshot(config.snapshot_folder, config.read_schema()).batches())) == 1


def test_postgres_behind_a_site(postgres: str, place: Path, cohort: Callable[..., Any]) -> None:
    engine = sa.create_engine(postgres, poolclass=sa.NullPool)
    cohort(rows=130).to_sql("cohort", engine, index=False)
    engine.dispose()
    run(*(postgres if word == "t.parquet" else word for word in INIT), "--table", "public.cohort")
    assert "60 patients" in run("check", "-c", "here/site.yaml")
