"""What do many sites cost a coordinator: seconds of its processor, its memory, and bytes on the wire?

    python tests/benchmarks/bench_many_sites.py [--sites 8 25 74 200] [--tiny 200 1000] [--noise each joint]
        [--keep]
    python tests/benchmarks/bench_many_sites.py --write

A study of S made sites from its first message to its result, for both kinds of noise; the coordinator is in a
process of its own for each S, so that the memory is that of this S. `--sites` have the 23 columns of the stroke
trial and 400 patients each, `--tiny` four columns and 60 patients. `--keep` keeps the figures in
results/many_sites.json, `--write` puts what is kept into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any, TypeVar

from flwr.app import Context
from flwr.common.constant import PARTITION_ID_KEY
from made_sites import MadeSites
from markdown_tables import DOCUMENT, Part, heading
from result_cells import RESULTS

from cohortmix.client.app import relay
from cohortmix.core.data.schema import Schema
from cohortmix.deploy.simulation.local_grid import LocalGrid
from cohortmix.protocol.messages import Description, SignedStudy, StudySpec, encode
from cohortmix.protocol.signing import Key, sign_study
from cohortmix.server.app import conduct
from cohortmix.server.coordinator import Coordinator
from cohortmix.server.joint_coordinator import JointCoordinator
from cohortmix.server.patience import Patience
from cohortmix.server.store import Store

SCHEMA = Path(__file__).parents[2] / "deploy" / "demo" / "schema.yaml"
TINY = Schema.from_yaml(
    """
name: tiny
target: outcome
columns:
  AGE: {type: number, min: 16, max: 105, integer: true}
  SEX: {type: category, values: [F, M]}
  SIDE: {type: category, values: [left, right, none]}
  outcome: {type: category, values: [good, bad]}
