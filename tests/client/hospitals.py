"""Hospitals made by the commands, and daemons that fail where they are told to."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from operator import methodcaller
from pathlib import Path
from time import sleep
from typing import Any, Literal, Self

import grpc
import numpy as np
import pandas as pd
import yaml

from cohortmix.client.ledger.ledger import Ledger
from cohortmix.client.ledger.policy import Policy
from cohortmix.client.site.config import SiteConfig, load_config
from cohortmix.client.site.connection import SocketConnection
from cohortmix.client.steward import service
from cohortmix.core.steps import pipeline
from cohortmix.core.steps.plan import Plan
from cohortmix.protocol.messages import (
    ClassSumsRelease,
    CommonMessage,
    Description,
    Refusal,
    Request,
    SignedRelease,
    SiteEntry,
    StepRequest,
    StudySpec,
    decode,
    encode,
    request_id,
)
from cohortmix.protocol.signing import Key, sign_request, sign_step, sign_study
from cohortmix.protocol.steps import Ask
from cohortmix.protocol.study import JointNoise

COORDINATOR = Key.from_bytes(bytes([7] * 32))
PATIENTS = 60
SCHEMA = """
name: small
patient_key: id
target: outcome
columns:
  AGE: {type: number, min: 0, max: 100, integer: true}
  SEX: {type: category, values: [F, M]}
  outcome: {type: category, values: [well, ill]}
"""


def records(rows: int = PATIENTS, seed: int = 0) -> pd.DataFrame:
    """Records of 60 patients, of whom the first ones can have several."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": np.arange(rows) % PATIENTS,
            "AGE": rng.integers(0, 100, rows),
            "SEX": rng.choice(["F", "M"], rows),
            "outcome": rng.choice(["well", "ill"], rows),
        }
    )


