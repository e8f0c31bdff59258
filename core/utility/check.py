"""Every test of a table that depends on its records, for whoever holds them.

What is counted and refused here, and the sentence that says so, follows from records and is therefore not private:
it stays on the terminal, or in the memory, of the person who holds them. Nothing that answers a coordinator may
import this module; there, the same table is served as it is, and a value that does not fit is clipped or counts as
missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.cell import time_of
from cohortmix.core.data.encoding import bounds
from cohortmix.core.data.schema import Category, Column, Date, Number, Schema
from cohortmix.core.data.table import (
    InputError,
    Source,
    is_null,
    plain,
    quoted,
    require_columns,
    require_exact_codes,
)
from cohortmix.core.data.values import category_codes, each_distinct, is_nested, numbers, patient_keys, simple
from cohortmix.core.utility.cause import likely

MOST_UNREADABLE = 0.05  # of a column's values, unless `outside: clip` is written: more is a wrong format, not dirt


class MisfitError(InputError):
    """The records do not fit the schema. The text has counts and is not private; `columns` names where."""

    def __init__(self, text: str, columns: tuple[str, ...]) -> None:
        super().__init__(text)
        self.columns = columns


@dataclass(frozen=True)
class Fit:
    """How many values of a column are what the schema declares, and how many are not. Not private.

    Attributes
    ----------
    fits : a declared value, or a number or date within its bounds.
    clipped : a number or date beyond a bound, which counts as that bound.
    undeclared : in a category another value, which counts as missing, or as nothing where none may be missing.
    unreadable : what is no number, or no date, in a column of them; it counts likewise.
    empty : no value, which counts likewise.
    timed : dates whose time of day is not kept; they are also counted above.
    zoned : times that state their offset from UTC, in a date without a declared time zone; counted above.
    first : the row of the first value that is not declared, counted from 1; None where all are.
    causes : how often each likely cause would explain what is not declared.
    """

    fits: int = 0
    clipped: int = 0
    undeclared: int = 0
    unreadable: int = 0
    empty: int = 0
    timed: int = 0
    zoned: int = 0
    first: int | None = field(default=None, compare=False)
    causes: Counter[str] = field(default_factory=Counter, compare=False)

    @property
    def outside(self) -> int:
        """Values that are not what the schema declares."""
        return self.clipped + self.undeclared + self.unreadable

    @property
    def values(self) -> int:
        """All that is not empty."""
        return self.fits + self.outside

    @property
    def cause(self) -> str | None:
        """The likeliest cause, if it explains at least half of what is not declared."""
        text, count = next(iter(self.causes.most_common(1)), (None, 0))
        return text if 2 * count >= self.outside - self.clipped > 0 else None

    def __add__(self, other: Fit) -> Fit:
        return Fit(
            self.fits + other.fits,
            self.clipped + other.clipped,
            self.undeclared + other.undeclared,
            self.unreadable + other.unreadable,
            self.empty + other.empty,
            self.timed + other.timed,
            self.zoned + other.zoned,
            other.first if self.first is None else self.first,
            self.causes + other.causes,
        )

    @classmethod
    def of(cls, array: pa.Array, column: Column, kept: NDArray[np.bool_], before: int = 0) -> Fit:
        """Of the entries of one batch that `kept` marks, `before` rows having come before it."""
        values = plain(array, column)
        null = is_null(values)
        readable, fits = _read(values, column)
        outside = kept & ~null & ~fits
        wrong = outside & ~readable
        strange, timed, zoned = int(wrong.sum()), 0, 0
        if isinstance(column, Date):
            timed, zoned = (int((part & kept).sum()) for part in _times(values, column))
        return cls(
            int((fits & kept).sum()),
            int((outside & readable).sum()),
            strange if isinstance(column, Category) else 0,
            0 if isinstance(column, Category) else strange,
            int((null & kept).sum()),
            timed,
            zoned,
            before + int(outside.argmax()) + 1 if outside.any() else None,
            likely(array, column, wrong) if strange else Counter(),
        )


@dataclass(frozen=True)
class Checked:
    """What a check found in a table. Not private.

    Attributes
    ----------
    columns : by name, how its values fit.
    without_key : rows without a patient key, which are left out.
    over_cap : rows beyond `max_rows_per_patient` of their patient, which are left out.
    """

    columns: Mapping[str, Fit]
    without_key: int = 0
    over_cap: int = 0

    @property
    def as_declared(self) -> bool:
        """Whether every value and every row counts as it stands in the table."""
        changed = any(fit.outside or fit.empty or fit.timed for fit in self.columns.values())
        return not (changed or self.without_key or self.over_cap)


def check(source: Source, schema: Schema, max_unreadable: float = MOST_UNREADABLE) -> Checked:
    """Read the table once, refuse it if its records do not fit the schema, and count by column what does not.

    A column that holds values none of which fits is refused whatever it declares, since then the column, its
    unit or its codes are not the declared ones; so is one of numbers or dates of which more than a share of
    `max_unreadable` cannot be read, unless `outside: clip` is written for it. A single value that does not fit is
    refused in the target, and in a column with `outside: refuse`. Rows without a patient key contribute nothing
    and are not looked at.

    Raises
    ------
    MisfitError
        With all problems of all columns, a line for each if there are several. It names the column, what was
        declared, how many values are not, the first row of them and the likely cause; no value of a record.
    InputError
        If a column is not there, or a key or a code is a float too large to be exact.
    """
    if not 0 <= max_unreadable <= 1:
        raise InputError(f"expected a share of unreadable values between 0 and 1, got {max_unreadable:g}")
    require_columns(source.names, (*schema.columns, *([schema.patient_key] if schema.patient_key else [])))
    require_exact_codes(source, schema)
    seen = {name: Fit() for name in schema.columns}
    nested: set[str] = set()
    rows, with_key, per_patient = 0, 0, Counter[str]()
    for batch in source.batches():
        kept = _kept(batch, schema, per_patient)
        for name, column in schema.columns.items():
            if is_nested(batch.column(name).type):
                nested.add(name)
            seen[name] += Fit.of(batch.column(name), column, kept, rows)
        rows += batch.num_rows
        with_key += int(kept.sum())
    if not with_key:
        raise InputError(
            "the table is empty: it holds no record"
            + (f" with a value of {schema.patient_key!r}" if schema.patient_key else "")
        )
    _refuse({name: _of_column(name, schema, fit, name in nested, max_unreadable) for name, fit in seen.items()})
    beyond = sum(max(0, count - schema.max_rows_per_patient) for count in per_patient.values())
    return Checked(seen, rows - with_key, beyond)


def _refuse(problems: Mapping[str, list[str]]) -> None:
    lines = [text for texts in problems.values() for text in texts]
    if len(lines) > 1:
        lines = [f"{len(lines)} problems of the table:", *lines]
    if lines:
        raise MisfitError("\n  ".join(lines), tuple(name for name, texts in problems.items() if texts))


def _of_column(name: str, schema: Schema, seen: Fit, nested: bool, max_unreadable: float) -> list[str]:
    if nested:
        return [
            f"column {name!r} holds lists or structs: expected one value in each cell; make columns of their parts"
        ]
    return list(_problems(name, schema, seen, max_unreadable))


def _kept(batch: pa.RecordBatch, schema: Schema, per_patient: Counter[str]) -> NDArray[np.bool_]:
    """Which rows are somebody's; and how many there are of each patient so far."""
    if schema.patient_key is None:
        return np.ones(batch.num_rows, dtype=bool)
    keys = patient_keys(batch.column(schema.patient_key))
    per_patient.update(key for key in keys if key is not None)
    return np.array([key is not None for key in keys], dtype=bool)


