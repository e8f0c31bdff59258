"""The schema: what it accepts, what it refuses, and that it is public text and nothing else."""

import re
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohortmix.core.data.cell import category_text, whole_text
from cohortmix.core.data.dictionary.columns import Category, Date, Number
from cohortmix.core.data.schema import Schema, SchemaError

STROKE = """
name: stroke-trial
patient_key: null
target: outcome
columns:
  AGE:     {type: number, min: 16, max: 105, integer: true, unit: years}
  WBC:     {type: number, min: 0, max: 200, transform: log1p, outside: refuse, missing: true}
  WBCDATE: {type: date, min: 1991-01-01, max: 1996-12-31, missing: true, with: WBC, after: RDATE}
  SEX:     {type: category, values: [F, M]}
  RATRIAL: {type: category, values: [Y, N], missing: true}
  RDATE:   {type: date, min: 1991-01-01, max: 1996-12-31}
  outcome: {type: category, values: [recovered, dead_or_dependent]}
"""

MINIMAL = (
    "name: t\ntarget: y\ncolumns:\n  x: {type: number, min: 0, max: 1}\n  y: {type: category, values: [a, b]}\n"
)


def test_the_format_of_the_design_is_read() -> None:
    schema = Schema.from_yaml(STROKE)
    assert schema.patient_key is None
    assert schema.max_rows_per_patient == 100
    assert schema.classes == ("recovered", "dead_or_dependent")
    assert schema.features == ("AGE", "WBC", "WBCDATE", "SEX", "RATRIAL", "RDATE")
    age, sex, day = schema.columns["AGE"], schema.columns["SEX"], schema.columns["WBCDATE"]
    assert isinstance(age, Number)
    assert (age.min, age.max, age.integer, age.unit, age.outside) == (16, 105, True, "years", None)
    assert isinstance(sex, Category)
    assert sex.values == ("F", "M")
    assert isinstance(day, Date)
    assert (str(day.min), day.with_, day.after) == ("1991-01-01", "WBC", "RDATE")


def test_yaml_round_trip_keeps_schema_and_hash() -> None:
    schema = Schema.from_yaml(STROKE)
    again = Schema.from_yaml(schema.to_yaml())
    assert again == schema
    assert again.hash == schema.hash


@pytest.mark.parametrize(
    ("before", "after"), [("max: 105", "max: 104"), ("[F, M]", "[M, F]"), ("SEX:", "GENDER:")]
)
def test_the_hash_tells_schemas_apart(before: str, after: str) -> None:
    assert Schema.from_yaml(STROKE).hash != Schema.from_yaml(STROKE.replace(before, after)).hash


def test_the_hash_depends_on_whatever_numbers_cells() -> None:
    """A site with the same columns in another order would be pooled as if its first feature were another's."""
    schema = Schema.from_yaml(STROKE)
    names = list(schema.columns)
    for at in range(len(names) - 1):
        order = [*names[:at], names[at + 1], names[at], *names[at + 2 :]]
        swapped = schema.model_copy(update={"columns": {name: schema.columns[name] for name in order}})
        assert swapped.columns == schema.columns  # as a dict, which knows no order
        assert swapped.hash != schema.hash
        assert Schema.from_yaml(swapped.to_yaml()).hash == swapped.hash
    for name, column in schema.columns.items():
        if isinstance(column, Category):
            turned = column.model_copy(update={"declared": column.values[::-1]})
            assert schema.model_copy(update={"columns": schema.columns | {name: turned}}).hash != schema.hash


def test_the_hash_does_not_depend_on_the_order_of_a_columns_keys() -> None:
    keys = MINIMAL.replace("type: number, min: 0, max: 1", "max: 1, type: number, min: 0")
    assert Schema.from_yaml(MINIMAL).hash == Schema.from_yaml(keys).hash


def test_golden_hash() -> None:
    """Columns are a list of name and column, in the schema's order; it was a dict before, which has none."""
    text = (
        '{"columns":[["x",{"max":"1.0","min":"0.0","type":"number"}],'
        '["y",{"type":"category","values":["a","b"]}]],"name":"t","target":"y"}'
    )
    assert Schema.from_yaml(MINIMAL).hash == sha256(text.encode()).hexdigest()


def test_the_hash_does_not_depend_on_how_a_number_is_written() -> None:
    assert Schema.from_yaml(MINIMAL).hash == Schema.from_yaml(MINIMAL.replace("max: 1}", "max: 1.0}")).hash


