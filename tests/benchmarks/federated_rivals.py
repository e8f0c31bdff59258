"""Federated synthesizers of others, run from checkouts of their public repositories on the same public cells.

`bench_federated.py` measures them beside this project. All have the same training records, dealt out to the same
sites; the rivals see the codes that `peer_synthesizers` makes from the schema alone.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import rival_patches
from cell_runs import measured, store
from peer_synthesizers import hand_over, take_back
from public_data import load
from result_cells import Cell, Facts
from rival_patches import Patch
from scoring import score_records
from site_settings import iid
from synthesizers import METHODS as OURS_AND_OTHERS
from synthesizers import Task

from cohortmix.core import Budget

SCRIPT = Path(__file__).parent / "peers" / "federate.py"
PYTHON = Path(__file__).parents[2] / ".venv-federated/bin/python"
DATA, EPSILON, DELTA = "adult", 1.0, 1e-5
LIMIT = 1_200  # seconds; a cell that takes longer is stopped, and stored as such
SITES = {f"{count} sites": count for count in (5, 25, 100)}
Checkouts: TypeAlias = Mapping[str, Path]  # of each repository that there is, by its name


@dataclass(frozen=True)
class Repository:
    """Code of others: the folders of it that are copied, and the method of `peers/federate.py` that runs it."""

    address: str
    folders: tuple[str, ...]
    method: str


@dataclass(frozen=True)
class Rival:
    """One way to run a repository's code.

    Attributes
    ----------
    neighbours : the tables between which the guarantee holds, and what of it does not hold as coded.
    options : settings of the rival's own.
    """

    repository: str
    patches: tuple[Patch, ...]
    neighbours: str
    options: Mapping[str, Any] = field(default_factory=dict)


REPOSITORIES = {
    "flaim": Repository("github.com/Samuel-Maddock/flaim", (rival_patches.FLAIM,), "flaim"),
    "hetero": Repository(
        "github.com/XiaochenLi-w/Federated-Tabular-Data-Synthesis-Framework", rival_patches.HETERO, "heterofedsyn"
    ),
}
ADD_OR_REMOVE = "a record added or removed; how many there are is public"
REPLACE = "a record replaced: noise times sqrt(2), scores of the choice with sensitivity 2 / n"
NOT_AS_STATED = (
    "a record added or removed, but the stated epsilon does not hold as coded: chosen pairs are released up to "
    "four times, and columns in no pair as often, with fresh noise and paid for once; delta is spent three times. "
    "(Its bins, of the range of the records, are not used here: it is given those of the schema.)"
)
PUBLISHED = {  # sweep_configs/paper of the repository: ten rounds, a tenth of the sites in each
    "triples": 64,
    "global_rounds": 10,
    "clients_per_round": 0.1,
    "gauss_budget_alloc": 0.9,
    "normalize_measurements": True,
    "pgm_weight_method": "sigma_scaled_squared_nweight_n_est",
    "init_method": "",
    "pgm_train_iters": 50,
    "pgm_final_iters": 500,
    "track_communication": False,
}
DISTAIM = {**PUBLISHED, "generator": "distributedaimmpc"}
AUGFLAIM = {
    **PUBLISHED,
    "generator": "flaim",
    "accounting_method": "distributed",
    "use_control_variates": True,
    "control_type": "private_combine_sub_filter",
}
ALL_SITES = {"clients_per_round": 1}
TUNED = {**ALL_SITES, "triples": 0, "global_rounds": 0}  # all triples, and as many rounds as the budget is worth
_RUNS, _REPLACED = rival_patches.FLAIM_RUNS, rival_patches.FLAIM_RUNS + rival_patches.FLAIM_REPLACEMENT
_HETERO = rival_patches.HETERO_RUNS
RIVALS: Mapping[str, Rival] = {
    "heterofedsyn": Rival("hetero", _HETERO, NOT_AS_STATED),
    "heterofedsyn-repaired": Rival("hetero", _HETERO + rival_patches.HETERO_REPAIRED, ADD_OR_REMOVE),
    "distaim": Rival("flaim", _RUNS, ADD_OR_REMOVE, DISTAIM),
    "distaim-all-sites": Rival("flaim", _RUNS, ADD_OR_REMOVE, DISTAIM | ALL_SITES),
    "distaim-all-sites-replace": Rival("flaim", _REPLACED, REPLACE, DISTAIM | ALL_SITES),
    "augflaim": Rival("flaim", _RUNS, ADD_OR_REMOVE, AUGFLAIM),
    "augflaim-all-sites": Rival("flaim", _RUNS, ADD_OR_REMOVE, AUGFLAIM | ALL_SITES),
    "distaim-tuned": Rival("flaim", _RUNS, ADD_OR_REMOVE, DISTAIM | TUNED),
    "distaim-tuned-replace": Rival("flaim", _REPLACED, REPLACE, DISTAIM | TUNED),
}
OURS = ("ours", "joint", "joint-third")  # of `synthesizers.py`
METHODS = (*OURS, *RIVALS)
FILE = "federated"  # of the results


def cell_of(setting: str, method: str, split: int) -> Cell:
    """Where a figure is stored."""
    return Cell(FILE, setting, method, EPSILON, split)


def compute(checkouts: Checkouts, cell: Cell, command: str, again: bool) -> list[str]:
    """Compute and store one cell; a line of text for it. `again` is for releases that have several."""
    task = _task(cell)
    sizes = [len(table) for table in task.tables]
    facts = _ours(cell.method, task) if cell.method in OURS else _theirs(RIVALS[cell.method], task, checkouts)
    return [store(cell, facts, sizes, task.budget, command)]


def _task(cell: Cell) -> Task:
    """The records of a cell, each at its site; the split is the seed as well."""
    data = load(DATA, cell.split)
    table, site = iid(SITES[cell.setting])(data, cell.split)
    budget = Budget.from_epsilon(EPSILON, DELTA, loose_delta=True)
    return Task(data, table, site, budget.resolve(int(np.unique(site, return_counts=True)[1].max())), cell.split)


def _ours(method: str, task: Task) -> Facts:
    made, cost = measured(lambda: OURS_AND_OTHERS[method](task))
    records = made.records[method]
    assert not callable(records)
    return {
        "figures": score_records(records, task.data),
        **cost,
        "neighbours": "the records of a patient replaced; how many patients a site has is public",
    }


def _theirs(rival: Rival, task: Task, checkouts: Checkouts) -> Facts:
    """Figures, cost, and what was run: repository, commit, settings and patches."""
    repository, checkout = REPOSITORIES[rival.repository], checkouts[rival.repository]
    facts = {
        "neighbours": rival.neighbours,
        "repository": repository.address,
        "rival commit": _commit(checkout),
        "options": dict(rival.options),
        "patches": [f"{patch.file}: {patch.reason}" for patch in rival.patches],
    }
    with TemporaryDirectory() as name:
        folder, schema, seed = Path(name), task.data.schema, task.seed or 0
        rival_patches.patched_copy(checkout, repository.folders, rival.patches, folder)
        np.save(folder / "sites.npy", np.unique(task.site, return_inverse=True)[1])
        files = hand_over(folder, task.table, schema)
        try:
            _run([repository.method, *files], rival, task, folder)
        except subprocess.TimeoutExpired:
            return {"figures": {}, "stopped": f"not finished after {LIMIT} seconds", **facts}
        records, cost = take_back(folder, schema, seed)
    return {"figures": score_records(records, task.data), **cost, **facts}


def _run(arguments: list[str], rival: Rival, task: Task, folder: Path) -> None:
    seed = str(task.seed or 0)
    terms = [str(EPSILON), str(DELTA), seed, json.dumps(dict(rival.options))]
    # Sets of names have an order by chance, on which the choices of both repositories depend.
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    command = [str(PYTHON), str(SCRIPT), *arguments, *terms]
    subprocess.run(command, check=True, cwd=folder, env=environment, timeout=LIMIT)


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
