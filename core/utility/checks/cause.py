"""Causes: why values of a column are probably not what its schema declares, in a sentence without any value.

A guess from the form of the values that could not be read, for the terminal of the person who holds them.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import date

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.cell import category_text, whole_text
from cohortmix.core.data.dictionary.columns import Category, Column, Date
from cohortmix.core.data.values import is_nested, python_values, simple

_TRUTH = ("true|false|yes|no|ja|nein|oui|non|wahr|falsch", "they are truth values; declare a category for them")
# Forms of values that are not what is declared, each with its likely cause. The first form that matches counts.
_OF_A_NUMBER = (
    (r"[−–‒﹣－][\d.,]+.*", "a dash or a typographic minus stands before the number; write a plain hyphen"),
    (r"[+-]?0x[\da-f]+", "they are hexadecimal; write them as decimal numbers"),
    (r"[+-]?[\d.]+e\+?\d{3,}", "they are too large for a number of this machine"),
    (r"[<>≤≥=~]\s*[\d.,]+.*", "a sign such as < stands before the number, as beyond a limit of detection; write "
     "the limit itself, or leave it to count as missing"),
    (r"[+-]?\d{1,2}\.\d{1,2}\.\d{2,4}.*", "they look like dates"),
    (r"\d{4}-\d\d-\d\d.*", "they look like dates; declare `type: date`"),
    (r"[+-]?[\d.]*,\d+|[+-]?\d{1,3}(,\d{3})+(\.\d*)?", "they have a comma; write numbers with a decimal point and "
     "without a thousands separator"),
    (r"[+-]?\d{1,3}([ '’\u00a0\u202f]\d{3})+([.,]\d*)?", "they have a thousands separator; leave it out"),
    (_TRUTH[0], _TRUTH[1]),
    (r"[+-]?[\d.,]+\s*[^\d\s.,_].*", "something stands behind the number, such as a unit; write the number alone"),
    (r"[+-]?(inf(inity)?)", "they are infinite"),
)  # fmt: skip
_OF_A_DATE = (
    (r"\d{4}-(\d-\d{1,2}|\d\d-\d)([ T].*)?", "a month or a day has one digit; write both with two, as in "
     "2020-01-05"),
    (r"\d{1,2}\.\s?\d{1,2}\.\s?\d{2,4}.*", "they are written as DD.MM.YYYY; write YYYY-MM-DD"),
    (r"\d{1,2}/\d{1,2}/\d{2,4}.*", "they are written with slashes; write YYYY-MM-DD"),
    (r"\d{4}[/.]\d{1,2}[/.]\d{1,2}.*", "write YYYY-MM-DD, with hyphens"),
    (r"[+-]?infinity", "they are infinite, as PostgreSQL has them"),
    (r"\d+(\.\d*)?", "they are numbers, as a spreadsheet counts days; write YYYY-MM-DD"),
)  # fmt: skip


def likely(array: pa.Array, column: Column, wrong: NDArray[np.bool_]) -> Counter[str]:
    """How often each cause would explain the entries that `wrong` marks, shape (n,)."""
    if is_nested(array.type):
        return Counter()
    if pa.types.is_boolean(array.type) and not isinstance(column, Category):
        return Counter({_TRUTH[1]: int(wrong.sum())})
    is_bytes = pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)
    entries = simple(array).filter(pa.array(wrong))
    causes: Counter[str] = Counter()
    distinct = entries.value_counts()
    for value, count in zip(python_values(distinct.field(0)), distinct.field(1).to_pylist(), strict=True):
        cause = "they are bytes; have them exported as text" if is_bytes else _cause(value, column)
        if cause is not None:
            causes[cause] += count
    return causes


def _cause(value: object, column: Column) -> str | None:
    text = category_text(value)
    if isinstance(column, Category):
        return _of_a_category(text, column)
    if isinstance(column, Date) and _is_no_day(text):
        return "there is no such day in the calendar, as 30 February"
    forms = _OF_A_DATE if isinstance(column, Date) else _OF_A_NUMBER
    return next((cause for form, cause in forms if re.fullmatch(form, text, re.IGNORECASE)), None)


def _is_no_day(text: str) -> bool:
    """Whether a text is written as a day that does not exist."""
    written = re.match(r"(\d{4})-?(\d\d)-?(\d\d)(?!\d)", text, re.ASCII)
    if written is None:
        return False
    try:
        date(*map(int, written.groups()))
    except ValueError:
        return True
    return False


def _of_a_category(text: str, column: Category) -> str | None:
    """Why a text is not among the declared values, although it looks like one of them."""
    declared = [category_text(value) for value in column.values]
    if whole_text(text) in {whole_text(value) for value in declared} - {None}:
        return (
            "the same numbers are declared in another form, and in quotes they are compared as texts; without "
            "quotes, as in `values: [1, 2]`, 1.0 is 1 as well"
        )
    if text.lower() in {value.lower() for value in declared}:
        return "upper and lower case differ from the declared ones"
    if not text.isprintable():
        return "they are bytes or control characters; have them exported as text"
    if text in ("true", "false"):
        return "they are truth values; declare `values: [true, false]`"
    return None
