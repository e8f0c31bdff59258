"""Neighbouring tables for `bench_attack.py`: two tables that differ in one patient, made by fixed seeds.

Three pairs are records of Adult, 2,000 of them; three are made up, so that one can see what happens in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import pandas as pd
from clustmix_as_published import Records, numbers
from numpy.typing import NDArray
from public_data import load

from cohortmix.core.data.schema import Schema

ADULT_PATIENTS = 2_000
ADULT_RICH = 444  # six clusters of 74, which is l_min at sigma_max = 0.2
CLUMP = 2_000  # patients of a class
FEATURES = 14  # as Adult has
ATOM = 100  # l_min of the binary table


@dataclass(frozen=True, eq=False)
class Pair:
    """Neighbours: the first row of `table` is another one in `other`.

    Attributes
    ----------
    sigma_max, sliced_sigma_max : the free parameter of ClustMix at which this pair is attacked, without slices and
        with them; a region holds fewer records.
    """

    schema: Schema
    table: pd.DataFrame
    other: pd.DataFrame
    sigma_max: float
    sliced_sigma_max: float

    @cached_property
    def sides(self) -> tuple[Records, Records]:
        """Both tables, as ClustMix reads them."""
        return numbers(self.table, self.schema), numbers(self.other, self.schema)


@cache
def stranger() -> Pair:
    """Adult: a patient drawn at random is replaced by another one drawn at random."""
    data = load("adult", 0)
    shuffled = data.train.sample(frac=1, random_state=0).reset_index(drop=True)
    another = {str(name): value for name, value in shuffled.iloc[ADULT_PATIENTS].items()}
    return _pair(data.schema, shuffled[:ADULT_PATIENTS], another, 0.2)


@cache
def typing_error() -> Pair:
    """Adult: a patient's hours per week are 4000 in place of 40.00; nobody else changes."""
    pair = stranger()
    return _pair(pair.schema, pair.table, {"hours-per-week": 4000}, 0.2)


@cache
def label_flip() -> Pair:
    """Adult: one of exactly 6 l_min patients of a class has the other label instead."""
    data = load("adult", 0)
    shuffled = data.train.sample(frac=1, random_state=0)
    rich = shuffled["income"] == ">50K"
    table = pd.concat([shuffled[rich][:ADULT_RICH], shuffled[~rich][: ADULT_PATIENTS - ADULT_RICH]])
    return _pair(data.schema, table.reset_index(drop=True), {"income": "<=50K"}, 0.2)


@cache
def atoms() -> Pair:
    """Four features that are all 0 or all 1; of ten l_min patients with 1 and the label b, one has a instead.

    Wherever slices are cut, they hold the same patients.
    """
    patients = np.array([10, 5, 2, 3]) * ATOM + [0, ATOM // 2, 0, -ATOM // 2]
    x, y = np.repeat([1, 1, 0, 0], patients), np.repeat([1, 0, 1, 0], patients)
    schema, table = _numbers(np.repeat(x[:, None], 4, axis=1).astype(np.float64), y)
    return _pair(schema, table, {"y": "a"}, 0.0783)


@cache
def far_corner() -> Pair:
    """Two clouds in opposite corners, both longest in x0, and a patient of one who is in the corner of neither.

    All values are within their bounds, and no class changes its size.
    """
    schema, table = _clouds()
    return _pair(schema, table, {name: 0.1 if name == "x0" else 1.0 for name in schema.features}, 0.0165, 0.066)


@cache
def near_by() -> Pair:
    """The same clouds; a patient moves by a hundredth in one feature. Nothing happens."""
    schema, table = _clouds()
    return _pair(schema, table, {"x0": table["x0"].iloc[0] + 0.01}, 0.0165, 0.066)


PAIRS: dict[str, Callable[[], Pair]] = {
    "a random patient": stranger,
    "a typing error": typing_error,
    "a label at l_min": label_flip,
    "a label among atoms": atoms,
    "a far corner": far_corner,
    "near by": near_by,
}
MADE_UP = ("a label among atoms", "a far corner", "near by")


def _pair(
    schema: Schema, table: pd.DataFrame, change: dict[str, Any], sigma_max: float, sliced: float | None = None
) -> Pair:
    other = table.copy()
    for name in schema.columns:
        if name in change:
            other.loc[0, name] = change[name]
    return Pair(schema, table, other, sigma_max, sliced or sigma_max)


def _clouds() -> tuple[Schema, pd.DataFrame]:
    rng = np.random.default_rng(0)
    y = np.arange(2 * CLUMP) % 2
    x = rng.uniform(0, 0.02, (len(y), FEATURES))
    x[:, :2] = rng.uniform(0, [0.2, 0.1], (len(y), 2))
    return _numbers(np.where(y[:, None] == 1, 1 - x, x), y)


def _numbers(x: NDArray[np.float64], y: NDArray[np.int64]) -> tuple[Schema, pd.DataFrame]:
    """Features in [0, 1] and the classes a and b."""
    names = [f"x{feature}" for feature in range(x.shape[1])]
    columns = {name: {"type": "number", "min": 0, "max": 1} for name in names}
    columns["y"] = {"type": "category", "values": ["a", "b"]}
    schema = Schema.model_validate({"name": "made-up", "target": "y", "columns": columns})
    return schema, pd.DataFrame(x, columns=names).assign(y=np.array(["a", "b"])[y])
