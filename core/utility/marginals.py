"""Marginals: how far those of two tables are apart, column by column and pair by pair.

Not private: every figure is computed from real records, and stays with the person who holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import combinations
from math import comb
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from cohortmix.core.data.dictionary.columns import Category, Column, Date, Number
from cohortmix.core.data.dictionary.grid import bounds
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.steps.progress import report
from cohortmix.core.utility.columns import Table, Values, Weight, bounded, correlation, read, there_of

CELLS = 10  # of a number's range: few enough that a table of a thousand records fills those of a pair
DENSE = 4  # cells of a pair for each record, up to which all are counted; beyond, only those that occur
QUANTILES = (1, 5, 25, 50, 75, 95, 99)  # in per cent: the middle, and the tails that a mean does not show
MOST_VALUES = 8  # of a category, in a report
MOST_PAIRS = 20  # in a report: sixty columns have 1,770

Codes: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class TotalVariation:
    """Mean total variation distance, in [0, 1], over all columns and over all pairs of columns."""

    columns: float
    pairs: float


@dataclass(frozen=True, kw_only=True)
class Marginals:
    """The marginals of two tables, compared.

    Numbers and dates are cut into at most ten cells of equal width between the declared bounds (after the
    declared transform); no value is a cell of its own. In a table with a patient key a row weighs 1/m, as in the
    release that is compared with it (`columns.Values.weight`): every patient counts once.

    Attributes
    ----------
    schema : the data dictionary of both.
    synthetic, real : the values of the two tables.
    columns : total variation distance of each column, in [0, 1].
    pairs : total variation distance of each pair of columns.
    """

    schema: Schema
    synthetic: Values
    real: Values
    columns: Mapping[str, float]
    pairs: Mapping[tuple[str, str], float]

    @classmethod
    def of(cls, synthetic: Table | Values, real: Table | Values, schema: Schema) -> Marginals:
        """Compare two tables; InputError if either has no record."""
        synthetic, real = read(synthetic, schema), read(real, schema)
        for name, values in (("synthetic", synthetic), ("real", real)):
            if not values.rows:
                raise InputError(f"the {name} table is empty: it holds no record")
        codes = {name: [_cells(side[name], schema, name) for side in (synthetic, real)] for name in schema.columns}
        weights = synthetic.weight, real.weight
        columns = {name: _distance(a, b, *weights) for name, (a, b) in codes.items()}
        pairs: dict[tuple[str, str], float] = {}
        for x, y in combinations(codes, 2):
            pairs[x, y] = _distance_of_pairs(codes[x], codes[y], weights)
            report("pairs of columns", len(pairs), comb(len(codes), 2))
        return cls(schema=schema, synthetic=synthetic, real=real, columns=columns, pairs=pairs)

    @property
    def mean(self) -> TotalVariation:
        """The two means by which releases are compared."""
        return TotalVariation(*(float(np.mean(list(apart.values()))) for apart in (self.columns, self.pairs)))

    def column_reports(self) -> list[dict[str, Any]]:
        """Every column, the worst first, ready for JSON.

        Each has `column`, `type`, `tvd` and `missing` (shares of the records). A category has `values`, whose
        shares differ most. A number or date has `quantiles` by per cent and `mean`, of the values that are there,
        `standardized_difference` (synthetic less real mean, by the root of the mean variance; Austin 2009) and
        `wasserstein`, how far values have to move on average to be distributed alike, as a share of the range. For
        these three, what is beyond a declared bound is the bound.
        """
        order = sorted(self.columns, key=lambda name: -self.columns[name])
        return [self._column_report(name) for name in order]

    def pair_reports(self) -> list[dict[str, Any]]:
        """The pairs of columns that are furthest apart, the worst first, ready for JSON.

        Of two numbers or dates with `correlation`, Pearson's, of the records that have both; else it is None.
        """
        order = sorted(self.pairs, key=lambda pair: -self.pairs[pair])[:MOST_PAIRS]
        return [
            {"columns": list(pair), "tvd": self.pairs[pair], "correlation": self._correlations(*pair)}
            for pair in order
        ]

    def _correlations(self, x: str, y: str) -> dict[str, Any] | None:
        if any(isinstance(self.schema.columns[name], Category) for name in (x, y)):
            return None
        found = []
        for side in (self.synthetic, self.real):
            first, second = (bounded(side[name], self.schema.columns[name])[0] for name in (x, y))
            found.append(correlation(first, second, side.weight))
        return _of_both(found)

    def _column_report(self, name: str) -> dict[str, Any]:
        column, sides = self.schema.columns[name], (self.synthetic[name], self.real[name])
        weights = self.synthetic.weight, self.real.weight
        details = (
            {"values": _values(sides, weights, column)}
            if isinstance(column, Category)
            else {"quantiles": _quantiles(sides, weights, column)} | _moments(sides, weights, column)
        )
        missing = _of_both(
            [float(np.average(np.isnan(side), weights=w)) for side, w in zip(sides, weights, strict=True)]
        )
        return {"column": name, "type": column.type, "tvd": self.columns[name], "missing": missing} | details


def marginal_tvd(synthetic: Table | Values, real: Table | Values, schema: Schema) -> TotalVariation:
    """How far the marginals of one and of two columns are apart on average, those of the target included."""
    return Marginals.of(synthetic, real, schema).mean


def _cells(values: NDArray[np.float64], schema: Schema, name: str) -> Codes:
    """The public cell of each value, shape (n,); the last one holds what has no value."""
    column = schema.columns[name]
    if isinstance(column, Category):
        return np.where(np.isnan(values), len(column.values), values).astype(np.int64)
    low, high = bounds(column)
    values, count = np.clip(values, low, high), CELLS
    if isinstance(column, Number) and column.transform == "log1p":
        low, high, values = np.log1p(low), np.log1p(high), np.log1p(values)
    elif isinstance(column, Date) or column.integer:
        high += 1  # whole numbers: each cell holds as many of them as the next, and at least one
        count = int(min(CELLS, high - low))
    cells = np.minimum((values - low) / (high - low) * count, count - 1)
    return np.where(np.isnan(values), count, cells).astype(np.int64)


def _distance(a: Codes, b: Codes, weight_a: Weight = None, weight_b: Weight = None) -> float:
    """Total variation of two lists of codes.

    Without weights it is made of whole numbers, so that the order of the records cannot matter.
    """
    size = int(max(a.max(), b.max())) + 1
    if weight_a is None and weight_b is None:
        p, q = np.bincount(a, minlength=size), np.bincount(b, minlength=size)
        return int(np.abs(p * len(b) - q * len(a)).sum()) / (2 * len(a) * len(b))
    apart = _shares(a, weight_a, size) - _shares(b, weight_b, size)
    return float(np.abs(apart).sum()) / 2


def _distance_of_pairs(
    first: Sequence[Codes], second: Sequence[Codes], weights: tuple[Weight, Weight] = (None, None)
) -> float:
    """Total variation of two columns together, given the codes of both tables; memory grows with records alone."""
    width = 1 + max(int(codes.max()) for codes in second)
    a, b = (x * width + y for x, y in zip(first, second, strict=True))
    if max(a.max(), b.max()) >= DENSE * (len(a) + len(b)):
        places = np.unique(np.concatenate([a, b]), return_inverse=True)[1]
        a, b = places[: len(a)], places[len(a) :]
    return _distance(a, b, *weights)


def _shares(codes: Codes, weight: Weight, size: int) -> NDArray[np.float64]:
    """(size,) share of each code among the rows, by their weights."""
    total = len(codes) if weight is None else weight.sum()
    return np.asarray(np.bincount(codes, weight, minlength=size) / total)


def _quantiles(sides: Sequence[NDArray[np.float64]], weights: Sequence[Weight], column: Column) -> dict[str, Any]:
    """By per cent; None where no value is there. They are values that occur, never means of two."""

    def of_one(values: NDArray[np.float64], weight: Weight) -> list[float | str | None]:
        there, counts = there_of(values, weight)
        if not len(there):
            return [None] * len(QUANTILES)
        quantiles = np.quantile(
            there,
            np.array(QUANTILES) / 100,
            method="inverted_cdf",
            weights=None if weight is None else counts,
        )
        return [_shown(float(value), column) for value in quantiles]

    made, known = (of_one(*side) for side in zip(sides, weights, strict=True))
    return {str(percent): _of_both([a, b]) for percent, a, b in zip(QUANTILES, made, known, strict=True)}


def _moments(
    sides: Sequence[NDArray[np.float64]], weights: Sequence[Weight], column: Number | Date
) -> dict[str, Any]:
    """Means, and how far apart the values are; None of a table that has none."""
    inside, unit = [bounded(side, column)[0] for side in sides], bounded(sides[0], column)[1]
    there = [there_of(*side) for side in zip(inside, weights, strict=True)]
    means = [float(np.average(values, weights=counts)) if len(values) else None for values, counts in there]
    shown = [None if mean is None else _shown(mean * unit, column) for mean in means]
    found: dict[str, Any] = {"mean": _of_both(shown), "standardized_difference": None, "wasserstein": None}
    if means[0] is None or means[1] is None:
        return found
    spread = np.sqrt(np.mean([np.cov(values, ddof=0, aweights=counts) for values, counts in there]))
    apart, (low, high), ((made, of_made), (known, of_known)) = means[0] - means[1], bounds(column), there
    moved = wasserstein_distance(made, known, of_made, of_known) / (high / unit - low / unit)
    return found | {
        "standardized_difference": float(apart / spread) if spread else None if apart else 0.0,
        "wasserstein": float(moved),
    }


def _shown(value: float, column: Column) -> float | str:
    return date.fromordinal(int(value)).isoformat() if isinstance(column, Date) else value


def _values(
    sides: Sequence[NDArray[np.float64]], weights: Sequence[Weight], column: Category
) -> list[dict[str, Any]]:
    """Shares among all records of the values that differ most."""
    size = len(column.values)
    codes = [np.where(np.isnan(side), size, side).astype(np.int64) for side in sides]
    p, q = (_shares(code, weight, size + 1)[:size] for code, weight in zip(codes, weights, strict=True))
    order = np.argsort(-np.abs(p - q), kind="stable")[:MOST_VALUES]
    return [{"value": column.values[k], **_of_both([float(p[k]), float(q[k])])} for k in order]


def _of_both(figures: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("synthetic", "real"), figures, strict=True))
