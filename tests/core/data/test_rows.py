"""Records: every drawn row keeps the rules of the schema, and rows follow the pool that they are drawn from."""

from __future__ import annotations

from collections import Counter
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from cohortmix.core import Schema
from cohortmix.core.data.encoding import Encoding, blocks_of
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.rows import rows_of_cells
from cohortmix.core.data.table import TableSource
from cohortmix.core.release.pool import Pool, shape_within
from cohortmix.core.release.records import draw
from cohortmix.core.steps.centroids import Common, Margins, SiteCentroids

LEVEL = 1e-6
SCHEMA = Schema.from_yaml(
    """
name: everything
target: outcome
columns:
  left: {type: date, min: 1991-01-01, max: 1991-06-30, after: event, missing: true}
  age: {type: number, min: 16, max: 105, integer: true}
  weight: {type: number, min: 2.5, max: 250, missing: true}
  lab: {type: number, min: 0, max: 200, transform: log1p, missing: true, with: unit}
  method: {type: category, values: [a, b], missing: true, with: lab}
  unit: {type: category, values: [mg, mmol], missing: true}
  event: {type: date, min: 1991-01-01, max: 1991-12-31, after: admitted, missing: true}
  admitted: {type: date, min: 1991-01-01, max: 1991-12-31}
  sex: {type: category, values: [F, "1", "no"]}
  days: {type: number, min: 0, max: 10.5, integer: true, after: hours}
  hours: {type: number, min: 0, max: 12}
  outcome: {type: category, values: [well, ill, dead]}
"""
)
ENCODING = Encoding.of(SCHEMA)
SIZES = ENCODING.sizes


def site(groups: Groups, k: int, seed: int, patients: float = 100.0) -> SiteCentroids:
    rng = np.random.default_rng(seed)
    means = np.concatenate([rng.dirichlet(np.ones(size), k) for size in groups.sizes], axis=1)
    labels = rng.dirichlet(np.ones(3), k)
    return without_support(patients * rng.dirichlet(np.ones(k)), means, labels)


def without_support(
    masses: NDArray[np.float64], means: NDArray[np.float64], labels: NDArray[np.float64]
) -> SiteCentroids:
    """A site that sent class centroids alone."""
    return SiteCentroids(
        masses=masses,
        means=means,
        labels=labels,
        kind=("class",) * len(masses),
        noise_std=1.0,
        support_points=np.zeros((0, means.shape[1])),
        support_labels=np.zeros((0, labels.shape[1])),
    )


def grouping(seed: int) -> Groups:
    """Neighbouring cells merged, from one bin for a feature to one for each cell; missing by itself."""
    rng, out = np.random.default_rng(seed), []
    for cells in ENCODING.features:
        values = cells.size - (cells.missing >= 0)
        count = int(rng.integers(1, values + 1))
        of = (np.arange(values) * count // values).tolist()
        out.append((*of, *([of[-1] + 1] if cells.missing >= 0 else [])))
    return Groups(tuple(out))


def common(seed: int) -> Common:
    rng = np.random.default_rng(seed)
    cells = np.stack([np.concatenate([rng.dirichlet(np.ones(size)) for size in SIZES]) for _ in range(3)])
    return Common(grouping(seed), Margins(cells=cells, masses=np.array([50.0, 30.0, 20.0]), s_a=1.0))


def pool(seed: int = 0, k: int = 4) -> Pool:
    shared = common(seed)
    sites = {"north": site(shared.groups, k, seed, 300.0), "south": site(shared.groups, 1, seed + 1)}
    return Pool.of(SCHEMA, shared, sites)


# Rules of the schema


def holds_no_value(values: pd.Series[Any]) -> NDArray[np.bool_]:
    return np.asarray(values.isna())


def assert_rules(rows: pd.DataFrame) -> None:
    assert list(rows.columns) == [*SCHEMA.columns, "site"]
    for name, column in SCHEMA.columns.items():
        known = rows[name].dropna()
        assert column.missing or len(known) == len(rows)
        if column.type == "category":
            assert set(known) <= set(column.values)
        else:
            assert all(column.min <= value <= column.max for value in known)
    assert str(rows["age"].dtype) == str(rows["days"].dtype) == "Int64"
    assert str(rows["weight"].dtype) == "Float64"
    assert all(type(value) is date for value in rows["admitted"])
    assert set(rows["site"]) <= {"north", "south"}
    for name in ("lab", "method"):
        np.testing.assert_array_equal(holds_no_value(rows[name]), holds_no_value(rows["unit"]))
    for later, earlier in (("event", "admitted"), ("left", "event"), ("left", "admitted"), ("days", "hours")):
        both = rows[~holds_no_value(rows[later]) & ~holds_no_value(rows[earlier])]
        assert all(x >= y for x, y in zip(both[later], both[earlier], strict=True)), (later, earlier)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 10**6))
