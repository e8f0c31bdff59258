"""Peers (`peer_terms.py`), each run in the environment that it needs (`peers/`), all on the same public cells.

`bench_utility.py --quoted peers` (`make bench-peers`) measures them.

Their preprocessing would look at the records; so they are given codes that follow from the schema alone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from peer_terms import FEDERATED, LIMIT, PEERS, Peer

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.rows import rows_of_cells
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import ResolvedBudget

FOLDER, ROOT = Path(__file__).parent / "peers", Path(__file__).parents[2]
BINS = 32  # of a number, each of several public cells: with more, AIM leaves pairs of columns out
LONGEST = 200  # characters of an error that are stored


class PeerFailedError(Exception):
    """A peer that raised or was stopped; the text is stored in place of figures."""


class PeerStoppedError(PeerFailedError):
    """A peer that was stopped since it took more seconds of the processor than it may."""


def synthesize(
    method: str,
    table: pd.DataFrame,
    schema: Schema,
    budget: ResolvedBudget,
    seed: int,
    site: NDArray[np.str_] | None = None,
    limit: int = LIMIT,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Records of the schema, and what they cost: seconds, CPU seconds and peak GB of the other process.

    Raises
    ------
    PeerFailedError
        If the peer raises, or takes longer than `limit`, in CPU seconds.
    InterruptedError
        If a person ends it.
    """
    peer = {**PEERS, **FEDERATED}[method]
    python = ROOT / peer.environment / "bin/python"
    if not python.exists():
        raise FileNotFoundError(f"expected an environment {peer.environment}; run `make bench-peers` first")
    epsilon, delta = peer.budget(budget.epsilon, budget.delta)
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = hand_over(folder, table, schema)
        if site is not None:
            np.save(folder / "sites.npy", np.unique(site, return_inverse=True)[1])
        script = str(FOLDER / peer.script)
        _run([str(python), script, peer.method, *files, str(epsilon), str(delta), str(seed)], folder, limit)
        records, cost = take_back(folder, schema, seed)
        traffic = folder / "traffic.json"
        return records, {**cost, **(json.loads(traffic.read_text()) if traffic.exists() else {}), **_terms(peer)}


def _terms(peer: Peer) -> dict[str, str]:
    return {"neighbours": peer.note}


def _run(command: list[str], folder: Path, limit: int) -> None:
    command, most = [*command, str(limit)], 3 * limit
    # Sets of names have an order by chance, on which some choices depend; the limit is one of a single thread.
    environment = {**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)  # of this project's environment, which is another one's
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=most
        )
    except subprocess.TimeoutExpired as error:
        raise PeerFailedError(f"stopped after {most:,} seconds") from error
    if done.returncode == -signal.SIGXCPU:
        raise PeerStoppedError(f"stopped: more than {limit:,} CPU seconds")
    if done.returncode == -signal.SIGKILL:
        raise PeerFailedError("stopped: more memory than there is")
    if done.returncode in (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP):
        raise InterruptedError("a person has ended the peer, which says nothing of it: nothing is stored")
    if done.returncode:
        raise PeerFailedError(_short(done.stderr))


def _short(text: str) -> str:
    """The last line of an error stream, without the places of one machine."""
    *_, last = text.strip().splitlines() or ["no word"]
    return re.sub(r"(?<![\w.])/[\w./+-]+/", "", last)[:LONGEST]


def hand_over(folder: Path, table: pd.DataFrame, schema: Schema) -> list[str]:
    """Write codes and domain, as `peers/synthesize.py` reads them: the files in, and the one that comes out."""
    encoding = Encoding.of(schema)
    bins = _bins_of(encoding)
    source, domain, target = (folder / name for name in ("in.parquet", "domain.json", "out.parquet"))
    _codes(table, schema, encoding, bins).to_parquet(source)
    domain.write_text(json.dumps(_domain(schema, bins)))
    return [str(source), str(domain), str(target)]


def take_back(folder: Path, schema: Schema, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The records that came out, of the schema, and what they cost."""
    made, log = pd.read_parquet(folder / "out.parquet"), json.loads((folder / "out.json").read_text())
    encoding, rng = Encoding.of(schema), np.random.default_rng(seed)
    bins = _bins_of(encoding)
    codes = {
        cells.name: _within(cells, bins[cells.name], made[cells.name].to_numpy(), rng)
        for cells in encoding.features
    }
    records = rows_of_cells(codes, made[schema.target_name].to_numpy(), schema, rng)
    return records, {**log["cost"], "peer": log["packages"]}


def _bins_of(encoding: Encoding) -> dict[str, NDArray[np.int64]]:
    return {cells.name: _bins(cells) for cells in encoding.features}


def _codes(
    table: pd.DataFrame, schema: Schema, encoding: Encoding, bins: dict[str, NDArray[np.int64]]
) -> pd.DataFrame:
    """(n, 1 + D) integers; what the schema does not allow counts as the last one."""
    parts = [encoding.codes(batch) for batch in TableSource(table, tuple(schema.columns)).batches()]
    features, label = (np.concatenate(part) for part in zip(*parts, strict=True))
    columns = {name: coarse[features[:, j]] for j, (name, coarse) in enumerate(bins.items())}
    return pd.DataFrame({**columns, schema.target_name: label.astype(np.int64)})


def _domain(schema: Schema, bins: dict[str, NDArray[np.int64]]) -> dict[str, dict[str, Any]]:
    columns = {
        name: {
            "size": int(coarse.max()) + 1,
            "ordered": not isinstance(schema.columns[name], Category),
            "missing": bool(schema.columns[name].missing),
        }
        for name, coarse in bins.items()
    }
    return {**columns, schema.target_name: {"size": len(schema.classes), "ordered": False, "missing": False}}


def _bins(cells: Cells) -> NDArray[np.int64]:
    """The bin of each fine cell, (size,): a category's values as they are; missing stays by itself."""
    if isinstance(cells.column, Category):
        return np.arange(cells.size)
    values = cells.size - (cells.missing >= 0)
    bins = np.arange(values) * min(BINS, values) // values
    return np.append(bins, np.full(cells.size - values, bins[-1] + 1))


def _within(
    cells: Cells, bins: NDArray[np.int64], drawn: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int32]:
    """A fine cell of each drawn bin (n,), by its width."""
    if isinstance(cells.column, Category):
        return drawn.astype(np.int32)
    ends = [cells.interval(cell) if cell != cells.missing else (0, 1) for cell in range(cells.size)]
    width = np.array([max(float(high - low), 1e-12) for low, high in ends])
    edges = np.concatenate([[0.0], np.cumsum(width)])
    first, last = np.searchsorted(bins, drawn), np.searchsorted(bins, drawn, side="right")
    place = edges[first] + rng.random(len(drawn)) * (edges[last] - edges[first])
    cell = np.searchsorted(edges, place, side="right") - 1
    return np.asarray(np.clip(cell, first, last - 1), dtype=np.int32)
