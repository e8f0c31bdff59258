"""A real consortium on this machine: from nothing to the published folder, its doors, and what it survives."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kills import counted_once, disturbed, new_studies, spent_once
from loopback import BIN, PATIENCE, QUIET, ROOT, SITES, Consortium, await_, processes_of

ROWS = [["daemon", "clientapp", "relay"]]
"""What is killed, one process a study; the studies of a row go on at once. A SuperLink takes all runs with it."""
if "COHORTMIX_KILLS" in os.environ:
    ROWS += [["clientapp", "daemon", "relay"], ["daemon", "clientapp", "daemon"], ["superlink"]]


@pytest.fixture(scope="module")
def consortium() -> Iterator[Consortium]:
    """Three hospitals and a coordinator, after their first study."""
    for program in ("openssl", "ssh-keygen", "setsid"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed here")
    parent = Path(tempfile.mkdtemp(prefix="cohortmix-"))
    parent.chmod(0o755)  # the hospitals' own users pass through it; the folders of pytest let nobody in
    folder = parent / "consortium"
    command = ["bash", str(ROOT / "deploy/loopback.sh"), str(folder), "--keep"]
    path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    with folder.with_suffix(".log").open("wb") as log:
        script = subprocess.Popen(command, env=os.environ | path, stdout=log, stderr=subprocess.STDOUT)
    here = Consortium(folder, script)
    try:
        await_(lambda: "== kept" in here.printed or script.poll() is not None, 1200)
        assert script.poll() is None, here.printed[-5000:]
        yield here
    finally:
        here.end()
        shutil.rmtree(parent)


def test_all_hospitals_are_pooled(consortium: Consortium) -> None:
    summary = json.loads((consortium.folder / "published/summary.json").read_text())
    assert {site["name"]: site["n"] for site in summary["sites"]} == SITES
    assert summary["noise"] == "opendp"
    assert summary["pooled"]["score"] is None  # no figure on real records leaves a deployed study
    assert all(site["epsilon"] <= 1.000001 for site in summary["sites"])


def test_what_is_published_is_verified_and_nothing_else(consortium: Consortium, tmp_path: Path) -> None:
    published = tmp_path / "published"
    shutil.copytree(consortium.folder / "published", published)
    assert consortium.command("cohortmix", "verify", str(published)).returncode == 0
    records = published / "pooled.parquet"
    records.write_bytes(records.read_bytes()[:-1])
    assert consortium.command("cohortmix", "verify", str(published)).returncode == 2


def test_as_root_the_relay_is_kept_out_of_the_hospitals_files(consortium: Consortium) -> None:
    folder = consortium.folder
    if not consortium.own_users:
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


ROLES = {"daemon": 64210, "relay": 64220, "superlink": 64230, "coordinator": 64231, "nginx": 64232}
"""Users of loopback.sh, those of the first hospital and of the coordinator's machine."""


def as_(user: int, *command: object, group: int | None = None) -> subprocess.CompletedProcess[str]:
    own = ["setpriv", "--reuid", str(user), "--regid", str(group or user), "--clear-groups"]
    return subprocess.run([*own, *map(str, command)], capture_output=True, text=True, check=False, cwd="/")


def needs_own_users(consortium: Consortium) -> None:
    if not consortium.own_users:
        pytest.skip("all roles run as one user here; the script said so")


def test_every_role_runs_as_its_own_user(consortium: Consortium) -> None:
    needs_own_users(consortium)
    processes = {"daemon-UK": "daemon", "relay-UK": "relay", "superlink": "superlink", "nginx": "nginx"}
    for process, role in processes.items():
        if (consortium.folder / f"processes/{process}").exists():
            session = str(consortium.number(process))
            listed = subprocess.run(
                ["ps", "-o", "uid=", "-s", session], capture_output=True, text=True, check=True
            )
            assert set(listed.stdout.split()) == {str(ROLES[role])}, process


def test_flowers_user_reads_neither_the_signing_key_nor_the_study(consortium: Consortium) -> None:
    needs_own_users(consortium)
    folder = consortium.folder / "coordinator"
    secrets = [folder / "coordinator.key", folder / "study/study.db", folder / "study/study.json"]
    for role in ("superlink", "nginx", "relay", "daemon"):
        for secret in secrets:
            assert as_(ROLES[role], "test", "-r", secret).returncode != 0, (role, secret)
    for secret in secrets:
        assert as_(ROLES["coordinator"], "test", "-r", secret).returncode == 0, "its owner does"


