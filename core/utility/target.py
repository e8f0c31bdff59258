"""Target: what a model is to predict, as text that a person can type."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Column, Date, Number
from cohortmix.core.data.dictionary.outcome import Outcome, Survival
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, quoted
from cohortmix.core.data.values import category_codes

MOST_CLASSES = 50
"""Of a target: boosted trees grow a hundred trees for each of them, and a model gives every record C numbers."""


@dataclass(frozen=True)
class Quantity:
    """A number as it is, which a regression predicts.

    Attributes
    ----------
    name : the column, which the model may not see.
    """

    name: str


def targets_of(schema: Schema) -> tuple[str, ...]:
    """What is predicted where nobody names anything: the schema's target, if it has one."""
    return () if schema.target is None else (schema.target_name,)


def parse(text: str, schema: Schema) -> Target | Quantity | Survival:
    """Read a category or a rule (`Target.parse`), a number column, or `TIME, EVENT`.

    Of a time and an event that are not the schema's target, the event's values have to tell by themselves which of
    them happened (`Outcome.of`).

    Raises
    ------
    InputError
        If no such column is declared, or it cannot be predicted.
    """
    column = schema.columns.get(text)
    if isinstance(column, Number):
        return Quantity(text)
    pair = None if column else _pair(text, schema)
    if pair is None:
        return Target.parse(text, schema)
    if str(pair) == schema.target_name and schema.outcome.survival is not None:
        return schema.outcome.survival
    try:
        survival = Outcome.of(pair, schema.columns).survival
    except ValueError as error:
        raise InputError(f"target={text!r}: {error}") from None
    assert survival is not None
    return survival


def _pair(text: str, schema: Schema) -> Survival | None:
    """A time and an event, parted by a comma; a name may hold commas, too."""
    halves = ((text[:at].strip(), text[at + 1 :].strip()) for at, sign in enumerate(text) if sign == ",")
    return next((Survival(*pair) for pair in halves if set(pair) <= set(schema.columns)), None)


@dataclass(frozen=True)
class Target:
    """A category as it is, or its most frequent values, or two classes that a rule makes of any column.

    Attributes
    ----------
    name : the column, which the classifier may not see.
    classes : number of classes, C.
    sign : how the column's values are compared with `right`; empty for a category as it is, or for its values in
        `right` and one class of all others.
    right : what stands right of the sign: a number, a date's ordinal, or positions among a category's declared
        values.
    """

    name: str
    classes: int = 2
    sign: str = ""
    right: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str, schema: Schema) -> Target:
        """Read `OUTCOME`, `AGE>=70`, `SEX=F`, `STYPE=TACS|PACS` or `RDATE<1995-01-01`.

        Raises
        ------
        InputError
            If no such column is declared, or the rule does not suit its type.
        """
        match = None if text in schema.columns else re.fullmatch(r"(.+?)\s*(>=|<=|>|<|=)\s*(.+)", text)
        name, sign, right = match.groups() if match else (text, "", "")
        column = schema.columns.get(name)
        if column is None:
            raise InputError(
                f"target={text!r}: no column {name!r}; the schema has {quoted(tuple(schema.columns))}"
            )
        if isinstance(column, Category):
            if sign not in ("", "="):
                raise InputError(f"target={text!r}: a category has no order; use '{name}=A' or '{name}=A|B'")
            codes = tuple(_code(column, value, text) for value in right.split("|")) if sign else ()
            return cls(name, 2 if sign else len(column.values), sign, codes)
        if not sign and isinstance(column, Number):
            raise InputError(f"target={text!r} is a number; say where to cut it into classes, as in '{name}>=10'")
        if not sign:
            raise InputError(f"target={text!r} is no category; say where to cut it, as in '{name}<1995-01-01'")
        return cls(name, 2, sign, (_threshold(column, right, text),))

    def of_frequent(self, values: NDArray[np.float64], weight: NDArray[np.float64] | None = None) -> Target:
        """A category of more than `MOST_CLASSES` values: the most frequent of them, and one class of all others.

        Parameters
        ----------
        values : (n,) of the column in the real records, as `columns.read` has them.
        weight : (n,) what a record counts.
        """
        if self.classes <= MOST_CLASSES:
            return self
        known = ~np.isnan(values)
        counts = np.bincount(
            values[known].astype(np.int64), None if weight is None else weight[known], minlength=self.classes
        )
        kept = np.sort(np.argsort(-counts, kind="stable")[: MOST_CLASSES - 1])
        return replace(self, classes=MOST_CLASSES, right=tuple(kept.tolist()))

    def names(self, column: Column, text: str) -> tuple[str, ...]:
        """Of the C classes; `text` is the rule as it was typed."""
        if self.sign:
            return f"not {text}", text
        values = column.values if isinstance(column, Category) else ()
        kept = [values[int(place)] for place in self.right] if self.right else values
        return (*kept, *(("all others",) if self.right else ()))

    def labels(self, values: NDArray[np.float64]) -> NDArray[np.int64]:
        """Class of each of the column's values (n,), as `columns.read` has them; -1 where there is no value."""
        classes = _SIGNS[self.sign](values, self.right)
        return np.where(np.isnan(values), -1, classes).astype(np.int64)


_SIGNS: dict[str, Callable[[NDArray[np.float64], tuple[float, ...]], NDArray[np.generic]]] = {
    "": lambda values, right: _places(values, right) if right else values,
    "=": lambda values, right: np.isin(values, right),
    ">=": lambda values, right: values >= right[0],
    "<=": lambda values, right: values <= right[0],
    ">": lambda values, right: values > right[0],
    "<": lambda values, right: values < right[0],
}


def _places(values: NDArray[np.float64], kept: tuple[float, ...]) -> NDArray[np.int64]:
    """Position of each value among the kept ones, in rising order; behind the last for any other."""
    places = np.searchsorted(kept, values)
    return np.where(np.isin(values, kept), places, len(kept))


def _code(column: Category, value: str, text: str) -> float:
    """Position of a value among the declared ones."""
    code = category_codes(pa.array([value]), column)[0]
    if code < 0:
        raise InputError(f"target={text!r}: {value!r} is not one of the declared {quoted(column.values)}")
    return float(code)


def _threshold(column: Column, right: str, text: str) -> float:
    """A number, or a date as its ordinal."""
    assert isinstance(column, Number | Date)
    try:
        return float(date.fromisoformat(right).toordinal()) if isinstance(column, Date) else float(right)
    except ValueError:
        raise InputError(f"target={text!r}: expected a {column.type} after the sign, got {right!r}") from None
