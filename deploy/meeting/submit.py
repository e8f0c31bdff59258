"""`cohortmix study run`: conduct a study over Flower, with the coordinator's key in this process alone.

Flower gets a bundle without code (`deploy/bundle/`), which names the ServerApp that is installed here. The
SuperLink starts that app as its own user, who has access neither to the key nor to the study's folder. The app
lends its connection to the hospitals to this command (`meeting.py`), which signs, checks and keeps. When this
command stops, for whatever reason, it can be run again and goes on.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cohortmix.core.data.table import InputError
from cohortmix.core.data.words import listed
from cohortmix.deploy.meeting.superlink import SuperLink
from cohortmix.protocol.local.keyfile import read_key
from cohortmix.protocol.local.progress import steps
from cohortmix.protocol.local.terminal import Terminal, say
from cohortmix.protocol.local.wording import count
from cohortmix.protocol.signing import Key
from cohortmix.server.commands.cli import KeyFile, StudyFolder, print_status
from cohortmix.server.commands.outcome import EngineError, refused_or_unanswered
from cohortmix.server.commands.reduced import notice
from cohortmix.server.commands.status import Status
from cohortmix.server.study import Study, require_coordinator_key

ASK_SECONDS = 5.0  # between two questions to the SuperLink; one takes a second
SLOW_SECONDS = 15.0  # until the command says that the ServerApp has not connected yet
PATIENCE = 4  # questions without an answer, until the SuperLink counts as stopped


def run(
    folder: StudyFolder,
    key: KeyFile,
    superlink: Annotated[
        str | None,
        typer.Option(help="Name of the SuperLink in Flower's config.toml; by default, its default."),
    ] = None,
    meet: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the socket where Flower's ServerApp meets this command; by default "
            "/run/cohortmix-coordinator if there is one, else a temporary folder."
        ),
    ] = None,
) -> None:
    """Ask the sites until all have answered or the deadline has passed; after an interruption, run it again."""
    study, signer = Study(folder), read_key(key)
    require_coordinator_key(study.signed.study, signer)
    link, status = SuperLink(superlink), Status.of(study)
    if status.over:
        print_status(study)
        return
    link.require_configured()
    try:
        with _alone(folder):
            _say_reduced(study, status)
            run_id = _conduct(study, signer, link, meet)
    except KeyboardInterrupt:
        say("what has come from the sites is kept; run the study again to go on", err=True)
        raise
    print_status(study)
    require_complete(Status.of(study), run_id)


def _say_reduced(study: Study, status: Status) -> None:
    """Name the sites that will release less, if no site has been asked yet."""
    small = notice(status.spec, study.schema)
    if small is not None and not study.begun:
        say(small, err=True)


def _conduct(study: Study, key: Key, link: SuperLink, meet: Path | None) -> str:
    """Take the study as far as one run of Flower's goes; gives the id of that run."""
    from cohortmix.deploy.meeting.meeting import meeting  # these bring in JAX and Flower
    from cohortmix.deploy.meeting.presence import Presence
    from cohortmix.server.app import conduct
    from cohortmix.server.patience import Patience
    from cohortmix.server.result import TooFewSites

    console = Terminal(stderr=True)
    with meeting(meet) as door:
        run_id = link.start(door.path, door.token)
        with study.store() as store:
            store.keep_run(run_id)
        pulse = _Pulse(link, run_id, console.print, len(study.signed.study.sites))
        with closing(door.grid(pulse.require_going)) as grid, study.coordinator(key) as coordinator:
            patience = Patience.of_deployment(coordinator.spec.round_deadline_seconds)
            try:
                with steps(console) as progress:
                    conduct(grid, coordinator, progress, patience, watch=Presence(study, console.print))
            except TooFewSites as stopped:  # of other studies print_status and require_complete say enough
                if coordinator.spec.joint is not None:
                    console.print(str(stopped))
    return run_id


class _Pulse:
    """Asks the SuperLink now and then whether a run is still going on, until its ServerApp has connected."""

    def __init__(self, link: SuperLink, run: str, say: Callable[[str], None], sites: int) -> None:
        self._link, self._run, self._say, self._sites = link, run, say, sites
        self._began = time.monotonic()
        self._at, self._silent, self._told = self._began + ASK_SECONDS, 0, False

    def require_going(self) -> None:
        """Raise EngineError if the run has ended, or the SuperLink no longer answers."""
        if time.monotonic() < self._at:
            return
        try:
            status, self._silent = self._link.status(self._run), 0
        except EngineError as error:
            status, self._silent = "unknown", self._silent + 1
            if self._silent == PATIENCE:
                raise EngineError(f"{error}; what has come from the sites is kept: run the study again") from None
        if status.startswith("finished"):
            raise EngineError(
                f"Flower's run {self._run} ended before it began ({status}); the SuperLink's log says why"
            )
        if not self._told and time.monotonic() - self._began > SLOW_SECONDS:
            self._told = True
            hospitals = count(self._sites, "hospital")
            self._say(f"0 of {hospitals} connected: the SuperLink has not yet started run {self._run} ({status})")
        self._at = time.monotonic() + ASK_SECONDS


def require_complete(status: Status, run: str) -> None:
    """Raise StudyRefused or StudyUnanswered if anything is missing from a study whose run is over."""
    if status.over or not status.missing:
        return
    names = listed([site.entry.name for site in status.missing])
    publishable = "; what has come can be published" if status.publishable else ""
    sentence = f"not all has come from {names} (run {run}){publishable}; run the study again to go on"
    raise refused_or_unanswered(sentence, [site.refusal for site in status.missing if site.refusal])


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from running the study; a process that dies, however it dies, keeps nobody out."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"the study in {str(folder)!r} is being run already, by another process") from None
    finally:
        os.close(descriptor)
