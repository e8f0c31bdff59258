"""The containers keep what the units keep, and the scripts are sound."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from installation import DEPLOY, SECRETS, run

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())


HOSPITALS = "abc"


def test_containers_keep_the_walls_of_the_units() -> None:
    services = COMPOSE["services"]
    for hospital in HOSPITALS:
        daemon, relay = services[f"site-{hospital}"], services[f"relay-{hospital}"]
        assert daemon["network_mode"] == "none"
        assert daemon["user"] != relay["user"]
        mounted = {volume.split(":")[1] for volume in relay["volumes"]}
        assert not mounted & set(SECRETS)
        assert set(SECRETS) <= {volume.split(":")[1] for volume in daemon["volumes"]}
    for name, service in services.items():
        assert service["read_only"], name
        assert not service.get("privileged"), name
    assert services["proxy"]["network_mode"] == services["coordinator"]["network_mode"] == "service:superlink"
    assert services["superlink"]["user"] != services["coordinator"]["user"]
    state = "/var/lib/cohortmix-coordinator"
    holders = [name for name, service in services.items() if state in str(service.get("volumes"))]
    assert holders == ["coordinator"], "the signing key is in no other container"
    assert "ports" not in services["proxy"]
    assert services["superlink"]["ports"] == ["443:443"]


def test_the_image_has_two_targets_whose_users_are_those_of_compose() -> None:
    text = (DEPLOY / "docker/Dockerfile").read_text()
    assert {"site", "coordinator"} <= set(re.findall(r"^FROM \S+ AS (\S+)", text, re.M))
    users = set(re.findall(r"--uid (\d+)", text))
    assert {
        service["user"].split(":")[0] for service in COMPOSE["services"].values() if "user" in service
    } == users


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_sound(script: Path) -> None:
    assert run("bash", "-n", script).returncode == 0
    assert "set -euo pipefail" in script.read_text()
    assert run("bash", script).returncode == 2  # no argument: a sentence of use, nothing done
