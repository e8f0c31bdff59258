"""Flower's bundle: it carries no code, and one that does gains nothing at a hospital.

A bundle's folder comes first on the import path of the process that runs it, so a module in it can stand in for
the installed one. What such code may do is what its user may do; so the second half needs a second user, and root.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

import cohortmix.deploy

BUNDLE = Path(str(cohortmix.deploy.__file__)).parent / "bundle"
RELAY_USER, RELAY_GROUP = 65534, 54321  # nobody; a group that exists nowhere else

EVIL = '''
"""Stands in for the installed package, and takes what it can get."""
import os
from pathlib import Path

def steal(folder):
    taken = {}
    for path in [Path(folder), *sorted(Path(folder).rglob("*"))]:
        try:
            path.is_dir() and os.listdir(path)
            if path.is_file():
                taken[path.name] = len(path.read_bytes())
        except OSError:
            pass
    return taken

def reads(paths):
    seen = []
    for path in paths:
        try:
            Path(path).read_bytes()
            seen.append(path)
        except OSError:
            pass
    return seen

def writes(paths):
    done = []
    for path in paths:
        try:
            with open(path, "ab"):
                done.append(path)
        except OSError:
            pass
    return done
'''

# Flower's process: rights given up, the bundle first on the path. What Flower needs is imported before, since the
# interpreter itself may lie where the relay's user cannot read.
PROGRAM = """
import json, os, sys, pathlib
folder, bundle, socket, request, user, group, files = json.loads(sys.stdin.read())
from cohortmix.client.site.connection import SocketConnection
connection = SocketConnection(pathlib.Path(socket))
try:  # not on the site's own socket: gRPC would keep what root has opened
    SocketConnection(pathlib.Path(bundle, "none.sock")).describe()
except Exception:
    pass
for name in [name for name in sys.modules if name.startswith("cohortmix")]:
    del sys.modules[name]
if user is not None:
    os.setgroups([group]); os.setgid(user); os.setuid(user)
sys.path.insert(0, bundle)
import cohortmix.client.app as taken
found = {"module": taken.__file__, "stolen": taken.steal(folder), "read": taken.reads(files)}
found["written"] = taken.writes(files + [folder + "/site/run/other.sock", folder + "/site/state/x"])
for name, call in (("described", connection.describe), ("answered", lambda: connection.answer(request.encode()))):
    try:
        found[name] = call().decode()
    except Exception as error:
        found[name] = None
print(json.dumps(found))
"""


def built(folder: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(build_fab_from_disk(folder)))


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # Flower's own
def test_the_bundle_carries_no_code(tmp_path: Path) -> None:
    fab = built(BUNDLE)
    assert sorted(fab.namelist()) == [".info/CONTENT", "README.md", "pyproject.toml"]
    assert len(fab.read("pyproject.toml")) < 1000
    shutil.copytree(BUNDLE, tmp_path / "bundle")
    (tmp_path / "bundle" / "cohortmix").mkdir()
    (tmp_path / "bundle" / "cohortmix" / "__init__.py").write_text("raise SystemExit")
    assert sorted(built(tmp_path / "bundle").namelist()) == sorted(fab.namelist())  # whatever else lies there


def test_the_bundle_names_installed_modules() -> None:
    app = tomllib.loads((BUNDLE / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    kinds = {"clientapp": ClientApp, "serverapp": ServerApp}
    assert set(app["components"]) == set(kinds)
    for component, kind in kinds.items():
        module, name = app["components"][component].split(":")
        assert isinstance(getattr(import_module(module), name), kind)
    assert app["config"] == {"socket": "", "token": ""}
    assert "dependencies" not in app


# --- a bundle with code, at a hospital


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user may pass through; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="cm"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def run_evil(hospital: Any, request: bytes, user: int | None) -> dict[str, Any]:
    """What a bundle with a shadowing module gets, as the relay's user or as this one."""
    bundle = hospital.folder.parent / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    shutil.copytree(BUNDLE, bundle)
    for package in ("cohortmix", "cohortmix/client"):
        (bundle / package).mkdir()
        (bundle / package / "__init__.py").write_text("")
    (bundle / "cohortmix" / "client" / "app.py").write_text(EVIL)
    config = hospital.config
    files = [
        *(hospital.folder / "records.parquet", hospital.site / "site.yaml", config.key, config.ledger_file),
        *(config.policy_file, *config.snapshot_folder.iterdir(), *config.mark.iterdir(), config.description_file),
    ]
    order = [hospital.folder, bundle, config.socket, request.decode(), user, RELAY_GROUP, files]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(order, default=str), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["module"].startswith(str(bundle))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="a second user can be had by root only")
def test_a_shadowing_module_gains_nothing(place: Path, new_hospital: Callable[..., Any], daemons: Any) -> None:
    hospital = new_hospital(place / "hospital")
    hospital.folder.chmod(0o711)
    os.chown(hospital.config.socket.parent, -1, RELAY_GROUP)
    hospital.config.socket.parent.chmod(0o2750)
    approved, other = hospital.approved("approved"), hospital.study("other")
    with daemons.serving(hospital):
        hospital.connection.answer(hospital.request(approved))
        got = run_evil(hospital, hospital.request(other), RELAY_USER)
        as_root = run_evil(hospital, hospital.request(other), None)
    assert (got["stolen"], got["read"], got["written"]) == ({}, [], [])
    assert json.loads(got["described"])["type"] == "description"
    assert json.loads(got["answered"])["code"] == "NOT_APPROVED"
    # The same code as the hospital's own user takes everything: it is the second user that keeps it out.
    assert {"records.parquet", "site.key", "ledger.db", "pin.json", "policy.json"} <= set(as_root["stolen"])
    assert len(as_root["read"]) == len(set(as_root["read"])) >= 8


@pytest.mark.skipif(os.geteuid() != 0, reason="a second user can be had by root only")
def test_without_the_group_not_even_the_socket(
    place: Path, new_hospital: Callable[..., Any], daemons: Any
) -> None:
    hospital = new_hospital(place / "hospital")
    hospital.folder.chmod(0o711)
    with daemons.serving(hospital):
        got = run_evil(hospital, b"{}", RELAY_USER)
    assert (got["described"], got["answered"]) == (None, None)
