"""`cohortmix audit`: a table of what was replayed, JSON, one line, and a status that says whether it holds."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cohortmix.core.noise_keyed import KeyedNoise
from cohortmix.core.vault import Vault
from cohortmix.deploy.cli import app

SCHEMA = """
name: toy
patient_key: id
target: y
columns:
  x: {type: number, min: 0, max: 10}
  sex: {type: category, values: [F, M]}
  y: {type: category, values: [alive, dead]}
"""


FILES = ("--data", "t.csv", "--schema", "s.yaml")
OPTIONS = ("--runs", "1000", "--json", "found.json")
PATIENTS = 120


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table with more patients than an audit takes."""
    rng, rows = np.random.default_rng(0), PATIENTS + 30
    x = rng.uniform(0, 10, rows).round(3)
    y = np.where(x > 5, "dead", "alive")
    frame = pd.DataFrame({"id": range(rows), "x": x, "sex": rng.choice(["F", "M"], rows), "y": y})
    frame.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "s.yaml").write_text(SCHEMA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cohortmix.deploy.audit.PATIENTS", PATIENTS)
    monkeypatch.setattr("cohortmix.deploy.audit.OpenDPNoise", lambda: KeyedNoise(1))
    return tmp_path


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["audit", *args])
    return result.exit_code, result.stdout, result.stderr


def test_an_audit_tells_what_it_found(folder: Path) -> None:
    status, out, err = run(*FILES, *OPTIONS)
    assert status == 0, err
    facts = json.loads((folder / "found.json").read_text())
    bound = facts["lower_bound"]
    line = out.strip().splitlines()[-1]
    assert line.startswith("claimed mu 0.30, measured at least 0.")
    assert line.endswith(f"(at version {facts['version']} on public data)")
    assert 0 <= bound["measured"] - float(line.split()[6]) < 0.01
    assert bound["measured"] <= bound["claimed"] == pytest.approx(0.3, abs=1e-6)
    assert (facts["patients"], facts["violations"]) == (PATIENTS, [])
    assert (facts["measured_on"], facts["noise"]) == ("public data", "TEST")
    assert [each["pairs"] for each in facts["replays"].values()] == [5, 55, 200]
    reached = facts["replays"]["vault_worst_pairs"]["largest_share_of_sensitivity2"]
    assert len(reached) == 2
    assert all(0.99 < share <= 1 for share in reached)
    assert "VIOLATION" not in out
    assert not bound["enough_runs"]
    assert "so few draws show about mu 0.1" in out
    assert "would show 80% of it" in out


def test_a_guarantee_that_fails_is_said_to_fail(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = Vault._parts
    monkeypatch.setattr(Vault, "_parts", lambda self, *args: (rightly(self, *args) > 0).astype(np.int64))
    status, out, _ = run(*FILES, *OPTIONS)
    assert status == 1
    assert "VIOLATION: 500 rows: question 0 moved by" in out
    assert json.loads((folder / "found.json").read_text())["violations"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--data", "t.csv"), "give both --data and --schema"),
        (("--schema", "s.yaml"), "give both --data and --schema"),
        ((*FILES, "--runs", "5"), "100"),
        (("--data", "no.csv", "--schema", "s.yaml"), "no.csv"),
    ],
)
def test_wrong_input_is_one_sentence(folder: Path, args: tuple[str, ...], says: str) -> None:
    status, out, err = run(*args)
    assert (status, out) == (2, "")
    assert says in err
    assert err.startswith("cohortmix: ")
    assert err.count("\n") == 1
