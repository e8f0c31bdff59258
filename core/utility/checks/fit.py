"""Fit: how many values of a column are what the schema declares. NOT PRIVATE, as all that is counted here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.cell import time_of
from cohortmix.core.data.dictionary.columns import EXACT, Category, Column, Date, Number
from cohortmix.core.data.dictionary.grid import bounds
from cohortmix.core.data.table import is_null, plain
from cohortmix.core.data.values import category_codes, each_distinct, numbers, simple
from cohortmix.core.data.words import counted
from cohortmix.core.utility.checks.cause import likely

MANY = 7  # decimals that nobody records: such a number was computed, and no `decimals` is advised for it


@dataclass(frozen=True)
class Fit:
    """How many values of a column are what the schema declares, and how many are not. Not private.

    Attributes
    ----------
    fits : declared values, and numbers or dates within their bounds.
    clipped : numbers or dates beyond a bound, which count as that bound.
    undeclared : other values of a category, which count as missing, or as nothing where none may be missing.
    unreadable : what is no number, or no date, in a column of them; it counts likewise.
    empty : entries without a value, which count likewise.
    timed : dates whose time of day is not kept; they are also counted above.
    zoned : times that state their offset from UTC, in a date without a declared time zone; also counted above.
    rounded : numbers within their bounds that are not whole, or have more decimals than declared, and count as the
        nearest that is as declared; they are also counted among those that fit.
    decimals : the most decimals of a number that is rounded; MANY or more where nobody records so many.
    declared_decimals : to how many it is rounded, 0 for whole numbers.
    not_positive : numbers of zero or below in a column whose bounds are above zero; also counted above.
    first : the row of the first value that is not declared, counted from 1; None where all are.
    first_empty : the row of the first entry without a value.
    first_not_positive : the row of the first number of zero or below.
    first_rounded : the row of the first number that is rounded.
    causes : how often each likely cause would explain what is not declared.
    """

    fits: int = 0
    clipped: int = 0
    undeclared: int = 0
    unreadable: int = 0
    empty: int = 0
    timed: int = 0
    zoned: int = 0
    rounded: int = 0
    decimals: int = field(default=0, compare=False)
    declared_decimals: int = field(default=0, compare=False)
    not_positive: int = field(default=0, compare=False)
    first: int | None = field(default=None, compare=False)
    first_empty: int | None = field(default=None, compare=False)
    first_not_positive: int | None = field(default=None, compare=False)
    first_rounded: int | None = field(default=None, compare=False)
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

    @property
    def finer(self) -> str:
        """How many numbers have more decimals than declared, in words.

        >>> Fit(fits=3, rounded=2, first_rounded=1).finer
        '2 values are not whole numbers (first in row 1)'
        >>> Fit(fits=3, rounded=1, first_rounded=3, declared_decimals=1).finer
        '1 value has more than 1 decimal (first in row 3)'
        """
        one, places = self.rounded == 1, self.declared_decimals
        what = "is not a whole number" if one else "are not whole numbers"
        if places:
            what = f"{'has' if one else 'have'} more than {counted(places, 'decimal')}"
        return f"{counted(self.rounded, 'value')} {what} (first in row {self.first_rounded or 1:,})"

    def __add__(self, other: Fit) -> Fit:
        """Both batches together; `other` comes after this one."""
        return Fit(
            fits=self.fits + other.fits,
            clipped=self.clipped + other.clipped,
            undeclared=self.undeclared + other.undeclared,
            unreadable=self.unreadable + other.unreadable,
            empty=self.empty + other.empty,
            timed=self.timed + other.timed,
            zoned=self.zoned + other.zoned,
            rounded=self.rounded + other.rounded,
            decimals=max(self.decimals, other.decimals),
            declared_decimals=max(self.declared_decimals, other.declared_decimals),
            not_positive=self.not_positive + other.not_positive,
            first=_earlier(self.first, other.first),
            first_empty=_earlier(self.first_empty, other.first_empty),
            first_not_positive=_earlier(self.first_not_positive, other.first_not_positive),
            first_rounded=_earlier(self.first_rounded, other.first_rounded),
            causes=self.causes + other.causes,
        )

    @classmethod
    def of(cls, array: pa.Array, column: Column, kept: NDArray[np.bool_], before: int = 0) -> Fit:
        """The entries of one batch that `kept` marks, `before` rows having come before it."""
        values = plain(array, column)
        null = is_null(values)
        readable, fits = _read(values, column)
        outside = kept & ~null & ~fits
        wrong = outside & ~readable
        strange, category = int(wrong.sum()), isinstance(column, Category)
        timed, zoned = _times(values, column) if isinstance(column, Date) else (np.zeros_like(kept),) * 2
        decimals = np.where(fits & kept, _decimals_too_many(values, column), 0)
        not_positive = outside & _not_positive(values, column)
        return cls(
            fits=int((fits & kept).sum()),
            clipped=int((outside & readable).sum()),
            undeclared=strange if category else 0,
            unreadable=0 if category else strange,
            empty=int((null & kept).sum()),
            timed=int((timed & kept).sum()),
            zoned=int((zoned & kept).sum()),
            rounded=int(np.count_nonzero(decimals)),
            decimals=int(decimals.max(initial=0)),
            declared_decimals=(column.decimals or 0) if isinstance(column, Number) else 0,
            not_positive=int(not_positive.sum()),
            first=_first(outside, before),
            first_empty=_first(null & kept, before),
            first_not_positive=_first(not_positive, before),
            first_rounded=_first(decimals > 0, before),
            causes=likely(array, column, wrong) if strange else Counter(),
        )


def _earlier(one: int | None, later: int | None) -> int | None:
    """The row that comes first, of two batches."""
    return later if one is None else one


def _first(marked: NDArray[np.bool_], before: int) -> int | None:
    """The row of the first marked entry, counted from 1."""
    return before + int(marked.argmax()) + 1 if marked.any() else None


def _not_positive(values: pa.Array, column: Column) -> NDArray[np.bool_]:
    """Which entries are zero or below where none may be, shape (n,): a time that ends before it begins."""
    if not isinstance(column, Number) or column.min <= 0:
        return np.zeros(len(values), dtype=bool)
    return np.asarray(numbers(values, column) <= 0)  # NaN is not


def _decimals_too_many(values: pa.Array, column: Column) -> NDArray[np.int64]:
    """How many decimals an entry has that has more than the column declares, shape (n,); 0 where it has not."""
    decimals = np.zeros(len(values), dtype=np.int64)
    if not isinstance(column, Number) or not (column.integer or column.decimals):
        return decimals
    read, step = numbers(values, column), _precision(values)
    open_ = ~np.isnan(read)
    declared = column.decimals or 0
    for places in range(declared, max(MANY, declared + 1)):
        open_[open_] = ~_has_at_most(read[open_], places, step)
        decimals[open_] = places + 1
        if not open_.any():
            break
    return decimals


def _has_at_most(read: NDArray[np.float64], places: int, step: float) -> NDArray[np.bool_]:
    """Whether a number has so many decimals or fewer, but for the last bits of a float, as 0.1 + 0.2 has them."""
    scaled = np.abs(read) * 10.0**places
    return np.isclose(scaled, np.round(scaled), rtol=step, atol=1e-6) | (scaled >= EXACT)


def _precision(values: pa.Array) -> float:
    """The relative distance of neighbouring floats, in the width in which the values came."""
    bits = {pa.float16(): 10, pa.float32(): 23}.get(values.type, 52)  # of the mantissa
    return float(0.5**bits)


def _read(values: pa.Array, column: Column) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which entries are a value of the column's type, and which are a declared one."""
    if isinstance(column, Category):
        declared = category_codes(values, column) >= 0
        return declared, declared
    low, high = bounds(column)
    read = numbers(values, column)
    return ~np.isnan(read), (low <= read) & (read <= high)


def _times(values: pa.Array, column: Date) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which entries have a time of day, and which an offset from UTC that nothing says how to read."""

    def timed(value: object) -> float:
        time = time_of(value)
        return float(time is not None and (time.hour, time.minute, time.second) != (0, 0, 0))

    def zoned(value: object) -> float:
        time = time_of(value)
        return float(time is not None and time.tzinfo is not None and column.timezone is None)

    texts = simple(values)
    return each_distinct(texts, timed, 0.0) > 0, each_distinct(texts, zoned, 0.0) > 0
