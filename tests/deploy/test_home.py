"""Commands leave nothing in a home folder: no configuration of Flower's, no cache of a library."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from studies import SIMULATE

PUBLIC = (*SIMULATE, "--site-column", "ward", "--overlap", "2", "--public-data")
SYNTHESIZE = ("synthesize", *SIMULATE[1:7], "--out", "one", "--seed", "1", "--accept-degraded")
EVALUATE = ("evaluate", "--synthetic", "one/records.parquet", "--real", "t.csv", "--schema", "s.yaml")


@pytest.mark.parametrize("commands", [(PUBLIC,), (SYNTHESIZE, EVALUATE)], ids=["simulate", "synthesize, evaluate"])
def test_a_command_leaves_nothing_in_a_home_folder(commands: tuple[tuple[str, ...], ...], folder: Path) -> None:
    home, program = folder / "home", Path(sys.executable).with_name("cohortmix")
    home.mkdir()
    for command in commands:  # with nothing of this process's environment that might turn a cache off
        own = {"HOME": str(home), "PATH": os.defpath}
        found = subprocess.run([program, *command], env=own, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
    assert list(home.rglob("*")) == []
