"""Rules: what a text says, which texts are refused, and which rules contradict each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from pydantic import ValidationError
from rule_sets import SMALL, all_records, keeps, orders, rule_sets, text_of, uses

from cohortmix.core.data.dictionary import satisfy
from cohortmix.core.data.dictionary.rules import Values
from cohortmix.core.data.schema import Schema, SchemaError

HEAD = """
name: t
target: y
columns:
  DBP: {type: number, min: 20, max: 200, integer: true}
  SBP: {type: number, min: 50, max: 300, integer: true, missing: true}
  AGE: {type: number, min: 0, max: 110, decimals: 1}
  "Body weight": {type: number, min: 0, max: 300}
  SEX: {type: category, values: [F, M]}
  WARD: {type: category, values: ["A and B", C, "missing"], missing: true}
  CODE: {type: category, values: [1, 2, 3]}
  TRUTH: {type: category, values: [true, false]}
  IN: {type: date, min: 2000-01-01, max: 2001-01-01}
  OUT: {type: date, min: 2000-01-01, max: 2001-01-01, missing: true, after: IN}
  y: {type: category, values: [alive, dead]}
rules:
"""
NAN = float("nan")


def schema_of(*rules: str) -> Schema:
    lines = "".join("- '" + rule.replace("'", "''") + "'\n" for rule in rules)
    return Schema.from_yaml(HEAD + lines if rules else HEAD.removesuffix("rules:\n"))


def broken(rule: str, **values: float) -> bool:
    columns: Values = {name.replace("_", " "): np.array([value]) for name, value in values.items()}
    return bool(schema_of(rule).stated[0].broken(columns)[0])


# --- what a rule says


@pytest.mark.parametrize(
    ("rule", "keep", "break_"),
    [
        ("DBP < SBP", ((80, 81), (80, NAN)), ((80, 80), (81, 80))),
        ("DBP <= SBP", ((80, 80), (NAN, 80)), ((81, 80),)),
        ("SBP > DBP", ((80, 81),), ((80, 80),)),
        ("SBP >= DBP", ((80, 80),), ((81, 80),)),
        ("SBP>=DBP", ((80, 80),), ((81, 80),)),
    ],
)
def test_a_comparison_holds_where_both_are_known(rule: str, keep: Any, break_: Any) -> None:
    assert not any(broken(rule, DBP=low, SBP=high) for low, high in keep)
    assert all(broken(rule, DBP=low, SBP=high) for low, high in break_)


@pytest.mark.parametrize(
    ("rule", "keep", "break_"),
    [
        ("SEX=F -> CODE=2", ({"SEX": 1, "CODE": 0}, {"SEX": 0, "CODE": 1}), ({"SEX": 0, "CODE": 0},)),
        ("SEX=F -> CODE=1|3", ({"SEX": 0, "CODE": 0}, {"SEX": 0, "CODE": 2}), ({"SEX": 0, "CODE": 1},)),
        ("SEX!=F -> CODE!=2.0", ({"SEX": 1, "CODE": 0}, {"SEX": 0, "CODE": 1}), ({"SEX": 1, "CODE": 1},)),
        ("TRUTH=True -> SEX=F", ({"TRUTH": 0, "SEX": 0}, {"TRUTH": 1, "SEX": 1}), ({"TRUTH": 0, "SEX": 1},)),
        ("AGE < 18 -> SEX=F", ({"AGE": 18, "SEX": 1}, {"AGE": 17.9, "SEX": 0}), ({"AGE": 17.9, "SEX": 1},)),
        ("AGE <= 18 -> SEX=F", ({"AGE": 18.1, "SEX": 1},), ({"AGE": 18, "SEX": 1},)),
        ("AGE=18|19 -> SEX=F", ({"AGE": 18.1, "SEX": 1},), ({"AGE": 19, "SEX": 1},)),
        ("AGE!=18 -> SEX=F", ({"AGE": 18, "SEX": 1},), ({"AGE": 18.1, "SEX": 1},)),
        (
            "AGE >= 18 and AGE < 60 -> SEX=F",
            ({"AGE": 17.9, "SEX": 1}, {"AGE": 60, "SEX": 1}),
            ({"AGE": 18, "SEX": 1}, {"AGE": 59.9, "SEX": 1}),
        ),
        (
            "IN > 2000-02-01 -> SEX=F",
            ({"IN": 730151, "SEX": 1}, {"IN": 730152, "SEX": 0}),
            ({"IN": 730152, "SEX": 1},),
        ),
        (
            "SBP missing -> SEX=F",
            ({"SBP": NAN, "SEX": 0}, {"SBP": 90, "SEX": 1}),
            ({"SBP": NAN, "SEX": 1},),
        ),
        ("SBP known -> SEX=F", ({"SBP": NAN, "SEX": 1},), ({"SBP": 90, "SEX": 1},)),
        ("SEX=F -> SBP missing", ({"SBP": NAN, "SEX": 0},), ({"SBP": 90, "SEX": 0},)),
        ("SEX=F -> SBP known", ({"SBP": 90, "SEX": 0},), ({"SBP": NAN, "SEX": 0},)),
        ("SBP<90 -> SEX=F", ({"SBP": NAN, "SEX": 1},), ({"SBP": 89, "SEX": 1},)),
        ("SEX=F -> SBP<90", ({"SBP": NAN, "SEX": 0},), ({"SBP": 90, "SEX": 0},)),
        ("SEX=F -> SBP!=90", ({"SBP": NAN, "SEX": 0},), ({"SBP": 90, "SEX": 0},)),
        ("Body weight < 3 -> SEX=F", ({"Body_weight": 3, "SEX": 1},), ({"Body_weight": 2.9, "SEX": 1},)),
        ("'Body weight'<3->SEX=F", ({"Body_weight": 3, "SEX": 1},), ({"Body_weight": 2.9, "SEX": 1},)),
        ("WARD='A and B' -> SEX=F", ({"WARD": 1, "SEX": 1},), ({"WARD": 0, "SEX": 1},)),
        ("WARD='missing' -> SEX=F", ({"WARD": NAN, "SEX": 1},), ({"WARD": 2, "SEX": 1},)),
        ("WARD missing -> SEX=F", ({"WARD": 2, "SEX": 1},), ({"WARD": NAN, "SEX": 1},)),
    ],
)
def test_an_implication_and_missing_values(rule: str, keep: Any, break_: Any) -> None:
    """A missing value breaks a rule only if the rule speaks of missing values."""
    assert not any(broken(rule, **values) for values in keep)
    assert all(broken(rule, **values) for values in break_)


def test_rules_are_part_of_the_schema() -> None:
    schema, other, none = schema_of("DBP < SBP", "SEX=F -> CODE=1|2"), schema_of("DBP <= SBP"), schema_of()
    assert Schema.from_yaml(schema.to_yaml()) == schema
    assert Schema.from_yaml(schema.to_yaml()).hash == schema.hash
    assert len({schema.hash, other.hash, none.hash}) == 3
    assert "rules" not in none.to_yaml()


# --- what is refused

REFUSED = [
    ("DBP < FOO", "rule 'DBP < FOO': 'FOO' is not one of the columns"),
    ("FOO=1 -> SEX=F", "'FOO' is not one of the columns"),
    ("SEX=X -> CODE=1", "'X' is not one of the values of 'SEX'"),
    ("WARD=c -> CODE=1", "'c' is not one of the values of 'WARD'"),
    ("DBP < IN", "'DBP' is a number and 'IN' a date; compare two of one type"),
    ("DBP < SEX", "'SEX' is a category; compare two numbers or two dates"),
    ("DBP < DBP", "'DBP' is compared with itself"),
    ("DBP = SBP", "expected a comparison of two columns or an implication"),
    ("DBP < 90", "'90' is not one of the columns"),
    ("SEX < 3 -> CODE=1", "'SEX' is a category; its values have no order"),
    ("AGE > 200 -> SEX=F", "200 lies outside of the bounds of 'AGE'"),
    ("AGE=-1 -> SEX=F", "-1 lies outside of the bounds of 'AGE'"),
    ("AGE > old -> SEX=F", "expected a number for 'AGE', got 'old'"),
    ("AGE=18.55 -> SEX=F", "'AGE' is not recorded so finely that it could be 18.55"),
    ("IN > 2000-06-31 -> SEX=F", "expected a day such as 2027-01-31 for 'IN'"),
    ("SEX missing -> CODE=1", "'SEX' is never missing; write `missing: true`"),
    ("SEX=F -> CODE=1 -> CODE=2", "expected one `->`"),
    ("SEX=F -> CODE=1 and AGE>3", "expected one condition behind `->`"),
    ("SEX=F", "expected a comparison of two columns or an implication"),
    ("-> SEX=F", "expected a condition such as"),
    ("SEX=F ->", "expected a condition such as"),
    ("SEX= -> CODE=1", "expected a name or a value on both sides"),
    ("SEX=F| -> CODE=1", "expected a name or a value on both sides"),
    ("SEX='F -> CODE=1", "expected a comparison or an implication"),
]


@pytest.mark.parametrize(("rule", "sentence"), REFUSED)
def test_a_rule_that_cannot_be_read_is_named(rule: str, sentence: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schema_of(rule)
    assert str(caught.value).startswith(f"rule {rule!r}: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (("DBP < SBP", "SBP < DBP"), "rules 'DBP < SBP' and 'SBP < DBP': no values keep a circle of comparisons"),
        (("DBP < SBP", "SBP <= DBP"), "rules 'DBP < SBP' and 'SBP <= DBP'"),
        (("OUT < IN",), "rules 'OUT < IN' and 'OUT: after=IN'"),
        (
            ("DBP <= AGE", "SEX=F -> AGE<20"),
            "rule 'SEX=F -> AGE<20' can hold in no record: it contradicts rule 'DBP <= AGE'",
        ),
        (
            ("AGE < 0 -> SEX=F",),
            "'AGE < 0 -> SEX=F' can hold in no record: its columns' bounds and values exclude",
        ),
        (("SEX=F -> SBP > 300",), "its columns' bounds and values exclude it"),
        (("SEX=F -> CODE=1", "SEX=F -> CODE=2", "DBP < SBP"), "it contradicts rule 'SEX=F -> CODE=2'; correct"),
        (("SEX=F -> SBP < 90", "SEX=F -> SBP > 90"), "it contradicts rule 'SEX=F -> SBP > 90'"),
        (("AGE >= 0 -> y=dead",), "rule 'AGE >= 0 -> y=dead': no record with y='alive' keeps this"),
        (
            ("SEX=F -> y=dead", "SEX=M -> y=dead"),
            "'SEX=F -> y=dead' and 'SEX=M -> y=dead': no record with y='alive'",
        ),
    ],
)
def test_rules_that_contradict_each_other_are_named(rules: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(SchemaError) as caught:
        schema_of(*rules)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    "rules",
    [
        ("DBP <= SBP", "SBP <= DBP"),  # both are equal
        ("SEX=F -> CODE=1", "SEX=M -> CODE!=1"),
        ("SBP < AGE", "SEX=F -> AGE<=50.1"),  # a SBP of 50, and an AGE of 50.1
        ("SEX=F -> SBP missing", "DBP < SBP"),
        ("CODE=1 -> WARD missing", "CODE=2 -> WARD known", "WARD=C -> CODE=3"),
    ],
)
def test_rules_that_records_can_keep_are_taken(rules: tuple[str, ...]) -> None:
    assert schema_of(*rules).rules == rules


def pigeons(count: int, holes: int) -> dict[str, object]:
    """A hole for each pigeon, and none for two of them."""
    columns: dict[str, object] = {
        f"p{i}": {"type": "category", "values": [f"h{j}" for j in range(holes)]} for i in range(count)
    }
    columns["y"] = {"type": "category", "values": ["a", "b"]}
    rules = [f"p{i}=h{j} -> p{k}!=h{j}" for i in range(count) for k in range(i) for j in range(holes)]
    return {"name": "t", "target": "y", "columns": columns, "rules": rules}


def test_what_only_a_search_finds_is_found() -> None:
    Schema.model_validate(pigeons(4, 4))
    with pytest.raises(ValidationError, match="can hold in no record: it contradicts rules"):
        Schema.model_validate(pigeons(4, 3))


def test_rules_too_entangled_to_be_checked_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(satisfy, "MOST_STEPS", 3)
    with pytest.raises(ValidationError, match="too entangled to tell if a record can keep them; state fewer"):
        Schema.model_validate(pigeons(4, 4))


# --- refused exactly where no record can keep them: against a count of all records


@settings(max_examples=120, deadline=None, derandomize=True)
@given(rule_sets)
def test_rules_are_refused_exactly_where_no_record_can_keep_them(rules: Any) -> None:
    closed = orders(rules)
    kept = [record for record in all_records() if keeps(record, rules, closed)]
    possible = all(any(record["y"] == c for record in kept) for c in (0, 1))
    possible &= all(any(uses(record, rule) for record in kept) for rule in rules)
    text = SMALL + "".join(f"- {text_of(rule)}\n" for rule in rules)
    if possible:
        Schema.from_yaml(text)
    else:
        with pytest.raises(SchemaError, match=r"circle of comparisons|can hold in no record|no record with"):
            Schema.from_yaml(text)
