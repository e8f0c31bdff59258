"""Speed: what a release and its records cost, part by part, of generated tables of many sizes, beside peers.

`bench_speed.py` says which sizes. Each measurement is made in a process of its own, so that its peak
of memory is its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import large_table
import numpy as np
import peer_synthesizers
import pyarrow.parquet as pq
from cell_runs import peak_gb, resolved, store
from peer_synthesizers import PeerFailedError, PeerStoppedError
from result_cells import Cell
from synthesizers import joint_noise

from cohortmix.client.table.data import open_table
from cohortmix.core import Budget
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.schema import Schema
from cohortmix.core.privacy.budget import ResolvedBudget
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps.progress import observed
from cohortmix.core.synthesis import synthesize
from cohortmix.deploy.simulation.consortium import Terms
from cohortmix.deploy.simulation.simulation import simulate
from cohortmix.deploy.simulation.split import evenly

DATA = "speed"  # its file of cells
OWN, PEERS = ("ours", "joint", "answers"), ("mst", "mst-mbi", "aim", "dpctgan")
CALLED = {"sites": "check", "pool": "records"}  # as a simulated study calls these parts
AGAIN = (10_000, 40)  # rows, and at most so many columns, where a release is made once more in the same process


@dataclass(frozen=True, order=True)
class Size:
    """Of a table: one record of each patient; `columns` counts numbers and categories, half of them each."""

    rows: int
    columns: int
    sites: int = 1

    @property
    def setting(self) -> str:
        """As a cell has it."""
        return f"{self.rows} x {self.columns}" + (f", {self.sites} sites" if self.sites > 1 else "")

    @classmethod
    def of(cls, cell: Cell) -> Size:
        """The size of a cell of DATA."""
        table, _, sites = cell.setting.removesuffix(" sites").partition(", ")
        rows, _, columns = table.partition(" x ")
        return cls(int(rows), int(columns), int(sites or 1))

    def cell(self, method: str) -> Cell:
        """Its cell of a method, at epsilon 1 and delta 1/N of a site."""
        return Cell(DATA, self.setting, method, 1.0, 0)

    def within(self, other: Size) -> bool:
        """Whether it is no larger in anything."""
        return self.rows <= other.rows and self.columns <= other.columns and self.sites <= other.sites


class StoppedError(Exception):
    """This project took longer than it may."""


@dataclass
class Clock:
    """CPU seconds and wall time of each part: what passes until a report is of the part that reports.

    Attributes
    ----------
    limit : CPU seconds, of all parts together; a report after them raises StoppedError.
    """

    limit: float
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    _at: tuple[float, float] = field(default_factory=lambda: (time.process_time(), time.monotonic()))

    def __call__(self, part: str, done: int = 0, total: int = 0) -> None:
        """Charge a part with what has passed since the last report."""
        cpu, wall = time.process_time(), time.monotonic()
        # Before the first word of the answers, the table is opened and checked, and its patients are counted.
        part = "check" if part == "answers" and not self.parts else CALLED.get(part, part)
        spent = self.parts.setdefault(part, {"cpu seconds": 0.0, "seconds": 0.0, "peak GB": 0.0})
        spent["cpu seconds"] += cpu - self._at[0]
        spent["seconds"] += wall - self._at[1]
        spent["peak GB"] = peak_gb()  # so far: a peak does not fall
        self._at = (cpu, wall)
        if sum(each["cpu seconds"] for each in self.parts.values()) > self.limit:
            raise StoppedError

    @property
    def facts(self) -> dict[str, Any]:
        """What a line of results says of it."""
        total = {key: sum(part[key] for part in self.parts.values()) for key in ("cpu seconds", "seconds")}
        return {**total, "peak GB": peak_gb(), "parts": self.parts}


@contextmanager
def timed(limit: float) -> Iterator[Clock]:
    """A clock that observes what is done within; what remains at its end belongs to the records."""
    clock = Clock(limit)
    with observed(clock):
        yield clock
    clock("records")


def compute(path: Path, limit: int, cell: Cell, command: str, again: bool) -> list[str]:
    """Measure one cell on the table at `path`, and store it; a line of text for a log."""
    size = Size.of(cell)
    schema = large_table.schema(keyed=False, columns=size.columns)
    patients = np.unique(_sites(size), return_counts=True)[1].tolist()
    budget = resolved(cell, max(patients))
    try:
        facts = METHODS[cell.method](path, schema, size, budget, limit)
    except (StoppedError, PeerStoppedError):
        facts = {"stopped": limit}
    except PeerFailedError as error:
        facts = {"failed": str(error)}
    return [store(cell, {"figures": {}, "rows": size.rows, **facts}, patients, budget, command)]


def ours(path: Path, schema: Schema, size: Size, budget: ResolvedBudget, limit: int) -> dict[str, Any]:
    """A release from a file and as many records; a second one in the same process has its code compiled."""
    if size.sites > 1:
        return study(path, schema, size, budget, limit)
    first = _release(path, schema, budget, limit)
    if size.rows != AGAIN[0] or size.columns > AGAIN[1]:
        return first
    return {**first, "again": _release(path, schema, budget, limit)}


def _release(path: Path, schema: Schema, budget: ResolvedBudget, limit: int) -> dict[str, Any]:
    began = peak_gb()
    with timed(limit) as clock:
        source = open_table(path, schema)
        release = synthesize(source, schema, _terms(budget), noise=KeyedNoise(0), accept_degraded=True)
        release.records()
    degraded = bool(release.receipt["degraded_to_class_centroids"])
    return {**clock.facts, "GB before": began, "variant": "classes" if degraded else release.variant}


def study(
    path: Path, schema: Schema, size: Size, budget: ResolvedBudget, limit: int, joint: bool = False
) -> dict[str, Any]:
    """A whole study in one process, one site after another: what all of them and the coordinator take together."""
    began = peak_gb()
    terms = Terms(
        budget=_terms(budget), seed=0, public_data=True, joint=joint_noise(size.sites) if joint else None
    )
    with timed(limit) as clock:
        table = pq.read_table(path, columns=list(schema.columns))
        made = simulate(table, schema, list(_sites(size)), terms, progress=clock, accept_degraded=True)
    mixtures = [site for site, made_of in made.result.centroids.items() if "mixture" in made_of.kind]
    return {**clock.facts, "GB before": began, "mixtures": len(mixtures)}


def answers(path: Path, schema: Schema, size: Size, budget: ResolvedBudget, limit: int) -> dict[str, Any]:
    """Class marginals and pair tables alone, from a vault: all that reads records."""
    began, clock = peak_gb(), Clock(limit)
    vault = Vault(open_table(path, schema), schema, KeyedNoise(0).add, MemoryMeter(Fraction(100)))
    clock("check")
    for answer in ("A", "B"):
        vault.answer(large_table.question(answer, schema), Fraction(1))
        clock("answers")
    return {**clock.facts, "GB before": began}


def peer(name: str, path: Path, schema: Schema, size: Size, budget: ResolvedBudget, limit: int) -> dict[str, Any]:
    """A synthesizer of others: what it takes in memory, after the table is read and coded."""
    table = pq.read_table(path, columns=list(schema.columns)).to_pandas()
    return peer_synthesizers.synthesize(name, table, schema, budget, 0, limit=limit)[1]


def _terms(budget: ResolvedBudget) -> Budget:
    return Budget.from_mu(budget.mu, budget.delta, loose_delta=True)


def _sites(size: Size) -> np.ndarray[Any, np.dtype[np.str_]]:
    return np.asarray(evenly(np.arange(size.rows), size.sites, 0))


Measure = Callable[[Path, Schema, Size, ResolvedBudget, int], dict[str, Any]]
METHODS: Mapping[str, Measure] = {
    "ours": ours,
    "joint": partial(study, joint=True),
    "answers": answers,
    **{name: partial(peer, name) for name in PEERS},
}