def _read(values: pa.Array, column: Column) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which entries are a value of the column's type, and which are a declared one."""
    if isinstance(column, Category):
        declared = category_codes(values, column) >= 0
        return declared, declared
    low, high = bounds(column)
    found = numbers(values, column)
    return ~np.isnan(found), (low <= found) & (found <= high)


def _times(values: pa.Array, column: Date) -> Iterator[NDArray[np.bool_]]:
    """Which entries have a time of day, and which an offset from UTC that nothing says how to read."""

    def time(value: object) -> float:
        found = time_of(value)
        return float(found is not None and (found.hour, found.minute, found.second) != (0, 0, 0))

    def offset(value: object) -> float:
        found = time_of(value)
        return float(found is not None and found.tzinfo is not None and column.timezone is None)

    for rule in (time, offset):
        yield each_distinct(simple(values), rule, 0.0) > 0


def _problems(name: str, schema: Schema, seen: Fit, max_unreadable: float) -> Iterator[str]:
    column = schema.columns[name]
    reason = (f" (first in row {seen.first})" if seen.first else "") + (f": {seen.cause}" if seen.cause else "")
    if seen.zoned:
        yield (
            f"column {name!r}: {_count(seen.zoned, 'time')} with an offset from UTC, whose day depends on the "
            "place; declare `timezone:` for it, such as Europe/Berlin"
        )
    if seen.outside and not seen.fits:
        yield f"column {name!r}: none of its values is {_declared(column)}{reason}; is it the right column?"
    elif name == schema.target and (seen.outside or seen.empty):
        what = (
            f"holds {_count(seen.outside, 'value')} that {_are(seen.outside)} not"
            if seen.outside
            else (f"has no value in {_count(seen.empty, 'row')}: expected")
        )
        yield (
            f"column {name!r}: the target {what} {_declared(column)}{reason}; "
            "drop rows without a known outcome, or declare a class for them"
        )
    elif column.outside == "refuse" and seen.outside:
        yield (
            f"column {name!r}: {_count(seen.outside, 'value')} {_are(seen.outside)} not {_declared(column)}"
            f"{reason}; correct the table, or declare `outside: clip` to accept it"
        )
    elif column.outside is None and seen.unreadable > max_unreadable * seen.values:
        yield (
            f"column {name!r}: {seen.unreadable:,} of its {seen.values:,} values cannot be read as "
            f"{_declared(column)}{reason}; correct the table, or write `outside: clip` to have them count as "
            "missing"
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _declared(column: Column) -> str:
    if isinstance(column, Category):
        return f"one of the declared values {quoted(column.values)}"
    kind = "a date (YYYY-MM-DD)" if isinstance(column, Date) else "a number"
    bounds = f"{column.min:g} to {column.max:g}" if isinstance(column, Number) else f"{column.min} to {column.max}"
    return f"{kind} in {bounds}"
