"""Seen: the records of a release as models see them, and which of their columns must stay together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Column, Number
from cohortmix.core.data.dictionary.grid import bounds
from cohortmix.core.data.dictionary.outcome import Survival
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, plain, require_columns
from cohortmix.core.data.values import category_codes, numbers

WEIGHT = "weight"  # the column of condensed rows beside those of the schema
Floats = NDArray[np.float64]
Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Seen:
    """n records, W columns of a matrix, and G groups of the schema's columns.

    Attributes
    ----------
    schema : the data dictionary.
    frame : the records themselves, n rows in the columns of the schema.
    x : (n, W) features: numbers and days as they are, NaN where missing; a category as an indicator of each value.
    group : (W,) the group to which each column of `x` belongs.
    groups : the columns of each group. They are tied by rules, `with` or `after`: a row takes all of
        them from one record, so that the rules hold in it.
    label : (n,) the class; of survival, whether the event happened.
    time : (n,) of survival, how long a patient was followed; else None.
    """

    schema: Schema
    frame: pd.DataFrame
    x: Floats
    group: Whole
    groups: tuple[tuple[str, ...], ...]
    label: Whole
    time: Floats | None

    @classmethod
    def of(cls, records: pd.DataFrame, schema: Schema) -> Seen:
        """The records of a release.

        Raises
        ------
        InputError
            If a column is not there, a value is not as the schema declares, or the target is neither a category
            nor a time and its event.
        """
        survival = schema.outcome.survival
        if survival is None and not _is_category(schema):
            raise InputError(
                f"the target is {schema.target_name!r}: a model predicts a category, or a time and its event"
            )
        _require_room(schema)
        require_columns([str(name) for name in records.columns], tuple(schema.columns))
        values = {name: _read(records[name], name, column) for name, column in schema.columns.items()}
        groups = _groups(schema)
        of_column = {name: place for place, names in enumerate(groups) for name in names}
        shown = [name for name in schema.columns if name not in schema.outcome.columns]
        if not shown:
            raise InputError("the schema has no column beside the outcome from which a model could predict")
        blocks = [_block(values[name], schema.columns[name]) for name in shown]
        group = [of_column[name] for name, block in zip(shown, blocks, strict=True) for _ in range(block.shape[1])]
        label, time = _outcome(values, schema, survival)
        frame = records[list(schema.columns)].reset_index(drop=True)
        return cls(schema, frame, np.concatenate(blocks, axis=1), np.array(group), groups, label, time)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def classes(self) -> int:
        """C, the number of classes; of survival 2."""
        return 2 if self.time is not None else len(self.schema.classes)

    @property
    def width(self) -> int:
        """G, the number of groups."""
        return len(self.groups)

    @property
    def held_by_outcome(self) -> int | None:
        """Of survival, the group that holds time and event."""
        survival = self.schema.outcome.survival
        if survival is None:
            return None
        return next(place for place, names in enumerate(self.groups) if survival.time in names)

    def some(self, rows: Whole) -> Seen:
        """Some of the records, by their places."""
        time = None if self.time is None else self.time[rows]
        frame = self.frame.iloc[rows].reset_index(drop=True)
        return replace(self, frame=frame, x=self.x[rows], label=self.label[rows], time=time)

    def features(self, donors: Whole) -> Floats:
        """(K, W) what a model sees of K points, each group of which is taken from a record, `donors` (K, G)."""
        return np.ascontiguousarray(self.x[donors[:, self.group], np.arange(self.x.shape[1])])

    def rows(self, donors: Whole, label: Whole | None) -> pd.DataFrame:
        """Rows in the columns and types of the schema; `label` (K,) is their class, unless their donors say it."""
        columns = {}
        for place, names in enumerate(self.groups):
            for name in names:
                columns[name] = self.frame[name].take(donors[:, place]).reset_index(drop=True)
        told = self.schema.outcome.told
        if label is not None and told is not None:
            columns[told] = _of_classes(self.schema, told, label).astype(self.frame[told].dtype)
        return pd.DataFrame({name: columns[name] for name in self.schema.columns})


def _is_category(schema: Schema) -> bool:
    return isinstance(schema.target, str) and isinstance(schema.columns[schema.target], Category)


def _require_room(schema: Schema) -> None:
    """Raise InputError for what rows of records' parts and a class of their own could not keep."""
    if WEIGHT in schema.columns:
        raise InputError(
            f"column {WEIGHT!r}: condensed rows keep their weights under this name; rename the column"
        )
    if schema.outcome.survival is not None:
        return
    for rule in schema.stated:
        if schema.outcome.told in rule.columns:
            raise InputError(f"rule {rule.text!r} is about the outcome: condensed rows could break it")


def _of_classes(schema: Schema, told: str, label: Whole) -> pd.Series:
    """(R,) the target's value of each class, in the type that records have it in."""
    column = schema.columns[told]
    assert isinstance(column, Category)
    values = np.asarray(column.values, dtype=object)[label]  # a class for each value of a category
    return pd.Series(values == "true") if column.truth else pd.Series(values)


def _outcome(values: dict[str, Floats], schema: Schema, survival: Survival | None) -> tuple[Whole, Floats | None]:
    if survival is None:
        assert isinstance(schema.target, str)
        return values[schema.target].astype(np.int64), None
    event = schema.columns[survival.event]
    assert isinstance(event, Category)
    assert survival.happened is not None
    happened = values[survival.event] == event.values.index(survival.happened)
    return happened.astype(np.int64), values[survival.time]


def _groups(schema: Schema) -> tuple[tuple[str, ...], ...]:
    """Columns that are tied to each other; time and event of survival are one group, a class is in none."""
    names = [name for name in schema.columns if schema.outcome.survival or name != schema.outcome.told]
    leader = {name: name for name in names}
    together = [[name for rule in part.rules for name in rule.columns] for part in schema.connected]
    ties = [(part[0], name) for part in together for name in part if {part[0], name} <= set(leader)]
    if schema.outcome.survival is not None:
        ties.append((schema.outcome.survival.time, schema.outcome.survival.event))
    for one, other in ties:
        old, new = leader[one], leader[other]
        leader = {name: new if first == old else first for name, first in leader.items()}
    return tuple(
        tuple(name for name in names if leader[name] == first) for first in dict.fromkeys(leader.values())
    )


def _read(values: pd.Series, name: str, column: Column) -> Floats:
    """A column as numbers, a category as the places of its values; InputError for what is not as declared."""
    try:
        array = plain(pa.array(values, from_pandas=True), column)
    except (pa.ArrowException, TypeError, ValueError):
        raise InputError(f"column {name!r} cannot be read; the records are not those of a release") from None
    if isinstance(column, Category):
        codes = category_codes(array, column)
        found, wrong = np.where(codes < 0, np.nan, codes), codes < 0
    else:
        low, high = bounds(column)
        found = numbers(array, column)
        wrong = ~((found >= low) & (found <= high))
        if isinstance(column, Number) and column.integer:
            wrong |= found % 1 != 0
    nothing = np.asarray(array.is_null())
    wrong &= ~nothing
    if wrong.any() or (nothing.any() and not column.missing):
        raise InputError(
            f"column {name!r} holds values that its schema does not declare: it is not a release of this schema"
        )
    return np.asarray(np.where(nothing, np.nan, found))


def _block(values: Floats, column: Column) -> Floats:
    if not isinstance(column, Category):
        return values[:, None]
    return np.asarray(values[:, None] == np.arange(len(column.values)), dtype=np.float64)
