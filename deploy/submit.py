"""`cohortmix study run`: hand a study to Flower, and follow it in its store.

Flower gets a bundle without code (`bundle/`), which names the ServerApp that is installed here. That conducts the
study at the SuperLink, whether or not anyone follows it; the command, run again, goes on following, or starts a
new run where the last one has ended.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cohortmix.client.progress import steps
from cohortmix.deploy.faults import EngineError
from cohortmix.protocol.keyfile import read_key
from cohortmix.protocol.terminal import say
from cohortmix.server.cli import KeyFile, StudyFolder, print_status
from cohortmix.server.outcome import told_apart
from cohortmix.server.reduced import notice
from cohortmix.server.status import Status
from cohortmix.server.study import Study, require_own_key
from cohortmix.server.wording import listed

BUNDLE = Path(__file__).with_name("bundle")
LOOK_SECONDS = 2.0  # between two looks into the store
ASK_SECONDS = 15.0  # between two questions to the SuperLink, which take a second each
FLOWER_SECONDS = 120  # for one of Flower's commands
PATIENCE = 4  # questions without an answer, before the SuperLink counts as stopped


def run(
    folder: StudyFolder,
    key: KeyFile,
    superlink: Annotated[
        str | None, typer.Option(help="Name of the SuperLink in Flower's config.toml; the default one there.")
    ] = None,
) -> None:
    """Ask the sites, and follow the study until all have answered or its deadline is over; again, to go on."""
    study = Study(folder)
    require_own_key(study.signed.study, read_key(key))
    link, status = SuperLink(superlink), Status.of(study)
    small = notice(status.spec, study.schema)
    if small is not None and not study.begun:
        say(small, err=True)
    if status.over:
        print_status(study)
        return
    known = _last_run(study)
    if known is None or not _under_way(link, known):
        known = link.start(study, key)
        with study.store() as store:
            store.keep_run(known)
    try:
        follow(study, link, known)
    except KeyboardInterrupt:
        say(f"the study goes on at the SuperLink, as run {known}", err=True)
        raise
    print_status(study)
    require_complete(Status.of(study), known)


@dataclass(frozen=True)
class SuperLink:
    """A SuperLink, by its name in Flower's configuration, through Flower's own command."""

    name: str | None = None

    def start(self, study: Study, key: Path) -> str:
        """Submit the bundle for a study; the id of the run."""
        with tempfile.TemporaryDirectory(prefix="cohortmix-") as scratch:
            config = Path(scratch) / "run.toml"
            facts = {"study": study.folder.absolute(), "key": key.absolute()}
            lines = [f"{name} = {json.dumps(str(path), ensure_ascii=False)}" for name, path in facts.items()]
            config.write_text("\n".join(lines), encoding="utf-8")
            return str(self._flwr("run", str(BUNDLE), *self._named, "--run-config", str(config))["run-id"])

    def status(self, run: str) -> str:
        """What Flower says of a run: pending, starting, running, finished:completed, finished:failed, ..."""
        return str(self._flwr("list", *self._named, "--run-id", run)["runs"][0]["status"])

    @property
    def _named(self) -> tuple[str, ...]:
        return () if self.name is None else (self.name,)

    def _flwr(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "flwr.cli.app", *arguments, "--format", "json"]
        quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, env=quiet | dict(os.environ), timeout=FLOWER_SECONDS
            )
            answer = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise EngineError(f"Flower's command {arguments[0]!r} did not end in {FLOWER_SECONDS} s") from None
        except ValueError:
            answer = {}
        if not isinstance(answer, dict) or not answer.get("success"):
            said = (str(answer.get("error-message") or done.stderr).strip().splitlines() or ["nothing"])[-1]
            raise EngineError(f"Flower's command {arguments[0]!r} failed; it says: {said.rstrip('.')}")
        return answer


def follow(study: Study, link: SuperLink, run: str) -> None:
    """Show how the study goes on, until it is over or its run has ended.

    Raises
    ------
    EngineError
        If the SuperLink no longer answers; what has come from the sites is kept.
    """
    pulse, told = _Pulse(link, run), {1: 0, 2: 0}
    with steps() as progress:
        while True:
            ended, status = pulse.ended(), Status.of(study)  # in this order: nothing comes after the end
            for round in told:
                done, total = status.count(round)
                if done > told[round]:
                    progress(f"round {round}", done, total)
                told[round] = done
            if ended or status.over:
                return
            time.sleep(LOOK_SECONDS)


class _Pulse:
    """Asks the SuperLink now and then whether a run has ended."""

    def __init__(self, link: SuperLink, run: str) -> None:
        self._link, self._run = link, run
        self._at, self._silent = time.monotonic() + ASK_SECONDS, 0

    def ended(self) -> bool:
        if time.monotonic() < self._at:
            return False
        try:
            ended, self._silent = self._link.status(self._run).startswith("finished"), 0
        except EngineError as error:
            ended, self._silent = False, self._silent + 1
            if self._silent == PATIENCE:
                raise EngineError(f"{error}; what has come from the sites is kept: run the study again") from None
        self._at = time.monotonic() + ASK_SECONDS
        return ended


def require_complete(status: Status, run: str) -> None:
    """Raise StudyRefused or StudyUnanswered if anything is missing from a study whose run is over."""
    if not status.missing:
        return
    names = listed([site.entry.name for site in status.missing])
    publishable = "; what has come can be published" if status.publishable else ""
    sentence = f"not all has come from {names} (run {run}){publishable}; run the study again to go on"
    raise told_apart(sentence, [site.refusal for site in status.missing if site.refusal])


def _last_run(study: Study) -> str | None:
    if not study.begun:
        return None
    with study.store() as store:
        return store.run()


def _under_way(link: SuperLink, run: str) -> bool:
    """Whether a run still conducts the study; one that the SuperLink does not know does not."""
    try:
        return not link.status(run).startswith("finished")
    except EngineError:
        return False
