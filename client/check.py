"""Every test of a table that depends on its records, for local commands only.

What is refused here, and the sentence that says so, follows from records and is therefore not private: it stays
on the terminal of the person who holds them. Nothing that answers a coordinator may import this module; there,
the same table is served as it is, and a value that does not fit is clipped or counts as missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.schema import Category, Column, Date, Number, Schema
from cohortmix.core.table import (
    InputError,
    Source,
    bounds,
    category_codes,
    is_null,
    numbers,
    plain,
    quoted,
    require_columns,
    require_exact_key,
)


@dataclass(frozen=True)
class Fit:
    """How many values of a column are what the schema declares, and how many are not. Not private.

    Attributes
    ----------
    fits : a declared value, or a number or date within its bounds.
    clipped : a number or date beyond a bound, which counts as that bound.
    undeclared : another value, which counts as missing, or as nothing in a column that declares none missing.
    empty : no value, which counts likewise.
    """

    fits: int = 0
    clipped: int = 0
    undeclared: int = 0
    empty: int = 0

    @property
    def outside(self) -> int:
        """Values that are not what the schema declares."""
        return self.clipped + self.undeclared

    def __add__(self, other: Fit) -> Fit:
        return Fit(
            self.fits + other.fits,
            self.clipped + other.clipped,
            self.undeclared + other.undeclared,
            self.empty + other.empty,
        )

    @classmethod
    def of(cls, array: pa.Array, column: Column, kept: NDArray[np.bool_]) -> Fit:
        """Of the entries of one batch that `kept` marks."""
        null = is_null(array)
        value, fits = _read(array, column)
        parts = (fits, value & ~fits, ~value & ~null, null)
        return cls(*(int((part & kept).sum()) for part in parts))


def check(source: Source, schema: Schema) -> dict[str, Fit]:
    """Read the table once, refuse it if its records do not fit the schema, and count by column what does not.

    A column that holds values none of which fits is refused whatever it declares, since then the column, its
    unit or its codes are not the declared ones. A single value that does not fit is refused in the target, and
    in a column with `outside: refuse`. Rows without a patient key contribute nothing and are not looked at.

    Raises
    ------
    InputError
        With one sentence that names the column and what was declared, and no value of a record.
    """
    require_columns(source.names, (*schema.columns, *([schema.patient_key] if schema.patient_key else [])))
    require_exact_key(source, schema.patient_key)
    seen = {name: Fit() for name in schema.columns}
    rows = 0
    for batch in source.batches():
        kept = _kept(batch, schema)
        rows += int(kept.sum())
        for name, column in schema.columns.items():
            seen[name] += Fit.of(plain(batch.column(name), column), column, kept)
    if not rows:
        raise InputError(
            "the table is empty: it holds no record"
            + (f" with a value of {schema.patient_key!r}" if schema.patient_key else "")
        )
    for name, column in schema.columns.items():
        _refuse(name, column, seen[name], is_target=name == schema.target)
    return seen


def _kept(batch: pa.RecordBatch, schema: Schema) -> NDArray[np.bool_]:
    if schema.patient_key is None:
        return np.ones(batch.num_rows, dtype=bool)
    return ~is_null(plain(batch.column(schema.patient_key)))


def _read(array: pa.Array, column: Column) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which entries are a value of the column's type, and which are a declared one."""
    if isinstance(column, Category):
        declared = category_codes(array, column) >= 0
        return declared, declared
    low, high = bounds(column)
    values = numbers(array, column)
    return ~np.isnan(values), (low <= values) & (values <= high)


def _refuse(name: str, column: Column, seen: Fit, is_target: bool) -> None:
    if seen.outside and not seen.fits:
        raise InputError(f"column {name!r}: none of its values is {_declared(column)}; is it the right column?")
    if is_target and (seen.outside or seen.empty):
        what = "holds a value that is not" if seen.outside else "has no value in a row: expected"
        raise InputError(
            f"column {name!r}: the target {what} {_declared(column)}; "
            "drop rows without a known outcome, or declare a class for them"
        )
    if column.outside == "refuse" and seen.outside:
        raise InputError(
            f"column {name!r}: a value is not {_declared(column)}; "
            "correct the table, or declare `outside: clip` to accept it"
        )


def _declared(column: Column) -> str:
    if isinstance(column, Category):
        return f"one of the declared values {quoted(column.values)}"
    kind = "a date (YYYY-MM-DD)" if isinstance(column, Date) else "a number"
    bounds = f"{column.min:g} to {column.max:g}" if isinstance(column, Number) else f"{column.min} to {column.max}"
    return f"{kind} in {bounds}"
