"""`schema draft`: names and types, no value of a record, and not usable before a person has completed it."""

import re
import uuid
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import yaml

from cohortmix.client.local.draft import draft
from cohortmix.client.table.data import open_all
from cohortmix.core.data.schema import Schema, SchemaError
from cohortmix.core.data.table import InputError, TableSource

NOTHING: Any = None  # in a list of cells, which pandas' types do not expect
TABLE = pd.DataFrame(
    {
        "age": ["71", "64", None],
        "temp": ["36.5", "", "37"],
        "sex": ["SECRET1", "SECRET2", "SECRET1"],
        "seen": ["1991-02-03", "NA", "1991-03-04"],
        "flag": [True, False, True],
        "stamp": pd.to_datetime(["1991-02-03", NOTHING, "1991-03-04"]),
        "mixed": ["5", "SECRET3", None],
        "nothing": [None, None, None],
        "a: b, {c}": [1, 2, 3],
        "no": [1.5, 2.5, None],
    }
)


def drafted(table: pd.DataFrame = TABLE) -> str:
    return draft(TableSource(table), "stroke trial")


def test_names_and_types_are_guessed() -> None:
    columns = yaml.load(drafted(), yaml.BaseLoader)["columns"]
    assert list(columns) == list(TABLE.columns)
    assert {name: line["type"] for name, line in columns.items()} == {
        "age": "number", "temp": "number", "sex": "category", "seen": "date", "flag": "category",
        "stamp": "date", "mixed": "category", "nothing": "category", "a: b, {c}": "number", "no": "number",
    }  # fmt: skip
    whole = [name for name, line in columns.items() if line.get("integer") == "true"]
    assert whole == ["age", "a: b, {c}"]
    assert all(line["confirmed"] == "false" for line in columns.values())


def test_no_bound_and_no_value_comes_from_the_records() -> None:
    text = drafted()
    for value in ("SECRET", "71", "64", "36.5", "37", "1991"):
        assert value not in text
    columns = yaml.safe_load(text)["columns"].values()
    assert {line.get("min") for line in columns} == {line.get("max") for line in columns} == {None}
    assert [line["values"] for line in columns if line.get("values")] == [[False, True]]


def test_other_records_of_the_same_types_give_the_same_draft() -> None:
    other = TABLE.assign(age=["1", "2", "3"], sex=["a", "b", "c"], seen="2020-01-01", no=[9.5, NOTHING, 1.0])
    assert drafted(other) == drafted()


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (pa.array(["007", "012", "113"]), "category"),  # a postcode: its zeros would be lost
        (pa.array(["0", "0.5", "10"]), "number"),
        (pa.array(["3_2", "1_0", None]), "category"),  # plate 3, well 2; Python reads 32
        (pa.array(["True", "FALSE", "true"]), "category"),
        (pa.array([b"F", b"M", None]), "category"),
        (pa.array([uuid.UUID(int=i).bytes for i in range(3)], pa.uuid()), "category"),
        (pa.array([[1], [2], []]), "category"),
        (pa.array([{"code": "I63"}, None, None]), "category"),
        (pa.array([2**63, 2**64 - 1, 0], pa.uint64()), "number"),
        (pa.nulls(3), "category"),
    ],
)
def test_any_type_gets_a_line(cells: pa.Array, kind: str) -> None:
    table = pa.table({"first": cells, "second": ["a", "b", "c"]})
    line = yaml.safe_load(draft(TableSource(table), "t"))["columns"]["first"]
    assert line["type"] == kind
    assert line.get("values", []) in ([], [False, True])


def test_it_opens_with_what_a_person_has_to_do() -> None:
    head = drafted().split("name:")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "never from the records" in head
    assert "confirmed: true" in head


