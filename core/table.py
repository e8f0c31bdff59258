"""Tables: where records come from, and what one cell of a column says.

A `Source` is a table that can be read again, in batches. Cells are read one by one: what a cell means follows
from the cell and from the schema alone, never from the other cells of its column, so that one patient cannot
change how another patient is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cohortmix.core.schema import Category, Column, Date, Number, category_text

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 65_536
NULL_TEXTS = ("", "na", "nan", "null")  # how files write "no value", in any case of letters


class Source(Protocol):
    """A table that can be read again: the same rows in the same order each time."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its columns."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows."""


class InputError(ValueError):
    """A table or file cannot be used; one sentence says what was expected, what came and what to do."""


class TableSource:
    """A table in memory as a source of record batches.

    Parameters
    ----------
    table : a pyarrow Table, or a pandas DataFrame, which is copied column by column: numbers, dates and truth
        values keep their type, anything else becomes text cell by cell.
    columns : the columns to keep; all of them by default.

    Raises
    ------
    InputError
        For a column that the table lacks or holds twice.
    """

    def __init__(self, table: pa.Table | pd.DataFrame, columns: Sequence[str] | None = None) -> None:
        have = [str(name) for name in (table.column_names if isinstance(table, pa.Table) else table.columns)]
        self.names: tuple[str, ...] = tuple(have if columns is None else columns)
        require_columns(have, self.names)
        positions = [have.index(name) for name in self.names]
        arrays = [
            table.column(at) if isinstance(table, pa.Table) else _from_pandas(table.iloc[:, at])
            for at in positions
        ]
        self._table = pa.Table.from_arrays(arrays, names=list(self.names))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of the table, in its order, at most `BATCH_ROWS` at a time."""
        yield from self._table.to_batches(max_chunksize=BATCH_ROWS)


def require_columns(have: Sequence[str], need: Sequence[str]) -> None:
    """Raise InputError unless each needed column is there exactly once.

    Where none is there, what stands in their place may be the first record: it is not printed.
    """
    absent = [name for name in need if name not in have]
    if absent and len(absent) == len(need):
        raise InputError(f"the table has none of the columns {quoted(need)}: has the file a header line?")
    if absent:
        raise InputError(f"missing column {quoted(absent)}: the table has {quoted(have)}")
    twice = [name for name in dict.fromkeys(need) if list(have).count(name) > 1]
    if twice:
        raise InputError(f"the table has two columns named {quoted(twice)}; rename one of them")


def require_exact_key(source: Source, key: str | None) -> None:
    """Raise InputError if the patient key is a column of floats too large to tell whole numbers apart.

    pandas reads whole numbers as floats as soon as one of them is null, and large ones then merge patients.
    """
    for batch in source.batches() if key is not None else ():
        keys = plain(batch.column(key))
        if not pa.types.is_floating(keys.type):
            return
        values = np.abs(np.asarray(keys)[~is_null(keys)])
        if (values >= 2.0 ** (np.finfo(values.dtype).nmant + 1)).any():  # 2^53 for float64
            raise InputError(
                f"the patient key {key!r} is a column of floats, and too large for them to tell patients apart; "
                "read the file with pyarrow, or make the key text"
            )


def quoted(names: Sequence[str], most: int = 12) -> str:
    """Names as text for a message: `'AGE', 'SEX' and 9 more`."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def plain(array: pa.Array, column: Column | None = None) -> pa.Array:
    """The array without dictionary encoding, and with nulls where a text says that there is no value.

    A category that declares such a text (`values: [EU, NA]`) keeps it. A text that is no UTF-8 is no value.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    if not is_text(array.type):
        return array
    array = _valid(array)
    nothing = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(array)), value_set=_like(array, NULL_TEXTS))
    if isinstance(column, Category):
        declared = pc.is_in(pc.utf8_trim_whitespace(array), value_set=_like(array, column.values))
        nothing = pc.and_not(nothing, declared)
    return pc.if_else(nothing, pa.scalar(None, array.type), array)


def _valid(array: pa.Array) -> pa.Array:
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array(python_values(array), type=array.type)
    return array


def is_null(array: pa.Array) -> NDArray[np.bool_]:
    """Whether an entry holds no value, shape (n,); a number that is NaN holds none."""
    return np.asarray(pc.is_null(array, nan_is_null=True))


def is_text(kind: pa.DataType) -> bool:
    """Whether a type of pyarrow holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def numbers(array: pa.Array, column: Column) -> NDArray[np.float64]:
    """Each entry as a number, a date as its proleptic ordinal (days), shape (n,); NaN if it is none."""
    if isinstance(column, Date):
        return _each_distinct(array, _ordinal, np.nan)
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        found = np.asarray(array.cast(pa.float64(), safe=False).fill_null(np.nan))
        return np.where(np.isfinite(found), found, np.nan)
    return _each_distinct(array, _number, np.nan)


def bounds(column: Number | Date) -> tuple[float, float]:
    """The declared bounds in the units of `numbers`."""
    if isinstance(column, Date):
        return float(column.min.toordinal()), float(column.max.toordinal())
    return column.min, column.max


def category_codes(array: pa.Array, column: Category) -> NDArray[np.int64]:
    """Position of each entry among the declared values, shape (n,); -1 if it is none of them."""
    codes = {category_text(value): code for code, value in enumerate(column.values)}
    return _each_distinct(array, lambda value: codes.get(category_text(value), -1), -1).astype(np.int64)


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


def _each_distinct(array: pa.Array, rule: Callable[[object], float], nothing: float) -> NDArray[np.float64]:
    """`rule` applied to each distinct value once: the result for a cell depends on that cell alone."""
    coded = array.dictionary_encode()
    images = [nothing if value is None else rule(value) for value in python_values(coded.dictionary)]
    table = np.array([*images, nothing], dtype=np.float64)
    return np.asarray(table[np.asarray(coded.indices.fill_null(len(images)))])


def _number(value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        return np.nan
    return number if np.isfinite(number) else np.nan


def _ordinal(value: object) -> float:
    try:
        return float(date.fromisoformat(str(value).strip()[:10]).toordinal())
    except ValueError:
        return np.nan


def _like(array: pa.Array, texts: Sequence[str]) -> pa.Array:
    return pa.array(list(texts), type=array.type)


def _from_pandas(series: pd.Series[Any]) -> pa.Array:
    import pandas as pd  # here, since most tables come without it, and it takes a while

    kind = series.dtype
    if pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_datetime64_dtype(kind):
        return pa.array(series.copy(), from_pandas=True)
    texts = [None if null else _text(value) for value, null in zip(series, series.isna(), strict=True)]
    return pa.array(texts, type=pa.string())


def _text(value: object) -> str:
    """A truth value or a float as `category_text` has it in a column of its own type: -0.0 is 0, 1e16 is whole.

    A null or a text elsewhere in its column may not change how it reads.
    """
    if isinstance(value, bool | np.bool_):
        return category_text(bool(value))
    return category_text(float(value)) if isinstance(value, float | np.floating) else str(value)
