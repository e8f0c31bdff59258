"""What the local commands say and name is the same for neighbours."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from channels import COUNTS, MARK, SCHEMA, table, with_odd_patient, write
from typer.testing import CliRunner

from cohortmix.deploy.cli import app
from cohortmix.deploy.simulation.engines import reason_of
from cohortmix.protocol.local.checked import HOW

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


def outcome(folder: Path, terminal: bool, *command: str) -> tuple[str, str, list[str], dict[str, bytes]]:
    """What a command prints, the names of its files, and those of them that hold no draw of the noise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for module in ("cohortmix.protocol.local.checked", "cohortmix.client.local.cli"):
            patch.setattr(f"{module}.watched", lambda: terminal)
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
    theirs = {*framed, *(at for at, line in enumerate(lines) if line.startswith(ALONE) or line.endswith(HOW))}
    return "\n".join(line for at, line in enumerate(lines) if at not in theirs)


@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
@pytest.mark.parametrize(
    "command",
    [
        ("synthesize", "--epsilon", "0.02", "--accept-degraded"),
        ("simulate", "--epsilon", "0.02", "--site-column", "ward", "--accept-degraded"),
    ],
    ids=lambda command: command[0],
)
def test_a_command_says_and_names_the_same_for_neighbours(
    lawful: tuple[Path, Path], command: tuple[str, ...], terminal: bool
) -> None:
    """With real noise; a budget too small for a mixture, so that the number of centroids is public as well.

    What the check found is told to the person at the terminal alone: on the standard error, never in a file. A log
    gets the number of columns, without any count of values.
    """
    one, other = (outcome(folder, terminal, *command) for folder in lawful)
    assert one[1] != other[1], "the second table is not as declared, and its holder is told so"
    assert MARK not in other[1]
    assert ("│" in other[1]) == terminal
    assert terminal or not any(word in other[1] for word in COUNTS)
    one, other = ((out, beside_the_check(err), *rest) for out, err, *rest in (one, other))
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
