"""Columns: what a data dictionary says of one column, numbers, dates and categories; all of it public."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from math import ceil, floor
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    field_validator,
    model_validator,
)

from cohortmix.core.data.cell import TRUTH_TEXTS, category_text

EXACT = 2**53  # whole numbers up to here are exact in the floating point in which values are drawn
WIDEST = 1e300  # of a number's bounds, so that the range between them is finite


class _Column(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    missing: bool = False
    outside: Literal["clip", "refuse"] | None = (
        None  # None clips too, but not where much of a column cannot be read
    )
    with_: str | None = Field(default=None, alias="with")
    confirmed: bool = True
    unit: str | None = None
    description: str | None = None


class Number(_Column):
    """A number with public bounds `min <= x <= max`, recorded as whole numbers or to so many `decimals`.

    `slices` says where the number is cut if it is the target, or the time of one (`outcome.py`).
    """

    type: Literal["number"]
    min: float
    max: float
    integer: bool = False
    decimals: int | None = Field(default=None, ge=1, le=15)
    transform: Literal["identity", "log1p"] = "identity"
    after: str | None = None
    knots: int | None = Field(default=None, ge=2, le=1000)
    slices: tuple[float, ...] | None = Field(default=None, max_length=20)

    @model_validator(mode="after")
    def _bounds(self) -> Number:
        if not self.min < self.max:
            raise ValueError(f"expected min < max, got min={self.min:g}, max={self.max:g}")
        if self.transform == "log1p" and self.min <= -1:
            raise ValueError(f"transform log1p needs min > -1, got min={self.min:g}")
        if self.integer and self.decimals is not None:
            raise ValueError(f"whole numbers have no decimals, got integer=true and decimals={self.decimals}")
        if self.decimals is not None and self.as_written(self.min, ceil) > self.as_written(self.max, floor):
            raise ValueError(f"no number of {self.decimals} decimals lies in min={self.min:g}, max={self.max:g}")
        if self.integer and ceil(self.min) > floor(self.max):
            raise ValueError(f"no whole number lies between min={self.min:g} and max={self.max:g}")
        if self.integer and max(-self.min, self.max) > EXACT:
            raise ValueError(
                f"whole numbers are exact up to 2^53 = {EXACT:,}, got min={self.min:g}, max={self.max:g}; narrow "
                "the bounds, or leave the column out if it is an identifier"
            )
        if max(-self.min, self.max) > WIDEST:
            raise ValueError(f"expected bounds within {WIDEST:g}, got min={self.min:g}, max={self.max:g}")
        ends = (self.min, *(self.slices or ()))
        beyond = ends[-1] > self.max if self.integer else ends[-1] >= self.max
        if any(not low < high for low, high in pairwise(ends)) or beyond:
            raise ValueError("expected slices that rise, above min and below max, such as [7, 30]")
        return self

    def as_written(self, value: float, rounding: Callable[[float], int] = round) -> float:
        """A value as the column is recorded: a whole number, or with its decimals; else as it is.

        >>> Number(type="number", min=30, max=45, decimals=1).as_written(36.79538589285842)
        36.8
        """
        if self.integer:
            return rounding(value)
        scale = 10.0 ** (self.decimals or 0)
        if self.decimals is None or abs(value) * scale >= EXACT:  # there, floating point has no such decimals
            return value
        near = round(value, self.decimals)  # 36.6 * 10 is 366.00000000000006
        return near if near == value else round(rounding(value * scale) / scale, self.decimals)


def _as_day(value: object) -> object:
    """A text that is a day; pydantic would take `1990` for seconds after 1970."""
    if isinstance(value, date) or re.fullmatch(r"\d{4}-\d{2}-\d{2}", str(value), re.ASCII):
        return value
    raise ValueError("expected a day such as 2027-01-31")


Day = Annotated[date, BeforeValidator(_as_day)]
"""A calendar day, written as year, month and day."""


class Date(_Column):
    """A calendar day with public bounds; encoded as days after `min`.

    `timezone` says where the day of a time counts that states its offset from UTC, such as Europe/Berlin.
    """

    type: Literal["date"]
    min: Day
    max: Day
    timezone: str | None = None
    after: str | None = None
    knots: int | None = Field(default=None, ge=2, le=1000)

    @model_validator(mode="after")
    def _bounds(self) -> Date:
        if not self.min < self.max:
            raise ValueError(f"expected min < max, got min={self.min}, max={self.max}")
        return self

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        try:
            return None if name is None else ZoneInfo(name).key
        except (ValueError, OSError):  # unknown, or not a name at all
            raise ValueError(
                f"expected the name of a time zone such as Europe/Berlin or UTC, got {name!r}"
            ) from None


def _as_declared(value: object) -> bool | int | str:
    if isinstance(value, bool | int | str):
        return value
    raise ValueError(f"expected a text, a whole number, or true or false, got {type(value).__name__}")


Declared = Annotated[bool | int | str, PlainValidator(_as_declared)]
"""A value as a schema writes it; its type says how it is compared."""


class Category(_Column):
    """One of a declared list of values: texts, or all of them whole numbers, or truth values.

    In YAML, quotes make a text: `['414', '414.0']` are two codes. `[1, 2]` are numbers, which a file may also
    write as 1.0; `[true, false]` are truth values in any case of letters, and come back as truth values.
    """

    type: Literal["category"]
    declared: tuple[Declared, ...] = Field(alias="values", min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Category:
        texts = [category_text(value) for value in self.values]
        text, count = Counter(text.lower() if self.holds_truth else text for text in texts).most_common(1)[0]
        if count > 1:
            raise ValueError(f"expected distinct values, got {text!r} twice; {self._likeness(text)}")
        return self

    def _likeness(self, text: str) -> str:
        """Why two of the values are the same, and what to do."""
        alike = [value for value in self.values if category_text(value) == text]
        if len({value.strip() for value in alike}) > 1:  # letters with accents, as one character or as two
            return "they differ only in how Unicode writes a letter, and are the same in its normal form; keep one"
        return "put codes in quotes, as in ['1', '1.0']"

    @property
    def values(self) -> tuple[str, ...]:
        """The declared values as texts, in their order."""
        return tuple(value if isinstance(value, str) else category_text(value) for value in self.declared)

    @property
    def numeric(self) -> bool:
        """Whether the values are declared as whole numbers."""
        return all(isinstance(value, int) and not isinstance(value, bool) for value in self.declared)

    @property
    def truth(self) -> bool:
        """Whether the values are declared as truth values."""
        return all(isinstance(value, bool) for value in self.declared)

    @property
    def holds_truth(self) -> bool:
        """Whether nothing but truth values is declared, be it as such or as texts."""
        return all(category_text(value).lower() in TRUTH_TEXTS for value in self.declared)


Column = Annotated[Number | Date | Category, Field(discriminator="type")]
