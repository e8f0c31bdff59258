"""Rows: fine cells back to values of the original table.

A value is drawn from each cell. What the schema says holds in every row: `rules`, `with`, `after`, bounds, whole
numbers, declared values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.keeping.exchange import keep
from cohortmix.core.data.sampling import PointMass
from cohortmix.core.data.schema import Schema


def rows_of_cells(
    codes: dict[str, NDArray[np.int32]],
    label: NDArray[np.int64],
    schema: Schema,
    rng: np.random.Generator,
    points: Sequence[PointMass] = (),
    site: NDArray[np.int64] | None = None,
) -> pd.DataFrame:
    """Rows of the original table from the fine cells of each feature and the class; the schema's rules hold.

    Where there are point masses, these values have their shares of a cell. `site` says whose a row is, where there
    are several: a row takes a value that keeps a rule from one of its own site if it can.
    """
    encoding = Encoding.of(schema)
    _pair_missing(codes, encoding)
    values = {
        cells.name: cells.numbers(codes[cells.name], rng, [each for each in points if each.feature == cells.name])
        for cells in encoding.features
    }
    told = schema.outcome.told
    if told is not None:
        values[told] = schema.outcome.places_told(schema.columns[told])[label]
    keep(values, label, site, schema, rng)
    return pd.DataFrame({name: _typed(values[name], schema, name) for name in schema.columns})


def _pair_missing(codes: dict[str, NDArray[np.int32]], encoding: Encoding) -> None:
    """`with: OTHER`: a column is missing exactly where the last one of its chain of partners is."""
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
    """Where the partner is known and this column is not, take the cell of another drawn row that has one."""
    known = np.flatnonzero(codes != cells.missing)
    fill = np.flatnonzero((codes == cells.missing) & ~absent)
    donors = codes[known[np.arange(len(fill)) % len(known)]] if len(known) else np.int32(0)
    codes[fill] = donors
    codes[absent] = cells.missing


def _typed(numbers: NDArray[np.float64], schema: Schema, name: str) -> pd.Series:
    """A column in the schema's type: whole numbers, dates as days, categories as text or as truth values."""
    column = schema.columns[name]
    if column.type == "number":
        series = pd.Series(pd.array(numbers, dtype="Float64"))
        return series.astype("Int64") if column.integer else series
    values = Cells.of(name, column).values(numbers)
    if isinstance(column, Category) and column.truth:
        return pd.Series([None if v is None else v == "true" for v in values], dtype="boolean")
    return pd.Series(values, dtype="object" if column.type == "date" else "string")
