"""Columns of a table as arrays of numbers, for figures on real records.

Like everything that evaluates, this reads records outside of the vault: nothing that answers a coordinator may
import it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, hstack

from cohortmix.core.data.dictionary.columns import Category, Column
from cohortmix.core.data.dictionary.grid import bounds
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import Source, plain, require_columns, source_of
from cohortmix.core.data.values import category_codes, numbers, patient_keys

Table: TypeAlias = pd.DataFrame | pa.Table | pa.RecordBatch | Source
Weight: TypeAlias = NDArray[np.float64] | None


class Values(dict[str, NDArray[np.float64]]):
    """The schema's columns as numbers, each of shape (n,), by their names.

    Attributes
    ----------
    weight : (n,) what a row counts, as the vault has it: 1/m where its patient has m rows that count, 0 for a row
        without a patient key or beyond `max_rows_per_patient`. None where every row counts 1.
    patient : (n,) number of the patient of each row; None where every row is a patient.
    """

    weight: NDArray[np.float64] | None = None
    patient: NDArray[np.int64] | None = None

    @property
    def rows(self) -> int:
        """How many rows count."""
        if self.weight is not None:
            return int(np.count_nonzero(self.weight))
        return len(next(iter(self.values()), ()))


def read(table: Table | Values, schema: Schema) -> Values:
    """The schema's columns as numbers, each of shape (n,); what was read already is returned as it is.

    A number is itself, a date its ordinal in days, a category its position among the declared values. NaN stands
    for no value, and for a value of a category that is not declared. A table with the schema's patient key also
    has the weights of its rows.

    Raises
    ------
    InputError
        For a column that the table lacks.
    """
    if isinstance(table, dict):
        return table if isinstance(table, Values) else Values(table)
    source = source_of(table)
    require_columns(source.names, tuple(schema.columns))
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in schema.columns}
    for batch in source.batches():
        for name, column in schema.columns.items():
            parts[name].append(_as_numbers(plain(batch.column(name), column), column))
    values = Values({name: np.concatenate([*arrays, np.empty(0)]) for name, arrays in parts.items()})
    keys = _keys(source, schema)
    if keys is not None:
        weight, values.patient = _weights(keys, schema.cap), _numbered(keys)
        values.weight = None if (weight == 1).all() else weight
    return values


def feature_matrix(table: Table | Values, schema: Schema, without: Sequence[str] = ()) -> NDArray[np.float64]:
    """What a classifier sees, shape (n, W): numbers and days as they are, categories one-hot.

    Parameters
    ----------
    without : columns to leave out, the target among them.

    Notes
    -----
    A missing value is NaN in a number and a row of zeros in a category, so that trees and linear models both work.
    """
    values = read(table, schema)
    blocks = []
    for name, column in schema.columns.items():
        if name in without:
            continue
        block = values[name][:, None]
        blocks.append(block == np.arange(len(column.values)) if isinstance(column, Category) else block)
    return np.concatenate(blocks, axis=1, dtype=np.float64)


def sparse_features(table: Table | Values, schema: Schema, without: Sequence[str] = ()) -> Any:
    """`feature_matrix` as a scipy CSR matrix, in memory of the order of the table however many codes it has."""
    values = read(table, schema)
    blocks = [_block(values[name], column) for name, column in schema.columns.items() if name not in without]
    return csr_matrix(hstack([csr_matrix(block) for block in blocks], format="csr"))  # LightGBM knows no csr_array


def coded_features(table: Table | Values, schema: Schema, without: Sequence[str] = ()) -> pd.DataFrame:
    """Numbers and days as they are, and each category as one column of its codes, of the type that says so.

    LightGBM divides such a column by sets of values. A missing value is missing in either.
    """
    values = read(table, schema)
    kept = [(values[name], column) for name, column in schema.columns.items() if name not in without]
    return pd.DataFrame({f"{place}": _coded(*one) for place, one in enumerate(kept)})


def patients(table: Table, schema: Schema) -> NDArray[np.int64] | None:
    """Number of the patient of each record, shape (n,); None where every record is a patient."""
    keys = _keys(source_of(table), schema)
    return None if keys is None else _numbered(keys)


def bounded(values: NDArray[np.float64], column: Any) -> tuple[NDArray[np.float64], float]:
    """The values of a number or date, what is beyond a bound as the bound, in a unit in which squares are finite.

    The unit is a power of two, so that nothing is rounded.
    """
    low, high = bounds(column)
    unit = float(2.0 ** np.frexp(max(-low, high))[1])
    return np.clip(values, low, high) / unit, unit


def there_of(values: NDArray[np.float64], weight: Weight) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The values that are there, of rows that count, and what each counts."""
    weight = np.ones(len(values)) if weight is None else weight
    known = ~np.isnan(values) & (weight > 0)
    return values[known], weight[known]


def correlation(x: NDArray[np.float64], y: NDArray[np.float64], weight: Weight = None) -> float | None:
    """Pearson's, of the rows that have both values; None where one of them does not vary."""
    weight = np.ones(len(x)) if weight is None else weight
    both = ~np.isnan(x) & ~np.isnan(y) & (weight > 0)
    x, y = x[both], y[both]
    if len(x) < 2 or x.min() == x.max() or y.min() == y.max():
        return None
    (a, between), (_, b) = np.cov(x, y, aweights=weight[both])
    return float(between / np.sqrt(a * b))


def _keys(source: Source, schema: Schema) -> NDArray[np.object_] | None:
    """The patient key of each record, shape (n,), None for nobody's; None for a table without such a column."""
    if schema.patient_key is None or schema.patient_key not in source.names:
        return None
    keys = [key for batch in source.batches() for key in patient_keys(batch.column(schema.patient_key))]
    return np.asarray(keys, dtype=object)


def _numbered(keys: NDArray[np.object_]) -> NDArray[np.int64]:
    """Equal keys as equal numbers, those of nobody among them."""
    return np.asarray(pd.factorize(keys, use_na_sentinel=False)[0])


def _weights(keys: NDArray[np.object_], cap: int) -> NDArray[np.float64]:
    """1/m for the first m = min(rows, cap) rows of each patient, 0 for the others and for nobody's; (n,)."""
    patient = np.asarray(pd.factorize(keys)[0], dtype=np.int64)  # -1 for nobody
    order = np.argsort(patient, kind="stable")
    rows = np.bincount(patient + 1)
    place = np.empty(len(patient), dtype=np.int64)  # of a row among its patient's
    place[order] = np.arange(len(patient)) - np.repeat(np.cumsum(rows) - rows, rows)
    m = np.minimum(rows[patient + 1], cap)
    return np.where((patient >= 0) & (place < m), 1 / m, 0.0)


def _block(values: NDArray[np.float64], column: Column) -> Any:
    """One column's part of the features, shape (n, 1) or (n, number of values)."""
    if not isinstance(column, Category):
        return values[:, None]
    rows = np.flatnonzero(~np.isnan(values))
    places = rows, values[rows].astype(np.int64)
    return coo_matrix((np.ones(len(rows)), places), shape=(len(values), len(column.values)))


def _coded(values: NDArray[np.float64], column: Column) -> Any:
    """One column as LightGBM takes it, shape (n,)."""
    if not isinstance(column, Category):
        return values
    codes = np.where(np.isnan(values), -1, values).astype(np.int32)
    return pd.Categorical.from_codes(codes, pd.RangeIndex(len(column.values)))


def _as_numbers(array: pa.Array, column: Column) -> NDArray[np.float64]:
    if not isinstance(column, Category):
        return numbers(array, column)
    codes = category_codes(array, column)
    return np.where(codes < 0, np.nan, codes)