def test_values_are_taken_as_typed() -> None:
    schema = Schema.from_yaml(MINIMAL.replace("[a, b]", "[no, 1, 2.50, 0x1F]"))
    assert schema.classes == ("no", "1", "2.50", "0x1F")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (MINIMAL.replace("max: 1}", "max: 1, colour: red}"), "columns.x.colour: unknown key"),
        (MINIMAL + "colour: red\n", "colour: unknown key"),
        (MINIMAL.replace(", max: 1", ""), "columns.x.max: this key is required"),
        (MINIMAL.replace("min: 0, max: 1", "min: 1, max: 0"), "expected min < max, got min=1, max=0"),
        (MINIMAL.replace("max: 1", "max: 0"), "expected min < max"),
        (MINIMAL.replace("max: 1", "max: inf"), "columns.x.max"),
        (MINIMAL.replace("max: 1", "max: .nan"), "columns.x.max"),
        (MINIMAL.replace("min: 0, max: 1", "min: -1, max: 1, transform: log1p"), "log1p needs min > -1"),
        (MINIMAL.replace("[a, b]", "[a]"), "declares one class"),
        (MINIMAL.replace("[a, b]", "[]"), "columns.y.values"),
        (MINIMAL.replace("[a, b]", "[1, 1.0]"), "distinct values, got '1' twice; put codes in quotes"),
        (MINIMAL.replace("[a, b]", "['true', TRUE]"), "distinct values"),
        (
            MINIMAL.replace("max: 1}", "max: 9007199254740994, integer: true}"),
            "whole numbers are exact up to 2^53",
        ),
        (MINIMAL.replace("max: 1}", "max: 1, integer: true, decimals: 1}"), "whole numbers have no decimals"),
        (MINIMAL.replace("min: 0, max: 1", "min: 0.21, max: 0.29, decimals: 1"), "no number of 1 decimals lies"),
        (MINIMAL.replace("max: 1}", "max: 1, decimals: 16}"), "columns.x.decimals"),
        (MINIMAL.replace("min: 0", "min: -1e301"), "expected bounds within 1e+300"),
        (
            MINIMAL.replace(
                "max: 1}", "max: 1}\n  d: {type: date, min: 2000-01-01, max: 2001-01-01, timezone: ../x}"
            ),
            "expected the name of a time zone such as Europe/Berlin",
        ),
        (MINIMAL.replace("[a, b]", "[a, b], missing: true"), "may not be missing"),
        (MINIMAL.replace("target: y", "target: z"), "target='z' is not one of the columns"),
        (MINIMAL.replace("target: y", "target: {time: y, event: x}"), "must be a category"),
        (MINIMAL.replace("name: t", "name: t\npatient_key: x"), "patient_key='x' must not be described"),
        (MINIMAL.replace("max: 1}", "max: 1, with: q}"), "with='q' must name another column"),
        (MINIMAL.replace("max: 1}", "max: 1, with: x}"), "with='x' must name another column"),
        (MINIMAL.replace("max: 1}", "max: 1, with: y}"), "needs `missing: true` on both"),
        (MINIMAL.replace("max: 1}", "max: 1, after: y}"), "a column of the same type"),
        (
            MINIMAL.replace("max: 1}", "max: 1, after: z}\n  z: {type: number, min: 0, max: 1, after: x}"),
            "column 'x': after='z' leads back to the column itself",
        ),
        (
            MINIMAL.replace("max: 1}", "max: 1, after: z}\n  z: {type: number, min: 2, max: 3}"),
            "column 'x' ends before 'z' begins",
        ),
        (MINIMAL.replace("max: 1}", "max: 1}\n  site: {type: number, min: 0, max: 1}"), "this name is kept"),
        (MINIMAL.replace("min: 0, max: 1", "min: 0.2, max: 0.8, integer: true"), "no whole number lies between"),
        (MINIMAL.replace("type: number", "type: colour"), "columns.x"),
        (MINIMAL.replace("type: number, ", ""), "columns.x: expected a type: number, date or category"),
        (MINIMAL.replace("name: t\n", ""), "name: this key is required"),
        (MINIMAL.replace("  x: {type: number, min: 0, max: 1}\n", ""), "columns"),
        ("columns: {a: [", "not valid YAML at line 1"),
        ("", "expected the keys name, target and columns, each as"),
        ("just a text", "expected the keys name, target and columns, each as"),
        (MINIMAL + "target: y\n", "target: this key occurs twice"),
        (MINIMAL.replace("  y:", "  x: {type: number, min: 0, max: 9}\n  y:"), "x: this key occurs twice"),
        (MINIMAL.replace("max: 1}", "max: null}"), "columns.x.max: it has no value, since YAML reads null, ~ and"),
        (
            MINIMAL.replace("x: {", "date: {").replace("max: 1}", "max: }"),
            "columns.date.max: it has no value, since YAML reads null, ~ and",
        ),
    ],
)
def test_a_fault_is_named_in_one_line(text: str, sentence: str) -> None:
    with pytest.raises(SchemaError) as caught:
        Schema.from_yaml(text)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unconfirmed_line_is_refused_by_name() -> None:
    Schema.from_yaml(MINIMAL).require_confirmed()
    schema = Schema.from_yaml(MINIMAL.replace("max: 1}", "max: 1, confirmed: false}"))
    with pytest.raises(SchemaError, match="not confirmed: x;"):
        schema.require_confirmed()


