"""Tables: where records come from, and what one cell of a column says.

A `Source` is a table that can be read again, in batches. Cells are read one by one: what a cell means follows
from the cell and from the schema alone, never from the other cells of its column, so that one patient cannot
change how another patient is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cohortmix.core.data.cell import NULL_TEXTS, category_text, day_of, number_of, text_of, whole_text
from cohortmix.core.data.schema import EXACT, Category, Column, Date, Number, Schema
from cohortmix.core.data.words import MOST_NAMES, in_quotes, some

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 65_536


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
            simple(table.column(at)) if isinstance(table, pa.Table) else _from_pandas(table.iloc[:, at])
            for at in positions
        ]
        self._table = pa.Table.from_arrays(arrays, names=list(self.names))
        #: columns of Python's objects that hold a float which may stand for several whole numbers
        self.inexact = frozenset(
            name
            for name, at in zip(self.names, positions, strict=True)
            if not isinstance(table, pa.Table)
            and table.iloc[:, at].dtype == object
            and any(map(is_inexact, table.iloc[:, at]))
        )

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


def require_exact_codes(source: Source, schema: Schema) -> None:
    """Raise InputError for a patient key or a category of floats too large to tell whole numbers apart.

    pandas reads whole numbers as floats as soon as one of them is null, and large ones then merge: what one empty
    cell did to its column would change how all other patients are read.
    """
    names = [name for name, column in schema.columns.items() if isinstance(column, Category)]
    names += [schema.patient_key] if schema.patient_key is not None else []
    lost: frozenset[str] = getattr(
        source, "inexact", frozenset()
    )  # of a column of Python's objects, which is text by now
    for batch in source.batches():
        for name in names:
            if name in lost or _merges(batch.column(name)):
                raise inexact_codes(name, schema)


def inexact_codes(name: str, schema: Schema) -> InputError:
    """The sentence for a key or a category of floats that may have merged."""
    what = "the patient key" if name == schema.patient_key else "column"
    return InputError(
        f"{what} {name!r} is a column of floats, and too large for them to tell whole numbers apart; "
        "read the file with pyarrow, or make the column text"
    )


def is_inexact(value: object) -> bool:
    """Whether a value is a float that may stand for several whole numbers."""
    return isinstance(value, float | np.floating) and bool(abs(float(value)) >= EXACT)


def _merges(array: pa.Array) -> bool:
    codes = simple(array)
    if not pa.types.is_floating(codes.type):
        return False
    values = np.abs(np.asarray(codes)[~is_null(codes)])
    return bool((values >= 2.0 ** (np.finfo(values.dtype).nmant + 1)).any())  # 2^53 for float64


def quoted(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Names in quotation marks in a row: `'AGE', 'SEX' and 9 more`."""
    return some([in_quotes(name) for name in names], most)


def simple(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The array as truth values, numbers, days, times or texts; what is none of these as text, value by value.

    Dictionaries are decoded. Bytes are the text that they hold in UTF-8, a decimal number its digits, a UUID its
    usual form. Lists and structs stay, and are no value of any column.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        views = pa.types.is_string_view(array.type.value_type)  # for which pyarrow has no decoding
        array = pa.array(python_values(array), pa.string()) if views else array.dictionary_decode()
    kind = array.type
    if pa.types.is_string_view(kind):
        array = array.cast(pa.string())
    if is_text(array.type):
        return _valid(array)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return array
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or is_nested(kind):
        return array
    return pa.array(
        [None if value is None else category_text(value) for value in python_values(array)], pa.string()
    )


def is_nested(kind: pa.DataType) -> bool:
    """Whether a type holds several values in one cell, as FHIR's lists and structs do."""
    return bool(pa.types.is_nested(kind))


def plain(array: pa.Array | pa.ChunkedArray, column: Column | None = None) -> pa.Array:
    """A `simple` array, with nulls where a text says that there is no value.

    A category that declares such a text (`values: [EU, NA]`) keeps it.
    """
    array = simple(array)
    if not is_text(array.type):
        return array
    nothing = pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(array)), value_set=_like(array, NULL_TEXTS))
    if isinstance(column, Category):
        declared = pc.is_in(pc.utf8_trim_whitespace(array), value_set=_like(array, column.values))
        nothing = pc.and_not(nothing, declared)
    return pc.if_else(nothing, pa.scalar(None, array.type), array)


