"""Which values are found in which columns: answers A and D of a table of two columns, without the mixture."""

from __future__ import annotations

from datetime import date
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cohortmix.core import Schema
from cohortmix.core.audit.noise_keyed import KeyedNoise
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.sampling import PointMass
from cohortmix.core.data.table import source_of
from cohortmix.core.privacy.memory_meter import MemoryMeter
from cohortmix.core.privacy.vault import Vault
from cohortmix.core.steps import anonymize, pipeline, point_masses
from cohortmix.core.steps.plan import Plan

N = 7000
MU2 = Fraction(1, 10)
RNG = np.random.default_rng(7)


def found(column: dict[str, Any], values: Any, seed: int = 1) -> dict[Any, float]:
    """What is found of a column, and the share of its cell; beside it is a column of chance."""
    other = {"type": "category", "values": ["a", "b"]}
    schema = Schema.model_validate({"name": "t", "target": "y", "columns": {"x": column, "z": other, "y": other}})
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {"x": values, "z": rng.choice(["a", "b"], len(values)), "y": rng.choice(["a", "b"], len(values))}
    )
    vault = Vault(source_of(table, ("x", "z", "y")), schema, KeyedNoise(seed).add, MemoryMeter(Fraction(1)))
    plan = Plan(schema, MU2, len(table))
    answer = pipeline.class_sums(vault, plan)
    plan = pipeline.with_looks(plan, pipeline.common([plan], [answer]), answer)
    if not plan.looks:
        return {}
    points = point_masses.read(Encoding.of(schema), plan.looks, anonymize.answer_d(vault, plan), plan.patients)
    return {of_day(point) if column["type"] == "date" else point.value: point.share for point in points}


def of_day(point: PointMass) -> date:
    return date.fromordinal(int(point.value))


def number(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"type": "number", "min": low, "max": high, **more}


def mixed(value: Any, others: Any, share: float = 0.3) -> Any:
    """`others`, of which a share has the value."""
    others = np.asarray(others, dtype=object)
    others[RNG.random(len(others)) < share] = value
    return others.tolist()


@pytest.mark.parametrize("value", [0.3, 0.6, 0.9, 1.2, 1.8, 2.1, 3.0, 3.3, 3.6, 4.2, 4.8, 5.1])
def test_a_value_on_the_edge_of_a_cell_is_in_it(value: float) -> None:
    assert [*found(number(0, 30), mixed(value, RNG.gamma(4, 1.5, N)))] == [value]


@pytest.mark.parametrize(("low", "high"), [(50, 100), (0, 21), (0, 1), (-3, 0.7)])
def test_a_ceiling_is_the_bound_and_so_is_what_lies_beyond(low: float, high: float) -> None:
    spread = low + (high - low) * RNG.beta(2, 2, N)
    for ceiling in (high, high + 5):
        assert [*found(number(low, high), mixed(ceiling, spread))] == [high]


@pytest.mark.parametrize("blank", [0.0, 0.2, 0.4, 0.6])
def test_who_is_not_known_is_not_taken_for_another_value(blank: float) -> None:
    values = np.array(mixed(100, RNG.integers(0, 201, N), 0.4), dtype=float)
    values[RNG.random(N) < blank] = np.nan
    shares = found(number(0, 200, integer=True), values)
    assert [*shares] == [100]
    assert shares[100] > 0.8


@pytest.mark.parametrize("day", [date(1970, 1, 1), date(2020, 1, 1), date(1950, 1, 2), date(2099, 12, 31)])
def test_a_day_is_that_day(day: date) -> None:
    first, last = date(1900, 1, 1).toordinal(), date(2100, 12, 31).toordinal()
    days = [date.fromordinal(int(each)) for each in RNG.integers(first, last + 1, N)]
    assert [*found({"type": "date", "min": "1900-01-01", "max": "2100-12-31"}, mixed(day, days))] == [day]


@pytest.mark.parametrize(
    ("value", "most"), [(25003, 10**5), (25001, 10**5), (77777, 10**5), (9999, 10**4), (9901, 10**4)]
)
def test_a_whole_number_is_that_number(value: int, most: int) -> None:
    """Also in the cell before the last one, which holds the largest number alone."""
    values = np.minimum(RNG.gamma(3, most / 10, N).astype(int), most)
    assert [*found(number(0, most, integer=True), mixed(value, values, 0.4))] == [value]


def test_a_value_right_above_zero_is_found() -> None:
    column = number(0, 1000, decimals=2, transform="log1p")
    assert 0.05 in found(column, mixed(0.05, RNG.gamma(2, 20, N).round(2), 0.4))


def test_a_zero_is_not_counted_in_the_cell_above_it() -> None:
    values = np.where(RNG.random(N) < 0.5, RNG.integers(1, 10, N) / 1000, RNG.uniform(-1000, 1000, N).round(3))
    shares = found(number(-1000, 1000, decimals=3), mixed(0, values, 0.2))
    assert 0 not in shares


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (number(0, 1000, knots=10), RNG.exponential(0.5, 20_000)),
        (number(0, 10**6, knots=4, integer=True), RNG.exponential(2000, 20_000).astype(int)),
        (number(0, 1000, decimals=3), RNG.normal(38, 0.05, 20_000).round(3)),
        (number(0, 1000), RNG.normal(38, 0.05, 20_000)),
        (number(0, 100), RNG.lognormal(0, 0.5, 20_000)),
    ],
)
def test_a_steep_density_is_none(column: dict[str, Any], values: Any) -> None:
    assert found(column, values) == {}


@pytest.mark.parametrize(
    "column",
    [
        number(2**53 - 2000, 2**53, integer=True),
        number(0, 1e-300),
        number(-1e300, 1e300),
        number(0, 1e-7, decimals=15),
    ],
)
def test_what_floating_point_cannot_tell_apart_is_not_looked_into(column: dict[str, Any]) -> None:
    spread = column["min"] + (column["max"] - column["min"]) * RNG.random(N) * 0.5
    found(column, mixed(column["min"] + (column["max"] - column["min"]) * 0.25, spread, 0.5))