def doors_can_be_shut() -> bool:
    """Whether this machine takes a rule of nftables, as the script asks."""
    nft = shutil.which("nft")
    return nft is not None and subprocess.run([nft, "list", "tables"], capture_output=True).returncode == 0


@pytest.mark.parametrize("who", ["a stranger", "daemon", "relay", "coordinator"])
def test_who_can_list_and_submit_on_the_coordinators_machine(who: str, consortium: Consortium) -> None:
    needs_own_users(consortium)
    if not doors_can_be_shut():
        pytest.skip("no nftables here: the script said that the port is open")
    home = Path(tempfile.mkdtemp(prefix="cohortmix-"))
    try:
        shutil.copy(consortium.folder / "coordinator/flower/config.toml", home / "config.toml")
        shutil.copy(consortium.folder / "coordinator/ca.crt", home / "ca.crt")
        shutil.copytree(ROOT / "deploy/bundle", home / "app")
        config = (home / "config.toml").read_text()
        known = str(consortium.folder / "coordinator/ca.crt")
        (home / "config.toml").write_text(config.replace(known, str(home / "ca.crt")))
        user = ROLES.get(who, 64299)
        for path in (home, *home.rglob("*")):
            os.chown(path, user, user)
        flwr = Path(consortium.python).with_name("flwr")
        own = ("env", f"FLWR_HOME={home}", f"HOME={home}", *(f"{name}={value}" for name, value in QUIET.items()))
        listed = json.loads(as_(user, *own, flwr, "list", "consortium", "--format", "json").stdout)
        assert listed["success"] is (who == "coordinator")
        if who != "coordinator":
            submitted = as_(user, *own, flwr, "run", home / "app", "consortium", "--format", "json").stdout
            assert json.loads(submitted)["success"] is False
            assert "Connection to the SuperLink is unavailable" in submitted
    finally:
        shutil.rmtree(home)


QUERY = """
import sys
import sqlalchemy
with sqlalchemy.create_engine(sys.argv[1]).connect() as database:
    print(database.execute(sqlalchemy.text(sys.argv[2])).scalar())
"""


def test_the_database_is_open_to_the_hospitals_daemon_alone_and_to_read(consortium: Consortium) -> None:
    needs_own_users(consortium)
    if not (consortium.folder / "postgres").exists():
        pytest.skip("no PostgreSQL here; the script said so")
    url = f"postgresql+psycopg://%s@/postgres?host={consortium.folder}/postgres"

    def query(user: int, role: str, sql: str) -> subprocess.CompletedProcess[str]:
        return as_(user, consortium.python, "-c", QUERY, url % role, sql)

    count, daemon = "SELECT count(*) FROM patients", ROLES["daemon"] + 2
    assert query(daemon, "reader", count).stdout.strip() == str(SITES["POLA"])
    for sql in ("DELETE FROM patients", "CREATE TABLE mine (a int)", "SELECT rolpassword FROM pg_authid"):
        assert "permission denied" in query(daemon, "reader", sql).stderr, sql
    assert query(daemon, "postgres", count).returncode != 0
    for user in (ROLES["daemon"], ROLES["relay"] + 2, ROLES["superlink"], 64299):
        for role in ("reader", "postgres"):
            assert query(user, role, count).returncode != 0, (user, role)


# --- who is turned away


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_outsider_with_the_ca_certificate_reaches_the_fleet_alone(method: str, consortium: Consortium) -> None:
    paths = ("/v1/control/list-runs", "/v1/fleet/../control/list-runs", "/v1/fleet/%2e%2e/control/list-runs")
    for path in (*paths, "/v1/runtime/", "/docs", "/health", "/"):
        assert asked(consortium, method, path) == 403, path
    assert asked(consortium, method, "/v1/fleet/") != 403


def asked(consortium: Consortium, method: str, path: str) -> int:
    trusted = ssl.create_default_context(cafile=consortium.folder / "UK/relay/ca.crt")
    connection = http.client.HTTPSConnection("127.0.0.1", consortium.public_port, context=trusted, timeout=60)
    connection.request(method, path)
    status = connection.getresponse().status
    connection.close()
    return status


