"""What the local commands say and name is the same for neighbours."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from channels import COUNTS, MARK, SCHEMA, table, with_odd_patient, write
from typer.testing import CliRunner

from cohortmix.deploy.cli import app
from cohortmix.deploy.simulation.engines import reason_of

ANYHOW = ("--max-unreadable", "1")  # values that cannot be read stop nothing
ALONE = "not as declared in your table (said here alone): "


@pytest.fixture(scope="module")
def lawful(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tables as the local commands let them pass, with a ward for each patient and a schema beside."""
    plain, folders = table(np.random.default_rng(5)), []
    odd = with_odd_patient(plain, "csv")
    odd["outcome"] = [label if label in SCHEMA.classes else "well" for label in odd["outcome"]]
    for columns in (plain, odd):
        folder = tmp_path_factory.mktemp("commands")
        (folder / "schema.yaml").write_text(SCHEMA.to_yaml())
        write(folder / "table.csv", columns | {"ward": [f"ward {int(pid) % 2}" for pid in columns["pid"]]})
        folders.append(folder)
    return folders[0], folders[1]


def outcome(folder: Path, *command: str) -> tuple[str, str, list[str], dict[str, bytes]]:
    """What a command prints, the names of its files, and those of them that hold no draw of the noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        told = CliRunner().invoke(
            app,
            [*command, *ANYHOW, "--data", "table.csv", "--schema", "schema.yaml", "--out", "out"],
            catch_exceptions=False,
        )
    assert told.exit_code == 0, told.output
    files = sorted(path for path in (folder / "out").rglob("*") if path.is_file())
    fixed = {file.name: file.read_bytes() for file in files if file.name in ("receipt.json", "summary.json")}
    shutil.rmtree(folder / "out")
    return told.stdout, told.stderr, [str(file.relative_to(folder)) for file in files], fixed


def beside_the_check(told: str) -> str:
    """What a command tells a person but for what it found in the table, which is marked as theirs alone."""
    lines = told.splitlines()
    framed = [at for at, line in enumerate(lines) if line[:1] in ("╭", "│", "╰")]
    if framed:
        assert framed == list(range(framed[0], framed[-1] + 1))
        assert "NOT PRIVATE: they stay on this terminal" in lines[framed[0] + 1]
    theirs = {*framed, *(at for at, line in enumerate(lines) if line.startswith(ALONE))}
    return "\n".join(line for at, line in enumerate(lines) if at not in theirs)


@pytest.mark.parametrize(
    "command",
    [
        ("synthesize", "--epsilon", "0.02", "--accept-degraded"),
        ("simulate", "--epsilon", "0.02", "--site-column", "ward", "--accept-degraded"),
    ],
    ids=lambda command: command[0],
)
def test_a_command_says_and_names_the_same_for_neighbours(
    lawful: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    """With real noise; a budget too small for a mixture, so that the number of centroids is public as well.

    What the check found is told to the person at the terminal alone: on the standard error, never in a file.
    """
    told: list[tuple[Any, ...]] = [outcome(folder, *command) for folder in lawful]
    one, other = told
    assert one[1] != other[1], "the second table is not as declared, and its holder is told so"
    assert MARK not in other[1]
    one = (one[0], beside_the_check(one[1]), *one[2:])
    other = (other[0], beside_the_check(other[1]), *other[2:])
    if command[0] == "simulate":  # the keys of its sites are new each time, and it sums up masses of the noise
        one, other = (*one[:3], {}), (*other[:3], {})
    assert one == other
    assert len(one[1].splitlines()) > 1  # steps were told
    for text in one[:2]:
        assert not any(word in text for word in (MARK, *COUNTS))


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        ("", "it said nothing"),
        (f"in line 7\npyarrow.lib.ArrowException: cannot parse {MARK}\n", "pyarrow.lib.ArrowException"),
        (f"OSError: of an earlier line\n{MARK} Error: {COUNTS[1]} rows", "its last line names no exception"),
    ],
)
def test_the_engine_of_a_simulation_repeats_no_text_of_a_fault(log: str, reason: str) -> None:
    assert reason_of(log) == reason
