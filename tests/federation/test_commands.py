"""`cohortmix study`: new, sign, run, status and publish, each with its sentences and its status.

The SuperLink is played by a grid in this process; everything else is what a coordinator runs.
"""

import fcntl
import json
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
import pytest
import yaml
from by_hand import ConsortiumOf, carry, site_of
from flwr.app import Context, RecordDict
from flwr.cli.constant import DEFAULT_FLOWER_CONFIG_TOML
from typer.testing import CliRunner

from cohortmix.client.app import relay
from cohortmix.client.ledger.policy import Policy
from cohortmix.core.data.schema import Schema
from cohortmix.deploy.cli import app
from cohortmix.deploy.meeting import meeting, presence, submit
from cohortmix.deploy.meeting.superlink import SuperLink
from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.deploy.simulation.local_grid import LocalGrid
from cohortmix.protocol.local.keyfile import write_key
from cohortmix.protocol.messages import SignedStudy, decode
from cohortmix.protocol.signing import Key
from cohortmix.protocol.study import JointNoise
from cohortmix.server import carrier
from cohortmix.server.app import conduct
from cohortmix.server.commands import cli
from cohortmix.server.commands.outcome import EngineError
from cohortmix.server.commands.status import Status
from cohortmix.server.patience import Patience
from cohortmix.server.study import Study

LARGE, SMALL = 300, 60
DEPLOYED = Patience.of_deployment

Superlink = Callable[..., list[str]]


def cohortmix(*arguments: object, status: int = 0) -> str:
    """What a command says, on both outputs."""
    result = CliRunner().invoke(app, ["study", *map(str, arguments)])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.stdout + result.stderr


@pytest.fixture
def superlink(monkeypatch: pytest.MonkeyPatch) -> Superlink:
    """superlink(consortium): Flower's command, which starts the ServerApp; the list of what it was asked."""

    def play(consortium: Consortium, silent: bool = False) -> list[str]:
        asked: list[str] = []

        def start(link: SuperLink, path: Path, token: str) -> str:
            asked.append("run")
            grid = LocalGrid(relay(partial(site_of, consortium)), len(consortium.study.study.sites))
            if not silent:
                Thread(target=carrier.app, args=(grid, run_of(socket=str(path), token=token))).start()
            return str(len(asked))

        def status(link: SuperLink, known: str) -> str:
            asked.append("list")
            if silent:
                raise EngineError("Flower's command 'list' failed; it says: no connection")
            return "running"

        monkeypatch.setattr(SuperLink, "require_configured", lambda link: None)
        monkeypatch.setattr(SuperLink, "start", start)
        monkeypatch.setattr(SuperLink, "status", status)
        monkeypatch.setattr(submit, "ASK_SECONDS", 0)
        monkeypatch.setattr(meeting, "LOOK_SECONDS", 0.01)
        monkeypatch.setattr(Patience, "of_deployment", Patience.of_simulation)  # nobody changes a refusal here
        return asked

    return play


def run_of(**config: str) -> Context:
    """What Flower tells the ServerApp of a run."""
    return Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=dict(config))


@pytest.fixture
def consortium(consortium_of: ConsortiumOf) -> Consortium:
    return consortium_of({"tiny": SMALL, "wee": SMALL + 1}, name="toy study")


@pytest.fixture
def halved(consortium_of: ConsortiumOf) -> Consortium:
    """A consortium of which one site cannot even say who it is."""
    consortium = consortium_of({"tiny": SMALL, "wee": SMALL + 1}, deadline_seconds=1)
    (consortium.site(1).folder / "table.parquet").unlink()
    return consortium


def of(consortium: Consortium) -> tuple[Path, str, Path]:
    folder = consortium.root / "coordinator"
    return folder, "--key", folder / "key"


