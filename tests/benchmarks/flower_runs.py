"""Runs of Flower's simulation engine, a study or an empty one, and what all their processes take.

    python tests/benchmarks/flower_runs.py SITES MESSAGES

is the empty run: a ServerApp sends a few bytes to each of SITES nodes, MESSAGES times, and a ClientApp sends some
back.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

from cohortmix.deploy.simulation.flower_engine import backend_of

MARK = "COHORTMIX_BENCH_ENGINE"
TICKS = os.sysconf("SC_CLK_TCK")
LOOKS = 0.2  # seconds between two looks at the processes


def of_study(root: Path) -> dict[str, float]:
    """What the study in these folders takes."""
    return measured([sys.executable, "-m", "cohortmix.deploy.simulation.flower_engine", str(root), "1"])


def of_nothing(sites: int, messages: int) -> dict[str, float]:
    """What an empty run takes."""
    return measured([sys.executable, __file__, str(sites), str(messages)])


def measured(command: list[str]) -> dict[str, float]:
    """Seconds by the clock, and of the processor over all processes of a run; Ray's have our environment, too."""
    name, seen, began = secrets.token_hex(8), dict[int, float](), time.monotonic()
    run = subprocess.Popen(
        command, env=os.environ | {MARK: name}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while run.poll() is None:
        _look(f"{MARK}={name}".encode(), seen)
        time.sleep(LOOKS)
    if run.returncode:
        raise RuntimeError(f"expected that {command[1:]} ends well, got status {run.returncode}; run it by hand")
    return {"seconds": round(time.monotonic() - began, 1), "cpu seconds": round(sum(seen.values()), 1)}


def _look(mark: bytes, seen: dict[int, float]) -> None:
    """Note the seconds of the processor of every process that has this mark."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes():
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                seen[int(folder.name)] = (int(fields[11]) + int(fields[12])) / TICKS
        except OSError:  # it has ended meanwhile
            continue


def empty(sites: int, messages: int) -> None:
    """A run of Flower in which nothing is done."""
    app, nodes = ServerApp(), ClientApp()

    @nodes.query()
    def reply(message: Message, context: Context) -> Message:
        return Message(RecordDict({"bench": ConfigRecord({"data": b"reply"})}), reply_to=message)

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        while len(list(grid.get_node_ids())) < sites:
            time.sleep(LOOKS)
        for _ in range(messages):
            content = RecordDict({"bench": ConfigRecord({"data": b"request"})})
            sent = [Message(content, node, "query") for node in grid.get_node_ids()]
            assert len(list(grid.send_and_receive(sent))) == sites

    run_simulation(app, nodes, num_supernodes=sites, backend_config=backend_of(sites))


if __name__ == "__main__":
    empty(int(sys.argv[1]), int(sys.argv[2]))
