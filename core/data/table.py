"""Tables: where records come from, and what is refused of one before it is read.

A `Source` is a table that can be read again, in batches. What a DataFrame makes of its columns is undone here, so
that one patient cannot change how another patient is read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cohortmix.core.data.cell import NULL_TEXTS, category_text, text_of
from cohortmix.core.data.dictionary.columns import EXACT, Category, Column
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.values import is_text, simple
from cohortmix.core.data.words import MOST_NAMES, in_quotes, some

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 65_536
Result = TypeVar("Result")


class Source(Protocol):
    """A table that can be read again: the same rows in the same order each time."""

    @property
    def names(self) -> tuple[str, ...]:
        """Its columns."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows."""


class Divided(Source, Protocol):
    """A source that lies in pieces: their rows, one piece after the other, are the table's."""

    def each(self, function: Callable[..., Result], own: Iterable[Any], *common: Any) -> Iterator[Result]:
        """`function(piece, *own, *common)` of each piece, in their order; `own` has a tuple for each.

        A piece is a source. The function is found by its name where the piece is read, and computed there.
        """


class InputError(ValueError):
    """A table or file cannot be used; one sentence says what was expected, what came and what to do."""


def source_of(
    table: pa.Table | pa.RecordBatch | pd.DataFrame | Source, columns: Sequence[str] | None = None
) -> Source:
    """A table in any form in which a person may have it, as a source; of one in memory only the `columns`.

    Raises
    ------
    InputError
        For anything else, such as the name of a file; and as `TableSource`.
    """
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    if isinstance(table, pa.Table) or _is_frame(table):
        return TableSource(table, columns)
    if isinstance(table, type) or not (hasattr(table, "names") and hasattr(table, "batches")):
        raise InputError(
            f"expected table to be a pandas DataFrame, a pyarrow Table or a Source, got {type(table).__name__}; "
            "read a file first, as pandas.read_parquet does"
        )
    return cast(Source, table)


def _is_frame(table: object) -> bool:
    """Whether it is a DataFrame; where pandas is not loaded, nobody can have made one."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(table, pandas.DataFrame)


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
                arrays.append(simple(_without_runs(table.column(at))))
                continue
            array, lost = _from_pandas(table.iloc[:, at])
            arrays.append(array)
            if lost:
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


def quoted(names: Sequence[str], most: int = MOST_NAMES) -> str:
    """Names in quotation marks in a row: `'AGE', 'SEX' and 9 more`."""
    return some([in_quotes(name) for name in names], most)


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


def is_null(array: pa.Array) -> NDArray[np.bool_]:
    """Whether an entry holds no value, shape (n,); a number that is NaN holds none."""
    return np.asarray(pc.is_null(array, nan_is_null=True))


def _without_runs(column: pa.ChunkedArray) -> pa.Array:
    """A column that is run-end encoded as the values that it stands for."""
    array = column.combine_chunks()
    return pc.run_end_decode(array) if pa.types.is_run_end_encoded(array.type) else array


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
    values = series.to_numpy(dtype=object) if isinstance(kind, pd.StringDtype) else series
    nothing, read = (None, pd.NA, pd.NaT), dict[str, str]()
    texts: list[str | None] = []
    for value in values:
        if type(value) is str:  # most are, and few of them differ
            text = read.get(value)
            texts.append(read.setdefault(value, text_of(value)) if text is None else text)
        else:
            texts.append(None if any(value is each for each in nothing) or _is_nan(value) else _text(value))
    return pa.array(texts, type=pa.string()), _hides_merged(series)


def _hides_merged(series: pd.Series[Any]) -> bool:
    """Whether floats that may have merged whole numbers are among the values, in the width that they have."""
    import pandas as pd

    if isinstance(series.dtype, pd.CategoricalDtype | pd.ArrowDtype):  # Python's own floats would be wider
        return merges(pa.array(series))
    return any(is_inexact(value) for value in series.to_numpy() if type(value) is not str)


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
