"""A real consortium on this machine, from nothing to the published folder: TLS, node keys, daemons, a database."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITES = {"UK": 6252, "NETH": 713, "POLA": 755}


@pytest.fixture(scope="module")
def consortium() -> Iterator[tuple[Path, str]]:
    """The folder of a finished run, and what it printed."""
    for program in ("openssl", "ssh-keygen", "setsid"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed here")
    parent = Path(tempfile.mkdtemp(prefix="cohortmix-"))
    parent.chmod(0o755)  # the hospitals' own users pass through it; the folders of pytest let nobody in
    folder = parent / "consortium"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", str(ROOT / "deploy/loopback.sh"), str(folder)]
    found = subprocess.run(
        command, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False, timeout=1200
    )
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    yield folder, found.stdout
    shutil.rmtree(parent)


def test_all_hospitals_are_pooled(consortium: tuple[Path, str]) -> None:
    summary = json.loads((consortium[0] / "published/summary.json").read_text())
    assert {site["name"]: site["n"] for site in summary["sites"]} == SITES
    assert summary["noise"] == "opendp"
    assert summary["pooled"]["auc"] is None  # no figure on real records leaves a deployed study
    assert all(site["epsilon"] <= 1.000001 for site in summary["sites"])


def test_what_is_published_is_verified_and_nothing_else(consortium: tuple[Path, str]) -> None:
    published = consortium[0] / "published"
    cohortmix = Path(sys.executable).with_name("cohortmix")
    verify = [str(cohortmix), "verify", str(published)]
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 0
    records = published / "pooled.parquet"
    records.write_bytes(records.read_bytes()[:-1])
    assert subprocess.run(verify, capture_output=True, check=False).returncode == 2


def test_every_process_has_ended(consortium: tuple[Path, str]) -> None:
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(consortium[0]) not in running


def test_the_daemons_wrote_no_count_of_records(consortium: tuple[Path, str]) -> None:
    """N is public, and the number of patients here; a log names neither cells nor sums."""
    for log in sorted((consortium[0] / "logs").glob("daemon-*.log")):
        text = log.read_text()
        assert "Traceback" not in text, text
        assert "outcome" not in text


def test_as_root_the_relay_is_kept_out_of_the_hospitals_files(consortium: tuple[Path, str]) -> None:
    folder, printed = consortium
    if "WARNING" in printed and "daemons and relays run as" in printed:
        pytest.skip("this machine gives the relays no users of their own; the script said so")
    site = folder / "UK/site"
    for secret in (site / "site.key", site / "state/ledger.db", folder / "UK/patients.parquet"):
        seen = subprocess.run(
            ["setpriv", "--reuid", "64220", "--regid", "64220", "--groups", "64200", "cat", str(secret)],
            capture_output=True,
            check=False,
        )
        assert seen.returncode != 0, secret
        assert seen.stdout == b""
