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

from cohortmix.core.data.schema import Category, Column, Schema
from cohortmix.core.data.table import Source, TableSource, plain, require_columns
from cohortmix.core.data.values import category_codes, numbers, patient_keys

Table: TypeAlias = pd.DataFrame | pa.Table | Source
Values: TypeAlias = dict[str, NDArray[np.float64]]


def read(table: Table | Values, schema: Schema) -> Values:
    """The schema's columns as numbers, each of shape (n,); what was read already is returned as it is.

    A number is itself, a date its ordinal in days, a category its position among the declared values. NaN stands
    for no value, and for a value of a category that is not declared.

    Raises
    ------
    InputError
        For a column that the table lacks.
    """
    if isinstance(table, dict):
        return table
    source = _source(table)
    require_columns(source.names, tuple(schema.columns))
    parts: dict[str, list[NDArray[np.float64]]] = {name: [] for name in schema.columns}
    for batch in source.batches():
        for name, column in schema.columns.items():
            parts[name].append(_as_numbers(plain(batch.column(name), column), column))
    return {name: np.concatenate([*arrays, np.empty(0)]) for name, arrays in parts.items()}


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


def patients(table: Table, schema: Schema) -> NDArray[np.int64] | None:
    """Number of the patient of each record, shape (n,); None where every record is a patient."""
    source = _source(table)
    if schema.patient_key is None or schema.patient_key not in source.names:
        return None
    keys = [key for batch in source.batches() for key in patient_keys(batch.column(schema.patient_key))]
    return np.asarray(pd.factorize(np.asarray(keys, dtype=object), use_na_sentinel=False)[0])


def _source(table: Table) -> Source:
    return TableSource(table) if isinstance(table, pd.DataFrame | pa.Table) else table


def _block(values: NDArray[np.float64], column: Column) -> Any:
    """One column's part of the features, shape (n, 1) or (n, number of values)."""
    if not isinstance(column, Category):
        return values[:, None]
    rows = np.flatnonzero(~np.isnan(values))
    places = rows, values[rows].astype(np.int64)
    return coo_matrix((np.ones(len(rows)), places), shape=(len(values), len(column.values)))


def _as_numbers(array: pa.Array, column: Column) -> NDArray[np.float64]:
    if not isinstance(column, Category):
        return numbers(array, column)
    codes = category_codes(array, column)
    return np.where(codes < 0, np.nan, codes)