def test_every_row_keeps_the_rules_of_the_schema(seed: int) -> None:
    assert_rules(draw(pool(seed), SCHEMA, 200, seed))


@pytest.mark.parametrize("dropped", ["with_", "after"])
def test_without_the_rules_rows_would_break_them(dropped: str) -> None:
    """The negation: the pool above does draw pairs and orders that the schema forbids."""
    columns = {
        name: column.model_copy(update={dropped: None}) if hasattr(column, dropped) else column
        for name, column in SCHEMA.columns.items()
    }
    with pytest.raises(AssertionError):
        assert_rules(draw(pool(), SCHEMA.model_copy(update={"columns": columns}), 200, 0))


def test_values_are_exchanged_until_rows_are_in_order() -> None:
    """Columns that no rule is about stay as they were drawn; the others keep their values, in other rows."""
    free = {
        name: column.model_copy(update={"after": None}) if hasattr(column, "after") else column
        for name, column in SCHEMA.columns.items()
    }
    rows = draw(pool(), SCHEMA, 300, 1)
    drawn = draw(pool(), SCHEMA.model_copy(update={"columns": free}), 300, 1)
    for name in ("age", "weight", "sex", "outcome", "lab"):
        pd.testing.assert_series_equal(rows[name], drawn[name])
    ordered = [h <= d for h, d in zip(drawn["hours"], drawn["days"], strict=True)]
    assert 30 < sum(ordered) < 270
    impossible = int((drawn["hours"] > 10).sum())  # days end at 10
    for name in ("days", "hours"):
        lost = Counter(drawn[name].tolist()) - Counter(rows[name].tolist())
        assert lost.total() <= impossible + 3


def test_a_chain_holds_through_a_whole_number() -> None:
    """`end` comes after `visits`, which is rounded up to come after `start`."""
    schema = Schema.from_yaml(
        """
name: chain
target: outcome
columns:
  end: {type: number, min: 0, max: 12, after: visits}
  visits: {type: number, min: 0, max: 12, integer: true, after: start}
  start: {type: number, min: 0, max: 11}
  outcome: {type: category, values: [well, ill]}
"""
    )
    sizes = Encoding.of(schema).sizes
    groups = Groups(tuple(tuple(range(size)) for size in sizes))
    even = np.concatenate([np.full(size, 1 / size) for size in sizes])[None]
    centroids = without_support(np.ones(1), even, np.full((1, 2), 0.5))
    shared = Common(groups, Margins(cells=np.repeat(even, 2, axis=0), masses=np.ones(2), s_a=1.0))
    rows = draw(Pool.of(schema, shared, {"north": centroids}), schema, 300, 0)
    assert (rows["end"] >= rows["visits"]).all()
    assert (rows["visits"] >= rows["start"]).all()


def test_a_pair_takes_its_values_from_other_drawn_rows() -> None:
    rows = draw(pool(), SCHEMA, 500, 2)
    present = ~holds_no_value(rows["unit"])
    assert 0.1 < present.mean() < 0.95
    assert rows.loc[present, "lab"].nunique() > 20
    assert rows.loc[present, "method"].nunique() == 2


def test_columns_may_name_each_other() -> None:
    columns = dict(SCHEMA.columns)
    columns["unit"] = columns["unit"].model_copy(update={"with_": "lab"})  # lab: with unit, unit: with lab
    rows = draw(pool(), SCHEMA.model_copy(update={"columns": columns}), 200, 2)
    assert 0 < holds_no_value(rows["lab"]).mean() < 1
    for name in ("unit", "method"):
        np.testing.assert_array_equal(holds_no_value(rows["lab"]), holds_no_value(rows[name]))


# The distribution of the rows


def codes(rows: pd.DataFrame) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    batches = list(TableSource(rows, tuple(SCHEMA.columns)).batches())
    features, labels = zip(*(ENCODING.codes(batch) for batch in batches), strict=True)
    return np.concatenate(features), np.concatenate(labels)


FREE = ("age", "weight", "unit", "sex")  # no other column decides them


