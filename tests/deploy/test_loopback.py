"""A real consortium on this machine: from nothing to the published folder, its doors, and what it survives."""

from __future__ import annotations

import csv
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from cohortmix.server.status import Status
from cohortmix.server.study import Study

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SITES = {"UK": 6252, "NETH": 713, "POLA": 755}
CAP_MU2, MU = Fraction(1, 4), Fraction(1, 50)  # of loopback.sh, and of each study that is disturbed
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}

ROWS = [["daemon", "clientapp", "relay"]]
"""What is killed, one process a study; the studies of a row go on at once. A SuperLink takes all runs with it."""
if "COHORTMIX_KILLS" in os.environ:
    ROWS += [["clientapp", "daemon", "relay"], ["daemon", "clientapp", "daemon"], ["superlink"]]
LATEST = 15.0
"""Seconds from the beginning of a study to a kill, at most; undisturbed it takes a little longer."""
PATIENCE = 240.0


@dataclass(frozen=True)
class Consortium:
    """What `loopback.sh --keep` has left running, in `folder`, and what it printed."""

    folder: Path
    script: subprocess.Popen[bytes]

    @property
    def printed(self) -> str:
        return self.folder.with_suffix(".log").read_text()

    @property
    def key(self) -> str:
        return str(self.folder / "coordinator/coordinator.key")

    @property
    def public_port(self) -> int:
        """That of nginx."""
        conf = self.folder / "coordinator/nginx/cohortmix.conf"
        if not conf.exists():
            pytest.skip("nginx is not installed here: the relays reach the SuperLink itself")
        found = re.search(r"listen 127\.0\.0\.1:(\d+) ssl", conf.read_text())
        assert found
        return int(found[1])

    def command(self, *arguments: str, home: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of the programs beside this Python, as the coordinator."""
        command, own = [str(BIN / arguments[0]), *arguments[1:]], self.environment(home)
        return subprocess.run(command, env=own, capture_output=True, text=True, check=False, timeout=900)

    def environment(self, home: Path | None = None) -> dict[str, str]:
        """That of the coordinator, or of someone whose Flower is configured in `home`."""
        own = {"FLWR_HOME": str(home or self.folder / "coordinator/flower"), "PATH": f"{BIN}:{os.environ['PATH']}"}
        return os.environ | QUIET | own

    def done(self, *arguments: str) -> str:
        """As `command`, for one that has to succeed."""
        found = self.command(*arguments)
        assert found.returncode == 0, (arguments, found.stdout, found.stderr)
        return found.stdout

    def number(self, process: str) -> int:
        return int((self.folder / f"processes/{process}.pid").read_text())

    def start(self, process: str) -> None:
        """Start a process again. A SuperNode is refused for up to a minute, and tried until it is admitted."""
        script, log = self.folder / "processes" / process, self.folder / f"logs/{process}.log"
        if not process.startswith("relay"):
            subprocess.run([script], check=True)
            return
        before, end = log.read_text().count("SuperNode ID"), time.monotonic() + PATIENCE
        while log.read_text().count("SuperNode ID") == before:
            assert time.monotonic() < end, log.read_text()[-2000:]
            if not alive(self.number(process)):
                subprocess.run([script], check=True)
            time.sleep(2)

    def end(self) -> None:
        self.script.send_signal(signal.SIGTERM)
        self.script.wait(120)


def alive(number: int) -> bool:
    status = Path(f"/proc/{number}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def await_(what: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first value of `what` that is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "gave up waiting"
        time.sleep(0.05)
    return found


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
    assert summary["pooled"]["auc"] is None  # no figure on real records leaves a deployed study
    assert all(site["epsilon"] <= 1.000001 for site in summary["sites"])


def test_what_is_published_is_verified_and_nothing_else(consortium: Consortium, tmp_path: Path) -> None:
    published = tmp_path / "published"
    shutil.copytree(consortium.folder / "published", published)
    assert consortium.command("cohortmix", "verify", str(published)).returncode == 0
    records = published / "pooled.parquet"
    records.write_bytes(records.read_bytes()[:-1])
    assert consortium.command("cohortmix", "verify", str(published)).returncode == 2


def test_as_root_the_relay_is_kept_out_of_the_hospitals_files(consortium: Consortium) -> None:
    folder, printed = consortium.folder, consortium.printed
    if "WARNING" in printed and "daemons and relays run as" in printed:
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


@dataclass(frozen=True)
class Kill:
    """One process, killed in the middle of a study, and whether the study still needed it."""

    victim: str
    after: float
    needed: bool


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


def new_studies(consortium: Consortium, folder: Path, count: int) -> list[Study]:
    """Drafted, signed, and approved by all three stewards."""
    sites = [str(consortium.folder / f"mail/{site}.json") for site in SITES]
    facts = {"schema": str(ROOT / "deploy/demo/schema.yaml"), "mu": float(MU), "delta": "1e-5", "sites": sites}
    facts |= {"overlap": "disjoint", "min_sites": 2, "deadline": "15m"}
    studies = [Study(folder / f"study {number}/study") for number in range(count)]
    commands = []
    for study in studies:
        draft = study.folder.parent / "study.yaml"
        draft.parent.mkdir()
        draft.write_text(json.dumps(facts | {"name": draft.parent.name}))
        commands.append(["study", "new", str(draft), "--key", consortium.key, "--out", str(study.folder)])
        commands.append(["study", "sign", str(study.folder), "--key", consortium.key])
    as_user(os.getuid(), *commands)
    mail = [consortium.folder / f"mail/{study.folder.parent.name}.json" for study in studies]
    for study, file in zip(studies, mail, strict=True):
        file.write_bytes((study.folder / "signed.json").read_bytes())
        file.chmod(0o644)
    for site in SITES:
        as_steward(consortium, site, *(["approve", str(file), "--max-mu", str(float(MU))] for file in mail))
    return studies


def as_steward(consortium: Consortium, site: str, *commands: list[str]) -> None:
    """Some of the steward's commands, as the owner of the site's files."""
    config = consortium.folder / site / "site/site.yaml"
    as_user(config.stat().st_uid, *(["site", *command, "--config", str(config)] for command in commands))


ALL = """
import json, sys
from cohortmix.deploy.cli import app
for command in json.load(sys.stdin):
    try:
        app(command)
    except SystemExit as ended:
        if ended.code:
            raise
"""


def as_user(user: int, *commands: list[str]) -> None:
    """Commands of cohortmix, all in one process: most of their time is the start."""
    own = ["--reuid", str(user), "--regid", str(user), "--clear-groups"]
    become = [] if user == os.getuid() else ["setpriv", *own]
    process = [*become, sys.executable, "-c", ALL]
    found = subprocess.run(process, input=json.dumps(commands), capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def disturbed(consortium: Consortium, studies: list[Study], victims: list[str], rng: random.Random) -> list[Kill]:
    """Run studies at once and kill one process in each; the kills, when all studies are published."""
    moments = [rng.uniform(0, LATEST) for _ in studies]
    with ThreadPoolExecutor(2 * len(studies)) as pool:
        runs = [pool.submit(conduct, consortium, study) for study in studies]
        kills = [pool.submit(kill, consortium, *each) for each in zip(studies, victims, moments, strict=True)]
        for run in runs:
            run.result()
        return [each.result() for each in kills]


def conduct(consortium: Consortium, study: Study) -> None:
    """`study run`, again where it ended without all answers, then `study publish`."""
    end = time.monotonic() + 2 * PATIENCE
    run = ("study", "run", str(study.folder), "--key", consortium.key)
    while (ended := consortium.command("cohortmix", *run)).returncode == 4 and time.monotonic() < end:
        time.sleep(5)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert Status.of(study).over
    out = str(study.folder.parent / "published")
    publish = ("study", "publish", str(study.folder), "--key", consortium.key, "--rows", "100", "--out", out)
    consortium.done("cohortmix", *publish)


def kill(consortium: Consortium, study: Study, victim: str, moment: float) -> Kill:
    """Kill -9, `moment` seconds after the study began (a ClientApp: the next one then), and start again."""
    await_(lambda: study.begun)
    began = time.monotonic()
    time.sleep(moment)
    kind, _, site = victim.partition("-")
    if kind == "clientapp":
        session = consortium.number(f"relay-{site}")
        await_(lambda: children(session, "flwr-clientapp") or Status.of(study).over)
        numbers = children(session, "flwr-clientapp")
    else:
        numbers = {consortium.number(victim)}
    after, needed = time.monotonic() - began, not Status.of(study).over
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    await_(lambda: not any(map(alive, numbers)))
    if kind != "clientapp":  # those are started by the SuperNode
        consortium.start(victim)
    return Kill(victim, after, needed and bool(numbers))


def children(session: int, program: str) -> set[int]:
    """The processes of a session that run a program."""
    listed = subprocess.run(["ps", "-eo", "pid,sid,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()[1:]]
    return {int(pid) for pid, sid, args in rows if int(sid) == session and program in args}


def counted_once(study: Study, published: Path) -> None:
    """Each site has one release in the store, and one in what was published."""
    with study.store() as store:
        assert set(store.replies(1)) == set(SITES)
        assert store.replies(2) == {}
        assert not [each for each in store.refusals() if "second release" in each.sentence]
    summary = json.loads((published / "summary.json").read_text())
    assert {site["name"]: (site["n"], site["mu"]) for site in summary["sites"]} == {
        site: (patients, pytest.approx(float(MU))) for site, patients in SITES.items()
    }
    assert sorted(file.name for file in (published / "receipts").iterdir()) == sorted(f"{s}-1.json" for s in SITES)


def spent_once(consortium: Consortium, site: str, studies: set[str]) -> None:
    """The ledger holds each study once, committed, at its price, under the cap."""
    file = consortium.folder / site / "site/ledger.csv"
    as_steward(consortium, site, ["ledger", "--csv", str(file)])
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert {row["state"] for row in rows} == {"committed"}
    assert max(Counter(row["request"] for row in rows).values()) == 1
    assert len({row["receipt"] for row in rows}) == len(rows)
    of_studies = [row for row in rows if row["study"] in studies]
    assert Counter(row["study"] for row in of_studies) == dict.fromkeys(studies, 1)
    assert {Fraction(row["mu2"]) for row in of_studies} == {MU**2}
    assert sum(Fraction(row["mu2"]) for row in rows) <= CAP_MU2


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


def processes_of(folder: Path) -> list[str]:
    """Every process that names the folder in its command or in its environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is not ours
            texts = [(process / name).read_bytes() for name in ("cmdline", "environ")]
            if any(os.fsencode(folder) in text for text in texts):
                found.append(os.fsdecode(texts[0].replace(b"\0", b" ")))
    return found
