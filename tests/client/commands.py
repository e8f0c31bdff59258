"""The commands of one hospital, run in this process on a small table; and how a command ends."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
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


SYNTHESIZE = ("synthesize", "--data", "t.csv", "--schema", "s.yaml", "--epsilon", "3", "--out", "out")
CHEAP = (*SYNTHESIZE[:6], "0.05", *SYNTHESIZE[7:], "--seed", "1", "--accept-degraded")  # no mixture is fitted
EVALUATE = ("evaluate", "--synthetic", "other.parquet", "--real", "t.csv", "--schema", "s.yaml")


def run(*arguments: str, status: int = 0) -> tuple[str, str]:
    """Standard output and error of a command that ends with `status`."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


@contextmanager
def terminal() -> Iterator[None]:
    """Where whoever holds the table reads standard error themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cohortmix.protocol.local.checked.watched", lambda: True)
        patch.setattr("cohortmix.client.local.cli.watched", lambda: True)
        yield


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


def report(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read
