"""Keeping: rules hold in every row, distributions stay, and a repair changes as little as it can."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rule_sets import DOMAIN, NAMES, SMALL, all_records, keeps, orders, rule_sets, text_of

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.groups import Groups
from cohortmix.core.data.keeping import exchange
from cohortmix.core.data.keeping.exchange import keep
from cohortmix.core.data.keeping.pairs import forbidden
from cohortmix.core.data.rows import rows_of_cells
from cohortmix.core.data.schema import Schema, SchemaError

PRESSURES = """
name: t
target: y
columns:
  DBP: {type: number, min: 0, max: 100, integer: true}
  SBP: {type: number, min: 0, max: 100, integer: true}
  X: {type: number, min: 0, max: 1}
  y: {type: category, values: [a, b]}
rules:
- DBP < SBP
"""


def small(rules: Any) -> Schema:
    try:
        return Schema.from_yaml(SMALL + "".join(f"- {text_of(rule)}\n" for rule in rules))
    except SchemaError:
        assume(False)
        raise


def drawn(schema: Schema, rows: int, seed: int) -> pd.DataFrame:
    """Rows of any cells whatever, of two sites."""
    rng, encoding = np.random.default_rng(seed), Encoding.of(schema)
    codes = {cells.name: rng.integers(0, cells.size, rows).astype(np.int32) for cells in encoding.features}
    label = rng.integers(0, len(schema.classes), rows)
    return rows_of_cells(codes, label, schema, rng, site=rng.integers(0, 2, rows))


def as_records(frame: pd.DataFrame) -> list[dict[str, float]]:
    """As `rule_sets` sees them."""
    plain = frame.astype(object).where(frame.notna(), None)
    found = []
    for row in plain.to_dict("records"):
        places = {name: NAMES[name].index(row[name]) if row[name] is not None else None for name in NAMES}
        found.append({str(k): float("nan") if v is None else float(v) for k, v in (row | places).items()})
    return found


# --- every row keeps the rules


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rule_sets, st.integers(1, 80), st.integers(0, 10**6))
def test_every_row_keeps_the_rules(rules: Any, rows: int, seed: int) -> None:
    frame, closed = drawn(small(rules), rows, seed), orders(rules)
    assert len(frame) == rows
    for record in as_records(frame):
        assert keeps(record, rules, closed)
        assert all(record[name] in values or record[name] != record[name] for name, values in DOMAIN.items())
        assert record["a"] == record["a"]
        assert record["c"] == record["c"]


def test_without_the_rules_rows_would_break_them() -> None:
    """The negation: cells are drawn without a look at rules."""
    frame = drawn(Schema.from_yaml(SMALL.removesuffix("rules:\n")), 500, 0)
    for rules in ([("a<b",)], [("b<=a",)], [("c<b",)]):
        assert not all(keeps(record, rules, orders(rules)) for record in as_records(frame))


def distance(one: dict[str, float], other: dict[str, float]) -> int:
    return sum(one[k] != other[k] and not (one[k] != one[k] and other[k] != other[k]) for k in one)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(rule_sets, st.data())
def test_a_repair_changes_as_few_values_as_can_be(rules: Any, data: st.DataObject) -> None:
    schema, closed = small(rules), orders(rules)
    record = {name: data.draw(st.sampled_from(values)) for name, values in DOMAIN.items()}
    repaired = dict(record)
    for part in schema.connected:
        repaired |= part.nearest(record, int(record["y"]))
    assert keeps(repaired, rules, closed)
    assert repaired["y"] == record["y"]
    kept = (other for other in all_records() if other["y"] == record["y"] and keeps(other, rules, closed))
    assert distance(record, repaired) == min(distance(record, other) for other in kept)


def test_a_repair_moves_a_value_no_further_than_it_has_to() -> None:
    (part,) = Schema.from_yaml(PRESSURES).connected
    assert part.nearest({"DBP": 70.0, "SBP": 60.0}, 0) == {"DBP": 59.0, "SBP": 60.0}
    assert part.nearest({"DBP": 50.0, "SBP": 0.0}, 0) == {"DBP": 50.0, "SBP": 51.0}  # none is below 0
    assert part.nearest({"DBP": 100.0, "SBP": 0.0}, 0) == {"DBP": 99.0, "SBP": 100.0}


# --- and distributions stay


def exchanged(schema: Schema, rows: int, seed: int) -> tuple[dict[str, Any], dict[str, Any], NDArray[np.int64]]:
    """Values before and after, and the stratum of each record: pairs in order, shuffled within strata."""
    rng = np.random.default_rng(seed)
    label, site = rng.integers(0, 2, rows), rng.integers(0, 3, rows)
    stratum = label * 3 + site
    sbp = np.round(45 + 10 * label + 12 * rng.standard_normal(rows)).clip(20, 100)
    dbp = np.round(sbp - 1 - rng.gamma(2, 6, rows)).clip(0)
    for number in range(6):
        own = np.flatnonzero(stratum == number)
        sbp[own] = sbp[rng.permutation(own)]
    before = {"DBP": dbp, "SBP": sbp, "X": rng.random(rows)}
    after = {name: column.copy() for name, column in before.items()}
    keep(after, label, site, schema, rng)
    return before, after, stratum


@pytest.mark.parametrize("seed", range(5))
def test_an_exchange_keeps_every_distribution_of_every_class(seed: int) -> None:
    """All but the last few rows find a partner, and most of them one at their own site."""
    before, after, stratum = exchanged(Schema.from_yaml(PRESSURES), 3000, seed)
    assert (before["DBP"] >= before["SBP"]).sum() > 300
    assert (after["DBP"] < after["SBP"]).all()
    for name in ("DBP", "SBP"):
        for rows in (stratum < 3, stratum >= 3):
            was, now = (Counter(each[name][rows].tolist()) for each in (before, after))
            assert (was - now).total() <= 3  # of 1,500: these found no partner, and took another value
        for number in range(6):
            was, now = (Counter(each[name][stratum == number].tolist()) for each in (before, after))
            assert (was - now).total() < 0.06 * was.total()
    np.testing.assert_array_equal(before["X"], after["X"])


def test_rows_that_keep_the_rules_stay_as_they_are_but_for_their_partners() -> None:
    before, after, _ = exchanged(Schema.from_yaml(PRESSURES), 3000, 0)
    broken = before["DBP"] >= before["SBP"]
    moved = (before["DBP"] != after["DBP"]) | (before["SBP"] != after["SBP"])
    assert moved[broken].all()
    assert broken.sum() < moved.sum() < 3 * broken.sum()


def test_partners_are_sought_nearby_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values move less than with partners from anywhere: what goes together with them hardly moves."""

    def moved() -> float:
        before, after, _ = exchanged(Schema.from_yaml(PRESSURES), 3000, 0)
        return float(sum(np.abs(before[name] - after[name]).mean() for name in ("DBP", "SBP")))

    near = moved()
    monkeypatch.setattr(exchange, "WHOLE", 1)
    assert near < 0.9 * moved()


