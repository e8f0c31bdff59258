"""A first schema from a table: names and types, for a person to complete from the data dictionary.

Only types are guessed from the records. A schema is public, so a bound or a value that was read off the records
would publish them. Every line is therefore unconfirmed, with gaps that keep it from being used before a person has
filled them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cohortmix.client.local.suggestions import Suggestion, repeated, suggested
from cohortmix.core.data.cell import TRUTH_TEXTS
from cohortmix.core.data.dictionary.columns import Date, Number
from cohortmix.core.data.dictionary.outcome import UNDECIDED
from cohortmix.core.data.table import InputError, Source, is_null, plain
from cohortmix.core.data.values import is_nested, is_text, numbers
from cohortmix.core.data.words import some
from cohortmix.core.utility.checks.cause import likely
from cohortmix.protocol.local.wording import count

BANNER = """\
# A draft, made from records on this machine: names and types are guesses, everything else is a gap.
# Complete it from the study's data dictionary, never from the records: a schema is public.
#   type           codes such as 1 and 2 for the sexes look like numbers here, and are a category
#   min, max       what can occur, not what did occur
#   values         every code of the dictionary, also those that nobody has
#   missing        false where a value is always there
#   with, after    suggested by names alone: missing together with that column, never below it. Keep what is so in
#                  every patient; delete what names a column that you delete, or that is never missing
# Delete the lines of columns that shall not be synthesized, such as names, identifiers and free text.
# Then set `confirmed: true` on each line that a person has checked.
"""

_LETTER = re.compile(r"[^\W\d_]")  # of any script
_ANY_NUMBER = Number(type="number", min=0, max=1)
_ANY_DATE = Date.model_validate({"type": "date", "min": "2000-01-01", "max": "2000-01-02"})


def draft(source: Source, name: str) -> str:
    """The text of a schema file for all columns of a table, each line `confirmed: false`.

    Parameters
    ----------
    source : the table; it is read once.
    name : of the schema.

    Raises
    ------
    InputError
        If the table cannot be read, has no record, has one column only, or has no distinct name for each.
    """
    _require_names(source.names)
    types = {column: _Types() for column in source.names}
    rows = 0
    for batch in source.batches():
        rows += batch.num_rows
        for column in source.names:
            types[column] &= _Types.of(batch.column(column))
    if not rows:
        raise InputError("the table is empty: it holds no record from which a type could be guessed")
    if len(types) < 2:
        raise InputError(f"the table has {count(len(types), 'column')}; a schema needs two or more")
    return BANNER + "\n".join(_lines(name, types)) + "\n"


def _require_names(names: Sequence[str]) -> None:
    """Refuse what looks like a record in place of the column names: where, since nothing of it may be printed."""
    texts = pa.array(names, pa.string())
    is_value = ~np.isnan(numbers(texts, _ANY_NUMBER)) | ~np.isnan(numbers(texts, _ANY_DATE))
    unnamed = [is_value[at] or not _LETTER.search(name) for at, name in enumerate(names)]
    repeated = [name for name, times in Counter(names).items() if times > 1 and _LETTER.search(name)]
    faults = [("an empty one, a number or a date", _places(unnamed))] if any(unnamed) else []
    faults += [("one name", _places([other == name for other in names])) for name in repeated]
    if faults:
        got = ", and ".join(f"{what} in {where}" for what, where in faults)
        raise InputError(
            f"expected a name for each column, got {got}; has the file a header line? If it has, "
            "give each column a name of its own"
        )


def _places(marked: Sequence[bool]) -> str:
    """Which columns are marked, counted from 1."""
    places = [str(at) for at, mark in enumerate(marked, start=1) if mark]
    return f"{'column' if len(places) == 1 else 'columns'} {some(places)}"


def _lines(name: str, types: dict[str, _Types]) -> Iterator[str]:
    yield f"name: {_text(name)}"
    yield "patient_key: null   # the column that names the patient; null: one row is one patient"
    yield f"target: '{UNDECIDED}'         # the outcome: a column, {{time: COLUMN, event: COLUMN}}, or null"
    yield "columns:"
    kinds = {column: possible.kind for column, possible in types.items() if not possible.nested}
    suggestions, series = suggested(kinds), repeated(kinds)
    for column, possible in types.items():
        suggestion = suggestions.get(column, Suggestion())
        yield from (f"  # {_on_one_line(why)}" for why in (suggestion.why, series.get(column)) if why)
        yield f"  {_text(column)}: {possible.line(_keys(suggestion))}"


def _keys(suggestion: Suggestion) -> str:
    """The keys `with` and `after` of a column's line."""
    keys = (("with", suggestion.partner), ("after", suggestion.before))
    return "".join(f"{key}: {_text(name)}, " for key, name in keys if name is not None)


