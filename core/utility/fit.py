"""Fit: how many values of a column are what the schema declares. NOT PRIVATE, as all that is counted here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.cell import time_of
from cohortmix.core.data.encoding import bounds
from cohortmix.core.data.schema import Category, Column, Date
from cohortmix.core.data.table import is_null, plain
from cohortmix.core.data.values import category_codes, each_distinct, numbers, simple
from cohortmix.core.utility.cause import likely


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
        """Both batches together; `other` comes after this one."""
        return Fit(
            fits=self.fits + other.fits,
            clipped=self.clipped + other.clipped,
            undeclared=self.undeclared + other.undeclared,
            unreadable=self.unreadable + other.unreadable,
            empty=self.empty + other.empty,
            timed=self.timed + other.timed,
            zoned=self.zoned + other.zoned,
            first=other.first if self.first is None else self.first,
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
        return cls(
            fits=int((fits & kept).sum()),
            clipped=int((outside & readable).sum()),
            undeclared=strange if category else 0,
            unreadable=0 if category else strange,
            empty=int((null & kept).sum()),
            timed=int((timed & kept).sum()),
            zoned=int((zoned & kept).sum()),
            first=before + int(outside.argmax()) + 1 if outside.any() else None,
            causes=likely(array, column, wrong) if strange else Counter(),
        )


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
