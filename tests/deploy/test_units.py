"""What an administrator installs: units, proxy, containers and scripts keep what docs/deploy.md promises."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from loopback import await_

from cohortmix.deploy.meeting import SHARED

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())
SECRETS = ("/var/lib/cohortmix", "/var/lib/cohortmix-mark")
HOSPITALS = "abc"


def unit(name: str) -> dict[str, list[str]]:
    """The settings of a unit, each with all its values."""
    settings: dict[str, list[str]] = {}
    text = (DEPLOY / "systemd" / f"cohortmix-{name}.service").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        if "=" in line and not line.startswith(("#", ";")):
            key, value = line.split("=", 1)
            settings.setdefault(key, []).append(value.strip())
    return settings


def run(*command: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)


def needs(program: str) -> str:
    found = shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
    return found or pytest.skip(f"{program} is not installed here")


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


# --- the coordinator's machine: the signing key and Flower have users of their own

FLOWERS = {"superlink": ("flower-superlink", "flower-superexec", "flwr-serverapp"),
           "relay": ("flower-supernode", "flower-superexec", "flwr-clientapp")}  # fmt: skip


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


def text_of(name: str) -> str:
    return (DEPLOY / "systemd" / name).read_text()


def folders(name: str) -> dict[str, str]:
    """What tmpfiles.d makes: mode, owner and group of each folder."""
    return dict(re.findall(r"^d (\S+) (\d{4} \S+ \S+) -", text_of(name), re.M))


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


DOORS = {"superlink": ("8000", {"root", "cohortmix-superlink", "cohortmix-coordinator", "www-data"}),
         "relay": ("9094", {"root", "cohortmix-relay"})}  # fmt: skip


@pytest.mark.parametrize("name", DOORS)
def test_flowers_port_is_closed_to_other_users_before_it_listens(name: str) -> None:
    """The unit does not start where the rule cannot be set, and sets it again with every reload of nftables.

    Root reads the file, so it lies in a folder of root: none that tmpfiles.d gives to a user of ours.
    """
    (port, users), settings = DOORS[name], unit(name)
    load = [f"+/usr/sbin/nft -f /etc/cohortmix/{name}.nft"]
    assert "/etc/cohortmix" not in {*folders("cohortmix.tmpfiles"), *folders("cohortmix-coordinator.tmpfiles")}
    assert settings["ExecStartPre"] == settings["ExecReload"] == load
    assert settings["PartOf"] == settings["ReloadPropagatedFrom"] == ["nftables.service"]
    assert "nftables.service" in settings["After"][0].split()
    command = settings["ExecStart"][0].split()
    assert command[command.index("--port") + 1] == port
    text = (DEPLOY / f"nftables/{name}.nft").read_text()
    assert re.search(rf'oifname "lo" tcp dport {port} tcp flags & \(syn \| ack\) == syn jump callers', text)
    [allowed] = re.findall(r"meta skuid \{(.*?)\} accept\s+reject", text, re.S)
    assert set(re.findall(r'"(.*?)"', allowed)) == users


@pytest.mark.parametrize("name", DOORS)
def test_the_kernel_turns_other_users_away(name: str, tmp_path: Path) -> None:
    """The rule itself, with numbers for names, in a network of its own: two users, one port, before and after."""
    nft, unshare = needs("nft"), needs("unshare")
    port, users = DOORS[name]
    text = (DEPLOY / f"nftables/{name}.nft").read_text()
    for number, user in enumerate(sorted(users - {"root"})):
        text = text.replace(f'"{user}"', str(64300 + number))
    (tmp_path / "door.nft").write_text(text)
    script = f"""
import os, socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
server = socket.create_server(("127.0.0.1", {port}))
"".encode("idna")  # what a connection loads, while its files can be read
def enters(user):
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.setuid(user)
            socket.create_connection(("127.0.0.1", {port}), 10)
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0
print(*[enters(user) for user in (0, 64300, 64399)])
for _ in range(2):
    subprocess.run([{nft!r}, "-f", {str(tmp_path / "door.nft")!r}], check=True)
    print(*[enters(user) for user in (0, 64300, 64399)])
