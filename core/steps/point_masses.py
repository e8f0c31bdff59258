"""Point masses: values that many patients share, an imputed one or a ceiling, found within a cell (answer D).

A fine cell that holds clearly more than those beside it is looked into: how many patients have each value in it,
down to the decimals that the schema declares. What stands out there is drawn as that value, not as any other of
the cell. Which cells are looked into follows from answer A, and how much they cost from what they hold; a table
without such cells is asked nothing. In a study they follow from what all sites are told before round 2, and what
stands out is read off the sum over the sites. Released values only.

Symbols: C classes, L columns that are looked into, q values of a cell, s the noise of a count, in patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor, log2, sqrt

import numpy as np

from cohortmix.core.data.dictionary.columns import Category, Date, Number
from cohortmix.core.data.encoding import Cells, Encoding
from cohortmix.core.data.sampling import PointMass
from cohortmix.core.privacy.questions.value_counts import NOWHERE, ValueCounts, Values
from cohortmix.core.steps.centroids import Margins
from cohortmix.core.steps.distributions.simplex import Array
from cohortmix.core.steps.distributions.smooth import peaks
from cohortmix.core.steps.scores.moments import Answered

COST = Fraction(1, 50)  # of mu^2, at most: the question has to be cheap where it finds nothing
LEAST_NOISES = 12.0  # s that a cell holds at least: half of it in one value then stands out clearly
ENOUGH_NOISES = 30.0  # s of the lightest cell, from which on nothing more is spent
CLEAR = 5.0  # s by which a value stands out; among a few thousand, noise alone reaches 3.6
TIMES = 2.0  # what a run of values holds, in units of the runs beside it, if it is one value of them
MOST_VALUES = 2000  # counted of one cell, of a column whose decimals are declared; of more, runs of them
RUNS = 500  # in a cell of other columns
MOST_COUNTED = 8000  # of all cells, so that an answer is small; its share of kappa is known beforehand
ROUNDS = 3  # in which point masses are taken off, and what is left of a cell is spread over its other values
ROOM = 1 << 10  # steps of the lattice of edges in a run, where no decimals are declared
SHORTEST = 1e-12  # of a cell, as a share of its column: a cell of one point, such as an exact zero, has no length


@dataclass(frozen=True)
class Look:
    """A cell that is looked into.

    Attributes
    ----------
    feature, cell : which.
    mass : released share of the patients who are known to be in it.
    edges : (q + 1,) of its values, or of runs of them, as whole numbers over `denominator`.
    first, last : whether it is that of the smallest or of the largest values, where those beyond the bounds are.
    single : whether there is one value between two edges, and not a run of them.
    """

    feature: int
    cell: int
    mass: float
    edges: tuple[int, ...]
    denominator: int
    first: bool = False
    last: bool = False
    single: bool = True


def choose(
    encoding: Encoding, margins: Margins, known: Array, patients: int, mu2: Fraction
) -> tuple[tuple[Look, ...], Fraction]:
    """Cells to look into, and the part of mu^2 that it costs: 0 where there is none.

    As many columns as COST allows, those with the heaviest cells first.

    Parameters
    ----------
    margins : of all patients of whom answers A are there.
    known : (D,) share of the patients of whom a feature is known, whom alone an answer counts.
    patients : who are counted.
    mu2 : of the whole release; of a sum over sites, divided by the number of their noises in it.
    """
    looks = sorted(
        (look for j in range(len(encoding.features)) for look in _candidates(encoding, j, margins, known[j])),
        key=lambda look: -look.mass,
    )
    heaviest: dict[int, float] = {}
    for look in looks:
        heaviest.setdefault(look.feature, look.mass)
    cost, kept = Fraction(0), set[int]()
    for columns, (feature, mass) in enumerate(heaviest.items(), 1):
        of_cell = (mass * patients) ** 2 * float(mu2)
        if LEAST_NOISES**2 * 2 * columns > COST * of_cell:  # s is sqrt(2 L) / mu
            break
        of_one = 2 * columns / of_cell
        cost = min(COST, Fraction(ceil(ENOUGH_NOISES**2 * of_one * 10_000), 10_000))
        kept.add(feature)
    if not kept:
        return (), cost
    # Of a column that is paid for, other cells cost nothing more.
    least = LEAST_NOISES * sqrt(2 * len(kept) / (float(cost) * float(mu2))) / patients
    chosen: list[Look] = []
    for look in looks:
        counted = sum(len(other.edges) - 1 for other in (*chosen, look))
        if look.feature in kept and look.mass >= least and counted <= MOST_COUNTED:
            chosen.append(look)
    return tuple(sorted(chosen, key=lambda look: (look.feature, look.cell))), cost


def question(looks: Sequence[Look]) -> ValueCounts:
    """How many patients have each value of these cells."""
    return ValueCounts(tuple(_values(j, looks) for j in sorted({look.feature for look in looks})))


def weighed(looks: Sequence[Look], encoding: Encoding, margins: Margins, known: Array) -> tuple[Look, ...]:
    """The looks with what their cells hold of the patients who were counted, whose margins these are."""
    blocks, pooled = encoding.blocks, margins.pooled
    return tuple(
        replace(look, mass=float(pooled[blocks[look.feature]][look.cell] * known[look.feature])) for look in looks
    )


def possible(encoding: Encoding) -> bool:
    """Whether any cell of the schema can be looked into."""
    numbers = (cells for cells in encoding.features if not isinstance(cells.column, Category))
    return any(_edges(cells, cell) is not None for cells in numbers for cell in range(_largest_cell(cells) + 1))


def read(encoding: Encoding, looks: Sequence[Look], answer: Answered, patients: int) -> tuple[PointMass, ...]:
    """The point masses: what stands out from the other values of its cell, as a share of the cell.

    A run of values is one of them only if it holds much more than the runs beside it: else it is a steep density.
    """
    counts, s, found, start = answer.estimate, answer.std, [], 0
    for look in looks:
        of_cell = counts[start : start + len(look.edges) - 1]
        start += len(of_cell)
        mass, points = look.mass * patients, np.zeros(len(of_cell), dtype=bool)
        beside = np.pad(of_cell, 1, constant_values=0.0)
        alone = look.single | (of_cell > TIMES * np.maximum(beside[:-2], beside[2:]) + CLEAR * s)
        for _ in range(ROUNDS):
            others = max(mass - float(of_cell[points].sum()), 0.0) / max(1, int((~points).sum()))
            points = alone & (of_cell > others + CLEAR * s)
        whole = max(mass, float(of_cell[points].sum())) or 1.0  # of those who were counted, a cell may have none
        shares = np.where(points, of_cell - others, 0.0) / whole
        cells = encoding.features[look.feature]
        for at in np.flatnonzero(points).tolist():
            value = _value(look, at, cells)
            found.append(PointMass(cells.name, look.cell, value, float(shares[at])))
    return tuple(found)


def _candidates(encoding: Encoding, feature: int, margins: Margins, known: float) -> list[Look]:
    """The cells of a feature that hold clearly more than those beside them, and more than one value.

    A cell of one value says nothing of the density beside it, and is left out of the comparison.
    """
    cells, block = encoding.features[feature], encoding.blocks[feature]
    if isinstance(cells.column, Category):
        return []
    last = _largest_cell(cells)
    edges = {cell: found for cell in range(last + 1) if (found := _edges(cells, cell)) is not None}
    if not edges:
        return []
    wide = np.array(list(edges))
    pooled, width = margins.pooled[block][wide], cells.widths[wide]
    noise = np.full(len(wide), margins.s_a * sqrt(len(margins.masses)) / margins.masses.sum())
    looks = []
    for cell, mass in zip(wide, pooled, strict=True):
        own, denominator, single = edges[int(cell)]
        looks.append(
            Look(feature, int(cell), float(mass) * known, own, denominator, cell == 0, cell == last, single)
        )
    return [look for look, peak in zip(looks, peaks(pooled, width / width.sum(), noise), strict=True) if peak]


def _edges(cells: Cells, cell: int) -> tuple[tuple[int, ...], int, bool] | None:
    """Edges of the values of a cell, or of runs of them, over a denominator; and whether each holds one value.

    None for a cell of one value, or of values that floating point does not tell apart.
    """
    column, (low, high) = cells.column, cells.ends(cell)
    try:
        if isinstance(column, Number) and not column.integer and column.decimals is None:
            lengths = cells.lengths
            finest = float(lengths[lengths > SHORTEST * lengths.max()].min()) / RUNS
            denominator = 1 << max(0, ceil(log2(ROOM / finest)))
            inside = np.linspace(low, high, RUNS + 1).tolist()
            edges, single = tuple(dict.fromkeys(_floor(edge, denominator) for edge in inside)), False
        else:
            scale = 10 ** (getattr(column, "decimals", None) or 0)
            first, last = _first_and_last(cells, cell, low, high, scale)
            run = max(1, ceil((last - first + 1) / MOST_VALUES))
            if run > 1 and isinstance(column, Date):
                return None  # no day of a run is plainer than another
            edges, single = (*(2 * k - 1 for k in range(first, last + 1, run)), 2 * last + 1), run == 1
            denominator = 2 * scale
        told_apart = all(a / denominator < b / denominator for a, b in pairwise(edges))
    except OverflowError:
        return None
    return (edges, denominator, single) if told_apart and len(edges) > 2 else None


def _floor(edge: float, denominator: int) -> int:
    """An edge on the lattice, not above the true one, on which a value can lie; but above zero where that is."""
    step = floor(edge * denominator)
    return step + (step == 0 and edge > 0)


def _first_and_last(cells: Cells, cell: int, low: float, high: float, scale: int) -> tuple[int, int]:
    """The values k / scale of a cell of a column with decimals, or of whole numbers and days."""
    if scale == 1:
        return round(low), round(high)
    first, last = floor(low * scale), ceil(high * scale)
    first += next(more for more in range(3) if (first + more) / scale >= low)
    of_largest = cell == _largest_cell(cells)
    last -= next(
        less for less in range(3) if (last - less) / scale < high or (of_largest and (last - less) / scale == high)
    )
    return first, last


def _value(look: Look, at: int, cells: Cells) -> float:
    """The value between two edges: the one that there is, the bound, or the one of fewest decimals."""
    low, high = (look.edges[at + k] / look.denominator for k in (0, 1))
    if look.last and at == len(look.edges) - 2 and not look.single:
        return _largest(cells)
    return _plainest(low, high)


def _largest(cells: Cells) -> float:
    """The largest value of a column."""
    column, high = cells.column, cells.ends(_largest_cell(cells))[1]
    return column.as_written(high, floor) if isinstance(column, Number) else high


def _largest_cell(cells: Cells) -> int:
    """The cell of the largest values; after it there is at most the one of missing values."""
    return cells.size - (cells.missing >= 0) - 1


def _values(feature: int, looks: Sequence[Look]) -> Values:
    """The looks into one feature as one block: cells in order; what lies between them is not counted."""
    mine = [look for look in looks if look.feature == feature]
    edges: list[int] = []
    slots = [0 if mine[0].first else NOWHERE]
    for look in mine:
        beside = bool(edges) and edges[-1] == look.edges[0]  # its first edge is the last one of the cell before
        counted = max(slots) + 1 if edges else 0
        edges = [*(edges[:-1] if beside else edges), *look.edges]
        inside = range(counted, counted + len(look.edges) - 1)
        slots = [*(slots[:-1] if beside else slots), *inside, inside[-1] if look.last else NOWHERE]
    return Values(feature, tuple(edges), mine[0].denominator, tuple(slots))


def _plainest(low: float, high: float) -> float:
    """The number of fewest decimals in an interval, nearest to its middle: people round what they write."""
    middle = (low + high) / 2
    for decimals in range(-15, 16):
        rounded = round(middle, decimals)
        if low <= rounded < high:
            return float(rounded)
    return middle
