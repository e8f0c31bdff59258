"""A joint study on this machine, `deploy/loopback.sh --joint`: a daemon restarts, a hospital is gone for good."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import pytest
from kills import as_steward
from loopback import BIN, ROOT, Consortium, await_, processes_of

from cohortmix.client.ledger.sum_steps import TAKEN, Taken
from cohortmix.protocol.masking.seeds import Seeds
from cohortmix.protocol.steps import STEPS, AskConsent
from cohortmix.server.commands.status import Status
from cohortmix.server.study import Study

PATIENTS = {"UK-78": 113, "ITAL-3": 111, "CZEC-118": 111, "PORT-123": 108}
RETURNS, GONE = "ITAL-3", "PORT-123"
"""Of loopback.sh: the daemon of one is killed and started again, that of the other one is killed for good."""


@pytest.fixture(scope="module")
def consortium() -> Iterator[Consortium]:
    """Four small hospitals and a coordinator, after their study; nothing of theirs runs any more."""
    for program in ("openssl", "ssh-keygen", "setsid"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed here")
    parent = Path(tempfile.mkdtemp(prefix="cohortmix-"))
    parent.chmod(0o755)  # the hospitals' own users pass through it; the folders of pytest let nobody in
    folder = parent / "consortium"
    command = ["bash", str(ROOT / "deploy/loopback.sh"), str(folder), "--joint"]
    path = {"PATH": f"{BIN}:{os.environ['PATH']}"}
    with folder.with_suffix(".log").open("wb") as log:
        script = subprocess.Popen(command, env=os.environ | path, stdout=log, stderr=subprocess.STDOUT)
    here = Consortium(folder, script)
    try:
        await_(lambda: script.poll() is not None, 1800)
        assert script.returncode == 0, here.printed[-5000:]
        yield here
    finally:
        here.end()
        shutil.rmtree(parent)


@pytest.fixture(scope="module")
def taken(consortium: Consortium) -> dict[str, dict[str, dict[str, Taken]]]:
    """What each ledger holds of each sum: by site, request and step."""
    return {site: sums_of(consortium.folder / site / "site/state") for site in PATIENTS}


def sums_of(state: Path) -> dict[str, dict[str, Taken]]:
    """Read from a copy: SQLite would make files of this user beside the ledger."""
    with tempfile.TemporaryDirectory() as scratch:
        for file in state.glob("ledger.db*"):
            shutil.copy(file, scratch)
        with closing(sqlite3.connect(Path(scratch) / "ledger.db")) as ledger:
            rows = ledger.execute("SELECT id, part, content FROM steps WHERE kind = ?", (TAKEN,)).fetchall()
    assert len({(id, part) for id, part, _ in rows}) == len(rows)  # each step of each sum once, ever
    sums: dict[str, dict[str, Taken]] = {id: {} for id, _, _ in rows}
    for id, part, content in rows:
        sums[id][STEPS[part]] = Taken.model_validate_json(content)
    return sums


def test_the_study_is_published_as_a_joint_one(consortium: Consortium) -> None:
    summary = json.loads((consortium.folder / "published/summary.json").read_text())
    assert summary["study"]["joint"] == {"sites": 4, "conspirators": 1, "threshold": 3}
    assert {site["name"]: site["n"] for site in summary["sites"]} == PATIENTS
    assert not any(site["reduced"] for site in summary["sites"])  # together they had patients enough for pairs
    assert summary["noise"] == "opendp"
    assert summary["consortium"]["epsilon"] <= 1.000001


def test_what_is_published_is_verified_and_nothing_else(consortium: Consortium, tmp_path: Path) -> None:
    published = tmp_path / "published"
    shutil.copytree(consortium.folder / "published", published)
    assert "every receipt holds" in consortium.done("cohortmix", "verify", str(published))
    receipt = published / f"receipts/{GONE}-2.json"
    receipt.unlink()
    assert consortium.command("cohortmix", "verify", str(published)).returncode == 2


def test_one_hospital_came_back_and_one_was_gone_in_the_end(consortium: Consortium) -> None:
    assert f"daemon-{RETURNS}: killed and started again" in consortium.printed
    assert f"daemon-{GONE}: killed for good" in consortium.printed
    assert (consortium.folder / f"logs/daemon-{RETURNS}.log").read_text().count("is served on") == 2
    study = Study(consortium.folder / "coordinator/study")
    assert Status.of(study).over
    with study.store() as store:
        assert set(store.sites(1) or ()) == set(store.sites(2) or ()) == set(PATIENTS)  # all are in both sums
        assert set(store.sites("2 unmask") or ()) == set(PATIENTS) - {GONE}


@pytest.mark.parametrize("site", PATIENTS)
def test_a_ledger_holds_each_round_once_at_its_price(site: str, consortium: Consortium) -> None:
    file = consortium.folder / site / "site/ledger.csv"
    as_steward(consortium, site, ["ledger", "--csv", str(file), "--replace"])
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [(row["round"], row["state"]) for row in rows] == [("1", "committed"), ("2", "committed")]
    assert len({row["receipt"] for row in rows}) == 2
    spec = Study(consortium.folder / "coordinator/study").spec
    assert sum(Fraction(row["mu2"]) for row in rows) == spec.mu2


def test_every_site_signed_for_one_set_of_sites_in_each_sum(
    taken: dict[str, dict[str, dict[str, Taken]]],
) -> None:
    signed = Counter[tuple[str, ...]]()
    for site, sums in taken.items():
        assert len(sums) == 2, site
        for steps in sums.values():
            assert {"keys", "shares", "input"} <= set(steps), site
            if "consent" in steps:
                ask = steps["consent"].ask
                assert isinstance(ask, AskConsent)
                signed[ask.survivors] += 1
    assert set(signed) == {tuple(sorted(PATIENTS))}
    assert signed.total() >= 2 * 3  # of the one that is gone, at most one more
    assert all(set(steps) == set(STEPS) for steps in taken[RETURNS].values())


def test_no_file_and_no_log_holds_a_seed_of_a_mask(
    consortium: Consortium, taken: dict[str, dict[str, dict[str, Taken]]]
) -> None:
    """But its site's ledger; the coordinator is told those of own masks, when the sites have consented."""
    ledgers: dict[Path, set[str]] = {}
    told = set[str]()
    for site, sums in taken.items():
        for steps in sums.values():
            seeds = steps["keys"].seeds
            assert isinstance(seeds, Seeds)
            ledgers.setdefault(Path(site, "site/state"), set()).update((seeds.seal, seeds.mask, seeds.own))
            told |= {seeds.own} if "unmask" in steps else set()
    every = set[str]().union(*ledgers.values())
    assert len(every) == 3 * 2 * len(PATIENTS)
    for file in files_of(consortium.folder):
        data, place = file.read_bytes(), file.relative_to(consortium.folder)
        held = {seed for seed in every if seed.encode() in data or bytes.fromhex(seed) in data}
        allowed = told if place.parts[0] in ("coordinator", "superlink") else ledgers.get(place.parent, set())
        assert held <= allowed, place
        if file.name in ("ledger.db", "study.db"):
            assert held == allowed, place  # else this looks for what no file could hold
    assert not [seed for seed in every if seed in consortium.printed]


def files_of(folder: Path) -> list[Path]:
    """Every file that the consortium has written; `home` is a copy of this environment."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.relative_to(folder).parts[0] != "home"]
    names = {file.name for file in files}
    assert names >= {"ledger.db", "study.db", "superlink.db", "signed.json", f"daemon-{GONE}.log", "superlink.log"}
    return files


def test_the_daemons_logs_name_no_record_and_no_fault(consortium: Consortium) -> None:
    for log in sorted((consortium.folder / "logs").glob("daemon-*.log")):
        text = log.read_text()
        assert "Traceback" not in text, text
        assert "outcome" not in text


def test_every_process_has_ended(consortium: Consortium) -> None:
    assert processes_of(consortium.folder) == []
