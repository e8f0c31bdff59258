"""Synthesizers of others, run as they are in an environment of their own (`peers/`), on the same public cells.

`bench_utility.py --quoted peers` (`make bench-peers`) measures them.

Their preprocessing would look at the records; so they are given codes that follow from the schema alone.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.rows import rows_of_cells
from cohortmix.core.data.schema import Category, Schema
from cohortmix.core.data.table import TableSource
from cohortmix.core.privacy.budget import ResolvedBudget

SCRIPT = Path(__file__).parent / "peers" / "synthesize.py"
PYTHON = Path(__file__).parents[2] / ".venv-peers/bin/python"
BINS = 32  # of a number, each of several public cells: with more, AIM leaves pairs of columns out


def synthesize(
    method: str, table: pd.DataFrame, schema: Schema, budget: ResolvedBudget, seed: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Records of the schema, and what they cost: seconds, CPU seconds and peak GB of the other process."""
    if not PYTHON.exists():
        raise FileNotFoundError(f"expected the peers' environment at {PYTHON}; run `make bench-peers` first")
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = hand_over(folder, table, schema)
        command = [str(PYTHON), str(SCRIPT), method, *files, str(budget.epsilon), str(budget.delta), str(seed)]
        subprocess.run(command, check=True)
        return take_back(folder, schema, seed)


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
    records = rows_of_cells(codes, made[schema.target].to_numpy(), schema, rng)
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
    return pd.DataFrame({**columns, schema.target: label.astype(np.int64)})


def _domain(schema: Schema, bins: dict[str, NDArray[np.int64]]) -> dict[str, dict[str, Any]]:
    columns = {
        name: {"size": int(coarse.max()) + 1, "ordered": not isinstance(schema.columns[name], Category)}
        for name, coarse in bins.items()
    }
    return {**columns, schema.target: {"size": len(schema.classes), "ordered": False}}


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
