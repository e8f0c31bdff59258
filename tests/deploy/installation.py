"""What an administrator installs, as tests read it: units, folders, users, ports."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SECRETS = ("/var/lib/cohortmix", "/var/lib/cohortmix-mark")  # the hospital's folders that its relay must not see
DOORS = {  # by unit of Flower's: its port, and the users who may connect to it
    "superlink": ("8000", {"root", "cohortmix-superlink", "cohortmix-coordinator", "www-data"}),
    "relay": ("9094", {"root", "cohortmix-relay"}),
}


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit, each with all its values."""
    settings: dict[str, list[str]] = {}
    text = text_of(f"cohortmix-{name}.service").replace("\\\n", " ")
    for line in text.splitlines():
        if "=" in line and not line.startswith(("#", ";")):
            key, value = line.split("=", 1)
            settings.setdefault(key, []).append(value.strip())
    return settings


def text_of(name: str) -> str:
    """A file of systemd's."""
    return (DEPLOY / "systemd" / name).read_text()


def folders(name: str) -> dict[str, str]:
    """What tmpfiles.d makes: mode, owner and group of each folder."""
    return dict(re.findall(r"^d (\S+) (\d{4} \S+ \S+) -", text_of(name), re.M))


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)


def needs(program: str) -> str:
    """The path of a program; the test is skipped without it."""
    found = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    return found or pytest.skip(f"{program} is not installed here")