def _valid(array: pa.Array) -> pa.Array:
    """Texts, with `\\xff` in place of a byte that is no UTF-8: a value that is there, and that nobody declares."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        raw = pa.large_binary() if pa.types.is_large_string(array.type) else pa.binary()
        return pa.array(
            [None if cell is None else text_of(cell) for cell in array.view(raw).to_pylist()], array.type
        )
    return array


def is_null(array: pa.Array) -> NDArray[np.bool_]:
    """Whether an entry holds no value, shape (n,); a number that is NaN holds none."""
    return np.asarray(pc.is_null(array, nan_is_null=True))


def is_text(kind: pa.DataType) -> bool:
    """Whether a type of pyarrow holds texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def numbers(array: pa.Array, column: Column) -> NDArray[np.float64]:
    """Each entry as a number, a date as its proleptic ordinal (days), shape (n,); NaN if it is none."""
    array = simple(array)
    if isinstance(column, Date):
        return each_distinct(array, lambda value: day_of(value, column.timezone), np.nan)
    if pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        found = np.asarray(array.cast(pa.float64(), safe=False).fill_null(np.nan))
        return np.where(np.isfinite(found), found, np.nan)
    return each_distinct(array, number_of, np.nan)


def bounds(column: Number | Date) -> tuple[float, float]:
    """The declared bounds in the units of `numbers`."""
    if isinstance(column, Date):
        return float(column.min.toordinal()), float(column.max.toordinal())
    return column.min, column.max


def category_codes(array: pa.Array, column: Category) -> NDArray[np.int64]:
    """Position of each entry among the declared values, shape (n,); -1 if it is none of them."""
    codes = {category_text(value): code for code, value in enumerate(column.values)}
    if column.holds_truth:  # pandas writes True, Parquet's readers and YAML true
        codes |= {text.lower(): code for text, code in codes.items()}

    def code(value: object) -> int:
        text = category_text(value)
        if text not in codes and column.numeric:
            text = whole_text(text) or text
        if text not in codes and column.holds_truth:
            text = text.lower()
        return codes.get(text, -1)

    return each_distinct(simple(array), code, -1).astype(np.int64)


def patient_keys(array: pa.Array | pa.ChunkedArray) -> list[str | None]:
    """Whose each row is, as the text under which keys are compared; None for nobody's."""
    array = simple(array)
    if is_nested(array.type):
        return [None] * len(array)
    coded = array.dictionary_encode()
    values = python_values(plain(coded.dictionary))
    keys = [None if value is None or value != value else category_text(value) for value in values]  # NaT, NaN
    return [None if code is None else keys[code] for code in coded.indices.to_pylist()]


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


def each_distinct(array: pa.Array, rule: Callable[[object], float], nothing: float) -> NDArray[np.float64]:
    """`rule` applied to each distinct value once: the result for a cell depends on that cell alone."""
    if is_nested(array.type):
        return np.full(len(array), nothing)
    coded = array.dictionary_encode()
    images = [nothing if value is None else rule(value) for value in python_values(coded.dictionary)]
    table = np.array([*images, nothing], dtype=np.float64)
    return np.asarray(table[np.asarray(coded.indices.fill_null(len(images)))])


def _like(array: pa.Array, texts: Sequence[str]) -> pa.Array:
    return pa.array(list(texts), type=array.type)


def _from_pandas(series: pd.Series[Any]) -> pa.Array:
    import pandas as pd  # here, since most tables come without it, and it takes a while

    kind = series.dtype
    if isinstance(kind, pd.SparseDtype):
        series = series.astype(kind.subtype)
        kind = series.dtype
    typed = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)
    if typed or pd.api.types.is_datetime64_dtype(kind):
        return simple(pa.array(series.copy(), from_pandas=True))
    nothing = (None, pd.NA, pd.NaT)
    texts = [
        None if any(value is each for each in nothing) or _is_nan(value) else _text(value) for value in series
    ]
    return pa.array(texts, type=pa.string())


def _is_nan(value: object) -> bool:
    """Of one object: pandas' own look at all of them stops at a signalling NaN."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _text(value: object) -> str:
    """A typed value as `category_text` has it in a column of its own type: -0.0 is 0, 1e16 is whole, b"F" is F.

    A null or a text elsewhere in its column may not change how it reads.
    """
    if isinstance(value, str):
        return text_of(value)
    return category_text(value.item() if isinstance(value, np.number | np.bool_) else value)