def test_from_a_file_to_a_study_that_stewards_can_read(
    consortium_of: ConsortiumOf, tmp_path: Path, schema: Schema
) -> None:
    consortium = consortium_of({"tiny": SMALL, "ITAL": LARGE})
    for at in (0, 1):
        (tmp_path / f"{at}.json").write_bytes(consortium.site(at).describe())
    (tmp_path / "schema.yaml").write_text(schema.to_yaml())
    content = {"name": "toy study", "schema": "schema.yaml", "mu": 0.4, "overlap": 2, "min_sites": 2}
    content |= {"deadline": "7d", "sites": ["0.json", "1.json"], "constraints": ["drift <= 0.1"]}
    (tmp_path / "STUDY.yaml").write_text(yaml.safe_dump(content))
    key, out = tmp_path / "key", tmp_path / "study"

    said = cohortmix("new", tmp_path / "STUDY.yaml", "--key", key, "--out", out)
    assert "study 'toy study': 2 sites, 360 patients" in said
    assert "mu 0.4, that is epsilon 1.555 at delta 0.00001" in said
    assert "mu 0.5657 (overlap: 2)" in said
    assert "each round waits 7 days at most" in said
    assert "inducing points have to keep 'drift<=0.1': that is computed from noised answers alone" in said
    assert Key.from_bytes(key.read_bytes()).public_hex in said
    assert "drafted; no site has been asked" in cohortmix("status", out)
    assert "is not signed" in cohortmix("run", out, "--key", key, status=2)

    assert str(out / "signed.json") in cohortmix("sign", out, "--key", key)
    signed = decode((out / "signed.json").read_bytes())
    assert isinstance(signed, SignedStudy)
    assert signed.study.coordinator_key == Key.from_bytes(key.read_bytes()).public_hex
    assert "signed; no site has been asked" in cohortmix("status", out)
    said = cohortmix("publish", out, "--key", key, "--out", tmp_path / "published", status=2)
    assert "no site has been asked yet" in said
    assert not (out / "study.db").exists()


