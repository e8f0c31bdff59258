"""Studies of a running consortium, one process of each killed, and what they have left."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from loopback import PATIENCE, SITES, Consortium, alive, await_

from cohortmix.server.commands.status import Status
from cohortmix.server.study import Study

CAP_MU2, MU = Fraction(1, 4), Fraction(1, 100)
"""Of loopback.sh, and of each study that is disturbed, where no site has room for pairs, or for a second round."""
LATEST = 15.0
"""Seconds from the beginning of a study to a kill, at most; undisturbed it takes a little longer."""


@dataclass(frozen=True)
class Kill:
    """One process, killed in the middle of a study, and whether the study still needed it."""

    victim: str
    after: float
    needed: bool


def new_studies(consortium: Consortium, folder: Path, count: int) -> list[Study]:
    """Drafted, signed, and approved by all three stewards."""
    sites = [str(consortium.folder / f"mail/{site}.json") for site in SITES]
    facts = {"schema": str(consortium.folder / "schema.yaml"), "mu": float(MU), "delta": "1e-5", "sites": sites}
    facts |= {"overlap": "disjoint", "min_sites": 2, "deadline": "15m", "accept_degraded": "true"}
    studies = [Study(folder / f"study {number}/study") for number in range(count)]
    commands = []
    for study in studies:
        draft = study.folder.parent / "study.yaml"
        draft.parent.mkdir()
        draft.write_text(json.dumps(facts | {"name": draft.parent.name}))
        commands.append(["study", "new", str(draft), "--key", consortium.key, "--out", str(study.folder)])
        commands.append(["study", "sign", str(study.folder), "--key", consortium.key])
    as_user(consortium, os.getuid(), *commands)
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
    as_user(
        consortium, config.stat().st_uid, *(["site", *command, "--config", str(config)] for command in commands)
    )


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


def as_user(consortium: Consortium, user: int, *commands: list[str]) -> None:
    """Commands of cohortmix, all in one process: most of their time is the start."""
    own = ["--reuid", str(user), "--regid", str(user), "--clear-groups"]
    here = user == os.getuid()
    process = [sys.executable, "-c", ALL] if here else ["setpriv", *own, consortium.python, "-c", ALL]
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
    as_steward(consortium, site, ["ledger", "--csv", str(file), "--replace"])
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert {row["state"] for row in rows} == {"committed"}
    assert max(Counter(row["request"] for row in rows).values()) == 1
    assert len({row["receipt"] for row in rows}) == len(rows)
    of_studies = [row for row in rows if row["study"] in studies]
    assert Counter(row["study"] for row in of_studies) == dict.fromkeys(studies, 1)
    assert {Fraction(row["mu2"]) for row in of_studies} == {MU**2}
    assert sum(Fraction(row["mu2"]) for row in rows) <= CAP_MU2
