"""The units of systemd: who runs as whom, with which files and which network."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from installation import DEPLOY, SECRETS, UNITS, folders, needs, run, text_of, unit
from loopback import await_

from cohortmix.deploy.meeting.meeting import SHARED


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """The units, with a program that this machine has in place of the installed ones."""
    for path in UNITS:
        text = re.sub(r"^(Exec\w+=\+?)/\S+", r"\1/bin/true", path.read_text(), flags=re.M)
        (tmp_path / path.name).write_text(text)
    return sorted(tmp_path.glob("*.service"))


def test_systemd_accepts_the_units(installed: list[Path]) -> None:
    found = run(needs("systemd-analyze"), "verify", "--man=no", *installed)
    assert (found.returncode, found.stderr) == (0, "")


def test_systemd_would_refuse_a_wrong_one(installed: list[Path]) -> None:
    analyze = needs("systemd-analyze")
    installed[0].write_text(installed[0].read_text().replace("ProtectSystem=strict", "ProtectSytem=strict"))
    assert "ProtectSytem" in run(analyze, "verify", "--man=no", installed[0]).stderr


def test_the_daemon_has_no_network_and_no_unit_a_capability() -> None:
    daemon = unit("site")
    assert daemon["PrivateNetwork"] == ["yes"]
    assert daemon["RestrictAddressFamilies"] == ["AF_UNIX"]
    for path in UNITS:
        settings = unit(path.stem.removeprefix("cohortmix-"))
        assert settings["CapabilityBoundingSet"] == [""], path.name
        assert settings["NoNewPrivileges"] == ["yes"], path.name
        assert settings["ProtectSystem"] == ["strict"], path.name


def test_the_relay_is_another_user_and_sees_none_of_the_daemons_files() -> None:
    daemon, relay = unit("site"), unit("relay")
    assert (daemon["User"], relay["User"]) == (["cohortmix"], ["cohortmix-relay"])
    assert daemon["SupplementaryGroups"] == relay["SupplementaryGroups"] == ["cohortmix-socket"]
    assert set(SECRETS) <= set(relay["InaccessiblePaths"][0].split())
    for reader in (daemon, unit("check")):
        assert set(SECRETS) <= set(reader["ReadWritePaths"][0].split())
        assert reader["MemorySwapMax"] == ["0"]
    folders = dict(re.findall(r"^d (\S+) (\d{4}) ", (DEPLOY / "systemd/cohortmix.tmpfiles").read_text(), re.M))
    assert {folders[path] for path in SECRETS} == {"0700"}
    assert folders["/run/cohortmix"] == "2750"


def test_the_relay_reaches_the_coordinator_and_nothing_else_of_the_hospital() -> None:
    """What the coordinator submits runs in this unit."""
    relay = unit("relay")
    assert relay["IPAddressDeny"] == ["any"]
    assert relay["IPAddressAllow"][0].split()[0] == "localhost"
    assert relay["ProcSubset"] == ["pid"]
    assert "-/run/postgresql" in relay["InaccessiblePaths"][0].split()


def test_the_check_reaches_a_database_only_by_the_drop_in() -> None:
    assert unit("check")["PrivateNetwork"] == ["yes"]
    drop_in = (DEPLOY / "systemd/cohortmix-check-database.conf").read_text()
    assert "IPAddressDeny=any" in drop_in
    assert re.search(r"^IPAddressAllow=\d", drop_in, re.M)


def test_check_and_daemon_reach_a_cluster_only_by_the_drop_in() -> None:
    assert unit("site")["PrivateNetwork"] == unit("check")["PrivateNetwork"] == ["yes"]
    drop_in = (DEPLOY / "systemd/cohortmix-ray.conf").read_text()
    assert set(re.findall(r"cohortmix-\w+\.service(?=\.d/)", drop_in)) == {
        "cohortmix-check.service",
        "cohortmix-site.service",
    }
    assert "IPAddressDeny=any" in drop_in
    (address,) = re.findall(r"^IPAddressAllow=(\d[\d.]*)$", drop_in, re.M)
    assert f"Environment=RAY_ADDRESS=ray://{address}:" in drop_in


def test_flower_is_another_user_than_the_signing_key_and_sees_none_of_its_files() -> None:
    flower, study = unit("superlink"), unit("study@")
    assert (flower["User"], study["User"]) == (["cohortmix-superlink"], ["cohortmix-coordinator"])
    assert flower["InaccessiblePaths"] == ["/var/lib/cohortmix-coordinator"]
    assert [path.name for path in UNITS if "coordinator.key" in path.read_text()] == ["cohortmix-study@.service"]
    assert "SupplementaryGroups" not in flower
    modes = folders("cohortmix-coordinator.tmpfiles")
    assert modes == {
        "/var/lib/cohortmix-coordinator": "0700 cohortmix-coordinator cohortmix-coordinator",
        "/run/cohortmix-coordinator": "2710 cohortmix-coordinator cohortmix-superlink",
    }
    users = set(re.findall(r"^u (\S+)", text_of("cohortmix-coordinator.sysusers"), re.M))
    assert users == {"cohortmix-coordinator", "cohortmix-superlink"}
    command = study["ExecStart"][0].split()
    assert command[command.index("--meet") + 1] == str(SHARED)


FLOWERS = {"superlink": ("flower-superlink", "flower-superexec", "flwr-serverapp"),
           "relay": ("flower-supernode", "flower-superexec", "flwr-clientapp")}  # fmt: skip


@pytest.mark.parametrize("name", FLOWERS)
def test_flower_finds_its_other_programs_on_the_path_of_the_unit(name: str, tmp_path: Path) -> None:
    """It starts them by name, and systemd's own PATH does not have them: as `env -i` with what the unit sets."""
    settings = dict(pair.split("=", 1) for line in unit(name)["Environment"] for pair in line.split())
    assert settings["PATH"].split(":")[0] == "/opt/cohortmix/bin"
    programs = FLOWERS[name]
    assert unit(name)["ExecStart"][0].split()[0] == f"/opt/cohortmix/bin/{programs[0]}"
    path = settings["PATH"].replace("/opt/cohortmix/bin", str(Path(sys.executable).parent))
    for program in programs:
        found = run("env", "-i", f"PATH={path}", "sh", "-c", f"command -v {program}")
        assert found.stdout.strip() == str(Path(sys.executable).parent / program)
        assert run("env", "-i", "PATH=/usr/bin:/bin", "sh", "-c", f"command -v {program}").stdout == ""


