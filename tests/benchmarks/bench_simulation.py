"""What does a whole study on one machine cost: in one process, and in Flower's simulation engine?

    python tests/benchmarks/bench_simulation.py [--process 50 100 200] [--flower 50] [--noise each joint] [--keep]
    python tests/benchmarks/bench_simulation.py --write

Each site has 90 patients of the stroke trial, who are repeated where there are not so many, and epsilon is 1. In
one process each size has a process of its own; seconds of the sites are told from those of the coordinator, and
both from those of the pooled release. In Flower's engine a study stands beside an empty run of Flower with as many
nodes and as many messages to each (`flower_runs.py`). `--keep` keeps the figures in results/simulation.json,
`--write` puts what is kept into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import flower_runs
import numpy as np
import pyarrow as pa
from bench_many_sites import keep, memory
from flwr.app import Message
from markdown_tables import DOCUMENT, Part, heading
from public_data import load
from result_cells import RESULTS

from cohortmix.core.data.table import source_of
from cohortmix.core.privacy.budget import Budget
from cohortmix.deploy.simulation.consortium import Consortium, Terms
from cohortmix.deploy.simulation.engines import run
from cohortmix.deploy.simulation.local_grid import LocalGrid
from cohortmix.protocol.steps import STEPS
from cohortmix.protocol.study import JointNoise, usual_conspirators
from cohortmix.server.publish.pool import draw

FILE = RESULTS / "simulation.json"
PROCESS = Part(DOCUMENT, "simulation", "bench_simulation.py")
FLOWER = Part(DOCUMENT, "engine", "bench_simulation.py")
PATIENTS, EPSILON = 90, 1.0  # of a site: class centroids with noise of each, and scores of all with joint noise
Facts = dict[str, Any]


def study(folder: Path, sites: int, noise: str) -> Consortium:
    """A consortium with patients of the stroke trial at each site, and keyed test noise."""
    data = load("stroke", 0)
    columns = list(data.schema.columns)
    tables = {}
    for number in range(sites):
        rows = np.arange(number * PATIENTS, (number + 1) * PATIENTS) % len(data.train)
        source = source_of(data.train[columns].iloc[rows].reset_index(drop=True), tuple(columns))
        tables[f"site-{number + 1:04d}"] = pa.Table.from_batches(list(source.batches()))
    joint = JointNoise(conspirators=usual_conspirators(sites), tolerated_dropouts=0) if noise == "joint" else None
    terms = Terms(budget=Budget.from_epsilon(EPSILON), seed=1, joint=joint)
    return Consortium.create(folder, tables, data.schema, terms)


def timed_sites() -> Callable[[], float]:
    """From now on, the seconds of the processor that the sites of a simulation in this process take."""
    answer, seconds = LocalGrid._answer, [0.0]

    def timed(grid: LocalGrid, request: Message) -> Message:
        began = process_time()
        reply = answer(grid, request)
        seconds[0] += process_time() - began
        return reply

    setattr(LocalGrid, "_answer", timed)  # noqa: B010 (a method of the class, in a process of its own)
    return lambda: seconds[0]


def in_process(sites: int, noise: str, pipe: Connection) -> None:
    """All of a simulation; the work of a process of its own."""
    facts: Facts = {"engine": "process", "sites": sites, "noise": noise}
    of_sites = timed_sites()
    with TemporaryDirectory() as root:
        began, marks = process_time(), list[tuple[str, float, float]]()

        def mark(step: str) -> None:
            nonlocal began
            marks.append((step, process_time() - began, memory("VmHWM")))
            began = process_time()

        consortium = study(Path(root), sites, noise)
        mark("set up")
        run(consortium, "process")
        mark("rounds")
        with consortium.coordinator() as coordinator:
            result = coordinator.finish()
        mark("result")
        draw(result)
        mark("pool")
    facts["cpu seconds"] = {step: round(seconds, 2) for step, seconds, _ in marks}
    facts["cpu seconds"]["sites"] = round(of_sites(), 2)
    facts["peak MB"] = {step: round(peak) for step, _, peak in marks}
    pipe.send(facts)


def measured(sites: int, noise: str) -> Facts:
    """A simulation in a process of its own, which begins with nothing."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=in_process, args=(sites, noise, there))
    process.start()
    there.close()
    facts: Facts = here.recv()
    process.join()
    return facts


def in_flower(sites: int, noise: str) -> Facts:
    """A study in Flower's engine, and then an empty run of Flower."""
    # Who it is, and the steps of both sums; or round 1 alone, where so few patients have no second one.
    messages = 1 + (2 * len(STEPS) if noise == "joint" else 1)
    with TemporaryDirectory() as root:
        study(Path(root), sites, noise)
        ours = flower_runs.of_study(Path(root))
    nothing = flower_runs.of_nothing(sites, messages)
    return {
        "engine": "flower",
        "sites": sites,
        "noise": noise,
        "messages": messages,
        "study": ours,
        "empty": nothing,
    }


def main() -> None:
    """Measure what is wanted, and show it."""
    wanted = arguments()
    if wanted.write:
        rows = json.loads(FILE.read_text())
        PROCESS.write(process_table(rows))
        FLOWER.write(flower_table(rows))
        return
    rows = []
    for noise in wanted.noise:
        for work, sizes in ((measured, wanted.process), (in_flower, wanted.flower)):
            for sites in sizes:
                rows.append(work(sites, noise))
                print(json.dumps(rows[-1]), flush=True)
    print(process_table(rows), flower_table(rows), sep="\n\n")
    if wanted.keep:
        keep(FILE, rows, ("engine", "noise", "sites"))


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--process", nargs="*", type=int, default=[50, 100, 200], help="sites, in one process")
    parser.add_argument("--flower", nargs="*", type=int, default=[50], help="sites, in Flower's engine")
    parser.add_argument("--noise", nargs="+", choices=["each", "joint"], default=["each", "joint"])
    parser.add_argument("--keep", action="store_true", help="keep the figures")
    parser.add_argument("--write", action="store_true", help="write what is kept into docs/benchmarks.md")
    return parser.parse_args()


def process_table(rows: Sequence[Facts]) -> str:
    """A line for each simulation in one process."""
    names = ("noise", "sites", "CPU s of a site", "ms of the coordinator a site", "MB until here")
    lines = heading([*names, "result: CPU s", "MB until here", "pooled release: CPU s", "MB until here"])
    for row in rows:
        if row["engine"] == "process":
            seconds, peak, sites = row["cpu seconds"], row["peak MB"], row["sites"]
            figures = (
                f"{(seconds['set up'] + seconds['sites']) / sites:.2f}",
                f"{1e3 * (seconds['rounds'] - seconds['sites']) / sites:.0f}",
                f"{peak['rounds']}",
                f"{seconds['result']:.1f}",
                f"{peak['result']}",
                f"{seconds['pool']:.0f}",
                f"{peak['pool']}",
            )
            lines.append(f"| {row['noise']} | {sites} | {' | '.join(figures)} |")
    return "\n".join(lines)


def flower_table(rows: Sequence[Facts]) -> str:
    """A line for each study in Flower's engine, and the empty run beside it."""
    lines = heading(
        ["noise", "sites", "messages to a node", "seconds", "of an empty run", "CPU s", "of an empty run"]
    )
    for row in rows:
        if row["engine"] == "flower":
            figures = [f"{row[run][of]:.0f}" for of in ("seconds", "cpu seconds") for run in ("study", "empty")]
            lines.append(f"| {row['noise']} | {row['sites']} | {row['messages']} | {' | '.join(figures)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
