"""A real PostgreSQL, where its programs are installed."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # Debian does not put them on the path


def _program(name: str) -> Path | None:
    found = shutil.which(name, path=os.pathsep.join([*map(str, PROGRAMS), os.environ.get("PATH", "")]))
    return None if found is None else Path(found)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of an empty database that listens on a unix socket alone; gone at the end."""
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed")
    initdb, control = _program("initdb"), _program("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # a short path: a socket's is limited
    if user is not None:
        shutil.chown(folder, user, user)
    as_user = {"user": user, "group": user, "extra_groups": []} if user is not None else {}

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
