"""Records: centroids back to rows of the original table.

A row is drawn from the pooled mixture: a centroid by its mass, a class from its label, for every feature a
group from its histogram, a fine cell from the shape within the group, and a value from the cell. The rules of
the schema (`with`, `after`, bounds, whole numbers, declared values) hold in every row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.anonymize import Groups, Margins, blocks_of, grouped, membership
from cohortmix.core.centroids import Common, SiteCentroids
from cohortmix.core.encoding import Cells, Encoding
from cohortmix.core.schema import SITE, Column, Number, Schema


@dataclass(frozen=True, eq=False)
class Pool:
    """Released centroids of one or more sites, and how to decode them; all public.

    Attributes
    ----------
    masses : (K,) patients of each centroid.
    means : (K, G) histograms over the groups.
    labels : (K, C) class distributions.
    site : (K,) index into `sites`.
    sites : names.
    groups : the common groups.
    shape : (F,) distribution over the fine cells within each group.
    """

    masses: NDArray[np.float64]
    means: NDArray[np.float64]
    labels: NDArray[np.float64]
    site: NDArray[np.int64]
    sites: tuple[str, ...]
    groups: Groups
    shape: NDArray[np.float64]

    @classmethod
    def of(cls, schema: Schema, common: Common, centroids: Mapping[str, SiteCentroids]) -> Pool:
        """The union of the sites' centroids; each keeps its mass in patients."""
        parts = list(centroids.values())
        return cls(
            np.concatenate([part.masses for part in parts]),
            np.concatenate([part.means for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.repeat(np.arange(len(parts)), [len(part.masses) for part in parts]),
            tuple(centroids),
            common.groups,
            shape_within(Encoding.of(schema), common.margins, common.groups),
        )


def shape_within(encoding: Encoding, margins: Margins, groups: Groups) -> NDArray[np.float64]:
    """Distribution over fine cells given the group (F,), of all classes together.

    A class's own shape would carry the noise of answer A into the classes' difference, which is what a
    classifier learns: it measured worse on every benchmark.
    """
    member = membership(encoding.sizes, groups)
    even = member @ (1 / member.sum(axis=0))
    total = grouped(margins.pooled, encoding.sizes, groups) @ member.T
    return np.asarray(np.where(total > 1e-12, margins.pooled / np.maximum(total, 1e-12), even))


def draw_groups(
    masses: NDArray[np.float64],
    means: NDArray[np.float64],
    sizes: tuple[int, ...],
    rows: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Centroid (rows,) and group of each feature (rows, D) of records drawn from a mixture."""
    k = rng.choice(len(masses), size=rows, p=masses / masses.sum())
    groups = [_pick(means[:, block], k, rng) for block in blocks_of(sizes)]
    return k, np.stack(groups, axis=1).astype(np.int32)


def draw(pool: Pool, schema: Schema, rows: int, seed: int) -> pd.DataFrame:
    """Rows of the original table, shape (rows, 1 + columns): the schema's columns and `site`.

    The same pool, schema, rows and seed give the same rows.
    """
    encoding, rng = Encoding.of(schema), np.random.default_rng(seed)
    sizes = tuple(max(of) + 1 for of in pool.groups)
    k, groups = draw_groups(pool.masses, pool.means, sizes, rows, rng)
    label = _pick(pool.labels, k, rng)
    codes: dict[str, NDArray[np.int32]] = {}
    blocks = blocks_of(encoding.sizes)
    for j, (cells, block) in enumerate(zip(encoding.features, blocks, strict=True)):
        of = np.asarray(pool.groups[j])
        inside = pool.shape[block] * (of == np.arange(of.max() + 1)[:, None])
        codes[cells.name] = _pick(inside, groups[:, j], rng).astype(np.int32)
    frame = rows_of_cells(codes, label, schema, rng)
    frame[SITE] = pd.Series(np.asarray(pool.sites, dtype=object)[pool.site[k]], dtype="string")
    return frame


def rows_of_cells(
    codes: dict[str, NDArray[np.int32]], label: NDArray[np.int64], schema: Schema, rng: np.random.Generator
) -> pd.DataFrame:
    """Rows of the original table from the fine cells of each feature and the class; the schema's rules hold."""
    encoding = Encoding.of(schema)
    _pair_missing(codes, encoding)
    columns = {cells.name: cells.draw(codes[cells.name], rng) for cells in encoding.features}
    _put_in_order(columns, schema)
    columns[schema.target] = np.asarray(schema.classes, dtype=object)[label]
    return pd.DataFrame({name: _typed(columns[name], schema, name) for name in schema.columns})


def _pick(
    weights: NDArray[np.float64], rows: NDArray[np.integer[Any]], rng: np.random.Generator
) -> NDArray[np.int64]:
    """One index per entry of `rows`, by the weights (R, m) of that row."""
    ends = np.cumsum(weights, axis=1)
    u = rng.random(len(rows)) * ends[rows, -1]
    return np.asarray(np.minimum((ends[rows] <= u[:, None]).sum(axis=1), weights.shape[1] - 1))


def _pair_missing(codes: dict[str, NDArray[np.int32]], encoding: Encoding) -> None:
    """`with: OTHER`: a column is missing where the last one of its chain of partners is."""
    by_name = {cells.name: cells for cells in encoding.features}
    for name, cells in by_name.items():
        leader = by_name[_last_partner(name, by_name)]
        if leader is not cells:
            _follow(codes[name], cells, codes[leader.name] == leader.missing)


def _last_partner(name: str, by_name: Mapping[str, Cells]) -> str:
    """Where a chain of `with` ends; the same one for all columns of a circle."""
    chain = [name]
    while (partner := by_name[chain[-1]].column.with_) is not None:
        if partner in chain:
            return min(chain[chain.index(partner) :])
        chain.append(partner)
    return chain[-1]


def _follow(codes: NDArray[np.int32], cells: Cells, absent: NDArray[np.bool_]) -> None:
    """Where the partner is known and this is not, take the value of another drawn row that has one."""
    known = np.flatnonzero(codes != cells.missing)
    fill = np.flatnonzero((codes == cells.missing) & ~absent)
    donors = codes[known[np.arange(len(fill)) % len(known)]] if len(known) else np.int32(0)
    codes[fill] = donors
    codes[absent] = cells.missing


def _put_in_order(columns: dict[str, NDArray[np.object_]], schema: Schema) -> None:
    """`after: OTHER`: a value before a predecessor is moved to it, or both to the last value that it may have."""
    for name in sorted(schema.features, key=lambda each: len(schema.predecessors(each))):
        column: Any = schema.columns[name]
        for earlier in schema.predecessors(name):
            for row, (value, before) in enumerate(zip(columns[name], columns[earlier], strict=True)):
                if value is not None and before is not None and value < before:
                    moved = min(_rounded(before, column, ceil), _rounded(column.max, column, floor))
                    columns[name][row] = moved
                    columns[earlier][row] = min(before, _rounded(moved, schema.columns[earlier], floor))


def _rounded(value: Any, column: Column, rounding: Callable[[float], int]) -> Any:
    return rounding(value) if isinstance(column, Number) and column.integer else value


def _typed(values: NDArray[np.object_], schema: Schema, name: str) -> pd.Series:
    """A column in the schema's type: whole numbers as integers, dates as days, categories as text."""
    column = schema.columns[name]
    if column.type == "number":
        series = pd.Series(pd.array([None if v is None else float(v) for v in values], dtype="Float64"))
        if column.integer:
            return series.astype("Int64")
        return series
    return pd.Series(values, dtype="object" if column.type == "date" else "string")