def test_marginals_are_those_of_the_pool() -> None:
    drawn_from, rows = pool(3), 20_000
    frame = draw(drawn_from, SCHEMA, rows, 4)
    features, labels = codes(frame)
    weights = drawn_from.masses / drawn_from.masses.sum()
    assert chisquare(np.bincount(labels), rows * weights @ drawn_from.labels).pvalue > LEVEL
    group_sizes = drawn_from.groups.sizes
    for name, block, fine in zip(SCHEMA.features, blocks_of(group_sizes), blocks_of(SIZES), strict=True):
        if name not in FREE:
            continue
        column = SCHEMA.features.index(name)
        of = np.asarray(drawn_from.groups.of_cells[column])
        groups_of_class = (weights[:, None] * drawn_from.labels).T @ drawn_from.means[:, block]  # (C, bins)
        expected = rows * (groups_of_class[:, of] * drawn_from.shape[:, fine]).sum(axis=0)
        seen = np.bincount(features[:, column], minlength=len(of))
        assert expected.sum() == pytest.approx(rows)
        assert chisquare(seen, expected * seen.sum() / expected.sum()).pvalue > LEVEL, name


def test_other_marginals_are_told_apart() -> None:
    """The negation of the test above: the law of another pool is rejected."""
    _, labels = codes(draw(pool(3), SCHEMA, 20_000, 4))
    other = pool(5)
    expected = 20_000 * other.masses @ other.labels / other.masses.sum()
    assert chisquare(np.bincount(labels), expected).pvalue < LEVEL


def test_features_of_a_centroid_are_drawn_together() -> None:
    """Two centroids that differ in everything give rows of one kind or the other."""
    shared = common(0)
    apart = []
    for end in (0, -1):
        means = np.concatenate([np.eye(size)[[end]] for size in shared.groups.sizes], axis=1)
        apart.append(without_support(np.array([50.0]), means, np.eye(3)[[end]]))
    rows = draw(Pool.of(SCHEMA, shared, dict(zip(("north", "south"), apart, strict=True))), SCHEMA, 400, 0)
    first = rows["site"] == "north"
    assert 120 < first.sum() < 280
    assert set(rows.loc[first, "outcome"]) == {"well"}
    assert set(rows.loc[~first, "outcome"]) == {"dead"}
    assert rows.loc[~first, "weight"].isna().all()
    assert rows.loc[first, "weight"].notna().all()


def test_a_site_has_rows_in_proportion_to_its_patients() -> None:
    rows = draw(pool(), SCHEMA, 20_000, 0)
    assert abs((rows["site"] == "north").mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 20_000)


def test_the_same_seed_gives_the_same_rows() -> None:
    first, again, other = (draw(pool(), SCHEMA, 50, seed) for seed in (7, 7, 8))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert not first["weight"].equals(other["weight"])


@pytest.mark.parametrize("rows", [0, 1, 1000])
def test_any_number_of_rows(rows: int) -> None:
    frame = draw(pool(), SCHEMA, rows, 0)
    assert len(frame) == rows
    assert list(frame.columns) == [*SCHEMA.columns, "site"]


# Codes and values


def test_rows_are_read_as_the_groups_that_they_were_drawn_for() -> None:
    """Groups of one cell each: draw, then encode, gives the drawn cells back."""
    fine = Groups(tuple(tuple(range(size)) for size in SIZES))
    cells = common(1).margins
    centroids = site(fine, 3, 2)
    drawn_from = Pool.of(SCHEMA, Common(fine, cells), {"north": centroids})
    _, _, groups = drawn_from.draw(500, np.random.default_rng(11))  # as `draw` starts
    features, _ = codes(draw(drawn_from, SCHEMA, 500, 11))
    for name in FREE:
        column = SCHEMA.features.index(name)
        np.testing.assert_array_equal(features[:, column], groups[:, column])


def test_the_shape_within_a_group_is_that_of_the_margins() -> None:
    shared = common(2)
    shape = shape_within(shared.margins, shared.groups)
    np.testing.assert_allclose(shared.groups.sums(shape), 1)
    for own, cells in zip(shape, shared.margins.cells, strict=True):
        for of, block in zip(shared.groups, blocks_of(SIZES), strict=True):
            inside = np.asarray(of) == 0
            np.testing.assert_allclose(own[block][inside], cells[block][inside] / cells[block][inside].sum())


