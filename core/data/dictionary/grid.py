"""Grid: the edges of a number's or a date's cells, which its declaration alone determines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Column, Date, Number

EQUAL_CELLS = 100  # equal cells of a number's range: their number does not change the sensitivity of answer A
PER_DECADE = 4  # edges per decade of a logarithmic grid around the origin: equal cells put a skewed number in one
DECADES = 5  # of that grid: its finest cell is a hundred-thousandth of the range


def edges_of(column: Number | Date) -> tuple[float, ...]:
    """Interior edges: equal cells on the declared scale, and a logarithmic grid unless `knots` says how many."""
    low, high = limits(column)
    count = column.knots or EQUAL_CELLS
    if isinstance(column, Number) and column.transform == "log1p":
        edges = np.expm1(np.linspace(np.log1p(low), np.log1p(high), count + 1))
    else:
        edges = np.linspace(low, high, count + 1)
        if isinstance(column, Number) and not column.knots:
            edges = np.concatenate([edges, _log_grid(low, high)])
    # Machines differ in the last bits of a logarithm or a power; sites of a study must have the same cells.
    edges = np.array([float(f"{edge:.13g}") for edge in edges])
    edges[[0, count]] = low, high
    if is_whole(column):
        edges = np.ceil(edges) - 0.5
    elif low <= 0 < high and not column.knots:
        edges = np.concatenate([edges, [0.0, np.nextafter(0.0, 1.0)]])  # an exact zero is a cell of its own
    edges = np.concatenate([edges, cuts(column)])
    inside = np.unique(edges[(edges > low) & (edges < high)])
    return tuple(float(edge) for edge in inside)


def cuts(column: Number | Date) -> NDArray[np.float64]:
    """The edges at which the slices that a number declares begin."""
    declared = np.asarray(column.slices or (), dtype=np.float64) if isinstance(column, Number) else np.empty(0)
    return np.ceil(declared) - 0.5 if is_whole(column) else declared


def _log_grid(low: float, high: float) -> NDArray[np.float64]:
    """Edges on both sides of the origin (0, or the bound nearest to it), PER_DECADE of them per decade."""
    origin = min(max(0.0, low), high)
    steps = 10.0 ** (-np.arange(DECADES * PER_DECADE + 1) / PER_DECADE)
    return np.concatenate([origin + steps * (high - origin), origin - steps * (origin - low)])


def bounds(column: Number | Date) -> tuple[float, float]:
    """The declared bounds in the units of `data.values.numbers`."""
    if isinstance(column, Date):
        return float(column.min.toordinal()), float(column.max.toordinal())
    return column.min, column.max


def limits(column: Number | Date) -> tuple[float, float]:
    """The declared bounds; for whole numbers, the first and the last one within them."""
    low, high = bounds(column)
    return (float(np.ceil(low)), float(np.floor(high))) if is_whole(column) else (low, high)


def is_whole(column: Column) -> bool:
    """Whether values are whole numbers: days, or numbers that the schema declares so."""
    return isinstance(column, Date) or (isinstance(column, Number) and column.integer)
