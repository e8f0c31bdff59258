"""Check: every test of a table that depends on its records, for the person who holds them.

What is counted and refused here, and the sentence that says so, follows from records and is therefore not private:
it stays on that person's terminal, or in memory. Nothing that answers a coordinator may import this module; there,
the same table is served as it is, and a value that does not fit is clipped or counts as missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Column, Date, Number
from cohortmix.core.data.dictionary.outcome import Survival
from cohortmix.core.data.dictionary.rules import Rule
from cohortmix.core.data.patients import count_patients
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import (
    InputError,
    Source,
    quoted,
    require_columns,
    require_exact_codes,
)
from cohortmix.core.data.values import NOBODY, is_nested, patient_ids
from cohortmix.core.data.words import counted
from cohortmix.core.utility.checks import rules
from cohortmix.core.utility.checks.fit import MANY, Fit
from cohortmix.core.utility.checks.rules import Kept

MOST_UNREADABLE = 0.05  # share of a column's values, unless `outside: clip` is set: more is a wrong format


class MisfitError(InputError):
    """The records do not fit the schema. The text has counts and is not private; `columns` names where."""

    def __init__(self, text: str, columns: tuple[str, ...]) -> None:
        super().__init__(text)
        self.columns = columns


@dataclass(frozen=True)
class Checked:
    """What a check found in a table. Not private.

    Attributes
    ----------
    columns : how the values of each column fit, by its name.
    without_key : rows without a patient key, which are left out.
    over_cap : rows beyond `max_rows_per_patient` of their patient, which are left out.
    rules : how many records keep each rule of the schema, by its text.
    """

    columns: Mapping[str, Fit]
    without_key: int = 0
    over_cap: int = 0
    rules: Mapping[str, Kept] = field(default_factory=dict)

    @property
    def as_declared(self) -> bool:
        """Whether every value and every row counts as it stands in the table."""
        changed = any(fit.outside or fit.empty or fit.timed or fit.rounded for fit in self.columns.values())
        broken = any(kept.broken for kept in self.rules.values())
        return not (changed or broken or self.without_key or self.over_cap)


def check(source: Source, schema: Schema, max_unreadable: float = MOST_UNREADABLE) -> Checked:
    """Read the table once, refuse it if its records do not fit the schema, and count by column what does not.

    A column with values of which none fits is refused whatever it declares: the column, its unit or its codes are
    then not the declared ones. So is a column of numbers or dates if more than a share `max_unreadable` of them
    cannot be read, or have more decimals than it declares, unless it has `outside: clip`. A single value that does
    not fit is refused in the target, and in a column with `outside: refuse`; of a time to an event, what is zero
    or below, missing, or no declared event. The table is refused if no record keeps a rule of the schema, or if
    one breaks a rule that names a column with `outside: refuse`; other records that break a rule are counted, and
    count as they are. Rows without a patient key contribute nothing and are not looked at.

    Raises
    ------
    MisfitError
        With all problems of all columns, a line for each if there are several. It names the column, what was
        declared, how many values do not fit, the first row of them and the likely cause; no value of a record.
    InputError
        If a column is not there, or a key or a code is a float too large to be exact.
    """
    if not 0 <= max_unreadable <= 1:
        raise InputError(f"expected a share of unreadable values between 0 and 1, got {max_unreadable:g}")
    require_columns(source.names, (*schema.columns, *([schema.patient_key] if schema.patient_key else [])))
    require_exact_codes(source, schema)
    seen = {name: Fit() for name in schema.columns}
    nested: set[str] = set()
    kept_rules = {text: Kept() for text in schema.rules}
    rows, with_key = 0, 0
    for batch in source.batches():
        kept = _kept(batch, schema)
        for name, column in schema.columns.items():
            if is_nested(batch.column(name).type):
                nested.add(name)
            seen[name] += Fit.of(batch.column(name), column, kept, rows)
        for text, count in rules.count(batch, schema, kept, rows).items():
            kept_rules[text] += count
        rows += batch.num_rows
        with_key += int(kept.sum())
    if not with_key:
        raise InputError(
            "the table is empty: it holds no record"
            + (f" with a value of {schema.patient_key!r}" if schema.patient_key else "")
        )
    problems = {name: _of_column(name, schema, fit, name in nested, max_unreadable) for name, fit in seen.items()}
    for rule in schema.stated:
        problems[rule.columns[0]] += _of_rule(rule, schema, kept_rules[rule.text])
    _refuse(problems)
    over_cap = 0
    if schema.patient_key is not None:
        over_cap = int(np.maximum(count_patients(source, schema).rows - schema.cap, 0).sum())
    return Checked(seen, rows - with_key, over_cap, kept_rules)


def _refuse(problems: Mapping[str, list[str]]) -> None:
    """Raise MisfitError if any column has a problem."""
    lines = [text for texts in problems.values() for text in texts]
    if len(lines) > 1:
        lines = [f"{len(lines)} problems of the table:", *lines]
    if lines:
        raise MisfitError("\n  ".join(lines), tuple(name for name, texts in problems.items() if texts))


def _of_column(name: str, schema: Schema, seen: Fit, nested: bool, max_unreadable: float) -> list[str]:
    """The problems of one column, each in a sentence."""
    if nested:
        return [
            f"column {name!r} holds lists or structs: expected one value in each cell; make columns of their parts"
        ]
    return list(_problems(name, schema, seen, max_unreadable))


def _kept(batch: pa.RecordBatch, schema: Schema) -> NDArray[np.bool_]:
    """Which rows have a patient, (n,)."""
    if schema.patient_key is None:
        return np.ones(batch.num_rows, dtype=bool)
    return np.asarray(patient_ids(batch.column(schema.patient_key)) != NOBODY)


def _problems(name: str, schema: Schema, seen: Fit, max_unreadable: float) -> Iterator[str]:
    column = schema.columns[name]
    reason = (f" (first in row {seen.first})" if seen.first else "") + (f": {seen.cause}" if seen.cause else "")
    accepted = seen.clipped if column.outside == "clip" else 0  # of a number beyond its bounds, a class is known
    if seen.zoned:
        yield (
            f"column {name!r}: {counted(seen.zoned, 'time')} with an offset from UTC, whose day depends on the "
            "place; declare `timezone:` for it, such as Europe/Berlin"
        )
    if seen.outside and not seen.fits:
        yield f"column {name!r}: none of its values is {_declared(column)}{reason}; is it the right column?"
    elif schema.outcome.survival is not None and name in schema.outcome.columns and _unfollowed(column, seen):
        yield _of_follow_up(name, schema.outcome.survival, column, seen, reason)
    elif name == schema.target and (seen.empty or seen.outside > accepted):
        what = (
            f"holds {counted(seen.outside, 'value')} that {_are(seen.outside)} not"
            if seen.outside
            else (f"has no value in {counted(seen.empty, 'row')}: expected")
        )
        cure = ", or declare a class for them" if isinstance(column, Category) else ""
        yield (
            f"column {name!r}: the target {what} {_declared(column)}{reason}; "
            f"drop rows without a known outcome{cure}"
        )
    elif column.outside == "refuse" and seen.outside:
        yield (
            f"column {name!r}: {counted(seen.outside, 'value')} {_are(seen.outside)} not {_declared(column)}"
            f"{reason}; correct the table, or declare `outside: clip` to accept it"
        )
    elif column.outside is None and seen.unreadable > max_unreadable * seen.values:
        yield (
            f"column {name!r}: {seen.unreadable:,} of its {seen.values:,} values cannot be read as "
            f"{_declared(column)}{reason}; correct the table, or write `outside: clip` to have them count as "
            "missing"
        )
    if seen.rounded and (
        column.outside == "refuse" or (column.outside is None and seen.rounded > max_unreadable * seen.values)
    ):
        yield f"column {name!r}: {seen.finer}; {_instead(seen, column)}"


def _unfollowed(column: Column, seen: Fit) -> int:
    """Values of a time to an event, or of the event, with which nobody's follow-up is known."""
    return seen.empty + (seen.outside if isinstance(column, Category) else seen.not_positive + seen.unreadable)


