"""The two ways to run a study on one machine: calls in this process, or Flower's simulation engine (Ray).

Both run the ClientApp of a deployed study and its exchange of messages, as bytes. The engine runs in a process of
its own: Ray forks, which a process that has used JAX must not do, and it changes the environment of its process.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Literal

from cohortmix.client.app import relay
from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.deploy.simulation.local_grid import LocalGrid
from cohortmix.deploy.simulation.open_sites import OpenSites
from cohortmix.server.app import Progress, conduct
from cohortmix.server.commands.outcome import EngineError
from cohortmix.server.patience import Patience

Engine = Literal["process", "flower"]
_FAULT = re.compile(r"[\w.]*(?:Error|Exception|Interrupt|Exit)(?=:|$)")


def silent(event: str, done: int, total: int) -> None:
    """A progress that reports nothing."""


def run(consortium: Consortium, engine: Engine, progress: Progress = silent) -> None:
    """Take the consortium's study from where it stands to the end of round 2; the answers are then in its store.

    Parameters
    ----------
    engine : "process" for one site after another in this process, "flower" for as many at once as there are
        processor cores, each in a process of its own.

    Raises
    ------
    TooFewSites
        If fewer than min_sites answer round 1.
    EngineError
        If Flower's engine fails; the study can be run again.
    """
    _ENGINES[engine](consortium, progress)


def _in_process(consortium: Consortium, progress: Progress) -> None:
    with OpenSites(consortium) as sites, consortium.coordinator() as coordinator:
        grid = LocalGrid(relay(sites.connect), len(coordinator.spec.sites))
        patience = Patience.of_simulation(coordinator.spec.round_deadline_seconds, at_once=1)
        conduct(grid, coordinator, progress, patience)


def _with_flower(consortium: Consortium, progress: Progress) -> None:
    seed = [] if consortium.seed is None else [str(consortium.seed)]
    command = [sys.executable, "-m", "cohortmix.deploy.simulation.flower_engine", str(consortium.root), *seed]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as child,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            progress(*json.loads(line))
        if child.wait() != 0:
            with consortium.coordinator() as coordinator:
                coordinator.freeze()  # raises TooFewSites if that is the reason
            log.seek(0)
            raise EngineError(
                f"Flower's simulation engine stopped with status {child.returncode}: {reason_of(log.read())}"
            )


def reason_of(log: str) -> str:
    """The type of the exception with which a log ends, without its text, which can hold a value of a record."""
    if not log.strip():
        return "it said nothing"
    match = _FAULT.match(log.strip().splitlines()[-1])
    return match[0] if match else "its last line names no exception"


_ENGINES: dict[Engine, Callable[[Consortium, Progress], None]] = {
    "process": _in_process,
    "flower": _with_flower,
}
