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

from cohortmix.core.data.cell import NULL_TEXTS, TRUTH_TEXTS, category_text, day_of, number_of, text_of, whole_text
from cohortmix.core.data.schema import EXACT, Category, Column, Date, Number, Schema

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
        For a column that the table lacks or holds twice, or whose type cannot be read.
    """

    def __init__(self, table: pa.Table | pd.DataFrame, columns: Sequence[str] | None = None) -> None:
        have = [str(name) for name in (table.column_names if isinstance(table, pa.Table) else table.columns)]
        self.names: tuple[str, ...] = tuple(have if columns is None else columns)
        require_columns(have, self.names)
        positions = [have.index(name) for name in self.names]
        inexact = set()
        arrays = []
        for name, at in zip(self.names, positions, strict=True):
            if isinstance(table, pa.Table):
                arrays.append(simple(table.column(at)))
                continue
            array, merges = _from_pandas(table.iloc[:, at])
            arrays.append(array)
            if merges:
                inexact.add(name)
        self._table = pa.Table.from_arrays(arrays, names=list(self.names))
        #: columns that became text cell by cell, and held a float which may stand for several whole numbers
        self.inexact = frozenset(inexact)

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
    names = code_columns(schema)
    lost: frozenset[str] = getattr(source, "inexact", frozenset())  # seen before a conversion hid it
    for batch in source.batches():
        for name in names:
            if name in lost or merges(batch.column(name)):
                raise inexact_codes(name, schema)


def code_columns(schema: Schema) -> list[str]:
    """The columns whose values are told apart as codes: categories, and the patient key."""
    names = [name for name, column in schema.columns.items() if isinstance(column, Category)]
    names += [schema.patient_key] if schema.patient_key is not None else []
    return names


def inexact_codes(name: str, schema: Schema) -> InputError:
    """The sentence for a key or a category of floats that may have merged."""
    what = "the patient key" if name == schema.patient_key else "column"
    return InputError(
        f"{what} {name!r} is a column of floats, and too large for them to tell whole numbers apart; "
        "read the file with pyarrow, or make the column text"
    )


def is_inexact(value: object) -> bool:
    """Whether a value is a float of any width that may stand for several whole numbers."""
    if isinstance(value, complex | np.complexfloating):
        return is_inexact(value.real) or is_inexact(value.imag)
    if not isinstance(value, float | np.floating):
        return False
    exact: float = EXACT if isinstance(value, float) else 2.0 ** (np.finfo(value.dtype).nmant + 1)
    return bool(abs(float(value)) >= exact)


def merges(array: pa.Array) -> bool:
    """Whether an array is of floats, one of which may stand for several whole numbers."""
    codes = simple(array)
    if not pa.types.is_floating(codes.type):
        return False
    values = np.abs(np.asarray(codes)[~is_null(codes)])
    return bool((values >= 2.0 ** (np.finfo(values.dtype).nmant + 1)).any())  # 2^53 for float64


def quoted(names: Sequence[str], most: int = 12) -> str:
    """Names as text for a message: `'AGE', 'SEX' and 9 more`."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def simple(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The array as truth values, numbers, days, times or texts; what is none of these as text, value by value.

    Dictionaries are decoded. Bytes are the text that they hold in UTF-8, a decimal number its digits, a UUID its
    usual form. Lists and structs stay, and are no value of any column.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    if pa.types.is_dictionary(array.type):
        held = array.type.value_type  # pyarrow has no decoding for views
        if pa.types.is_string_view(held) or pa.types.is_binary_view(held):
            texts = [None if value is None else text_of(value) for value in python_values(array)]
            array = pa.array(texts, pa.string())
        else:
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
    # A truth value reads `true`, whether its column holds truth values alone or texts beside them; pandas' texts
    # write it `True`.
    codes = {text.lower(): code for text, code in codes.items() if text.lower() in TRUTH_TEXTS} | codes

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
    values = python_values(coded.dictionary)
    keys = [None if value is None or value != value else category_text(value) for value in values]  # NaT, NaN
    texts = [None if key is None or key.lower() in NULL_TEXTS else key for key in keys]
    return [None if code is None else texts[code] for code in coded.indices.to_pylist()]


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


def _from_pandas(series: pd.Series[Any]) -> tuple[pa.Array, bool]:
    """The column as an array, and whether floats that may have merged whole numbers became text on the way."""
    import pandas as pd  # here, since most tables come without it, and it takes a while

    kind = series.dtype
    try:
        if isinstance(kind, pd.SparseDtype):
            series = series.astype(kind.subtype)
            kind = series.dtype
        typed = pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)
        if typed or pd.api.types.is_datetime64_dtype(kind):
            return simple(pa.array(series.copy(), from_pandas=True)), False
    except (pa.ArrowException, TypeError, ValueError):  # their texts can quote a value
        raise InputError(
            f"column {str(series.name)!r} has the type {kind}, which cannot be read; make it numbers, days or text"
        ) from None
    nothing = (None, pd.NA, pd.NaT)
    texts = [
        None if any(value is each for each in nothing) or _is_nan(value) else _text(value) for value in series
    ]
    return pa.array(texts, type=pa.string()), _hides_merged(series)


def _hides_merged(series: pd.Series[Any]) -> bool:
    """Whether floats that may have merged whole numbers are among the values, in the width that they have."""
    import pandas as pd

    if isinstance(series.dtype, pd.CategoricalDtype | pd.ArrowDtype):  # Python's own floats would be wider
        return merges(pa.array(series))
    return any(map(is_inexact, series))


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
    if isinstance(value, np.datetime64):
        import pandas as pd  # it is loaded already: the value came from a frame

        value = pd.Timestamp(value)
    return category_text(value.item() if isinstance(value, np.number | np.bool_) else value)
