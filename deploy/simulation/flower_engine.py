"""Flower's simulation engine on a consortium's folders.

    python -m cohortmix.deploy.simulation.flower_engine ROOT [SEED]

Prints one line of JSON, [event, done, total], for each step of progress. The answers are in the study's store.
"""

import json
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from flwr.simulation import run_simulation

from cohortmix.client.app import relay
from cohortmix.deploy.simulation.consortium import Consortium
from cohortmix.deploy.simulation.open_sites import connect
from cohortmix.server.app import server_app


def main(root: str, seed: str | None = None) -> None:
    """Conduct the study, with as many sites at once as there are processor cores."""
    lines, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed must not stand between our lines
    logging.getLogger("flwr").setLevel(logging.ERROR)
    consortium = Consortium(Path(root), None if seed is None else int(seed))
    sites = len(consortium.study.study.sites)
    run_simulation(
        server_app(lambda context: consortium.coordinator(), partial(_tell, lines)),
        relay(partial(connect, consortium)),
        num_supernodes=sites,
        backend_config=backend_of(sites),
    )


def backend_of(sites: int) -> dict[str, dict[str, Any]]:
    """As many nodes at once as there are processor cores, each in a process of its own."""
    return {
        "init_args": {
            "num_cpus": min(sites, os.cpu_count() or 1),
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        },
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
    }


def _tell(lines: TextIO, event: str, done: int, total: int) -> None:
    print(json.dumps([event, done, total]), file=lines, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
