"""Values: what the cells of one column say, read one by one.

What a cell says follows from the cell and from the column's description alone, never from the other cells of its
column, so that one patient cannot change how another patient is read. No function here raises for a value.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.cell import NULL_TEXTS, TRUTH_TEXTS, category_text, day_of, number_of, text_of, whole_text

if TYPE_CHECKING:
    from cohortmix.core.data.dictionary.columns import Category, Column

NOBODY = np.zeros((), dtype="S16")  # whose a row without a key is


def category_codes(array: pa.Array, column: Category) -> NDArray[np.int64]:
    """Position of each entry among the declared values, shape (n,); -1 if it is none of them."""
    codes = {category_text(value): code for code, value in enumerate(column.values)}
    # A truth value reads `true`, whether its column holds truth values alone or texts beside them; pandas' texts
    # write it `True`.
    codes = {text.lower(): code for text, code in codes.items() if text.lower() in TRUTH_TEXTS} | codes

    def code(value: object) -> int:
        text = category_text(value)
        whole, truth = whole_text(text) if column.numeric else None, text.lower() if column.holds_truth else None
        return next((codes[form] for form in (text, whole, truth) if form in codes), -1)

    return each_distinct(array, code, -1).astype(np.int64)


def numbers(array: pa.Array, column: Column) -> NDArray[np.float64]:
    """Each entry as a number, a date as its proleptic ordinal (days), shape (n,); NaN if it is none."""
    if column.type == "date":
        return each_distinct(array, lambda value: day_of(value, column.timezone), np.nan)
    array = simple(array)
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        found = np.asarray(array.cast(pa.float64(), safe=False).fill_null(np.nan))
        return np.where(np.isfinite(found), found, np.nan)
    return each_distinct(array, number_of, np.nan)


def patient_keys(array: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """Whose each row is, as the text under which keys are compared; None for nobody's."""
    texts, places = _distinct_keys(array)
    return [texts[place] for place in places.tolist()]


def patient_ids(array: pa.Array | pa.ChunkedArray) -> NDArray[np.bytes_]:
    """Whose each row is, shape (n,): the 16 bytes of a BLAKE2b hash of the key's text; NOBODY for nobody's.

    What is kept of millions of keys is small and of one size. Were the ids of two keys the same, they would be one
    patient in every table that has them: together they weigh what one patient weighs, replacing the records of
    either moves an answer by no more than replacing one patient can, and the guarantee holds for both. Their
    records would count for less, and N be smaller by one. It does not happen: among n keys the probability is at
    most n^2 / 2^129, 2^-69 for 10^9 of them, and nobody knows how to make up two keys of one id.
    """
    texts, places = _distinct_keys(array)
    ids = [b"" if text is None else blake2b(text.encode(), digest_size=16).digest() for text in texts]
    return np.array(ids, dtype=NOBODY.dtype)[places]


def _distinct_keys(array: pa.Array | pa.ChunkedArray) -> tuple[list[str | None], NDArray[np.int64]]:
    values, places = _distinct(array)
    keys = [None if value is None or value != value else category_text(value) for value in values]  # NaT, NaN
    return [None if key is None or key.lower() in NULL_TEXTS else key for key in keys], places


def each_distinct(array: pa.Array, rule: Callable[[object], float], nothing: float) -> NDArray[np.float64]:
    """`rule` applied to each distinct value once: the result for a cell depends on that cell alone."""
    values, places = _distinct(array)
    return np.array([nothing if value is None else rule(value) for value in values], dtype=np.float64)[places]


def _distinct(array: pa.Array | pa.ChunkedArray) -> tuple[list[object], NDArray[np.int64]]:
    """The values of an array, with None behind them, and the place of each entry among them.

    They are distinct, or those of the array's own dictionary where it has one.
    """
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    coded = array if pa.types.is_dictionary(array.type) else _flat(array).dictionary_encode()
    places = coded.indices.cast(pa.int64()).fill_null(len(coded.dictionary))
    return [*python_values(_flat(coded.dictionary)), None], np.asarray(places)


def _flat(array: pa.Array) -> pa.Array:
    """The array as `simple` has it; without any value where its cells are lists or structs."""
    array = simple(array)
    return pa.nulls(len(array)) if is_nested(array.type) else array


def python_values(array: pa.Array) -> list[object]:
    """Each entry as Python holds it, None where it cannot: a day after the year 9999, bytes that are no UTF-8.

    One such cell must not stop the reading of the others.
    """
    try:
        return list(array.to_pylist())
    except (OverflowError, ValueError):
        return [_python_value(entry) for entry in array]


def _python_value(entry: pa.Scalar) -> object:
    try:
        return entry.as_py()
    except (OverflowError, ValueError):
        return None


def simple(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The array as truth values, numbers, days, times or texts; what is none of these as text, value by value.

    Dictionaries are decoded. Bytes are the text that they hold in UTF-8, a decimal number its digits, a UUID its
    usual form. Lists and structs stay, and are no value of any column.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type) and not _is_view(array.type.value_type):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_string_view(kind):
        array = array.cast(pa.string())
    if is_text(array.type):
        return _valid(array)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return array
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or is_nested(kind):
        return array
    texts = [None if value is None else category_text(value) for value in python_values(array)]
    return pa.array(texts, pa.string())


def _valid(array: pa.Array) -> pa.Array:
    """Texts, with `\\xff` in place of a byte that is no UTF-8: a value that is there, and that nobody declares."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        raw = pa.large_binary() if pa.types.is_large_string(array.type) else pa.binary()
        texts = [None if cell is None else text_of(cell) for cell in array.view(raw).to_pylist()]
        return pa.array(texts, array.type)
    return array


def _is_view(kind: pa.DataType) -> bool:
    """For whose dictionaries pyarrow has no decoding."""
    return bool(pa.types.is_string_view(kind) or pa.types.is_binary_view(kind))


def is_nested(kind: pa.DataType) -> bool:
    """Whether a type holds several values in one cell, as FHIR's lists and structs do."""
    return bool(pa.types.is_nested(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a type of pyarrow holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
