"""Rows: fine cells back to values of the original table.

A value is drawn from each cell. The rules of the schema hold in every row: `with`, `after`, bounds, whole numbers,
declared values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Column, Number
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.sampling import PointMass
from cohortmix.core.data.schema import Schema


def rows_of_cells(
    codes: dict[str, NDArray[np.int32]],
    label: NDArray[np.int64],
    schema: Schema,
    rng: np.random.Generator,
    points: Sequence[PointMass] = (),
) -> pd.DataFrame:
    """Rows of the original table from the fine cells of each feature and the class; the schema's rules hold.

    Where there are point masses, these values have their shares of a cell.
    """
    encoding = Encoding.of(schema)
    _pair_missing(codes, encoding)
    columns = {
        cells.name: cells.draw(codes[cells.name], rng, [point for point in points if point.feature == cells.name])
        for cells in encoding.features
    }
    _put_in_order(columns, schema)
    told = schema.outcome.told
    if told is not None:
        columns[told] = schema.outcome.values_told(schema.columns[told])[label]
    return pd.DataFrame({name: _typed(columns[name], schema, name) for name in schema.columns})


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


def _put_in_order(columns: dict[str, NDArray[np.object_]], schema: Schema) -> None:
    """`after: OTHER`: a value before its predecessor's is moved up to it, or both are moved to the upper bound."""
    # By the number of predecessors: a column is in order before those that come after it are looked at.
    for name in sorted(schema.features, key=lambda feature: len(schema.predecessors(feature))):
        column: Any = schema.columns[name]
        for earlier in schema.predecessors(name):
            for row, (value, before) in enumerate(zip(columns[name], columns[earlier], strict=True)):
                if value is not None and before is not None and value < before:
                    moved = min(_rounded(before, column, ceil), _rounded(column.max, column, floor))
                    columns[name][row] = moved
                    columns[earlier][row] = min(before, _rounded(moved, schema.columns[earlier], floor))


def _rounded(value: Any, column: Column, rounding: Callable[[float], int]) -> Any:
    """A number as its column writes it; a date as it is."""
    return column.as_written(value, rounding) if isinstance(column, Number) else value


def _typed(values: NDArray[np.object_], schema: Schema, name: str) -> pd.Series:
    """A column in the schema's type: whole numbers, dates as days, categories as text or as truth values."""
    column = schema.columns[name]
    if column.type == "number":
        series = pd.Series(pd.array([None if v is None else float(v) for v in values], dtype="Float64"))
        if column.integer:
            return series.astype("Int64")
        return series
    if isinstance(column, Category) and column.truth:
        return pd.Series([None if v is None else v == "true" for v in values], dtype="boolean")
    return pd.Series(values, dtype="object" if column.type == "date" else "string")