@dataclass(frozen=True)
class _Types:
    """The types that a column can have, by all values so far; `any` is false until there is one."""

    any: bool = False
    nested: bool = False
    truth: bool = True
    date: bool = True
    number: bool = True
    whole: bool = True
    unreadable: int = 0
    causes: Counter[str] = field(default_factory=Counter)

    def __and__(self, other: _Types) -> _Types:
        return _Types(
            self.any or other.any,
            self.nested or other.nested,
            self.truth and other.truth,
            self.date and other.date,
            self.number and other.number,
            self.whole and other.whole,
            self.unreadable + other.unreadable,
            self.causes + other.causes,
        )

    @classmethod
    def of(cls, column: pa.Array) -> _Types:
        """The types that the values of one batch allow."""
        array = plain(column)
        null = is_null(array)
        if null.all():
            return cls()
        kind = array.type
        if is_nested(column.type):
            return cls(any=True, nested=True)
        day, number = numbers(array, _ANY_DATE)[~null], numbers(array, _ANY_NUMBER)[~null]
        is_number = not np.isnan(number).any() and not _padded(array)
        return cls(
            any=True,
            truth=pa.types.is_boolean(kind) or _are_truth_values(array),
            date=(is_text(kind) or pa.types.is_temporal(kind)) and not np.isnan(day).any(),
            number=is_number,
            whole=is_number and bool((number == np.floor(number)).all()),
            unreadable=int(np.isnan(number).sum()),
            causes=_causes(array, _with_digits(array) & np.isnan(numbers(array, _ANY_NUMBER))),
        )

    @property
    def kind(self) -> str:
        """The type of the schema: `number`, `date` or `category`."""
        if not self.any or self.nested or self.truth:
            return "category"
        return "date" if self.date else "number" if self.number else "category"

    def line(self, keys: str = "") -> str:
        """The description of the column in the schema, with a gap for everything but its type and these keys."""
        end = f"missing: true, {keys}confirmed: false}}"
        if self.nested:
            return (
                "{type: category, values: [], confirmed: false}   # lists or structs: make columns of their parts"
            )
        if self.any and self.truth:
            return "{type: category, values: [false, true], " + end
        if self.kind == "category":
            return "{type: category, values: [], " + end + self._hint()
        whole = "integer: true, " if self.kind == "number" and self.whole else ""
        return f"{{type: {self.kind}, min: null, max: null, {whole}{end}"

    def _hint(self) -> str:
        """Why numbers or dates may have been taken for texts, as a comment: it explains half of them at least."""
        cause, count = next(iter(self.causes.most_common(1)), ("", 0))
        return f"   # if numbers or dates are meant: {cause}" if 2 * count >= self.unreadable > 0 and cause else ""


def _causes(array: pa.Array, wrong: NDArray[np.bool_]) -> Counter[str]:
    """Why the entries that `wrong` marks, shape (n,), are no dates, or else why they are no numbers."""
    as_dates = likely(array, _ANY_DATE, wrong & np.isnan(numbers(array, _ANY_DATE)))
    return as_dates or likely(array, _ANY_NUMBER, wrong)


def _with_digits(array: pa.Array) -> NDArray[np.bool_]:
    """Which entries are texts with a digit, shape (n,): others are neither numbers nor dates in any form."""
    if not is_text(array.type):
        return np.zeros(len(array), dtype=bool)
    return np.asarray(pc.fill_null(pc.match_substring_regex(array, r"\d"), False).to_numpy(zero_copy_only=False))


def _padded(array: pa.Array) -> bool:
    """Whether a text begins with a zero that a number would not have: a code, such as a postcode."""
    return is_text(array.type) and bool(pc.any(pc.match_substring_regex(array, r"^\s*0\d")).as_py())


def _are_truth_values(array: pa.Array) -> bool:
    if not is_text(array.type):
        return False
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(array)).drop_null()
    return bool(pc.all(pc.is_in(lower, value_set=pa.array(TRUTH_TEXTS, lower.type))).as_py())


def _text(value: str) -> str:
    """A text as YAML, in quotes where it needs them."""
    plain = re.fullmatch(r"[A-Za-z_][\w.-]*", value) and value.lower() != "null"
    return value if plain else json.dumps(value, ensure_ascii=False)


def _on_one_line(comment: str) -> str:
    """A comment that holds names from a table: a line break in one of them would end it."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in comment)