def test_an_outsider_cannot_list_register_or_submit(consortium: Consortium, tmp_path: Path) -> None:
    own = consortium.folder / "coordinator/flower/config.toml"
    outside = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{consortium.public_port}", own.read_text())
    (tmp_path / "config.toml").write_text(outside)
    key = new_key(tmp_path)
    register = ("flwr", "supernode", "register", f"{key}.pub", "consortium")
    submit = ("flwr", "run", str(ROOT / "deploy/bundle"), "consortium")
    for command in (("flwr", "list", "consortium"), register, submit):
        said = consortium.command(*command, "--format", "json", home=tmp_path).stdout
        assert json.loads(said)["success"] is False
        assert "403" in said
    inside = json.loads(consortium.done("flwr", "list", "consortium", "--format", "json"))
    assert inside["success"] is True
    assert len(inside["runs"]) == 1


def new_key(folder: Path) -> Path:
    command = ["ssh-keygen", "-q", "-t", "ecdsa", "-b", "384", "-N", "", "-f", str(folder / "node.key")]
    subprocess.run(command, check=True)
    return folder / "node.key"


def test_a_supernode_with_an_unknown_key_is_turned_away(consortium: Consortium, tmp_path: Path) -> None:
    script = (consortium.folder / "processes/relay-UK").read_text()
    [superlink] = re.findall(r"--superlink (\S+)", script)
    trusted = ("--root-certificates", str(consortium.folder / "UK/relay/ca.crt"))
    key = ("--auth-supernode-private-key", str(new_key(tmp_path)))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    node = ("--host", "127.0.0.1", "--port", port, "--node-config", 'socket="none"')
    command = [str(BIN / "flower-supernode"), "--superlink", superlink, *trusted, *key, *node]
    log = tmp_path / "log"  # not a pipe: what a SuperNode has started keeps that open until the SuperNode is gone
    with log.open("wb") as out:
        own = consortium.environment(tmp_path)
        ended = subprocess.run(command, env=own, stdout=out, stderr=out, check=False, timeout=PATIENCE)
    assert ended.returncode != 0
    assert "Failed to activate SuperNode" in log.read_text()
    nodes = json.loads(consortium.done("flwr", "supernode", "list", "consortium", "--format", "json"))["nodes"]
    assert len(nodes) == len(SITES)


# --- what is killed


def test_studies_survive_kills_at_random_moments(consortium: Consortium, tmp_path: Path) -> None:
    rng = random.Random(11)
    studies = new_studies(consortium, tmp_path, sum(map(len, ROWS)))
    left, kills = list(studies), []
    for row in ROWS:
        sites = rng.sample(list(SITES), len(row))
        victims = [
            kind if kind == "superlink" else f"{kind}-{site}" for kind, site in zip(row, sites, strict=True)
        ]
        kills += disturbed(consortium, left[: len(row)], victims, rng)
        del left[: len(row)]
    assert sum(kill.needed for kill in kills) > len(kills) // 2, kills
    published = [study.folder.parent / "published" for study in studies]
    assert "every receipt holds" in consortium.done(
        "cohortmix", "verify", *map(str, published), str(consortium.folder / "published")
    )
    for study, folder in zip(studies, published, strict=True):
        counted_once(study, folder)
    for site in SITES:
        spent_once(consortium, site, {study.spec.hash for study in studies})


# --- afterwards


def test_the_daemons_wrote_no_count_of_records(consortium: Consortium) -> None:
    """N is public, and the number of patients here; a log names neither cells nor sums."""
    for log in sorted((consortium.folder / "logs").glob("daemon-*.log")):
        text = log.read_text()
        assert "Traceback" not in text, text
        assert "outcome" not in text


def test_every_process_ends(consortium: Consortium) -> None:
    assert len(processes_of(consortium.folder)) >= 3 * len(SITES)
    consortium.end()
    assert processes_of(consortium.folder) == []
    if doors_can_be_shut():
        port = re.findall(
            r"127\.0\.0\.1:(\d+)", (consortium.folder / "coordinator/flower/config.toml").read_text()
        )[0]
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        assert f"cohortmix_loopback_{port}" not in tables
