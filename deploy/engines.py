"""The two ways to run a study on one machine: calls in this process, or Flower's simulation engine (Ray).

Both run the same ClientApp and ServerApp as a deployed study, over messages in bytes.
"""

import gc
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal

from flwr.app import Context
from flwr.common.constant import PARTITION_ID_KEY
from flwr.simulation import run_simulation

from cohortmix.client.app import relay
from cohortmix.deploy.consortium import Consortium, SiteFolder
from cohortmix.deploy.local_grid import LocalGrid
from cohortmix.server.app import Progress, conduct, server_app

Engine = Literal["process", "flower"]


def run(consortium: Consortium, engine: Engine, progress: Progress | None = None) -> None:
    """Take the consortium's study from where it stands to the end of round 2; the answers are in its store.

    Parameters
    ----------
    engine : "process" for one site after the other in this process, "flower" for as many at once as there are
        processor cores, each in a process of its own.

    Raises
    ------
    TooFewSites
        If fewer than min_sites answer round 1.
    """
    _ENGINES[engine](consortium, progress)


def _in_process(consortium: Consortium, progress: Progress | None) -> None:
    grid = LocalGrid(relay(partial(_connect, consortium)), len(consortium.study.study.sites))
    with consortium.coordinator() as coordinator:
        conduct(grid, coordinator, progress)


def _with_flower(consortium: Consortium, progress: Progress | None) -> None:
    sites = len(consortium.study.study.sites)
    workers = min(sites, os.cpu_count() or 1)
    with _quiet():
        run_simulation(
            server_app(consortium.coordinator, progress),
            relay(partial(_connect, consortium)),
            num_supernodes=sites,
            backend_config={
                "init_args": {"num_cpus": workers, "log_to_driver": False, "logging_level": logging.ERROR},
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )


_ENGINES: dict[Engine, Callable[[Consortium, Progress | None], None]] = {
    "process": _in_process,
    "flower": _with_flower,
}


def _connect(consortium: Consortium, context: Context) -> SiteFolder:
    return consortium.site(int(context.node_config[PARTITION_ID_KEY]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Flower's own progress is about nodes and actors; ours is about sites."""
    logger = logging.getLogger("flwr")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            yield
            gc.collect()  # Ray leaves the pipes of its servers to the collector: now, not in a caller's hands
    finally:
        logger.setLevel(level)
