"""A real PostgreSQL, where its programs are installed; hospitals and their daemons, a ledger, a working folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import commands
import pandas as pd
import pytest
from desk import Desk
from hospitals import SCHEMA, Daemons, Hospital, records
from ledgers import CAP

from cohortmix.client.ledger.ledger import Ledger

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # Debian does not put them on the path


def _program(name: str) -> Path | None:
    found = shutil.which(name, path=os.pathsep.join([*map(str, PROGRAMS), os.environ.get("PATH", "")]))
    return None if found is None else Path(found)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of an empty database, reached over a unix socket only; it is removed at the end."""
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed")
    initdb, control = _program("initdb"), _program("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # not pytest's folder: a socket's path must be short
    if user is not None:
        shutil.chown(folder, user, user)
    as_user: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user is not None else {}

    def run(*command: str | Path) -> None:
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120, **as_user)

    data, settings = folder / "data", f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    try:
        run(initdb, "-D", data, "-U", "steward", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        run(control, "-D", data, "-o", settings, "-l", folder / "log", "-w", "start")
        try:
            yield f"postgresql+psycopg://steward@/postgres?host={folder}"
        finally:
            run(control, "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def daemons() -> Iterator[Daemons]:
    """What starts daemons."""
    program = Daemons()
    yield program
    program.close()


@pytest.fixture
def new_hospital(tmp_path: Path) -> Callable[..., Hospital]:
    """Makes new hospitals."""
    return lambda name="hospital", *given, **named: Hospital.new(tmp_path / name, *given, **named)


@pytest.fixture
def hospital(new_hospital: Callable[..., Hospital]) -> Hospital:
    """One hospital with its default table."""
    return new_hospital()


@pytest.fixture(scope="session")
def cohort() -> Callable[..., pd.DataFrame]:
    """Makes the table of a hospital."""
    return records


@pytest.fixture(scope="session")
def schema_text() -> str:
    """The schema of that table."""
    return SCHEMA


@pytest.fixture
def desk(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The desk of the hospital's steward."""
    monkeypatch.setenv("COLUMNS", "100")
    return Desk(hospital)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    ledger = Ledger(path, CAP)
    yield ledger
    ledger.close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a table, another table from the same distribution, and their schema."""
    commands.cohort().to_csv(tmp_path / "t.csv", index=False)
    commands.cohort(seed=1).to_parquet(tmp_path / "other.parquet")
    (tmp_path / "s.yaml").write_text(commands.SCHEMA)
    monkeypatch.chdir(tmp_path)
    return tmp_path