def test_nothing_is_drawn_where_no_rule_is_broken() -> None:
    """So that a table whose rows keep all rules gets the rows that it would get without them."""
    schema, rng, other = Schema.from_yaml(PRESSURES), np.random.default_rng(1), np.random.default_rng(1)
    values = {"DBP": np.zeros(9), "SBP": np.ones(9), "X": np.ones(9)}
    keep(values, np.zeros(9, dtype=np.int64), None, schema, rng)
    assert rng.random() == other.random()


# --- what a model is told


def test_pairs_of_bins_that_a_rule_forbids() -> None:
    schema = Schema.from_yaml(PRESSURES)
    encoding = Encoding.of(schema)
    of_cells = tuple(
        tuple(int(code >= cells.size // 2) for code in range(cells.size)) for cells in encoding.features
    )
    even = np.concatenate([np.full(cells.size, 1 / cells.size) for cells in encoding.features])
    found = forbidden(schema, Groups(of_cells), even)
    expected = np.zeros((6, 6), dtype=bool)
    expected[1, 2] = expected[2, 1] = True  # a high DBP and a low SBP; all else is possible
    np.testing.assert_array_equal(found, expected)
    free = Schema.from_yaml(PRESSURES.split("rules:", maxsplit=1)[0])
    assert forbidden(free, Groups(of_cells), even) is None


def test_cells_that_no_record_of_a_class_can_be_in() -> None:
    rules = "- y=a -> DBP>=40\n- y=b -> SBP<=50\n"
    possible = Encoding.of(Schema.from_yaml(PRESSURES + rules)).possible
    dbp, sbp, x = possible
    assert x is None
    assert dbp is not None
    assert sbp is not None
    low = np.arange(dbp.shape[1])  # cells of single whole numbers
    np.testing.assert_array_equal(dbp, [(low >= 40) & (low < 100), low < 50])
    np.testing.assert_array_equal(sbp, [low > 40, (low > 0) & (low <= 50)])
