"""Working folders with a table, and one with a study that was published."""

from pathlib import Path

import pytest
from commands import run
from studies import SCHEMA, cohort


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cohort().to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "s.yaml").write_text(SCHEMA)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of two wards with public data."""
    root = tmp_path_factory.mktemp("published")
    cohort().to_csv(root / "t.csv", index=False)
    (root / "s.yaml").write_text(SCHEMA)
    files = ("--data", str(root / "t.csv"), "--schema", str(root / "s.yaml"), "--out", str(root / "study"))
    options = (
        "--epsilon",
        "0.1",
        "--site-column",
        "ward",
        "--public-data",
        "--overlap",
        "2",
        "--seed",
        "1",
        "--accept-degraded",
    )
    out, err = run("simulate", *files, *options)
    (root / "out.txt").write_text(out)
    (root / "err.txt").write_text(err)
    return root / "study"