def test_the_superlink_starts_with_nothing_but_what_its_unit_sets(tmp_path: Path) -> None:
    """The command of the unit itself, in its environment; Flower's executor is there as soon as it listens."""
    assert run(needs("bash"), DEPLOY / "certificates.sh", tmp_path / "tls", "127.0.0.1").returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    places = {
        "/opt/cohortmix/bin": str(Path(sys.executable).parent),
        "/etc/cohortmix-coordinator": f"{tmp_path}/tls",
    }
    places |= {"/var/lib/cohortmix-superlink": str(tmp_path), "--port 8000": f"--port {port}"}
    settings, command = " ".join(unit("superlink")["Environment"]), unit("superlink")["ExecStart"][0]
    for installed, here in places.items():
        settings, command = settings.replace(installed, here), command.replace(installed, here)
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["env", "-i", *settings.split(), *command.split()], stdout=log, stderr=log)
    try:
        await_(
            lambda: process.poll() is not None or "Application startup complete" in (tmp_path / "log").read_text()
        )
        listed = run("ps", "-o", "args", "--ppid", process.pid).stdout
        assert "flower-superexec" in listed, (tmp_path / "log").read_text()
    finally:
        process.terminate()
        process.wait(60)
    assert not [path for path in tmp_path.rglob("*") if path.name in (".flwr", ".cache", ".config")]


def test_the_superlink_listens_on_loopback_with_authentication() -> None:
    for command in (unit("superlink")["ExecStart"][0], (DEPLOY / "docker/Dockerfile").read_text()):
        words = re.sub(r'[",]', " ", command).split()
        assert words[words.index("--host") + 1] == "127.0.0.1"
        assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(words)
        assert "--insecure" not in words
