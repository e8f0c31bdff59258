"""The ports on loopback, the proxy and its certificates: who can connect to whom."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from installation import DEPLOY, DOORS, folders, needs, run, unit


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