"""
)
FILE = RESULTS / "many_sites.json"
TABLE = Part(DOCUMENT, "many sites", "bench_many_sites.py")
END = b"\0"  # before what the coordinator's process says in the end
Facts = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Size:
    """A study that is measured; its sites have `patients` each and spend `mu`."""

    table: str
    sites: int
    noise: str
    patients: int
    mu: Decimal

    @property
    def schema(self) -> Schema:
        """The columns of its table."""
        return TINY if self.table == "tiny" else Schema.from_yaml(SCHEMA.read_text("utf-8"))


class Wire:
    """A site behind a pipe: its messages as bytes, whose numbers are counted."""

    def __init__(self, study: StudySpec, place: int, pipe: Connection) -> None:
        self._study, self._entry, self._pipe = study, study.sites[place], pipe

    def describe(self) -> bytes:
        """The public facts of the site."""
        entry = self._entry
        return encode(
            Description(
                site=entry.name,
                key=entry.key,
                patients=entry.patients,
                schema_hash=self._study.schema_hash,
                columns=(),
                version=self._study.version,
            )
        )

    def answer(self, request: bytes) -> bytes:
        """The reply of the site to a message."""
        self._pipe.send_bytes(self._entry.name.encode() + b"\n" + request)
        return self._pipe.recv_bytes()


class Watch:
    """Seconds of the processor that a coordinator's methods take, by round and method."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator, self.seconds = coordinator, defaultdict[str, float](float)
        for name in ("messages_to", "accept", "advance", "finish"):
            setattr(coordinator, name, self._timed(getattr(coordinator, name), name))

    def _timed(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            step = "finish" if name == "finish" else f"{name}, round {self._coordinator.round}"
            with self._counted(step):
                result = method(*arguments)
            return self._each(result, step) if isinstance(result, Iterator) else result

        return call

    def _each(self, items: Iterator[T], step: str) -> Iterator[T]:
        """Items as they come: what happens between two of them is not theirs."""
        while True:
            with self._counted(step):
                item = next(items, None)
            if item is None:
                return
            yield item

    @contextmanager
    def _counted(self, step: str) -> Iterator[None]:
        began = process_time()
        yield
        self.seconds[step] += process_time() - began


def memory(field: str) -> float:
    """MB of this process: VmRSS for now, VmHWM for the most so far."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1e3


def coordinate(signed: SignedStudy, key: bytes, schema: Schema, pipe: Connection) -> None:
    """Conduct a study with sites behind a pipe, and say what it took; the work of a process of its own."""
    study, wires = signed.study, dict[int, Wire]()

    def connect(context: Context) -> Wire:
        place = int(context.node_config[PARTITION_ID_KEY])
        return wires.setdefault(place, Wire(study, place, pipe))

    kind = Coordinator if study.joint is None else JointCoordinator
    with TemporaryDirectory() as folder, Store(Path(folder) / "study.db", study.hash) as store:
        coordinator = kind(signed, Key.from_bytes(key), schema, store)
        watch, start, began = Watch(coordinator), memory("VmHWM"), process_time()
        patience = Patience.of_simulation(study.round_deadline_seconds, at_once=1)
        conduct(LocalGrid(relay(connect), len(study.sites)), coordinator, patience=patience)
        before_finish = memory("VmHWM")
        coordinator.finish()
        taken = process_time() - began
    steps = dict(watch.seconds) | {"carry": taken - sum(watch.seconds.values())}
    facts = {
        "cpu seconds": round(taken, 3),
        "steps": {step: round(seconds, 3) for step, seconds in steps.items()},
        "MB at the start": start,
        "peak MB of the rounds": before_finish,
        "peak MB": memory("VmHWM"),
    }
    pipe.send_bytes(END + json.dumps(facts).encode())


def measured(size: Size) -> Facts:
    """What a study of this size takes at its coordinator; this process plays the sites."""
    sites = MadeSites(size.sites, size.schema, size.patients, size.mu, size.noise == "joint")
    here, there = multiprocessing.Pipe()
    signed, key = sign_study(sites.coordinator_key, sites.study), sites.coordinator_key.to_bytes()
    # Spawned, not forked: a fork would begin with the memory of the sites.
    arguments = (signed, key, sites.schema, there)
    process = multiprocessing.get_context("spawn").Process(target=coordinate, args=arguments)
    process.start()
    there.close()
    asked, received = 0, 0
    while (message := here.recv_bytes())[:1] != END:
        site, _, request = message.partition(b"\n")
        reply = sites.reply(site.decode(), request)
        here.send_bytes(reply)
        asked, received = asked + len(request), received + len(reply)
    process.join()
    wire = {"to a site": asked // size.sites, "from a site": received // size.sites}
    names = {"table": size.table, "sites": size.sites, "noise": size.noise}
    return {**names, **json.loads(message[1:]), "bytes": wire}


def main() -> None:
    """Measure what is wanted, and show it."""
    wanted = arguments()
    if wanted.write:
        TABLE.write(markdown(json.loads(FILE.read_text())))
        return
    rows = []
    for table, noise in product(("stroke", "tiny"), wanted.noise):
        for sites in wanted.sites if table == "stroke" else wanted.tiny:
            patients, mu = (400, Decimal(2)) if table == "stroke" else (60, Decimal("0.3"))
            rows.append(measured(Size(table, sites, noise, patients, mu)))
            print(json.dumps(rows[-1]), flush=True)
    print(markdown(rows))
    if wanted.keep:
        keep(FILE, rows, ("noise", "table", "sites"))


def keep(file: Path, rows: Sequence[Facts], names: Sequence[str]) -> None:
    """Put rows into a file, each in place of the one with the same names; sorted by them."""
    kept = json.loads(file.read_text()) if file.exists() else []
    by_name = {tuple(row[name] for name in names): row for row in [*kept, *rows]}
    file.write_text(json.dumps([by_name[key] for key in sorted(by_name)], indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", nargs="*", type=int, default=[8, 25, 74, 200], help="with 23 columns")
    parser.add_argument("--tiny", nargs="*", type=int, default=[200, 1000], help="with four columns")
    parser.add_argument("--noise", nargs="+", choices=["each", "joint"], default=["each", "joint"])
    parser.add_argument("--keep", action="store_true", help="keep the figures")
    parser.add_argument("--write", action="store_true", help="write what is kept into docs/benchmarks.md")
    return parser.parse_args()


HEADING = (
    "noise, columns",
    "sites",
    "rounds: CPU s",
    "ms a site",
    "MB beyond the start",
    "result: CPU s",
    "MB beyond the start",
    "kB to a site",
    "kB from a site",
)


def markdown(rows: Sequence[Facts]) -> str:
    """A line for each size: what its rounds take, then its result."""
    lines = heading(HEADING)
    for row in rows:
        result, start, wire = row["steps"]["finish"], row["MB at the start"], row["bytes"]
        rounds = row["cpu seconds"] - result
        figures = (
            f"{rounds:.1f}",
            f"{1e3 * rounds / row['sites']:.0f}",
            f"{row['peak MB of the rounds'] - start:.0f}",
            f"{result:.1f}",
            f"{row['peak MB'] - start:.0f}",
            f"{wire['to a site'] / 1e3:.0f}",
            f"{wire['from a site'] / 1e3:.0f}",
        )
        columns = 4 if row["table"] == "tiny" else 23
        lines.append(f"| {row['noise']}, {columns} | {row['sites']} | {' | '.join(figures)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