"""
    if run(unshare, "--net", nft, "list", "ruleset").returncode != 0:
        pytest.skip("no network of its own here: not root, or a kernel without nftables")
    found = run(unshare, "--net", sys.executable, "-c", script)
    assert found.stdout.split("\n")[:3] == ["True True True", *["True True False"] * 2], found.stderr


def test_the_relays_user_reaches_nothing_else_on_its_machine(tmp_path: Path) -> None:
    """The rule itself: which ports of loopback, TCP and UDP, the relay's user and others get through to."""
    nft, unshare = needs("nft"), needs("unshare")
    text = (DEPLOY / "nftables/relay.nft").read_text().replace('"cohortmix-relay"', "64300")
    (tmp_path / "door.nft").write_text(text)
    script = f"""
import os, socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
subprocess.run(["ip", "addr", "add", "192.0.2.7/32", "dev", "lo"], check=True)
subprocess.run([{nft!r}, "-f", {str(tmp_path / "door.nft")!r}], check=True)
"".encode("idna")
def opened(kind, host, port):
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    server.bind((host, port))
    if kind == socket.SOCK_STREAM:
        server.listen()
    return server
def enters(user, kind, host, port):
    server = opened(kind, host, port)
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.setuid(user)
            client = socket.socket(server.family, kind)
            client.settimeout(10)
            client.connect((host, port))
            client.send(b"x")
            status = 0
        finally:
            os._exit(status)
    sent = os.waitpid(child, 0)[1] == 0
    if sent:
        server.settimeout(10)
        end = server.accept()[0] if kind == socket.SOCK_STREAM else server
        assert end.recv(1) == b"x"
    server.close()
    return sent
for user in (64300, 64399, 0):
    print(*[
        int(enters(user, kind, host, port))
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)
        for host, port in (("127.0.0.1", 5432), ("::1", 5432), ("192.0.2.7", 80), ("127.0.0.53", 53))
    ])
print(int(enters(64300, socket.SOCK_STREAM, "127.0.0.1", 9094)))
"""
    if run(unshare, "--net", nft, "list", "ruleset").returncode != 0:
        pytest.skip("no network of its own here: not root, or a kernel without nftables")
    found = run(unshare, "--net", sys.executable, "-c", script)
    assert found.stdout.split("\n")[:4] == ["0 0 0 1 0 0 0 1", *["1 1 1 1 1 1 1 1"] * 2, "1"], found.stderr


def test_the_relays_rule_names_the_name_server_and_nothing_else() -> None:
    """TCP that begins, and all of UDP, is let through to port 53 alone; also where this kernel has no nftables."""
    text = (DEPLOY / "nftables/relay.nft").read_text()
    assert re.search(r'oifname "lo" meta skuid "cohortmix-relay" jump relay\n', text)
    [rules] = re.findall(r"chain relay \{(.*?)\n    \}", text, re.S)
    assert [line.strip() for line in rules.strip().splitlines()] == [
        "meta l4proto { tcp, udp } th dport 53 accept",
        "tcp flags & (syn | ack) == syn reject with tcp reset",
        "meta l4proto tcp accept",
        "reject",
    ]
    assert unit("relay")["User"] == ["cohortmix-relay"]


# --- the page for administrators says what the files do

PAGE = (DEPLOY.parent / "docs/deploy.md").read_text()


def installed_by_the_page() -> set[str]:
    """The files of this folder that a command of the page puts in place."""
    named = re.findall(r"deploy/((?:systemd|nftables|nginx)/[^\s;&|`]+)", PAGE)
    return {
        head + option + tail
        for head, options, tail in (
            re.fullmatch(r"([^{]*)(?:\{(.*)\})?([^}]*)", name).groups("") for name in named
        )
        for option in options.split(",")
    }


def test_the_page_installs_every_file() -> None:
    there = {
        f"{kind}/{file.name}" for kind in ("systemd", "nftables", "nginx") for file in (DEPLOY / kind).iterdir()
    }
    assert installed_by_the_page() == there


