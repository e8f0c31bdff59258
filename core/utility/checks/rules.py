"""Rules: how many records of a table keep each rule of the schema. NOT PRIVATE, as all that is counted here."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Column
from cohortmix.core.data.dictionary.rules import Comparison, Rule, Values
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import plain
from cohortmix.core.data.values import category_codes, numbers
from cohortmix.core.data.words import counted


@dataclass(frozen=True)
class Kept:
    """How many records keep a rule, of those that it says something of. Not private.

    Attributes
    ----------
    kept, broken : records in which all that the rule needs is known.
    first : the row of the first record that breaks it, counted from 1; None where none does.
    """

    kept: int = 0
    broken: int = 0
    first: int | None = field(default=None, compare=False)

    def __add__(self, other: Kept) -> Kept:
        """Both batches together; `other` comes after this one."""
        first = other.first if self.first is None else self.first
        return Kept(self.kept + other.kept, self.broken + other.broken, first)

    @property
    def words(self) -> str:
        """
        >>> Kept(kept=3, broken=2, first=7).words
        '2 records of 5 break it (first in row 7)'
        """
        verb = "breaks" if self.broken == 1 else "break"
        return (
            f"{counted(self.broken, 'record')} of {self.kept + self.broken:,} {verb} it "
            f"(first in row {self.first or 1:,})"
        )


def count(batch: pa.RecordBatch, schema: Schema, present: NDArray[np.bool_], before: int) -> dict[str, Kept]:
    """Of each rule, by its text: the records of one batch that `present` marks, `before` rows before it."""
    names = {name for rule in schema.stated for name in rule.columns}
    values = {name: _read(batch.column(name), schema.columns[name]) for name in names}
    return {rule.text: _of_rule(rule, values, present, before) for rule in schema.stated}


def _of_rule(rule: Rule, values: Values, present: NDArray[np.bool_], before: int) -> Kept:
    broken = rule.broken(values) & present
    first = before + int(broken.argmax()) + 1 if broken.any() else None
    return Kept(int((_spoken_of(rule, values) & present & ~broken).sum()), int(broken.sum()), first)


def _spoken_of(rule: Rule, values: Values) -> NDArray[np.bool_]:
    """Where both columns of a comparison are known, or an implication's left side is true and its right known."""
    if isinstance(rule, Comparison):
        return ~np.isnan(values[rule.lower]) & ~np.isnan(values[rule.upper])
    right = values[rule.right.column]
    found = rule.right.true(right) | rule.right.false(right)
    for condition in rule.left:
        found = found & condition.true(values[condition.column])
    return found


def _read(array: pa.Array, column: Column) -> NDArray[np.float64]:
    """As rules see a column; what is not declared is missing, and a number beyond a bound is as it was read."""
    values = plain(array, column)
    if not isinstance(column, Category):
        return numbers(values, column)
    codes = category_codes(values, column).astype(np.float64)
    return np.where(codes >= 0, codes, np.nan)
