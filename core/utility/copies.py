"""Copies: how many synthetic records equal a real one, against how many would by chance. Not private."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cohortmix.core.data.dictionary.columns import Category, Number
from cohortmix.core.data.dictionary.grid import is_whole
from cohortmix.core.data.schema import Schema
from cohortmix.core.utility.columns import Values


def copies(synthetic: Values, real: Values, schema: Schema) -> dict[str, Any]:
    """Shares of records that are exact copies, in every column of the schema, by the weights of rows.

    `share` : of the synthetic records, copies of any real one.
    `of_a_half` : of the synthetic records, copies of one in a random half of the real patients; `by_chance` : of
    the real records of the other half. Both are means over the two halves.

    What the comparison means: in a table of a few categories, patients who never met are equal, so a copy by
    itself betrays nobody. Patients of the other half are people of whom the first half knows nothing. Where
    synthetic records equal a half no more often than these do, they hold no more copies than new patients would.
    More than that says that records were memorized. The reverse proves nothing: no share of copies replaces the
    guarantee, nor shows how near a record is that differs in one digit.

    Numbers are compared with the decimals that the schema declares, and missing values are equal.
    """
    made, known = (_as_bytes(values, schema) for values in (synthetic, real))
    patient = np.arange(len(known)) if real.patient is None else real.patient
    half = np.random.default_rng(0).permutation(int(patient.max(initial=0)) + 1)[patient] % 2
    weights = [_weight(values, len(rows)) for values, rows in ((synthetic, made), (real, known))]
    counted = weights[1] > 0
    of_a_half, by_chance = [], []
    for side in (0, 1):
        inside = set(known[(half == side) & counted])
        of_a_half.append(_share(made, inside, weights[0]))
        by_chance.append(_share(known, inside, np.where(half == side, 0, weights[1])))
    return {
        "share": _share(made, set(known[counted]), weights[0]),
        "of_a_half": _mean(of_a_half),
        "by_chance": _mean(by_chance),
    }


def _as_bytes(values: Values, schema: Schema) -> NDArray[np.object_]:
    """(n,) the bytes of each record, which are equal where all its values are."""
    columns = [_comparable(values[name], column) for name, column in schema.columns.items()]
    matrix = np.ascontiguousarray(np.stack(columns, axis=1))
    rows = np.empty(len(matrix), dtype=object)
    rows[:] = [row.tobytes() for row in matrix]
    return rows


def _comparable(values: NDArray[np.float64], column: Any) -> NDArray[np.float64]:
    decimals = 0 if is_whole(column) else column.decimals if isinstance(column, Number) else None
    if not isinstance(column, Category) and decimals is not None:
        values = np.round(values, decimals)
    return np.where(np.isnan(values), np.nan, values + 0.0)  # one bit pattern of NaN, and of zero


def _weight(values: Values, rows: int) -> NDArray[np.float64]:
    return np.ones(rows) if values.weight is None else values.weight


def _share(rows: NDArray[np.object_], among: set[bytes], weight: NDArray[np.float64]) -> float | None:
    """By weight; None of no record."""
    if not weight.sum():
        return None
    return float(np.average([row in among for row in rows], weights=weight))


def _mean(shares: list[float | None]) -> float | None:
    """None where there is no second half: of a single patient."""
    return None if None in shares else float(np.mean(np.array(shares, dtype=float)))
