"""Distances of marginals: right where the answer is known, equal to a plain count, and told the worst first."""

import json
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mixed_tables import LIKE, REAL, SCHEMA

from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError
from cohortmix.core.utility.columns import correlation, read
from cohortmix.core.utility.marginals import QUANTILES, Marginals, _cells, marginal_tvd


def test_tvd_of_equal_tables_is_zero_and_of_disjoint_ones_is_one() -> None:
    same = marginal_tvd(REAL, REAL.sample(frac=1, random_state=0), SCHEMA)
    assert (same.columns, same.pairs) == (0, 0)
    low, high = (
        REAL.assign(x=0.5, whole=0, day="2000-01-05", sex="F", y="a"),
        REAL.assign(x=9.5, whole=4, day="2000-12-30", sex="M", y="c"),
    )
    apart = marginal_tvd(low, high, SCHEMA)
    assert (apart.columns, apart.pairs) == (1, 1)


def test_tvd_agrees_with_a_count_by_hand() -> None:
    schema = Schema.from_yaml(
        "name: t\ntarget: y\ncolumns:\n  x: {type: number, min: 0, max: 10, missing: true}\n"
        "  y: {type: category, values: [a, b]}\n"
    )
    mine = pd.DataFrame({"x": [0.0, 0.9, 10.0, None], "y": ["a", "a", "b", "b"]})
    theirs = pd.DataFrame({"x": [0.5, 9.1, -5.0, 5.0], "y": ["a", "b", "b", "b"]})
    found = marginal_tvd(mine, theirs, schema)
    # x: cells 0 0 9 missing against 0 9 0 5; y: a a b b against a b b b
    assert found.columns == pytest.approx((1 / 4 + 1 / 4) / 2)
    # pairs: 0a 0a 9b -b against 0a 9b 0b 5b
    assert found.pairs == pytest.approx(2 / 4)


def test_tvd_sees_a_dependence_that_single_columns_do_not_show() -> None:
    mixed = REAL.assign(y=np.random.default_rng(5).permutation(REAL["y"]))
    found, null = marginal_tvd(mixed, REAL, SCHEMA), marginal_tvd(LIKE, REAL, SCHEMA)
    assert found.columns == 0
    assert found.pairs > 0
    x_and_y = marginal_tvd(mixed[["x", "y"]], REAL[["x", "y"]], narrow("x", "y")).pairs
    assert x_and_y > 3 * marginal_tvd(LIKE[["x", "y"]], REAL[["x", "y"]], narrow("x", "y")).pairs
    assert null.columns > 0


def narrow(*names: str) -> Schema:
    return SCHEMA.model_copy(update={"columns": {name: SCHEMA.columns[name] for name in names}})


def test_whole_numbers_of_a_short_range_have_a_cell_each() -> None:
    for left in range(5):
        for right in range(5):
            apart = marginal_tvd(REAL.assign(whole=left), REAL.assign(whole=right), narrow("whole", "y"))
            assert apart.columns == (0 if left == right else 0.5)


def test_a_transform_decides_where_the_cells_are() -> None:
    def columns(transform: str) -> float:
        schema = Schema.from_yaml(
            f"name: t\ntarget: y\ncolumns:\n  x: {{type: number, min: 0, max: 1000, transform: {transform}}}\n"
            "  y: {type: category, values: [a, b]}\n"
        )
        return marginal_tvd(
            pd.DataFrame({"x": [1.0], "y": ["a"]}), pd.DataFrame({"x": [50.0], "y": ["a"]}), schema
        ).columns

    assert columns("identity") == 0
    assert columns("log1p") == 0.5


def test_an_empty_table_is_named() -> None:
    with pytest.raises(InputError, match="the real table is empty"):
        marginal_tvd(LIKE, REAL.iloc[:0], SCHEMA)


def plain(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, ...], schema: Schema) -> float:
    """Half the sum of absolute differences over every possible cell, counted one by one in a dense table."""
    sizes = [max(_cells(read(t, schema)[n], schema, n).max() for t in (a, b)) + 1 for n in names]
    shares = []
    for table in (a, b):
        counts = np.zeros(sizes)
        np.add.at(counts, tuple(_cells(read(table, schema)[name], schema, name) for name in names), 1)
        shares.append(counts / len(table))
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


@pytest.mark.parametrize("dense", [1 << 20, 0])
def test_it_agrees_with_a_plain_dense_count(monkeypatch: pytest.MonkeyPatch, dense: int) -> None:
    """Also where only the cells that occur are counted, as for codes by the thousand."""
    monkeypatch.setattr("cohortmix.core.utility.marginals.DENSE", dense)
    found = Marginals.of(LIKE.iloc[:431], REAL, SCHEMA)
    for names in combinations(SCHEMA.columns, 2):
        assert found.pairs[names] == pytest.approx(plain(LIKE.iloc[:431], REAL, names, SCHEMA), abs=1e-12)
    for name in SCHEMA.columns:
        assert found.columns[name] == pytest.approx(plain(LIKE.iloc[:431], REAL, (name,), SCHEMA), abs=1e-12)
    assert found.mean.pairs == pytest.approx(np.mean(list(found.pairs.values())))