def test_a_wrong_file_writes_nothing_not_even_a_key(tmp_path: Path) -> None:
    (tmp_path / "STUDY.yaml").write_text("name: toy\nepsilom: 1\n")  # most keys are missing, too
    before = sorted(tmp_path.rglob("*"))
    said = cohortmix(
        "new", tmp_path / "STUDY.yaml", "--key", tmp_path / "key", "--out", tmp_path / "out", status=2
    )
    assert "epsilom: unknown key" in said
    assert len(said.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_study_is_run_once_and_published(consortium: Consortium, superlink: Superlink, tmp_path: Path) -> None:
    asked, out = superlink(consortium), tmp_path / "published"
    said = cohortmix("run", *of(consortium))
    assert "round 1: 2 of 2" in said
    assert "study 'toy study': complete" in said
    assert asked.count("run") == 1
    assert "2 of 2 hospitals connected" in said
    assert "complete" in cohortmix("run", *of(consortium))
    assert asked.count("run") == 1, "nothing is left to ask"

    assert "121 synthetic records from 2 sites" in cohortmix("publish", *of(consortium), "--out", out)
    assert len(pd.read_parquet(out / "pooled.parquet")) == 121
    said = cohortmix("status", consortium.root / "coordinator")
    assert "study 'toy study': published" in said
    assert f"last published to {out}" in said
    assert CliRunner().invoke(app, ["verify", str(out)]).exit_code == 0
    cohortmix("publish", *of(consortium), "--out", out, "--rows", 7)
    assert json.loads((out / "summary.json").read_text())["pooled"]["rows"] == 7


def test_the_same_releases_give_the_same_files(
    consortium: Consortium, superlink: Superlink, tmp_path: Path
) -> None:
    superlink(consortium)
    cohortmix("run", *of(consortium))
    for name in ("a", "b"):
        cohortmix("publish", *of(consortium), "--out", tmp_path / name)
    read = [(tmp_path / name / "manifest.json").read_bytes() for name in ("a", "b")]
    assert read[0] == read[1]


def test_files_bear_the_day_on_which_their_releases_were_first_published(
    consortium: Consortium, superlink: Superlink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published again on a later day they are the same bytes: what is new would be the clock, not the study."""
    superlink(consortium)
    cohortmix("run", *of(consortium))
    for name, now in (("a", 1_800_000_000), ("b", 1_900_000_000)):
        monkeypatch.setattr(cli, "time", lambda now=now: now)
        said = cohortmix("publish", *of(consortium), "--out", tmp_path / name)
        assert "Reduced to class centroids (2 of 2 sites): tiny and wee." in said
    read = [(tmp_path / name / "manifest.json").read_bytes() for name in ("a", "b")]
    assert read[0] == read[1]
    assert json.loads((tmp_path / "b" / "summary.json").read_text())["published"] == "2027-01-15"


def test_a_refusal_is_said_in_plain_words_and_what_came_can_be_published(
    consortium: Consortium, superlink: Superlink, tmp_path: Path
) -> None:
    superlink(consortium)
    approved = Policy.load(consortium.site(1).folder / "policy.json")
    consortium.site(1).adopt(Policy(coordinators=approved.coordinators))
    said = cohortmix("run", *of(consortium), status=3)
    assert "wee, round 1: its rules do not allow the study" in said
    assert "what has come can be published; run the study again" in said
    assert "60 synthetic records from 1 site" in cohortmix("publish", *of(consortium), "--out", tmp_path / "out")
    status = cohortmix("status", consortium.root / "coordinator")
    assert "wee 61 refused none 0" in " ".join(status.split())

    consortium.site(1).adopt(approved)
    again = conduct_late(consortium)
    assert "study 'toy study': complete" in again, "published before its answer came"
    assert "121 synthetic" in cohortmix("publish", *of(consortium), "--out", tmp_path / "out")


def conduct_late(consortium: Consortium) -> str:
    """What a deployed run does: it waits in round 2 for a site that missed round 1."""
    grid = LocalGrid(relay(partial(site_of, consortium)), 2)
    with consortium.coordinator() as coordinator:
        conduct(grid, coordinator, patience=DEPLOYED(100))
    return cohortmix("status", consortium.root / "coordinator")


@pytest.fixture
def joint(consortium_of: ConsortiumOf) -> Consortium:
    """A joint study of four sites, of which one may be missing."""
    sizes = {"tiny": SMALL, "wee": SMALL + 1, "puny": SMALL + 2, "slight": SMALL + 3}
    return consortium_of(sizes, joint=JointNoise(conspirators=1, tolerated_dropouts=1), min_sites=3)


def test_a_joint_study_is_over_without_a_site_that_missed_its_sum(
    joint: Consortium, superlink: Superlink, tmp_path: Path
) -> None:
    asked = superlink(joint)
    unapproved(joint, 1)
    said = cohortmix("run", *of(joint))
    assert "round 1, unmask: 3 of 3" in said
    assert "complete; 1 site gave less than asked" in said
    assert "run the study again" not in said
    cohortmix("run", *of(joint))
    assert asked.count("run") == 1, "nothing is left to ask"
    assert "from 3 sites" in cohortmix("publish", *of(joint), "--out", tmp_path / "out")


def test_of_a_joint_study_that_too_few_sites_have_answered_it_is_said_who_is_missing(
    joint: Consortium, superlink: Superlink
) -> None:
    superlink(joint)
    policies = unapproved(joint, 1, 2)
    said = cohortmix("run", *of(joint), status=3)
    assert "2 of 4 sites have replied to round 1, keys" in said
    assert "cannot be read by anybody; missing: wee and puny" in said
    assert "can be published" not in said
    for index, policy in policies.items():
        joint.site(index).adopt(policy)
    assert "study 'simulation': complete" in cohortmix("run", *of(joint))


def test_the_inputs_of_a_joint_study_are_not_yet_an_answer_that_can_be_published(
    joint: Consortium, superlink: Superlink
) -> None:
    with joint.coordinator() as coordinator:
        for now in range(3):  # keys, shares, input
            coordinator.begin(now)
            carry(joint, coordinator)
            coordinator.advance()
    status = Status.of(Study(joint.root / "coordinator"))
    assert status.count(1) == (4, 4)
    assert not status.publishable


def unapproved(consortium: Consortium, *sites: int) -> dict[int, Policy]:
    """Take the approvals of some sites away; gives what they had."""
    policies = {site: Policy.load(consortium.site(site).folder / "policy.json") for site in sites}
    for site, policy in policies.items():
        consortium.site(site).adopt(policy.model_copy(update={"approvals": ()}))
    return policies


def test_too_few_sites_cannot_be_published(
    consortium_of: ConsortiumOf, superlink: Superlink, tmp_path: Path
) -> None:
    consortium = consortium_of({"tiny": SMALL, "wee": SMALL + 1}, min_sites=2)
    superlink(consortium)
    consortium.site(1).adopt(Policy())
    cohortmix("run", *of(consortium), status=3)
    said = cohortmix("publish", *of(consortium), "--out", tmp_path / "out", status=3)
    assert "1 of 2 sites answered round 1, min_sites=2" in said
    assert not (tmp_path / "out").exists()


def test_a_site_that_does_not_answer_is_status_4(halved: Consortium, superlink: Superlink) -> None:
    superlink(halved)
    said = cohortmix("run", *of(halved), status=4)
    assert "not all has come from wee" in said


def test_a_superlink_that_stops_is_status_4_and_keeps_what_came(
    halved: Consortium, superlink: Superlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = superlink(halved, silent=True)
    said = cohortmix("run", *of(halved), status=4)
    assert "no connection; what has come from the sites is kept: run the study again" in said
    assert asked.count("list") == submit.PATIENCE


def test_a_site_that_is_not_connected_is_said_by_name(
    halved: Consortium, superlink: Superlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    superlink(halved)
    monkeypatch.setattr(presence, "FIRST_SECONDS", 0)
    said = cohortmix("run", *of(halved), status=4)
    assert "1 of 2 hospitals connected; not connected: wee (1 relay did not say of which hospital" in said


def test_that_nobody_is_connected_is_said_also_while_flower_has_not_begun(
    halved: Consortium, superlink: Superlink, monkeypatch: pytest.MonkeyPatch
) -> None:
    superlink(halved, silent=True)
    states = ["pending", "starting", "finished:failed"]
    monkeypatch.setattr(SuperLink, "status", lambda link, run: states.pop(0))
    monkeypatch.setattr(submit, "SLOW_SECONDS", 0)
    said = cohortmix("run", *of(halved), status=4)
    assert said.count("0 of 2 hospitals connected: the SuperLink has not yet started run 1 (pending)") == 1
    assert "run 1 ended before it began (finished:failed)" in said


def test_a_study_is_run_by_one_process_at_a_time(consortium: Consortium, superlink: Superlink) -> None:
    asked = superlink(consortium)
    held = os.open(consortium.root / "coordinator", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert "is being run already, by another process" in cohortmix("run", *of(consortium), status=2)
    assert asked == []
    os.close(held)
    cohortmix("run", *of(consortium))


UNCONFIGURED = {
    "no file": None,
    "Flower's own, which starts a SuperLink": DEFAULT_FLOWER_CONFIG_TOML,
    "no default": '[superlink]\n[superlink.coord]\naddress = "127.0.0.1:1"\n',
    "no address": '[superlink]\ndefault = "coord"\n[superlink.coord]\noptions.num-supernodes = 2\n',
    "no TOML": "superlink",
}


@pytest.mark.parametrize("config", UNCONFIGURED.values(), ids=UNCONFIGURED)
def test_without_a_configured_consortium_nothing_is_started(
    config: Any, consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower would start a SuperLink of its own, which stays, and write its configuration into the home folder."""
    monkeypatch.delenv("FLWR_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(subprocess, "run", lambda *command, **options: pytest.fail("was started"))
    if config is not None:
        (tmp_path / ".flwr").mkdir()
        (tmp_path / ".flwr/config.toml").write_text(config)
    before = sorted(tmp_path.rglob("*"))
    said = cohortmix("run", *of(consortium), status=2)
    assert said.startswith("cohortmix: no consortium is configured")
    assert "nothing was started" in said
    assert len(said.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert not Study(consortium.root / "coordinator").begun


def test_flowers_command_leaves_nothing_in_a_home_folder(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLWR_HOME", raising=False)
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    (home / ".flwr").mkdir(parents=True)
    config = home / ".flwr/config.toml"
    config.write_text(
        '[superlink]\ndefault = "coord"\n[superlink.coord]\naddress = "127.0.0.1:1"\ninsecure = true\n'
    )
    assert "Flower's command 'run' failed" in cohortmix("run", *of(consortium), status=4)
    assert sorted(home.rglob("*")) == [home / ".flwr", config]


def test_flowers_own_words_are_one_sentence(
    consortium: Consortium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flower's real command, with a configuration that names no such SuperLink."""
    monkeypatch.setenv("FLWR_HOME", str(tmp_path))
    (tmp_path / "config.toml").write_text('[superlink]\ndefault = "coord"\n[superlink.coord]\naddress = "x:1"\n')
    said = cohortmix("run", *of(consortium), "--superlink", "nowhere", status=4)
    reduced, words = said.splitlines()
    assert reduced.startswith("2 of 2 sites will release one centroid per class")
    assert words.startswith("cohortmix: Flower's command 'run' failed")
    assert "'nowhere' not found" in words


def test_another_key_is_refused(consortium: Consortium, tmp_path: Path) -> None:
    write_key(tmp_path / "other", Key.generate())
    with consortium.coordinator() as coordinator:
        coordinator.begin(0.0)
    folder = consortium.root / "coordinator"
    for command in (("sign",), ("run",), ("publish", "--out", tmp_path / "out")):
        said = cohortmix(command[0], folder, "--key", tmp_path / "other", *command[1:], status=2)
        assert "give the key it was drafted with" in said
