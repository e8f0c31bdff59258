"""Cells: one method on one split of one data set in one setting, computed once and stored as one JSON file.

A cell whose file exists is not computed again, so that the grid grows from run to run.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from datasets import Dataset, load, patients_of
from methods import METHODS, RELEASE, Made, Task
from scores import Figures, of_condensed, of_own_records, of_records
from settings import SETTINGS

from cohortmix.core import Budget
from cohortmix.core.privacy.budget import ResolvedBudget

RESULTS, ROOT = Path(__file__).parent / "results" / "utility", Path(__file__).parents[2]
CODE = ("core", "protocol", "client", "server", "deploy", "tests/benchmarks/*.py")
WITHOUT_BUDGET = ("real", "own")  # they are given the records themselves
PUBLISHED_DELTA = {"mnist": 1e-5}  # where the paper does not take 1/N
PACKAGES = ("cohortmix", "numpy", "scikit-learn", "lightgbm", "jax", "neural-tangents", "opendp")
T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """A place in the grid.

    Attributes
    ----------
    epsilon : of each site; None for methods that have no budget.
    own_delta : delta is the product's, min(1e-5, 1/(10 N)), in place of 1/N; N of the largest site.
    split : of the data set, and the key of the test noise.
    real_noise : the real source in place of the keyed one.
    """

    data: str
    setting: str
    method: str
    epsilon: float | None
    split: int
    own_delta: bool = False
    real_noise: bool = False

    @property
    def path(self) -> Path:
        """Its file."""
        budget = "" if self.epsilon is None else f"-e{self.epsilon:g}" + "-own" * self.own_delta
        name = f"{self.method}{budget}-s{self.split}{'-real' * self.real_noise}.json"
        return RESULTS / self.data / self.setting / name

    @property
    def row(self) -> Cell:
        """The same for every split: what a row of the table stands for."""
        return replace(self, split=0)


def read(folder: Path = RESULTS) -> dict[Cell, dict[str, Any]]:
    """All cells that are stored."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*/*/*.json"))]
    return {Cell(**each["cell"]): each for each in found}


def pending(cells: Iterable[Cell], again: bool = False) -> list[Cell]:
    """Those that are not stored yet; of one release once."""
    found = [cell for cell in cells if again or not cell.path.exists()]
    return list(dict.fromkeys(replace(cell, method=RELEASE.get(cell.method, cell.method)) for cell in found))


def compute(cell: Cell, command: str, again: bool = False) -> list[str]:
    """One cell, and the others that come of the same release; stored, and told in a line each."""
    data = load(cell.data, cell.split)
    table, site = SETTINGS[cell.setting](data, cell.split)
    sizes = [len(np.unique(patients_of(table[site == name], data.schema))) for name in np.unique(site)]
    if cell.method == "own":
        return [store(cell, {"figures": of_own_records(table, site, data)}, sizes, None, command)]
    budget = None if cell.epsilon is None else resolved(cell, max(sizes))
    task = Task(data, table, site, budget, None if cell.real_noise else cell.split)
    made, cost = measured(lambda: METHODS[cell.method](task))
    cost |= made.cost
    told = []
    for name in made.records:
        each = replace(cell, method=name)
        if again or not each.path.exists():
            told.append(store(each, {"figures": figures(name, made, data), **cost}, sizes, budget, command))
    return told


def measured(make: Callable[[], T]) -> tuple[T, dict[str, Any]]:
    """What is made, and what it takes: time, and memory of the process."""
    wall, cpu = time.monotonic(), time.process_time()
    made = make()
    return made, {
        "seconds": time.monotonic() - wall,
        "cpu seconds": time.process_time() - cpu,
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


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

    Each is computed in a process of its own, so that its memory is the cell's; unless it need not be `alone`,
    which spares it what the one before has compiled.
    """
    context, well = get_context("spawn"), True
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1 if alone else None) as processes:
        asked = {processes.submit(compute, cell, command, again): cell for cell in pending(cells, again)}
        for done in as_completed(asked):
            try:
                print(*done.result(), sep="\n", flush=True)
            except Exception as error:  # of whatever a method raises
                print(f"{asked[done]} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                well = False
    return well


def figures(name: str, made: Made, data: Dataset) -> Figures:
    """Of one method's records, and of the condensed set where it is the method's own."""
    records = made.records[name]
    found = of_records(records() if callable(records) else records, data)
    if made.support is not None and name == next(iter(made.records)):
        found["condensed"] = of_condensed(made.sites, made.support, data)
    return found


def resolved(cell: Cell, largest: int) -> ResolvedBudget:
    """Epsilon at the delta of the rule, for the largest site."""
    delta = None if cell.own_delta else PUBLISHED_DELTA.get(cell.data, 1 / largest)
    assert cell.epsilon is not None
    return Budget.from_epsilon(cell.epsilon, delta, loose_delta=True).resolve(largest)


def store(cell: Cell, found: dict[str, Any], sizes: list[int], budget: ResolvedBudget | None, command: str) -> str:
    """Write the file of a cell, with what it takes to repeat it."""
    facts = {
        "cell": asdict(cell),
        **found,
        "patients": sizes,
        "budget": None if budget is None else asdict(budget),
        "command": command,
        "commit": _commit(),
        "versions": {package: version(package) for package in PACKAGES},
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
    }
    cell.path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = cell.path.with_suffix(".tmp")
    unfinished.write_text(json.dumps(_rounded(facts), indent=1) + "\n")
    unfinished.replace(cell.path)  # a run that is killed leaves no half of a cell
    return f"{cell.path.relative_to(cell.path.parents[2])}: {json.dumps(_rounded(found))}"


def _commit() -> str:
    """The commit of the code, with `-dirty` where code differs from it; results and documents do not count."""
    head, changed = (
        subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)
        for command in (["rev-parse", "--short", "HEAD"], ["diff", "--quiet", "HEAD", "--", *CODE])
    )
    return f"{head.stdout.strip() or 'unknown'}{'-dirty' if changed.returncode else ''}"


def _rounded(value: Any) -> Any:
    """Four decimals of a share; five significant digits of anything else."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.5g}") if abs(value) > 1 or abs(value) < 0.01 else round(value, 4)
    return value