def test_the_worst_column_and_pair_come_first_with_what_differs() -> None:
    odd = LIKE.assign(x=LIKE["x"].where(LIKE["x"] < 9) / 2, day="2000-03-01", sex="F")
    found = Marginals.of(odd, REAL, SCHEMA)
    columns, pairs = found.column_reports(), found.pair_reports()
    assert [one["column"] for one in columns][:2] == ["day", "x"]
    assert {one["column"] for one in columns} == set(SCHEMA.columns)
    for ordered in (columns, pairs):
        tvd = [one["tvd"] for one in ordered]
        assert tvd == sorted(tvd, reverse=True)
    by_name = {one["column"]: one for one in columns}
    assert tuple(map(int, by_name["x"]["quantiles"])) == QUANTILES
    halved, whole = by_name["x"]["quantiles"]["99"].values()
    assert halved == pytest.approx(4.5, abs=0.1)
    assert whole == pytest.approx(9.9, abs=0.1)
    assert by_name["x"]["missing"]["synthetic"] == pytest.approx(0.1, abs=0.04)
    assert by_name["x"]["missing"]["real"] == 0
    assert by_name["day"]["quantiles"]["50"]["synthetic"] == "2000-03-01"
    first, second = by_name["sex"]["values"]
    assert {first["value"], second["value"]} == {"F", "M"}
    assert first["synthetic"] in (0, 1)
    assert json.loads(json.dumps(columns)) == columns


def numbers(made: list[float | None], real: list[float | None], **column: object) -> dict[str, Any]:
    schema = Schema.model_validate(
        {
            "name": "t",
            "target": "y",
            "columns": {
                "x": {"type": "number", "min": 0, "max": 10, "missing": True, **column},
                "y": {"type": "category", "values": ["a", "b"]},
            },
        }
    )
    synthetic, known = (pd.DataFrame({"x": values, "y": "a"}) for values in (made, real))
    (found,) = (one for one in Marginals.of(synthetic, known, schema).column_reports() if one["column"] == "x")
    return found


def test_means_and_distances_of_numbers_by_hand() -> None:
    found = numbers([1, 2, 3, None], [3, 5, 7])
    assert found["mean"] == {"synthetic": 2, "real": 5}
    assert found["missing"] == {"synthetic": 0.25, "real": 0}
    assert found["standardized_difference"] == pytest.approx(-3 / np.sqrt((2 / 3 + 8 / 3) / 2))
    assert found["wasserstein"] == pytest.approx((2 + 3 + 4) / 3 / 10)
    same = numbers([1, 2, 3], [3, 2, 1])
    assert (same["standardized_difference"], same["wasserstein"]) == (0, 0)
    flat = numbers([4, 4], [4, 4])
    assert flat["standardized_difference"] == 0
    assert numbers([4, 4], [5, 5])["standardized_difference"] is None
    assert numbers([-90, -90], [10, 99])["wasserstein"] == 1  # within the declared range, as all distances


def test_distances_of_numbers_count_a_row_by_its_weight() -> None:
    rng = np.random.default_rng(0)
    m = rng.integers(1, 4, len(REAL))
    often = REAL.loc[REAL.index.repeat(m)]
    once, weighted = (Marginals.of(LIKE, real, SCHEMA) for real in (REAL, often))
    by_row = Marginals.of(LIKE, often.assign(id=np.arange(len(often))), SCHEMA)
    for one, other, wrong in zip(
        *(sorted(each.column_reports(), key=lambda column: column["column"]) for each in (once, weighted, by_row)),
        strict=True,
    ):
        if one["type"] == "number":
            for key in ("standardized_difference", "wasserstein"):
                assert other[key] == pytest.approx(one[key], abs=1e-12)
                assert wrong[key] != pytest.approx(one[key], abs=1e-6)
    for pair, other in zip(once.pair_reports(), weighted.pair_reports(), strict=True):
        if pair["correlation"]:
            assert other["correlation"]["real"] == pytest.approx(pair["correlation"]["real"], abs=1e-9)


def test_two_numbers_have_a_correlation_and_a_category_has_none() -> None:
    reports = {
        tuple(pair["columns"]): pair["correlation"] for pair in Marginals.of(LIKE, REAL, SCHEMA).pair_reports()
    }
    assert reports["x", "y"] is None
    expected = np.corrcoef(REAL["x"], REAL["whole"])[0, 1]
    assert reports["x", "whole"] is not None
    assert reports["x", "whole"]["real"] == pytest.approx(expected)
    assert correlation(np.array([1.0, 2, np.nan]), np.array([1.0, 3, 5])) == pytest.approx(1)
    assert correlation(np.ones(3), np.arange(3.0)) is None


def test_a_column_without_any_value_has_no_quantiles() -> None:
    report = Marginals.of(LIKE.assign(x=None), REAL, SCHEMA).column_reports()[0]
    assert report["column"] == "x"
    assert report["missing"]["synthetic"] == 1
    assert {each["synthetic"] for each in report["quantiles"].values()} == {None}
    assert report["mean"]["synthetic"] is None
    assert report["mean"]["real"] == pytest.approx(REAL["x"].mean())
    assert (report["standardized_difference"], report["wasserstein"]) == (None, None)
