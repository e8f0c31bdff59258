"""Cells: the public grid on which every column is read, and the way back to values.

A record becomes one cell per column: a declared value of a category, an interval of a number's declared
range, or the slot for missing values. The grid follows from the schema alone; `reading` finds a record's cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import ceil, floor, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Column, Date, Number
from cohortmix.core.data.dictionary.grid import edges_of, is_whole, limits
from cohortmix.core.data.reading import ColumnReader, LabelReader, RecordReader
from cohortmix.core.data.sampling import PointMass, with_points
from cohortmix.core.data.schema import Schema

if TYPE_CHECKING:
    import pyarrow as pa

COARSE = 8  # coarse bins of a number, measured beside its fine cells: a sum of many noised cells would be noisier


@dataclass(frozen=True)
class Cells:
    """The fine cells of one column.

    Attributes
    ----------
    name : the column.
    column : its declaration.
    size : number of cells, the slot for missing values included.
    edges : (m - 1,) raw interior edges of a number's m intervals, ascending; None for a category.
    coarse : (size,) the coarse bin to which each fine cell belongs; None where the cells are few enough without.
    missing : the slot for missing values; UNKNOWN if the schema does not allow them.
    weight : of a coarse bin in answer A: 1, but for an outcome's own column, which all others are seen with.
    """

    name: str
    column: Column
    size: int
    edges: tuple[float, ...] | None
    coarse: tuple[int, ...] | None
    missing: int
    weight: float = 1.0

    @classmethod
    def of(cls, name: str, column: Column) -> Cells:
        """The grid that the schema alone determines."""
        edges = None if isinstance(column, Category) else edges_of(column)
        reader = ColumnReader(name, column, edges or ())
        return cls(name, column, reader.size, edges, _coarse_bins(reader) if edges else None, reader.missing)

    def within(self, slices: Sequence[int] | None, weight: float) -> Cells:
        """The same cells of the given weight, with coarse bins of which none is in two slices of an outcome."""
        if slices is None or self.coarse is None:
            return self
        slice_of, parts = np.asarray(slices), max(2, COARSE // (max(slices) + 1))
        before = np.searchsorted(slice_of, slice_of)  # cells in earlier slices
        part = parts * (np.arange(len(slice_of)) - before) // np.bincount(slice_of)[slice_of]
        coarse = np.unique(parts * slice_of + part, return_inverse=True)[1]
        return replace(self, coarse=tuple(coarse.tolist()), weight=weight)

    @property
    def reader(self) -> ColumnReader:
        """How the column is read on this grid."""
        return ColumnReader(self.name, self.column, self.edges or ())

    def codes(self, array: pa.Array) -> NDArray[np.int32]:
        """Cell of each entry, shape (n,); see `ColumnReader.codes`."""
        return self.reader.codes(array)

    def numbers(
        self, codes: NDArray[np.int32], rng: np.random.Generator, points: Sequence[PointMass] = ()
    ) -> NDArray[np.float64]:
        """A number for each cell: uniform within an interval, whole where the column is; of a date its ordinal, of
        a category the place of its value, NaN for missing.

        Of a cell with point masses, these values for their shares of the cell.
        """
        out = np.full(len(codes), np.nan)
        known = (codes >= 0) & (codes != self.missing)
        if isinstance(self.column, Category):
            out[known] = codes[known]
        else:
            out[known] = with_points(self._uniform(codes[known], rng), codes[known], points, rng)
        return out

    def values(self, numbers: NDArray[np.float64]) -> NDArray[np.object_]:
        """The values that such numbers stand for."""
        column = self.column
        out = np.full(len(numbers), None, dtype=object)
        known = ~np.isnan(numbers)
        if isinstance(column, Category):
            out[known] = np.asarray(column.values, dtype=object)[numbers[known].astype(np.int64)]
        elif isinstance(column, Date):
            out[known] = [date.fromordinal(int(day)) for day in numbers[known]]
        else:
            out[known] = numbers[known]
        return out

    def interval(self, code: int) -> tuple[Any, Any]:
        """Smallest and largest value of a cell of a number or date column."""
        low, high = self.ends(code)
        if isinstance(self.column, Date):
            return date.fromordinal(int(low)), date.fromordinal(int(high))
        return low, high

    def ends(self, code: int) -> tuple[float, float]:
        """The same, of a date as ordinals."""
        low, high = self._ends(np.array([code]))
        return float(low[0]), float(high[0])

    def overlaps(self, atoms: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
        """(size,) which cells have a value in one of some intervals, that hold both of their ends.

        An interval of NaN is the slot for missing values.
        """
        out = np.zeros(self.size, dtype=bool)
        known = [(low, high) for low, high in atoms if low == low]
        if self.missing >= 0:
            out[self.missing] = len(known) < len(atoms)
        if isinstance(self.column, Category):
            out[[int(place) for place, _ in known]] = True
            return out
        left, right = self._ends(np.arange(len(self.edges or ()) + 1))
        last = np.where(is_whole(self.column) | (left == right), right, np.nextafter(right, -np.inf))
        last[-1] = right[-1]
        for low, high in known:
            out[: len(left)] |= (low <= last) & (left <= high)
        return out

    @property
    def widths(self) -> NDArray[np.float64]:
        """(size,) of each cell of a number or date, the whole values in it or its length on the column's scale.

        The slot for missing values has 1.
        """
        if isinstance(self.column, Number) and self.column.transform == "log1p":
            lengths = self._between(np.log1p)
        else:
            lengths = self.lengths
        return np.append(lengths, np.ones(self.size - len(lengths)))

    @property
    def lengths(self) -> NDArray[np.float64]:
        """(values,) of each cell of a number or date in the column's own units, or the whole values in it."""
        return self._between(np.asarray)

    def _between(self, scale: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NDArray[np.float64]:
        left, right = self._ends(np.arange(self.size - (self.missing >= 0)))
        right = right + 1 if is_whole(self.column) else right
        return np.maximum(scale(right) - scale(left), np.finfo(np.float64).tiny)

    def _ends(self, codes: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Both ends of each cell; for whole numbers, the first and the last one in it."""
        assert not isinstance(self.column, Category)
        low, high = limits(self.column)
        ends = np.concatenate([[low], np.asarray(self.edges), [high]])
        left, right = ends[codes], ends[codes + 1]
        if is_whole(self.column):
            left = np.ceil(left)
            return left, np.where(codes == len(ends) - 2, high, np.ceil(right) - 1)
        return left, np.where(right == np.nextafter(left, np.inf), left, right)

    def _uniform(self, codes: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.float64]:
        left, right = self._ends(codes)
        u = rng.random(len(codes))
        if is_whole(self.column):
            return np.asarray(left + np.floor(u * (right - left + 1)))
        inside = left + u * (right - left)
        if isinstance(self.column, Number) and self.column.transform == "log1p":
            inside = np.expm1(np.log1p(left) + u * (np.log1p(right) - np.log1p(left)))
        last = np.nextafter(right, -np.inf)  # the edge itself lies in the next cell
        drawn = np.clip(inside, left, np.maximum(left, last))
        return self._to_decimals(drawn) if isinstance(self.column, Number) and self.column.decimals else drawn

    def _to_decimals(self, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rounded to the column's decimals, within its bounds; a cell without such a value gives a neighbour's."""
        assert isinstance(self.column, Number)
        assert self.column.decimals is not None
        low, high = self.column.as_written(self.column.min, ceil), self.column.as_written(self.column.max, floor)
        return np.clip(np.round(drawn, self.column.decimals), low, high)


@dataclass(frozen=True)
class Encoding:
    """The cells of all columns of a schema.

    Attributes
    ----------
    features : the D columns that the class alone does not tell, in the schema's order.
    label : how the class is read, of C.
    possible : for each feature, (C, m) in which of its m cells a record of each class can be; None if in all.
    """

    features: tuple[Cells, ...]
    label: LabelReader
    possible: tuple[NDArray[np.bool_] | None, ...]

    @classmethod
    def of(cls, schema: Schema) -> Encoding:
        """The encoding that a schema determines."""
        outcome = schema.outcome
        slices = dict(zip(outcome.columns, outcome.slices, strict=True))
        weight = max(1.0, sqrt(len(schema.features) / 4))  # as the class has in answer A
        features = tuple(
            Cells.of(name, schema.columns[name]).within(slices.get(name), weight) for name in schema.features
        )
        readers = tuple(Cells.of(name, schema.columns[name]).reader for name in outcome.columns)
        possible = tuple(_possible(cells, schema) for cells in features)
        return cls(features, LabelReader(readers, outcome.slices), possible)

    @property
    def sliced(self) -> tuple[str, ...]:
        """The features by whose slices the classes are told apart: a number that is the target, or a time."""
        return tuple({cells.name for cells in self.features} & {column.name for column in self.label.columns})

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of fine cells of each feature; their sum is F."""
        return tuple(cells.size for cells in self.features)

    @property
    def reader(self) -> RecordReader:
        """How a record is read on this grid."""
        return RecordReader(tuple(cells.reader for cells in self.features), self.label)

    @property
    def blocks(self) -> tuple[slice, ...]:
        """Where each feature's fine cells stand among all F."""
        return blocks_of(self.sizes)

    def codes(self, batch: pa.RecordBatch) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Cells of each record: features (n, D) and label (n,); `codes(batch)[i]` depends on row i alone."""
        return self.reader.codes(batch)

    def feature_codes(self, batch: pa.RecordBatch) -> NDArray[np.int32]:
        """Cells of the features alone, (n, D)."""
        return self.reader.feature_codes(batch)


def _possible(cells: Cells, schema: Schema) -> NDArray[np.bool_] | None:
    """(C, m) in which of its cells a record of each class can be, by the outcome and the rules; None if in all."""
    found = schema.outcome.possible(cells.name, cells.size)
    for part in schema.connected:
        if cells.name in part.names:
            of_rules = np.stack([cells.overlaps(domains[cells.name]) for domains in part.by_class])
            found = of_rules if found is None else found & of_rules
    return None if found is None or found.all() else found


def blocks_of(sizes: Sequence[int]) -> tuple[slice, ...]:
    """Where each feature's cells stand, when those of all features are laid side by side."""
    ends = np.cumsum(sizes)
    return tuple(slice(int(end - size), int(end)) for size, end in zip(sizes, ends, strict=True))


def one_hot(codes: NDArray[np.integer[Any]], sizes: tuple[int, ...]) -> NDArray[np.float32]:
    """Codes (n, D) as one-hot blocks side by side, (n, sum(sizes)); an UNKNOWN cell is a block of zeros."""
    starts = np.concatenate([[0], np.cumsum(sizes)])
    out = np.zeros((len(codes), int(starts[-1])), dtype=np.float32)
    rows, columns = np.nonzero(codes >= 0)
    out[rows, starts[columns] + codes[rows, columns]] = 1
    return out


def _coarse_bins(reader: ColumnReader) -> tuple[int, ...] | None:
    """The coarse bin of each fine cell: about equally many cells each; the slot for missing values is its own."""
    if reader.values <= COARSE:
        return None
    bins = np.arange(reader.values) * COARSE // reader.values
    return (*bins.tolist(), *([COARSE] if reader.column.missing else []))
