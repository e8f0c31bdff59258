"""Reading: which cell of the public grid each record is in, found for each of its values by itself.

The grid comes from the schema alone (`encoding`). A cell is found by comparing the raw value with public edges or
texts; before that a value is only converted to float64, by itself, so that its cell does not depend on the batch
in which it is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cohortmix.core.data.values import category_codes, numbers

if TYPE_CHECKING:
    from cohortmix.core.data.dictionary.columns import Column

UNKNOWN = -1  # the zero block: a value that is neither declared nor allowed to be missing


@dataclass(frozen=True)
class ColumnReader:
    """How one column is read.

    Attributes
    ----------
    name, column : of the column, and its description.
    edges : (m - 1,) raw interior edges of a number's m intervals, ascending; none of a category.
    """

    name: str
    column: Column
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if any(not low < high for low, high in pairwise(self.edges)):
            raise ValueError(f"column {self.name!r}: edges must ascend")  # a search among others is no comparison

    @property
    def values(self) -> int:
        """Number of cells that hold values: the declared ones of a category, or m intervals."""
        return len(self.column.values) if self.column.type == "category" else len(self.edges) + 1

    @property
    def missing(self) -> int:
        """The slot for missing values; UNKNOWN if the schema does not allow them."""
        return self.values if self.column.missing else UNKNOWN

    @property
    def size(self) -> int:
        """Number of cells, the slot for missing included."""
        return self.values + bool(self.column.missing)

    def codes(self, array: pa.Array) -> NDArray[np.int32]:
        """Cell of each entry, shape (n,); total: any value of any type has one, UNKNOWN included.

        Numbers outside their bounds fall into the end cells; what is no number (NaN and infinities as well)
        or no declared value counts as missing. What a dictionary holds is read once for all its entries.
        """
        if pa.types.is_dictionary(array.type):
            places = array.indices.cast(pa.int64()).fill_null(len(array.dictionary))
            return np.append(self.codes(array.dictionary), np.int32(self.missing)).take(np.asarray(places))
        if self.column.type == "category":
            found = category_codes(array, self.column)
            return np.where(found >= 0, found, self.missing).astype(np.int32)
        values = numbers(array, self.column)
        found = np.searchsorted(np.asarray(self.edges, dtype=np.float64), values, side="right")
        return np.where(np.isnan(values), self.missing, found).astype(np.int32)


@dataclass(frozen=True)
class LabelReader:
    """How a record's class is read: from the parts in which its values are, of the columns of the outcome.

    Attributes
    ----------
    columns : of the outcome; without one, all records are of one class.
    parts : for each column, the part 0, 1, ... to which each of its cells belongs.
    """

    columns: tuple[ColumnReader, ...]
    parts: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        """C, the number of classes: of every combination of parts."""
        return prod(max(parts) + 1 for parts in self.parts)

    def codes(self, batch: pa.RecordBatch) -> NDArray[np.int32]:
        """Class of each record, shape (n,); UNKNOWN where one of the values is."""
        label = np.zeros(batch.num_rows, dtype=np.int32)
        for reader, parts in zip(self.columns, self.parts, strict=True):
            # UNKNOWN is -1, so it picks the last entry, which is UNKNOWN again.
            part = np.asarray((*parts, UNKNOWN), dtype=np.int32)[reader.codes(batch.column(reader.name))]
            known = (label >= 0) & (part >= 0)
            label = np.where(known, label * np.int32(max(parts) + 1) + part, np.int32(UNKNOWN))
        return label


@dataclass(frozen=True)
class RecordReader:
    """How a record is read: its features in the schema's order, and its label."""

    features: tuple[ColumnReader, ...]
    label: LabelReader

    def on(self, grid: Iterable[tuple[int, tuple[float, ...]]]) -> RecordReader:
        """The same with other edges of some features; ValueError for a category, which has none."""
        features = list(self.features)
        for column, edges in grid:
            if features[column].column.type == "category":
                raise ValueError(f"column {features[column].name!r} is a category: its values have no edges")
            features[column] = replace(features[column], edges=edges)
        return replace(self, features=tuple(features))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of fine cells of each feature; their sum is F."""
        return tuple(reader.size for reader in self.features)

    def codes(self, batch: pa.RecordBatch) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Cells of each record: features (n, D) and label (n,); `codes(batch)[i]` depends on row i alone."""
        return self.feature_codes(batch), self.label.codes(batch)

    def feature_codes(self, batch: pa.RecordBatch) -> NDArray[np.int32]:
        """Cells of the features alone, (n, D)."""
        return np.stack([reader.codes(batch.column(reader.name)) for reader in self.features], axis=1)