def test_the_page_names_every_user_with_what_it_owns() -> None:
    rows = dict(re.findall(r"^\| `([\w-]+)` \((?:hospital|coordinator)\) \| (.*?) \|", PAGE, re.M))
    systemd = "".join(text_of(f"{name}.sysusers") for name in ("cohortmix", "cohortmix-coordinator"))
    homes = dict(re.findall(r'^u (\S+) - ".*" (\S+)$', systemd, re.M))
    assert set(rows) == set(homes)
    modes = folders("cohortmix.tmpfiles") | folders("cohortmix-coordinator.tmpfiles")
    for user, has in rows.items():
        [(folder, mode)] = re.findall(r"`(/[\w/-]+)`, (0\d{3})", has)
        made = modes.get(folder) or f"{unit('superlink')['StateDirectoryMode'][0]} {user} {user}"
        assert made == f"{mode} {user} {user}", folder
    assert "`www-data` (nginx, coordinator)" in PAGE


def test_the_page_names_the_ports_that_are_closed_and_to_whom_they_are_open() -> None:
    rows = re.findall(r"^\| (.*?) \| 127\.0\.0\.1:(\d+), open to root and", PAGE, re.M)
    assert {port for _, port in rows} == {port for port, _ in DOORS.values()}
    [users] = re.findall(r"^`superlink\.nft` names the users .*?: (.*?), as which", PAGE, re.M | re.S)
    assert {"root", *re.findall(r"`([\w-]+)`", users)} == DOORS["superlink"][1]


def test_the_superlink_listens_on_loopback_with_authentication() -> None:
    for command in (unit("superlink")["ExecStart"][0], (DEPLOY / "docker/Dockerfile").read_text()):
        words = re.sub(r'[",]', " ", command).split()
        assert words[words.index("--host") + 1] == "127.0.0.1"
        assert {"--enable-supernode-auth", "--disable-runtime-dependency-installation"} <= set(words)
        assert "--insecure" not in words


def test_the_proxy_lets_the_fleet_through_and_nothing_else() -> None:
    text = (DEPLOY / "nginx/cohortmix.conf").read_text()
    blocks = dict(re.findall(r"location (\S+) \{(.*?)\}", text, re.S))
    assert set(blocks) == {"/v1/fleet/", "/"}
    assert "proxy_pass https://127.0.0.1:8000;" in blocks["/v1/fleet/"]
    assert blocks["/"].split() == ["return", "403;"]


def test_nginx_accepts_the_configuration(tmp_path: Path) -> None:
    nginx = needs("nginx")
    made = run(DEPLOY / "certificates.sh", tmp_path / "tls", "127.0.0.1")
    assert made.returncode == 0, made.stderr
    site = (
        (DEPLOY / "nginx/cohortmix.conf").read_text().replace("/etc/cohortmix-coordinator", str(tmp_path / "tls"))
    )
    (tmp_path / "site.conf").write_text(site)
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; include {tmp_path}/site.conf; }}"
    )
    found = run(nginx, "-t", "-e", "stderr", "-c", tmp_path / "nginx.conf")
    assert found.returncode == 0, found.stderr


def test_certificates_are_of_one_ca_and_for_the_host(tmp_path: Path) -> None:
    openssl, folder = needs("openssl"), tmp_path / "tls"
    for host in ("coordinator.example.org", "10.0.0.7"):  # the second call renews the server's certificate
        assert run(DEPLOY / "certificates.sh", folder, host).returncode == 0
        checked = run(openssl, "verify", "-CAfile", folder / "ca.crt", folder / "server.crt")
        assert checked.returncode == 0, checked.stderr
        assert host in run(openssl, "x509", "-in", folder / "server.crt", "-noout", "-text").stdout
    modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert {modes["ca.key"], modes["server.key"]} == {0o600}
    assert run(DEPLOY / "certificates.sh", folder).returncode == 2


def test_a_certificate_of_another_ca_is_not_accepted(tmp_path: Path) -> None:
    openssl = needs("openssl")
    for name in ("ours", "theirs"):
        assert run(DEPLOY / "certificates.sh", tmp_path / name, "127.0.0.1").returncode == 0
    assert (
        run(openssl, "verify", "-CAfile", tmp_path / "ours/ca.crt", tmp_path / "theirs/server.crt").returncode != 0
    )


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
