"""Standardized values, "levels" for short: a record as numbers, for tables too wide for one-hot cells.

A number or date has one coordinate, its place t in [-1, 1] between the declared bounds (after the declared
transform); a category has one coordinate per value, 0 or 1, and so has `missing`. A level is t, less a centre and
divided by a scale. A record's t follows from its fine cell, so the vault finds it by comparisons alone. Axes,
centre and scale are public; the records that are handed to `of_cells` need not be.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Date
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.privacy.questions.coordinates import Coordinate

FURTHEST = 10.0  # scales from the centre: a level beyond counts as if it were there, so that integers stay small
SHARE_SCALE = 0.5  # scale of a coordinate that is 0 or 1: its largest standard deviation

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Axis:
    """One coordinate of a record.

    Attributes
    ----------
    name : of the column, with the value where it is a share: `AGE`, `SEX: F`, `AGE: missing`.
    column : index of the feature.
    places : (size,) t of each fine cell; NaN for the slot of missing values.
    share : whether t is 0 or 1, the presence of one cell, so that its mean is a share of patients.
    """

    name: str
    column: int
    places: Array
    share: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Levels:
    """Coordinates of a schema, standardized: level = (t - centre) / scale; all public.

    Attributes
    ----------
    encoding : the cells of the schema.
    axes : the K coordinates.
    centre, scale : (K,) released location and spread of t.
    """

    encoding: Encoding
    axes: tuple[Axis, ...]
    centre: Array
    scale: Array

    @classmethod
    def of(cls, encoding: Encoding) -> Levels:
        """Centre 0 and scale 1: the levels are t itself."""
        axes = tuple(axis for at, cells in enumerate(encoding.features) for axis in _axes(at, cells))
        return cls(encoding=encoding, axes=axes, centre=np.zeros(len(axes)), scale=np.ones(len(axes)))

    @property
    def shares(self) -> NDArray[np.bool_]:
        """(K,) which coordinates are 0 or 1."""
        return np.array([axis.share for axis in self.axes], dtype=np.bool_)

    @property
    def alike(self) -> NDArray[np.int64]:
        """(K,) equal numbers for coordinates that the schema declares alike: same bounds, same transform."""
        declared = [self.encoding.features[axis.column].column for axis in self.axes]
        keys = [
            (axis.share, *(str(getattr(column, name, None)) for name in ("type", "min", "max", "transform")))
            for axis, column in zip(self.axes, declared, strict=True)
        ]
        return np.array([keys.index(key) for key in keys], dtype=np.int64)

    def of_cells(self, codes: NDArray[np.int32]) -> Array:
        """Levels (n, K) of records' fine cells (n, D); a missing value lies at the centre."""
        return np.stack(
            [
                np.append(table, 0.0)[codes[:, axis.column]]  # UNKNOWN is -1
                for axis, table in zip(self.axes, self._tables(), strict=True)
            ],
            axis=1,
        )

    def coordinates(self, unit: int, spread: bool = False) -> tuple[Coordinate, ...]:
        """What to ask a vault: `unit` steps are a level of 1; with `spread`, distances from the centre."""
        return tuple(
            Coordinate(
                axis.column, tuple(int(step) for step in np.rint(unit * (np.abs(table) if spread else table)))
            )
            for axis, table in zip(self.axes, self._tables(), strict=True)
        )

    def to_cells(self, levels: Array) -> dict[str, NDArray[np.int32]]:
        """The fine cell of each feature for drawn levels (n, K), by the column's name."""
        t = self.centre + self.scale * levels
        codes: dict[str, NDArray[np.int32]] = {}
        for at, cells in enumerate(self.encoding.features):
            of_feature = [k for k, axis in enumerate(self.axes) if axis.column == at]
            drawn = t[:, of_feature]
            if isinstance(cells.column, Category):
                present = np.hstack([drawn, 1 - drawn]) if len(of_feature) == 1 else drawn
                codes[cells.name] = present.argmax(axis=1).astype(np.int32)
                continue
            places = self.axes[of_feature[0]].places
            places = places[~np.isnan(places)]
            nearest = np.searchsorted((places[1:] + places[:-1]) / 2, drawn[:, 0])
            absent = drawn[:, 1] > 0.5 if len(of_feature) > 1 else np.zeros(len(t), dtype=bool)
            codes[cells.name] = np.where(absent, cells.missing, nearest).astype(np.int32)
        return codes

    def in_units(self, levels: Array) -> dict[str, list[object]]:
        """Centroids (n, K) as a table: numbers in the units of their column, dates, shares of patients."""
        t = self.centre + self.scale * levels
        return {axis.name: self._in_units(axis, t[:, k]) for k, axis in enumerate(self.axes)}

    def _in_units(self, axis: Axis, t: Array) -> list[object]:
        if axis.share:
            return list(np.clip(t, 0, 1))
        cells, known = self.encoding.features[axis.column], ~np.isnan(axis.places)
        values = np.interp(t, axis.places[known], _middles(cells, int(known.sum())))
        return [date.fromordinal(round(v)) for v in values] if isinstance(cells.column, Date) else list(values)

    def _tables(self) -> list[Array]:
        """Level of each fine cell, for each coordinate."""
        return [
            np.nan_to_num(np.clip((axis.places - centre) / scale, -FURTHEST, FURTHEST))
            for axis, centre, scale in zip(self.axes, self.centre, self.scale, strict=True)
        ]


def _axes(at: int, cells: Cells) -> list[Axis]:
    """The coordinates of one feature. A category of two cells has one: the other cell is what is left."""
    if isinstance(cells.column, Category):
        names = [*cells.column.values, *(["missing"] if cells.missing >= 0 else [])]
        rows = np.eye(cells.size)[: 1 if cells.size == 2 else None]
        return [Axis(f"{cells.name}: {name}", at, row, True) for name, row in zip(names, rows, strict=False)]
    known = cells.size - (cells.missing >= 0)
    middles = _middles(cells, known)
    if getattr(cells.column, "transform", "identity") == "log1p":
        middles = np.log1p(middles)
    low, high = middles[0], middles[-1]
    places = 2 * (middles - low) / (high - low) - 1 if known > 1 else np.zeros(1)
    axes = [Axis(cells.name, at, np.append(places, [np.nan] * (cells.size - known)), False)]
    if cells.missing >= 0:
        axes.append(Axis(f"{cells.name}: missing", at, (np.arange(cells.size) == cells.missing) * 1.0, True))
    return axes


def _middles(cells: Cells, known: int) -> Array:
    """The middle of each interval, in the units of the column; days as ordinals."""
    ends = [cells.interval(code) for code in range(known)]
    return np.array([np.mean([e.toordinal() if isinstance(e, date) else e for e in pair]) for pair in ends])