def _of_follow_up(name: str, survival: Survival, column: Column, seen: Fit, reason: str) -> str:
    """What is wrong with a time, or with the event that ended it: zero or below, not declared, or not there."""
    part = "event" if name == survival.event else "time"
    if seen.not_positive:
        return (
            f"column {name!r}: the time is zero or below in {counted(seen.not_positive, 'row')} (first in row "
            f"{seen.first_not_positive}); correct the table, or leave out who was not followed"
        )
    if not (seen.outside if isinstance(column, Category) else seen.unreadable):
        return (
            f"column {name!r}: the {part} is missing in {counted(seen.empty, 'row')} (first in row "
            f"{seen.first_empty}); leave out who was not followed"
        )
    wrong = seen.outside if isinstance(column, Category) else seen.unreadable
    return (
        f"column {name!r}: the {part} holds {counted(wrong, 'value')} that {_are(wrong)} not {_declared(column)}"
        f"{reason}; correct the table, or leave out who was not followed"
    )


def _of_rule(rule: Rule, schema: Schema, seen: Kept) -> list[str]:
    """What is wrong with the records that break a rule; nothing where they are only counted."""
    text = f"rule {rule.text!r}: {seen.words}"
    if seen.broken and not seen.kept:
        return [f"{text}, and none keeps it; are columns and codes the right ones?"]
    strict = [name for name in rule.columns if schema.columns[name].outside == "refuse"]
    if seen.broken and strict:
        return [f"{text}, and {strict[0]!r} has `outside: refuse`; correct the table, or drop the rule"]
    return []


def _instead(seen: Fit, column: Column) -> str:
    """What to declare for a column of numbers that are finer than declared."""
    assert isinstance(column, Number)
    key = "integer" if column.integer else "decimals"
    finer = "" if seen.decimals >= MANY else f"declare `decimals: {seen.decimals}`, or "
    return f"{finer}leave `{key}` out, or write `outside: clip` to have them rounded"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _declared(column: Column) -> str:
    if isinstance(column, Category):
        return f"one of the declared values {quoted(column.values)}"
    kind = "a date (YYYY-MM-DD)" if isinstance(column, Date) else "a number"
    bounds = f"{column.min:g} to {column.max:g}" if isinstance(column, Number) else f"{column.min} to {column.max}"
    return f"{kind} in {bounds}"
