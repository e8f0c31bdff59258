"""Runs: cells that have no line yet are computed, each in a process of its own, and stored.

`bench_utility.py`, `bench_ablation.py` and `bench_losses.py` say which cells; `compute` makes those of the first
and the last, and the ablation brings a function of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from peer_synthesizers import PeerFailedError
from public_data import SPLITS, Dataset, load, patients_of
from result_cells import Cell, Facts, read, write
from scoring import Figures, score_condensed, score_records, score_sites_alone
from site_settings import SETTINGS
from synthesizers import METHODS, RELEASE, Made, Task

from cohortmix.core import Budget
from cohortmix.core.privacy.budget import ResolvedBudget

ROOT = Path(__file__).parents[2]
CODE = ("core", "protocol", "client", "server", "deploy", "tests/benchmarks/*.py")
WITHOUT_BUDGET = ("real", "own")  # they are given the records themselves
PUBLISHED_DELTA = {"mnist": 1e-5}  # where the paper does not take 1/N
PACKAGES = (
    "cohortmix",
    "numpy",
    "scikit-learn",
    "scikit-survival",
    "lightgbm",
    "jax",
    "neural-tangents",
    "opendp",
)
T = TypeVar("T")


def pending(cells: Iterable[Cell], again: bool = False) -> list[Cell]:
    """Those that are not stored yet, or all of them; one of those that come from the same release."""
    stored = read()
    missing = [cell for cell in cells if again or cell not in stored]
    return list(dict.fromkeys(replace(cell, method=RELEASE.get(cell.method, cell.method)) for cell in missing))


def compute(cell: Cell, command: str, again: bool = False) -> list[str]:
    """Compute and store one cell, and the others that come from the same release; a line of text for each."""
    data = load(cell.data, cell.split)
    task, sizes = task_of(cell, data, cell.setting)
    if cell.method == "own":
        return [store(cell, {"figures": score_sites_alone(task.table, task.site, data)}, sizes, None, command)]
    try:
        made, cost = measured(lambda: METHODS[cell.method](task))
    except PeerFailedError as error:  # a figure as well: what cannot be run is shown, not left out
        return [store(cell, {"figures": {}, "failed": str(error)}, sizes, task.budget, command)]
    cost |= made.cost
    stored, lines = read(), list[str]()
    for name in made.records:
        one = replace(cell, method=name)
        if again or one not in stored:
            facts = {"figures": figures_of(name, made, data), **cost}
            lines.append(store(one, facts, sizes, task.budget, command))
    return lines


def task_of(cell: Cell, data: Dataset, setting: str) -> tuple[Task, list[int]]:
    """What a method is given in one of `SETTINGS`, and how many patients each site has."""
    table, site = SETTINGS[setting](data, cell.split)
    sizes = [len(np.unique(patients_of(table[site == name], data.schema))) for name in np.unique(site)]
    budget = None if cell.epsilon is None else resolved(cell, max(sizes))
    return Task(data, table, site, budget, None if cell.real_noise else cell.split), sizes


def measured(make: Callable[[], T]) -> tuple[T, dict[str, Any]]:
    """What is made, and what it takes: time in seconds, and peak memory of the process in GB."""
    wall, cpu = time.monotonic(), time.process_time()
    made = make()
    return made, {
        "seconds": time.monotonic() - wall,
        "cpu seconds": time.process_time() - cpu,
        "peak GB": peak_gb(),
    }


def peak_gb() -> float:
    """Of this process: a child's `ru_maxrss` would begin with what its parent held when it was started."""
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


Compute: TypeAlias = Callable[[Cell, str, bool], list[str]]


def run(
    cells: Iterable[Cell],
    command: str,
    again: bool = False,
    jobs: int = 1,
    compute: Compute = compute,
    alone: bool = True,
) -> bool:
    """Compute what is pending; False if a cell fails, which does not stop the others.

    Each is computed in a process of its own, so that its memory is the cell's; with `alone=False` a process
    computes one after the other, which saves compiling the same functions anew.
    """
    context, succeeded = get_context("spawn"), True
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1 if alone else None) as processes:
        cell_of = {processes.submit(compute, cell, command, again): cell for cell in pending(cells, again)}
        for done in as_completed(cell_of):
            try:
                print(*done.result(), sep="\n", flush=True)
            except Exception as error:  # whatever a method raises
                print(f"{cell_of[done]} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                succeeded = False
    return succeeded


def figures_of(name: str, made: Made, data: Dataset) -> Figures:
    """Figures of one method's records, and of the condensed set where it is the method's own."""
    records = made.records[name]
    figures = score_records(records() if callable(records) else records, data)
    if made.support is not None and name == next(iter(made.records)):
        figures["condensed"] = score_condensed(made.sites, made.support, data)
    return figures


def arguments(about: str | None, data: Iterable[str], methods: Iterable[str]) -> argparse.Namespace:
    """The options of a benchmark whose cells are methods on splits of data sets; `about` is its docstring."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, choices in (("--data", tuple(data)), ("--method", tuple(methods))):
        parser.add_argument(option, nargs="+", choices=choices, default=list(choices))
    parser.add_argument("--splits", type=int, default=SPLITS, help="how many of the five")
    parser.add_argument("--again", action="store_true", help="compute what is stored already once more")
    parser.add_argument("--table", action="store_true", help="show what is stored, and compute nothing")
    parser.add_argument("--write", action="store_true", help="write what is stored into docs/benchmarks.md")
    return parser.parse_args()


def resolved(cell: Cell, largest: int) -> ResolvedBudget:
    """Epsilon at the delta of the rule, for the largest site, in patients."""
    delta = None if cell.own_delta else PUBLISHED_DELTA.get(cell.data, 1 / largest)
    assert cell.epsilon is not None
    return Budget.from_epsilon(cell.epsilon, delta, loose_delta=True).resolve(largest)


def store(cell: Cell, facts: Facts, sizes: list[int], budget: ResolvedBudget | None, command: str) -> str:
    """Write the line of a cell, with what it takes to repeat it; the facts as text, for a log."""
    write(
        cell,
        _rounded(
            {
                "cell": asdict(cell),
                **facts,
                "patients": sizes,
                "budget": None if budget is None else asdict(budget),
                "command": command,
                "commit": commit(),
                "versions": {package: version(package) for package in PACKAGES},
                "machine": f"{platform.machine()}, Python {platform.python_version()}",
            }
        ),
    )
    return f"{cell}: {json.dumps(_rounded(facts))}"


def commit() -> str:
    """The commit of the code, with `-dirty` where code differs from it; results and documents do not count."""
    head, changed = (
        subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)
        for command in (["rev-parse", "--short", "HEAD"], ["diff", "--quiet", "HEAD", "--", *CODE])
    )
    return f"{head.stdout.strip() or 'unknown'}{'-dirty' if changed.returncode else ''}"


def _rounded(value: Any) -> Any:
    """Four decimals of a share; five significant digits of anything else."""
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if abs(value) > 1 or abs(value) < 0.01 else round(value, 4)
    return value