def test_it_is_refused_until_a_person_has_completed_and_confirmed_it() -> None:
    text = drafted(TABLE[["age", "sex"]])
    with pytest.raises(SchemaError, match="target: choose the outcome"):
        Schema.from_yaml(text)
    text = re.sub(r"target: '\?'.*", "target: sex", text).replace("min: null, max: null", "min: 16, max: 105")
    with pytest.raises(SchemaError, match="sex"):
        Schema.from_yaml(text)
    text = text.replace("values: [], missing: true", "values: [F, M], missing: false")
    with pytest.raises(SchemaError, match="not confirmed: age, sex"):
        Schema.from_yaml(text).require_confirmed()
    schema = Schema.from_yaml(text.replace("confirmed: false", "confirmed: true"))
    schema.require_confirmed()
    assert (schema.name, schema.features) == ("stroke trial", ("age",))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (TABLE.iloc[:0], "the table is empty"),
        (TABLE[["age"]], "the table has 1 column; a schema needs two or more"),
    ],
)
def test_a_table_without_a_schema(table: pd.DataFrame, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        drafted(table)


@pytest.mark.parametrize(
    "names",
    [
        ("Smith0", "40", "HIV positive"),
        ("Smith0", "4.0e1", "HIV positive"),
        ("Smith0", "7,5", "HIV positive"),
        ("Smith0", "1991-02-03", "HIV positive"),
        ("Smith0", "1991-02-03T10:00", "HIV positive"),
        ("Smith0", "03.02.1991", "HIV positive"),
        ("Smith0", "", "HIV positive"),
        ("Smith0", " ", "HIV positive"),
        ("Smith0", "Smith0", "HIV positive"),
    ],
)
def test_a_record_in_place_of_the_header_is_refused_and_not_printed(tmp_path: Path, names: list[str]) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame([names, names]).to_csv(path, header=False, index=False)
    with pytest.raises(InputError, match=r"has the file a header line\?") as caught:
        draft(open_all(path), "t")
    assert not any(name in str(caught.value) for name in names if name.strip())


def test_names_with_digits_and_of_any_script_are_names(tmp_path: Path) -> None:
    names = ["x40", "40 m", "größe", "年齢", "1991-visit", "NA", "inf"]
    path = tmp_path / "t.csv"
    pd.DataFrame([range(len(names))], columns=names).to_csv(path, index=False)
    assert list(yaml.load(draft(open_all(path), "t"), yaml.BaseLoader)["columns"]) == names


@pytest.mark.parametrize(
    ("cells", "hint"),
    [
        (["1,5", "2,25", "3"], "they have a comma; write numbers with a decimal point"),
        (["03.02.1991", "4.2.91", "05.12.1999"], "they are written as DD.MM.YYYY; write YYYY-MM-DD"),
        (["<0.5", "1.2", "0.7"], "a sign such as < stands before the number"),
        (["1991-02-03", "1991-02-04", "unknown"], "they look like dates; declare `type: date`"),
        (["5 mg", "6 mg", None], "something stands behind the number, such as a unit"),
        (["yes", "no", "yes"], ""),
        (["I63", "I64", "G45"], ""),
        (["F", "M", "1,5"], ""),
        (["007", "012", "113"], ""),
        (["36.5", "n/a", "37.1"], ""),
    ],
)
def test_numbers_and_dates_of_another_form_get_their_likely_cause(cells: list[str | None], hint: str) -> None:
    text = drafted(pd.DataFrame({"first": cells, "second": ["a", "b", "c"]}))
    (line,) = [line for line in text.splitlines() if line.startswith("  first:")]
    assert line.startswith("  first: {type: category, values: [], missing: true, confirmed: false}")
    said = line.partition("   # if numbers or dates are meant: ")[2]
    assert said.startswith(hint)
    assert bool(said) == bool(hint)
    assert yaml.safe_load(text)["columns"]["first"]["values"] == []


@pytest.mark.parametrize(
    ("names", "where"),
    [
        (
            ["age", "sex", "age", "sex", "age"],
            "one name in columns 1, 3 and 5, and one name in columns 2 and 4; has the file",
        ),
        (
            ["age", "7,5", "x", "", " "],
            "an empty one, a number or a date in columns 2, 4 and 5; has the file",
        ),
    ],
)
def test_columns_without_a_name_of_their_own_are_told_by_their_places(
    tmp_path: Path, names: list[str], where: str
) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame([names]).to_csv(path, header=False, index=False)
    with pytest.raises(InputError) as caught:
        draft(open_all(path), "t")
    assert where in str(caught.value)