def test_a_schema_cannot_be_changed() -> None:
    schema = Schema.from_yaml(MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        schema.name = "other"


@given(st.integers(-(10**6), 10**6), st.integers(1, 4))
def test_a_text_is_never_a_number(number: int, zeros: int) -> None:
    """ICD has 414, 414.0 and 414.00: a number that arrives typed is its digits, a text is itself."""
    text = f"{number}.{'0' * zeros}"
    assert category_text(f" {text} ") == text != category_text(number) == str(number)
    assert whole_text(text) == str(number)


def test_the_same_text_in_two_forms_of_unicode_is_one_value() -> None:
    composed, apart = "M\u00fcnchen", "Mu\u0308nchen"
    assert composed != apart
    assert category_text(composed) == category_text(apart)
    with pytest.raises(SchemaError, match="distinct values"):
        Schema.from_yaml(MINIMAL.replace("[a, b]", f"[{composed}, {apart}]"))


@pytest.mark.parametrize(
    ("written", "declared", "kind"),
    [
        ("[1, 2]", (1, 2), "numeric"),
        ("[0, -1, 2.0]", (0, -1, 2), "numeric"),
        ("[True, false]", (True, False), "truth"),
        ("['1', '2']", ("1", "2"), None),
        ("[1, '2']", ("1", "2"), None),
        ("[1, two]", ("1", "two"), None),
        ("[01, 02]", ("01", "02"), None),
        ("[1.5, 2]", ("1.5", "2"), None),
        ("['true', 'false']", ("true", "false"), None),
        ("[yes, no]", ("yes", "no"), None),
    ],
)
def test_quotes_make_a_text(written: str, declared: tuple[object, ...], kind: str | None) -> None:
    schema = Schema.from_yaml(MINIMAL.replace("[a, b]", written))
    column = schema.columns["y"]
    assert isinstance(column, Category)
    assert column.declared == declared
    assert [type(value) for value in column.declared] == [type(value) for value in declared]
    assert (column.numeric, column.truth) == (kind == "numeric", kind == "truth")
    again = Schema.from_yaml(schema.to_yaml())
    assert again == schema
    assert again.hash == schema.hash


def test_the_hash_tells_numbers_from_texts() -> None:
    """Sites whose codes are read in another way do not have one schema."""
    hashes = {Schema.from_yaml(MINIMAL.replace("[a, b]", v)).hash for v in ("[1, 2]", "['1', '2']")}
    assert len(hashes) == 2


def test_a_clip_that_is_written_stays_written() -> None:
    written = Schema.from_yaml(MINIMAL.replace("max: 1}", "max: 1, outside: clip}"))
    assert (written.columns["x"].outside, Schema.from_yaml(MINIMAL).columns["x"].outside) == ("clip", None)
    assert Schema.from_yaml(written.to_yaml()) == written


def test_a_float_reads_as_the_whole_number_that_it_is() -> None:
    """A null elsewhere turns a column of integers into floats: no value may read otherwise for that."""
    for number in (0, -7, 10**16, 2**60):
        assert category_text(float(number)) == category_text(number) == str(number)
    assert category_text(-0.0) == "0"
    assert category_text(1e300) == str(int(1e300))
    assert [category_text(x) for x in (0.5, float("inf"), float("nan"))] == ["0.5", "inf", "nan"]


def test_predecessors_are_the_chain_of_after() -> None:
    text = MINIMAL.replace("max: 1}", "max: 1, after: z}\n  z: {type: number, min: 0, max: 1, after: v}")
    schema = Schema.from_yaml(text + "  v: {type: number, min: 0, max: 1}\n")
    assert [schema.predecessors(name) for name in ("x", "z", "v", "y")] == [("z", "v"), ("v",), (), ()]


@pytest.mark.parametrize(
    ("left", "right"), [("1.5", "1"), ("01", "1"), ("a", "A"), ("1.05", "1.5"), ("1.0x", "1x")]
)
def test_different_values_stay_different(left: str, right: str) -> None:
    assert category_text(left) != category_text(right)


def test_truth_values_read_as_their_yaml_texts() -> None:
    assert (category_text(True), category_text(False)) == ("true", "false")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (Path("schema.yaml"), "got the name of a file; pass its text, as Path('schema.yaml').read_text(encoding="),
        ("schema.yaml", "got the name of a file; pass its text"),
        (None, "expected the text of a schema, got NoneType; pass its text"),
        (b"name: t", "got bytes; pass its text"),
        ({"name": "t"}, "got dict; pass it to Schema.model_validate"),
    ],
)
def test_what_is_no_text_of_a_schema_is_named(given: object, sentence: str) -> None:
    with pytest.raises(SchemaError, match=re.escape(sentence)):
        Schema.from_yaml(given)  # type: ignore[arg-type]


def test_values_that_unicode_writes_in_two_ways_are_named_as_that() -> None:
    text = (
        "name: t\ntarget: y\ncolumns:\n  x: {type: number, min: 0, max: 1}\n"
        "  y: {type: category, values: ['%s', '%s']}"
    )
    with pytest.raises(SchemaError, match="the same in its normal form; keep one"):
        Schema.from_yaml(text % ("\u00e9", "e\u0301"))
    with pytest.raises(SchemaError, match="'a' twice; put codes in quotes"):
        Schema.from_yaml(text % ("a", "a "))