def test_a_group_that_a_class_has_nobody_in_has_the_shape_of_all_classes() -> None:
    shared, column = common(2), SCHEMA.features.index("age")
    cells, block = shared.margins.cells.copy(), blocks_of(SIZES)[column]
    group = np.flatnonzero(np.asarray(shared.groups.of_cells[column]) == 0) + block.start
    cells[0, group] = 0
    margins = Margins(cells=cells, masses=shared.margins.masses, s_a=1.0)
    shape, pooled = shape_within(margins, shared.groups), margins.pooled[group]
    np.testing.assert_allclose(shape[0, group], pooled / pooled.sum())
    np.testing.assert_allclose(shape[1, group], cells[1, group] / cells[1, group].sum())


def test_within_a_group_a_record_has_the_cells_of_its_class() -> None:
    """The lower half of every group for one class, the upper half for another; never the other half."""
    shared, column = common(2), SCHEMA.features.index("age")
    of, block = np.asarray(shared.groups.of_cells[column]), blocks_of(SIZES)[column]
    lower = np.concatenate([np.arange(n) < n / 2 for n in np.bincount(of)])
    cells = shared.margins.cells.copy()
    cells[0, block], cells[1, block] = lower / lower.sum(), ~lower / (~lower).sum()
    margins = Margins(cells=cells, masses=shared.margins.masses, s_a=1.0)
    pool = Pool.of(SCHEMA, Common(shared.groups, margins), {"north": site(shared.groups, 4, seed=1)})
    features, label = codes(draw(pool, SCHEMA, 2_000, 3))
    several = np.bincount(of)[of[features[:, column]]] > 1
    assert lower[features[several & (label == 0), column]].all()
    assert not lower[features[several & (label == 1), column]].any()
    assert (several & (label == 0)).sum() > 100 < (several & (label == 1)).sum()


def test_a_group_without_mass_is_drawn_evenly() -> None:
    shared = common(2)
    cells = shared.margins.cells.copy()
    block = blocks_of(SIZES)[SCHEMA.features.index("age")]
    cells[:, block] = 0
    of = np.asarray(shared.groups.of_cells[SCHEMA.features.index("age")])
    shape = shape_within(Margins(cells=cells, masses=shared.margins.masses, s_a=1.0), shared.groups)[:, block]
    np.testing.assert_allclose(shape, np.tile(1 / np.bincount(of)[of], (len(cells), 1)))


def test_a_number_has_the_decimals_that_its_schema_declares() -> None:
    """In order with other columns and within bounds that have more of them."""
    schema = Schema.from_yaml("""
name: t
target: y
columns:
  temp: {type: number, min: 34.55, max: 42.25, decimals: 1}
  later: {type: number, min: 34.5, max: 42.25, decimals: 2, after: temp}
  dose: {type: number, min: 0, max: 5, decimals: 3, transform: log1p}
  plain: {type: number, min: 0, max: 5}
  large: {type: number, min: 0, max: 1.0e+250, decimals: 2}
  y: {type: category, values: [a, b]}
""")
    rng = np.random.default_rng(3)
    encoding = Encoding.of(schema)
    codes = {cells.name: rng.integers(0, cells.size, 5000).astype(np.int32) for cells in encoding.features}
    frame = rows_of_cells(codes, np.zeros(5000, dtype=np.int64), schema, rng)
    for name, decimals in (("temp", 1), ("later", 2), ("dose", 3)):
        assert all(value == round(value, decimals) for value in frame[name])
        assert any(value != round(value, decimals - 1) for value in frame[name])
    assert (frame["temp"].min(), frame["temp"].max()) == (34.6, 42.2)
    assert (frame["later"] >= frame["temp"]).all()
    assert any(value != round(value, 6) for value in frame["plain"])
    assert frame["large"].between(0, 1e250).all()


def test_truth_values_come_back_as_such_and_texts_as_texts() -> None:
    for written, expected in (("[true, False]", {True, False}), ("['True', 'False']", {"True", "False"})):
        schema = Schema.from_yaml(
            "{name: t, target: y, columns: {x: {type: category, missing: true, values: "
            + written
            + "}, y: {type: category, values: ['0', '1']}}}"
        )
        codes = {"x": np.array([0, 1, 2, 0], dtype=np.int32)}
        frame = rows_of_cells(codes, np.array([0, 1, 0, 1]), schema, np.random.default_rng(1))
        assert set(frame["x"].dropna()) == expected
        assert frame["x"].isna().tolist() == [False, False, True, False]
        assert (frame["x"].dtype == "boolean") == (True in expected)
        read = TableSource(frame)
        (batch,) = read.batches()  # and are read again as what they are
        assert Encoding.of(schema).feature_codes(batch)[:, 0].tolist() == [0, 1, 2, 0]