@dataclass(frozen=True)
class Hospital:
    """The folder of a site, made by the commands, and what its steward and its coordinator do."""

    folder: Path

    @classmethod
    def new(cls, folder: Path, cap_mu: str = "5", rows: int = PATIENTS, seed: int = 0, **settings: Any) -> Self:
        """A new site that has checked its table; replies leave every hundredth of a second."""
        folder.mkdir(parents=True)
        records(rows, seed).to_parquet(folder / "records.parquet")
        (folder / "records.parquet").chmod(0o600)
        (folder / "schema.yaml").write_text(SCHEMA)
        hospital = cls(folder)
        service.init(
            *(hospital.site, "A", str(folder / "records.parquet"), folder / "schema.yaml", cap_mu),
            coordinator=[COORDINATOR.public_hex],
        )
        written = yaml.safe_load((hospital.site / "site.yaml").read_text())
        (hospital.site / "site.yaml").write_text(yaml.safe_dump(written | {"interval_seconds": 0.01} | settings))
        service.check(hospital.site / "site.yaml")
        return hospital

    @property
    def site(self) -> Path:
        """The site's folder."""
        return self.folder / "site"

    @property
    def config(self) -> SiteConfig:
        """The site's configuration."""
        return load_config(self.site / "site.yaml")

    @property
    def connection(self) -> SocketConnection:
        """The relay's connection to the daemon."""
        return SocketConnection(self.config.socket)

    @property
    def facts(self) -> Description:
        """The description that `site check` wrote."""
        message = decode(self.config.description_file.read_bytes())
        assert isinstance(message, Description)
        return message

    def study(self, name: str = "study", mu: str = "0.1", **changes: Any) -> StudySpec:
        """A study of this site alone."""
        facts = self.facts
        values: dict[str, Any] = {
            "name": name,
            "schema_hash": facts.schema_hash,
            "target": "outcome",
            "mu": Decimal(mu),
            "delta": Decimal("0.00001"),
            "overlap": "disjoint",
            "sites": (SiteEntry(name=facts.site, key=facts.key, patients=facts.patients),),
            "min_sites": 1,
            "round_deadline_seconds": 60,
            "version": facts.version,
            "coordinator_key": COORDINATOR.public_hex,
        }
        return StudySpec(**values | changes)

    def approve(self, *studies: StudySpec) -> None:
        """Approve a study, as the steward."""
        for study in studies:
            Policy.update(self.config.policy_file, methodcaller("approve", study))

    def approved(self, name: str, mu: str = "0.1", **changes: Any) -> StudySpec:
        """A study that the steward has approved."""
        study = self.study(name, mu, **changes)
        self.approve(study)
        return study

    def joint(self, name: str) -> StudySpec:
        """An approved study with joint noise, of this site and one other that is not enrolled: t = 1 may be."""
        other = SiteEntry(name="other", key=Key.generate().public_hex, patients=60)
        sites, noise = (*self.study().sites, other), JointNoise(conspirators=1, tolerated_dropouts=0)
        return self.approved(name, sites=sites, min_sites=2, joint=noise)

    @staticmethod
    def step(study: StudySpec, ask: Ask) -> bytes:
        """The coordinator's request for a step of round 1."""
        id = request_id(study.hash, study.sites[0].name, 1)
        message = Request(study=sign_study(COORDINATOR, study), round=1, request_id=id)
        return encode(sign_step(COORDINATOR, StepRequest(request=message, ask=ask)))

    @staticmethod
    def request(study: StudySpec, round: Literal[1, 2] = 1, common: CommonMessage | None = None) -> bytes:
        """The coordinator's request for a round."""
        id = request_id(study.hash, study.sites[0].name, round)
        message = Request(study=sign_study(COORDINATOR, study), round=round, request_id=id, common=common)
        return encode(sign_request(COORDINATOR, message))

    def common(self, study: StudySpec, first: bytes) -> CommonMessage:
        """What the coordinator sends in round 2 after the only site's release of round 1."""
        message = decode(first)
        assert isinstance(message, SignedRelease)
        assert isinstance(message.release, ClassSumsRelease)
        plan = Plan(self.config.read_schema(), study.mu2, PATIENTS, study.share, float(study.alpha))
        return CommonMessage.of(pipeline.common([plan], [message.release.answer.to_core()]))

    def steps(self) -> list[tuple[Any, ...]]:
        """The ledger's journal as it is on disk, read by SQLite alone."""
        database = sqlite3.connect(self.config.ledger_file)
        try:
            return database.execute("SELECT kind, study, id, part, content FROM steps ORDER BY number").fetchall()
        finally:
            database.close()

    def ledger(self) -> Ledger:
        """The ledger, opened and so verified; the caller closes it."""
        config = self.config
        return Ledger(config.ledger_file, config.cap_mu, config.mark, self.facts.key)

    @property
    def log(self) -> Path:
        """Where daemons with faults write down each draw of noise."""
        return self.folder / "draws.log"

    @property
    def draws(self) -> list[str]:
        """The purposes of all draws so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []


class Daemons:
    """Starts daemons, with faults or without; see `faulty_daemon.py`."""

    def __init__(self) -> None:
        self._program = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("faulty_daemon.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def _order(self, **order: Any) -> int:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        print(json.dumps(order), file=self._program.stdin, flush=True)
        return int(self._program.stdout.readline())

    def start(self, hospital: Hospital, fault: dict[str, Any] | None = None) -> int:
        """The process id of a daemon that listens."""
        process = self._order(start=str(hospital.site / "site.yaml"), log=str(hospital.log), fault=fault)
        for _ in range(3000):
            try:
                hospital.connection.describe()
                return process
            except grpc.RpcError:
                sleep(0.01)
        raise AssertionError("the daemon does not listen")

    def wait(self, process: int) -> int:
        """The exit status of a daemon that ends by itself; minus the signal that ended it."""
        return self._order(wait=process)

    def stop(self, process: int, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait."""
        os.kill(process, number)
        return self.wait(process)

    @contextmanager
    def serving(self, hospital: Hospital, fault: dict[str, Any] | None = None) -> Iterator[SocketConnection]:
        """A daemon while the context is open."""
        process = self.start(hospital, fault)
        try:
            yield hospital.connection
        finally:
            self.stop(process)

    def close(self) -> None:
        """End the program; its daemons have ended before."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.close()
        self._program.stdout.close()
        self._program.wait()


def refusal(data: bytes) -> Refusal:
    """The refusal that a reply is."""
    message = decode(data)
    assert isinstance(message, Refusal), message
    return message
