"""Rules: what is publicly known of several columns of one record, and holds in every record that is drawn.

A rule compares two columns (`DBP < SBP`), or concludes from values of some what another one can be
(`AGE < 18 -> MARRIED=no`). The keys `after` and `with` of a column say rules as well. Every column is seen as
numbers here: a date by its ordinal, a category by the place of its value, NaN where the value is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil, floor, inf, isnan, nextafter
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Column, Number
from cohortmix.core.data.dictionary.grid import limits

Values: TypeAlias = Mapping[str, NDArray[np.float64]]
"""Of each column (n,), NaN where it is missing."""
Interval: TypeAlias = tuple[float, float]
"""Its smallest and its largest value."""


@dataclass(frozen=True)
class Condition:
    """That a column has one of some values.

    Attributes
    ----------
    column : its name.
    inside : the values, as intervals that hold both of their ends.
    of_missing : whether it is true of a missing value; None where that is not known.
    """

    column: str
    inside: tuple[Interval, ...]
    of_missing: bool | None = None

    def of(self, value: float) -> bool | None:
        """Whether it is true of one value; None where that is not known."""
        return self.of_missing if isnan(value) else any(low <= value <= high for low, high in self.inside)

    def true(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Of which entries it is known to be true, (n,)."""
        return self._within(values) | (np.isnan(values) if self.of_missing else False)

    def false(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Of which entries it is known to be false, (n,)."""
        missing = np.isnan(values)
        return ~(self._within(values) | missing) | (missing if self.of_missing is False else False)

    def _within(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        found = np.zeros(len(values), dtype=bool)
        for low, high in self.inside:
            found |= (values >= low) & (values <= high)
        return found


@dataclass(frozen=True)
class Comparison:
    """That one column is below another, or equal if not `strict`, where both are known; `text` as written."""

    lower: str
    upper: str
    strict: bool
    text: str

    @property
    def columns(self) -> tuple[str, ...]:
        """That it is about."""
        return self.lower, self.upper

    def broken(self, values: Values) -> NDArray[np.bool_]:
        """Which records break it, (n,)."""
        low, high = values[self.lower], values[self.upper]
        return low >= high if self.strict else low > high


@dataclass(frozen=True)
class Implication:
    """That the right side is not false where all conditions of the left side are true."""

    left: tuple[Condition, ...]
    right: Condition
    text: str

    @property
    def columns(self) -> tuple[str, ...]:
        """That it is about."""
        return tuple(dict.fromkeys(condition.column for condition in (*self.left, self.right)))

    def broken(self, values: Values) -> NDArray[np.bool_]:
        """Which records break it, (n,)."""
        found = self.right.false(values[self.right.column])
        for condition in self.left:
            found &= condition.true(values[condition.column])
        return found


Rule: TypeAlias = Comparison | Implication


def of_columns(columns: Mapping[str, Column]) -> Iterator[Rule]:
    """What the keys `after` and `with` of columns say."""
    for name, column in columns.items():
        earlier = getattr(column, "after", None)
        if earlier is not None:
            yield Comparison(earlier, name, False, f"{name}: after={earlier}")
        if column.with_ is not None:
            text = f"{name}: with={column.with_}"
            absent, present = (((), True), (((-inf, inf),), False))
            for state in (absent, present):
                yield Implication((Condition(column.with_, *state),), Condition(name, *state), text)


def closed(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules, and the comparisons that follow from several: they hold where a column between is missing."""
    rules = tuple(rules)
    found = {(rule.lower, rule.upper, rule.strict): rule for rule in rules if isinstance(rule, Comparison)}
    left = list(found.values())
    while left:
        first = left.pop()
        for second in list(found.values()):
            for one, other in ((first, second), (second, first)):
                if one.upper != other.lower or one.lower == other.upper:
                    continue
                text = ", ".join(dict.fromkeys([*one.text.split(", "), *other.text.split(", ")]))
                both = Comparison(one.lower, other.upper, one.strict or other.strict, text)
                if found.setdefault((both.lower, both.upper, both.strict), both) is both:
                    left.append(both)
    return (*found.values(), *(rule for rule in rules if isinstance(rule, Implication)))


def at_least(column: Column, value: float) -> float:
    """The smallest value of a column, as it is recorded, that is not below this one; infinite values stay."""
    return _written(column, value, up=True)


def at_most(column: Column, value: float) -> float:
    """The largest value of a column, as it is recorded, that is not above this one."""
    return _written(column, value, up=False)


def _written(column: Column, value: float, up: bool) -> float:
    rounding, toward = (ceil, inf) if up else (floor, -inf)
    if value in (inf, -inf):
        return value
    if not isinstance(column, Number) or column.integer:
        return float(rounding(value))
    written = float(column.as_written(value, rounding))
    step = 10.0**-column.decimals if column.decimals is not None else 0.0
    while written < value if up else written > value:  # the last bits of a decimal can lie on the other side
        further = float(column.as_written(written + (step if up else -step), rounding))
        written = further if further != written else nextafter(written, toward)
    return written


def extent(column: Column) -> Interval:
    """The smallest and the largest value of a column, as they are recorded."""
    if isinstance(column, Category):
        return 0.0, float(len(column.values) - 1)
    low, high = limits(column)
    return at_least(column, low), at_most(column, high)


def declared(columns: Mapping[str, Column], name: str) -> Any:
    """A column that a rule names."""
    if name not in columns:
        raise ValueError(f"{name!r} is not one of the columns")
    return columns[name]
