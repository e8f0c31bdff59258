"""The outcome: which classes a target makes, and that every record is in one of them, or in none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohortmix.core import Schema
from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.schema import SchemaError

TEXT = """
name: ward
target: {target}
columns:
  DAYS:   {{type: number, min: {least}, max: 3650, integer: true{slices}}}
  STATUS: {{type: category, values: {values}}}
  AGE:    {{type: number, min: 18, max: 100}}
"""
SURVIVAL = "{time: DAYS, event: STATUS}"


def schema(target: str = SURVIVAL, least: str = "1", slices: str = "", values: str = "[0, 1]") -> Schema:
    return Schema.from_yaml(TEXT.format(target=target, least=least, slices=slices, values=values))


def labels(of: Schema, **columns: list[Any]) -> list[int]:
    rows = len(next(iter(columns.values())))
    table = {"DAYS": [1] * rows, "STATUS": ["0"] * rows, "AGE": [50.0] * rows} | columns
    codes: list[int] = Encoding.of(of).label.codes(pa.record_batch(table)).tolist()
    return codes


def test_the_classes_of_a_time_and_its_event() -> None:
    of = schema(slices=", slices: [90, 365]")
    assert of.classes == (
        *("0, 1 to 89", "0, 90 to 364", "0, 365 to 3650"),
        *("1, 1 to 89", "1, 90 to 364", "1, 365 to 3650"),
    )
    assert of.features == ("DAYS", "AGE")  # the class tells the event
    assert labels(of, DAYS=[1, 89, 90, 364, 365, 3650], STATUS=["0"] * 3 + ["1"] * 3) == [0, 0, 1, 4, 5, 5]
    assert of.target_name == "DAYS, STATUS"


def test_a_record_without_one_of_them_is_in_no_class() -> None:
    assert labels(schema(), DAYS=[None, 5, 5], STATUS=["1", None, "never declared"]) == [-1, -1, -1]


def test_the_classes_of_a_number() -> None:
    of = schema("DAYS", slices=", slices: [7, 30]")
    assert of.classes == ("1 to 6", "7 to 29", "30 to 3650")
    assert of.features == ("DAYS", "STATUS", "AGE")
    assert labels(of, DAYS=[-5, 6, 7, 29, 30, 99999]) == [0, 0, 1, 1, 2, 2]
    assert len(schema("DAYS").classes) == 4  # by the usual rule


def test_a_declared_cut_is_nowhere_else_than_it_was_declared() -> None:
    """None is moved to an edge near it, nor is there a slice of what lies between an edge and a bound."""
    head = "name: t\ntarget: x\ncolumns:\n  y: {type: number, min: 0, max: 1}\n"
    text = head + "  x: {type: number, min: 0, max: 10, slices: [9.95]}\n"
    assert Schema.from_yaml(text).classes == ("0 to 9.95", "9.95 to 10")
    with pytest.raises(SchemaError, match="above min and below max"):
        Schema.from_yaml(text.replace("9.95", "10"))


def test_without_a_target_all_are_of_one_class() -> None:
    of = schema("null")
    assert (of.classes, of.features, of.target_name) == (("all",), ("DAYS", "STATUS", "AGE"), "none")
    assert labels(of, DAYS=[None, 7]) == [0, 0]


@pytest.mark.parametrize(
    ("values", "happened"), [("[0, 1]", "1"), ("[1, 0]", "1"), ("[true, false]", "true"), ("['no', 'yes']", "yes")]
)
def test_what_says_that_the_event_happened(values: str, happened: str) -> None:
    survival = schema(values=values).outcome.survival
    assert survival is not None
    assert survival.happened == happened


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"least": "0"}, "time='DAYS' needs min above 0"),
        ({"values": "[alive, dead]"}, "which of its values says that the event happened"),
        ({"target": "{time: DAYS, event: STATUS, happened: dead}"}, "happened='dead' is not one of the values"),
        ({"target": "{time: DAYS, event: NOTHING}"}, "event='NOTHING' is not one of the columns"),
        ({"target": "{time: STATUS, event: STATUS}"}, "time='STATUS' has type category; it must be a number"),
        ({"target": "{time: DAYS, evnt: STATUS}"}, "expected the keys time and event"),
        ({"values": "[0]"}, "event='STATUS' declares one value"),
        ({"slices": ", missing: true"}, "time='DAYS' may not be missing"),
        ({"target": "DAYS", "slices": ", slices: []"}, "target='DAYS' has one slice"),
        ({"target": "DAYS", "slices": ", slices: [30, 7]"}, "expected slices that rise"),
        (
            {"target": "DAYS", "slices": ", slices: [9999]"},
            "expected slices that rise, above min and below max",
        ),
        ({"target": "'?'"}, "choose the outcome"),
        ({"target": "[DAYS]"}, "expected the name of a column, null, or a time and an event"),
    ],
)
def test_a_target_that_cannot_be(changed: dict[str, str], sentence: str) -> None:
    with pytest.raises(SchemaError, match=sentence):
        schema(**changed)


@pytest.mark.parametrize("target", [SURVIVAL, "DAYS", "STATUS", "null"])
def test_a_target_comes_back_from_yaml_with_its_hash(target: str) -> None:
    of = schema(target)
    assert Schema.from_yaml(of.to_yaml()) == of
    assert len({schema(other).hash for other in (SURVIVAL, "DAYS", "STATUS", "null")}) == 4


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.sampled_from([SURVIVAL, "DAYS", "AGE", "STATUS", "null"]), st.lists(st.integers(1, 3650), max_size=30))
def test_a_class_has_the_cells_that_are_possible_in_it_and_no_other(target: str, days: list[int]) -> None:
    """Every class has an example, which is read as of that class, in a cell that is possible there."""
    of = schema(target)
    encoding = Encoding.of(of)
    for number in range(len(of.classes)):
        example = {name: [value] for name, value in of.outcome.example(number, of.columns).items()}
        assert labels(of, **({"AGE": [50.0]} | example)) == [number]
    table = {"DAYS": days, "STATUS": [str(day % 2) for day in days], "AGE": [20.0 + day % 80 for day in days]}
    batch = pa.record_batch({name: pa.array(values) for name, values in table.items()}) if days else None
    if batch is None:
        return
    codes, label = encoding.codes(batch)
    for j, possible in enumerate(encoding.possible):
        if possible is not None:
            assert possible[label, codes[:, j]].all()
            assert (possible.sum(axis=0) > 0).all()
            assert not possible.all()


def test_no_coarse_bin_is_in_two_slices() -> None:
    slices, days = np.asarray(schema().outcome.slices[1]), Encoding.of(schema()).features[0]
    assert days.coarse is not None
    assert all(len(set(slices[np.equal(days.coarse, number)])) == 1 for number in range(max(days.coarse) + 1))
    as_feature = Encoding.of(schema("STATUS")).features[0]
    assert as_feature.coarse is not None
    assert any(len(set(slices[np.equal(as_feature.coarse, k)])) > 1 for k in range(max(as_feature.coarse) + 1))


def test_the_outcomes_own_column_is_counted_with_the_weight_of_the_class() -> None:
    more = "".join(f"  X{number}: {{type: number, min: 0, max: 1}}\n" for number in range(10))
    wide = Schema.from_yaml(schema().to_yaml() + more)
    weights = {cells.name: cells.weight for cells in Encoding.of(wide).features}
    assert weights.pop("DAYS") == (len(wide.features) / 4) ** 0.5 > 1
    assert set(weights.values()) == {1}
