"""`cohortmix audit`: a table of what was replayed, JSON, one line, and a status that says whether it holds."""

import json
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from studies import SCHEMA
from typer.testing import CliRunner

from cohortmix.core.audit.lower_bound import RUNS
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.privacy import vault
from cohortmix.deploy.audit import processes
from cohortmix.deploy.cli import app

FILES = ("--data", "t.csv", "--schema", "s.yaml")
OPTIONS = ("--runs", "1000", "--json", "found.json")
PATIENTS = 120


@pytest.fixture(scope="module")
def folder(few_steps: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A table with more patients than an audit takes."""
    rng, rows = np.random.default_rng(0), PATIENTS + 30
    x = rng.uniform(0, 10, rows).round(3)
    y = np.where(x > 5, "dead", "alive")
    frame = pd.DataFrame({"id": range(rows), "x": x, "sex": rng.choice(["F", "M"], rows), "y": y})
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("audit")
        patch.chdir(path)
        patch.setattr("cohortmix.deploy.audit.PATIENTS", PATIENTS)
        patch.setattr("cohortmix.deploy.audit.OpenDPNoise", lambda: KeyedNoise(1))
        patch.setattr("cohortmix.deploy.audit.processes", lambda: nullcontext(map))  # children know no patch
        frame.to_csv("t.csv", index=False)
        Path("s.yaml").write_text(SCHEMA)
        yield path


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["audit", *args])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def found(folder: Path) -> tuple[str, dict[str, Any]]:
    """What an audit prints, and its JSON."""
    status, out, err = run(*FILES, *OPTIONS)
    assert status == 0, out + err
    return out, json.loads(Path("found.json").read_text())


def test_an_audit_tells_what_it_found(found: tuple[str, dict[str, Any]]) -> None:
    out, facts = found
    bound = facts["lower_bound"]
    line = out.strip().splitlines()[-1]
    assert line.startswith("claimed mu 0.30, measured at least 0.")
    assert line.endswith(f"(at version {facts['version']} on public data)")
    assert 0 <= bound["measured"] - float(line.split()[6]) < 0.01
    assert bound["measured"] <= bound["claimed"] == pytest.approx(0.3, abs=1e-6)
    assert (facts["patients"], facts["violations"]) == (PATIENTS, [])
    assert (facts["measured_on"], facts["noise"]) == ("public data", "TEST")
    assert [each["pairs"] for each in facts["replays"].values()] == [5, 5, 78, 200]
    reached = facts["replays"]["vault_worst_pairs"]["largest_share_of_sensitivity2"]
    levels = ["level sum", "level second moment", "score moment", "sign products", "class second moment"]
    assert list(reached) == ["sum", "second moment", *levels, "value counts"]
    assert all(0.99 < share <= 1 for share in reached.values())
    for variant, asked in (("cells", list(reached)[:2]), ("gaussian", [levels[0], levels[-1]])):
        assert list(facts["replays"][f"pipeline_{variant}"]["largest_share_of_sensitivity2"]) == asked
    assert "VIOLATION" not in out


def test_an_audit_has_three_lower_bounds(found: tuple[str, dict[str, Any]]) -> None:
    out, facts = found
    draws, pipelines, one_run = (facts[name] for name in ("lower_bound", "whole_pipelines", "one_run"))
    assert (draws["runs"], pipelines["runs"], one_run["canaries"]) == (1000, 12, PATIENTS)
    assert [each["claimed"] for each in (draws, pipelines, one_run)] == pytest.approx([0.3, 2, 2])
    assert all(0 <= each["measured"] <= each["claimed"] for each in (draws, pipelines, one_run))
    rows = {line.split("  ")[0]: line.split() for line in out.splitlines()}
    for name, bound in {"vault's answers": draws, "whole pipelines": pipelines, "one run": one_run}.items():
        claimed, measured, tight = (float(word) for word in rows[name][-3:])
        assert (claimed, tight) == (round(bound["claimed"], 2), round(bound["attainable"], 2))
        assert 0 <= bound["measured"] - measured < 0.01
    assert f"{one_run['correct']} of 30 guesses right" in out


def test_too_few_runs_for_the_confidence_are_said_to_be_too_few(found: tuple[str, dict[str, Any]]) -> None:
    out, facts = found
    assert not facts["lower_bound"]["enough_runs"]
    assert not facts["whole_pipelines"]["enough_runs"]
    draws, pipelines = (line for line in out.splitlines() if line.startswith("so few"))
    assert draws.startswith("so few draws show about mu 0.2")
    assert pipelines.startswith("so few pipelines show about mu 0.")
    needed = [int(line.split("--runs ")[1].split()[0]) for line in (draws, pipelines)]
    assert 1000 < needed[0] < needed[1] < RUNS  # the default is enough for both


def test_processes_are_fresh_interpreters_that_answer_in_order() -> None:
    with processes() as each:
        assert list(each(abs, range(-20, 0))) == list(range(20, 0, -1))
        assert os.getpid() not in set(each(eval, ["__import__('os').getpid()"] * 4))


def test_a_guarantee_that_fails_is_said_to_fail(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rightly = vault._parts
    monkeypatch.setattr(vault, "_parts", lambda *args: (rightly(*args) > 0).astype(np.int64))
    status, out, _ = run(*FILES, *OPTIONS, "--replace")
    assert status == 1
    assert "VIOLATION: 500 rows: question 0 moved by" in out
    assert json.loads((folder / "found.json").read_text())["violations"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--data", "t.csv"), "give both --data and --schema"),
        (("--schema", "s.yaml"), "give both --data and --schema"),
        ((*FILES, "--runs", "5"), "100"),
        ((*FILES, "--json", "t.csv", "--replace"), "is needed as it is"),
        (("--data", "no.csv", "--schema", "s.yaml"), "no.csv"),
    ],
)
def test_wrong_input_is_one_sentence(folder: Path, args: tuple[str, ...], says: str) -> None:
    status, out, err = run(*args)
    assert (status, out) == (2, "")
    assert says in err
    assert err.startswith("cohortmix: ")
    assert err.count("\n") == 1
