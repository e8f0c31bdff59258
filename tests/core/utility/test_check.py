"""Local checks: each fault is named with what was declared, never with a value; what is no fault passes."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cohortmix.core.data.encoding import Encoding
from cohortmix.core.data.reading import UNKNOWN
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import InputError, TableSource
from cohortmix.core.utility.checks.check import check
from cohortmix.core.utility.checks.fit import Fit

TEXT = """
name: t
patient_key: id
target: y
columns:
  age: {type: number, min: 16, max: 105, outside: refuse}
  lab: {type: number, min: 0, max: 200}
  sex: {type: category, values: [F, M], outside: refuse}
  ward: {type: category, values: [A, B]}
  day: {type: date, min: 1991-01-01, max: 1996-12-31, outside: refuse}
  y: {type: category, values: [alive, dead, unknown]}
"""
NOTHING: Any = None  # in a list of cells, which pandas' types do not expect
SCHEMA = Schema.from_yaml(TEXT)
GOOD = pd.DataFrame(
    {
        "id": np.arange(60),
        "age": 50,
        "lab": 100.0,
        "sex": ["F", "M"] * 30,
        "ward": "A",
        "day": "1993-05-06",
        "y": ["alive", "dead"] * 30,
    }
)


def one(column: str, value: object) -> pd.DataFrame:
    """The good table with one cell replaced."""
    return GOOD.assign(**{column: [value, *GOOD[column].astype(object)[1:]]})


def faults(table: pd.DataFrame, schema: Schema = SCHEMA) -> str:
    with pytest.raises(InputError) as caught:
        check(TableSource(table), schema)
    assert str(caught.value).count("\n") + 1 == max(1, str(caught.value).count("\n  column") + 1)
    return str(caught.value)


@pytest.mark.parametrize(
    "table",
    [
        GOOD,
        GOOD.assign(age=105, lab=0.0, day="1996-12-31"),  # the bounds themselves; constant columns
        GOOD.assign(lab=None),  # missing everywhere
        GOOD.assign(sex=None, ward=None, age=None, day=None),
        GOOD.assign(y="alive"),  # classes that nobody has
        GOOD.assign(surplus="not read"),
        GOOD.assign(id=10**17 + GOOD["id"]),
        GOOD.assign(id=[NOTHING, *range(59)]),
        one("lab", 1e9),  # outside: clip
        one("lab", "<5"),
        one("ward", "Z"),
        GOOD.assign(age=GOOD["age"].astype(str) + ".0"),
        GOOD.assign(day=pd.to_datetime(GOOD["day"])),
        pd.concat([GOOD, GOOD.assign(id=None, age=-1, y="?")]),  # rows of nobody
    ],
)
def test_what_is_no_fault_passes(table: pd.DataFrame) -> None:
    check(TableSource(table), SCHEMA)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (GOOD.drop(columns="sex"), "missing column 'sex'"),
        (GOOD.drop(columns="id"), "missing column 'id'"),
        (GOOD.iloc[:0], "the table is empty"),
        (GOOD.assign(id=None), "the table is empty: it holds no record with a value of 'id'"),
        (GOOD.assign(id=[NOTHING, *(10**17 + i for i in range(59))]), "key 'id' is a column of floats"),
        (one("age", 106.5), "column 'age': 1 value is not a number in 16 to 105 (first in row 1);"),
        (one("age", 15.9), "column 'age': 1 value is not"),
        (one("age", "unknown"), "column 'age': 1 value is not a number"),
        (one("sex", "diverse"), "column 'sex': 1 value is not one of the declared values 'F' and 'M'"),
        (one("day", "1997-01-01"), "column 'day': 1 value is not a date (YYYY-MM-DD) in 1991-01-01 to 1996-12-31"),
        (one("day", "06.05.1993"), "DD.MM.YYYY; write YYYY-MM-DD; correct the table"),
        (one("y", "lost"), "column 'y': the target holds 1 value that is not one of the declared values 'alive'"),
        (one("y", None), "column 'y': the target has no value in 1 row"),
        (
            GOOD.assign(lab=-1),
            "column 'lab': none of its values is a number in 0 to 200 (first in row 1); is it the right column?",
        ),
        (GOOD.assign(lab="7,5"), "column 'lab': none of its values is a number"),
        (GOOD.assign(ward=1), "column 'ward': none of its values is one of the declared values 'A' and 'B'"),
    ],
)
def test_a_fault_is_named(table: pd.DataFrame, sentence: str) -> None:
    assert sentence in faults(table)


@pytest.mark.parametrize("column", ["age", "sex", "day", "y"])
def test_no_value_of_a_patient_is_printed(column: str) -> None:
    assert "SECRET" not in faults(one(column, "SECRET"))


def test_a_late_batch_counts_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohortmix.core.data.table.BATCH_ROWS", 7)
    check(TableSource(GOOD), SCHEMA)
    assert "column 'sex'" in faults(one("sex", "x").iloc[::-1])


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("lab", [], Fit(60)),
        ("lab", [0, 200.0, "7"], Fit(60)),
        ("lab", [-1e-9, 200.1, 1e9], Fit(57, clipped=3)),
        ("lab", ["<5", "inf", "nan", ""], Fit(56, unreadable=2, empty=2)),
        ("ward", ["A", "Z", None, "na", " B "], Fit(57, undeclared=1, empty=2)),
    ],
)
def test_what_is_clipped_undeclared_and_empty_is_counted(column: str, values: list[object], expected: Fit) -> None:
    table = GOOD.assign(**{column: [*values, *GOOD[column].astype(object)[len(values) :]]})
    nobody = GOOD.assign(id=None, **{column: "?"})  # rows of nobody do not count
    counted = check(TableSource(pd.concat([table, nobody])), SCHEMA)
    assert counted.without_key == 60
    assert counted.columns[column] == expected
    assert {name for name, fit in counted.columns.items() if fit != Fit(60)} <= {column}


def test_the_counts_are_what_the_vault_makes_of_the_values() -> None:
    """What counts as clipped is at its bound for the vault; what counts as undeclared or empty has no cell."""
    values = [-1e-9, 1e9, 100, "<5", None]
    encoded = next(cells for cells in Encoding.of(SCHEMA).features if cells.name == "lab")
    codes = encoded.codes(pa.array([None if value is None else str(value) for value in values]))
    assert codes.tolist()[:2] == [0, encoded.size - 1]
    assert 0 < codes[2] < encoded.size - 1
    assert (codes[3:] == UNKNOWN).all()


def test_without_a_key_every_row_counts() -> None:
    schema = Schema.from_yaml(TEXT.replace("patient_key: id\n", ""))
    check(TableSource(GOOD.drop(columns="id")), schema)
    assert "'age'" in faults(one("age", -1).drop(columns="id"), schema)


def test_a_schema_without_numbers_or_without_other_categories() -> None:
    for drop in (["age", "lab", "day"], ["sex", "ward"]):
        kept = {name: column for name, column in SCHEMA.columns.items() if name not in drop}
        check(TableSource(GOOD), SCHEMA.model_copy(update={"columns": kept}))


def test_the_relay_cannot_reach_a_check() -> None:
    """Neither the site's answers nor the Flower client import what judges records."""
    code = (
        "import sys, importlib.util\n"
        "for name in ('site', 'app', 'ledger', 'policy'):\n"
        "    if importlib.util.find_spec(f'cohortmix.client.{name}'): __import__(f'cohortmix.client.{name}')\n"
        "print([m for m in sys.modules if m.startswith('cohortmix')])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "cohortmix.client" in loaded
    for module in ("core.evaluate", "core.check", "client.draft"):
        assert f"cohortmix.{module}" not in loaded


def schema_with(line: str) -> Schema:
    return Schema.from_yaml(TEXT.replace("lab: {type: number, min: 0, max: 200}", line))


@pytest.mark.parametrize(
    ("line", "values", "cause"),
    [
        ("lab: {type: number, min: 0, max: 200}", ["37,5", "1,0"], "decimal point"),
        ("lab: {type: number, min: 0, max: 200}", ["1.234,5"], "decimal point"),
        ("lab: {type: number, min: 0, max: 200}", ["<20", "< 0.5", ">89"], "a sign such as <"),
        ("lab: {type: number, min: 0, max: 200}", ["24.12.2020"], "look like dates"),
        ("lab: {type: number, min: 0, max: 200}", ["yes", "No"], "truth values"),
        ("lab: {type: number, min: 0, max: 200}", ["5 mg/dl", "7mg"], "such as a unit"),
        ("lab: {type: number, min: 0, max: 200}", ["3_2"], None),
        ("lab: {type: number, min: 0, max: 200}", ["0x10", "0xFF"], "they are hexadecimal"),
        ("lab: {type: number, min: 0, max: 200}", ["1e400", "-1.5E+999"], "too large for a number"),
        ("lab: {type: number, min: 0, max: 200}", ["\u22125", "\u20130.5"], "a dash or a typographic minus"),
        (
            "lab: {type: date, min: 1990-01-01, max: 2030-01-01}",
            ["2020-1-5", "2020-01-5", "2020-1-05"],
            "one digit",
        ),
        ("lab: {type: date, min: 1990-01-01, max: 2030-01-01}", ["2020-02-30", "20201301"], "no such day"),
        ("lab: {type: date, min: 1990-01-01, max: 2030-01-01}", ["2021-02-29 10:00"], "no such day"),
        ("lab: {type: date, min: 1990-01-01, max: 2030-01-01}", ["24.12.2020", "1.2.21"], "DD.MM.YYYY"),
        ("lab: {type: date, min: 1990-01-01, max: 2030-01-01}", ["12/24/2020"], "with slashes"),
        ("lab: {type: date, min: 1990-01-01, max: 2030-01-01}", ["infinity"], "infinite"),
        ("lab: {type: date, min: 1990-01-01, max: 2030-01-01}", ["44189"], "spreadsheet"),
        ("lab: {type: category, values: ['1', '2']}", ["1.0", "2.0"], "without quotes"),
        ("lab: {type: category, values: [yes, no]}", ["YES", "No"], "upper and lower case"),
        ("lab: {type: category, values: [A, B]}", ["\x01"], "bytes"),
    ],
)
def test_the_likely_cause_is_said_and_no_value(line: str, values: list[str], cause: str | None) -> None:
    """A column that no value fits; the right form of the same values passes."""
    cells = (values * 60)[:60]
    sentence = faults(GOOD.assign(lab=cells), schema_with(line))
    assert f"column 'lab': none of its values is {'a' if 'category' not in line else 'one of'}" in sentence
    assert "(first in row 1)" in sentence
    assert (cause or "is it the right column?") in sentence
    assert not any(value in sentence for value in values if len(value) > 3)


def test_more_than_a_share_that_cannot_be_read_is_refused_unless_a_clip_is_written() -> None:
    def with_texts(count: int) -> TableSource:
        return TableSource(GOOD.assign(lab=["<5"] * count + [7.0] * (60 - count)))

    assert check(with_texts(3), SCHEMA).columns["lab"] == Fit(57, unreadable=3)  # 5 %
    with pytest.raises(InputError, match=r"4 of its 60 values cannot be read as a number.*a sign such as <"):
        check(with_texts(4), SCHEMA)
    assert check(with_texts(4), SCHEMA, max_unreadable=0.1).columns["lab"].unreadable == 4
    with pytest.raises(InputError, match="1 of its 60"):
        check(with_texts(1), SCHEMA, max_unreadable=0.0)
    clipped = schema_with("lab: {type: number, min: 0, max: 200, outside: clip}")
    assert check(with_texts(59), clipped).columns["lab"].unreadable == 59
    for share in (-0.1, 1.1):
        with pytest.raises(InputError, match="between 0 and 1"):
            check(with_texts(1), SCHEMA, max_unreadable=share)


def test_what_nobody_declared_is_not_unreadable() -> None:
    """A ward that the dictionary lacks is said, and refused only where the schema asks for it."""
    found = check(TableSource(GOOD.assign(ward=["Z"] * 50 + ["A"] * 10)), SCHEMA).columns["ward"]
    assert (found.undeclared, found.unreadable, found.first) == (50, 0, 1)


def test_all_problems_of_all_columns_are_said_at_once() -> None:
    table = GOOD.assign(age=[*[50] * 59, 300], lab="7,5", sex=["x", *["F"] * 59], y=[*["dead"] * 30, *["?"] * 30])
    sentence = faults(table)
    assert sentence.startswith("4 problems of the table:\n")
    for part in (
        "column 'age': 1 value is not a number in 16 to 105 (first in row 60)",
        "column 'lab': none of its values is a number in 0 to 200 (first in row 1): they have a comma",
        "column 'sex': 1 value is not one of the declared values 'F' and 'M' (first in row 1)",
        "column 'y': the target holds 30 values that are not",
        "(first in row 31)",
    ):
        assert part in sentence


def test_rows_that_are_left_out_are_counted() -> None:
    few = SCHEMA.model_copy(update={"max_rows_per_patient": 2})
    table = GOOD.assign(id=[NOTHING, "NA", "", *["p"] * 5, *range(52)])
    found = check(TableSource(table), few)
    assert (found.without_key, found.over_cap) == (3, 3)
    assert not found.as_declared
    assert check(TableSource(GOOD), few).as_declared


def test_a_time_of_day_that_is_not_kept_is_counted() -> None:
    days = ["1993-05-06 23:30", "1993-05-06 00:00:00", "1993-05-06", *["1993-05-06T01:00"] * 57]
    found = check(TableSource(GOOD.assign(day=days)), SCHEMA)
    assert found.columns["day"] == Fit(60, timed=58)
    assert not found.as_declared


def test_a_time_with_an_offset_needs_a_declared_zone() -> None:
    table = GOOD.assign(day="1993-05-06T23:30:00+00:00")
    assert "60 times with an offset from UTC, whose day depends on the place; declare `timezone:`" in faults(table)
    zoned = Schema.from_yaml(TEXT.replace("max: 1996-12-31,", "max: 1996-12-31, timezone: Europe/Berlin,"))
    assert check(TableSource(table), zoned).columns["day"] == Fit(60, timed=60)
    typed = GOOD.assign(day=pd.Timestamp("1993-05-06 23:30", tz="UTC"))
    assert "declare `timezone:`" in faults(typed)
    assert check(TableSource(typed), zoned).columns["day"].fits == 60


@pytest.mark.parametrize("cells", [pa.array([[1]] * 60), pa.array([{"code": "F"}] * 60)])
def test_lists_and_structs_are_refused_by_name(cells: pa.Array) -> None:
    table = pa.Table.from_pandas(GOOD.drop(columns="sex")).append_column("sex", cells)
    with pytest.raises(InputError, match="column 'sex' holds lists or structs"):
        check(TableSource(table), SCHEMA)


def test_days_that_python_cannot_hold_are_counted_and_end_in_a_sentence() -> None:
    """What DuckDB writes for 'infinity'; the cause is looked for value by value, and one of them is nobody's."""
    days = pa.array([2**31 - 1] * 60 + [9000] * 60, pa.int32()).view(pa.date32())
    schema = Schema.from_yaml(
        "{name: t, target: y, columns: {day: {type: date, min: 1990-01-01, max: 1999-12-31}, "
        "y: {type: category, values: [a, b]}}}"
    )
    table = pa.table({"day": days, "y": ["a", "b"] * 60})
    with pytest.raises(InputError, match="column 'day': 60 of its 120 values cannot be read as a date"):
        check(TableSource(table), schema)


ROUNDED = [
    ("integer: true", [1.0, 2, "3.0", 4.0], Fit(60)),
    ("integer: true", [1.0, 2.5], Fit(60, rounded=1)),
    ("integer: true", [0.5, 300.5], Fit(59, clipped=1, rounded=1)),
    ("decimals: 1", [36.6, 0.1 + 0.2, 36.79, "36.80"], Fit(60, rounded=1)),
    ("decimals: 2", [36.79, 1 / 3], Fit(60, rounded=1)),
    ("unit: mmol", [36.79, 1 / 3], Fit(60)),
]


@pytest.mark.parametrize(("line", "values", "expected"), ROUNDED)
def test_numbers_that_are_finer_than_declared_are_counted(line: str, values: list[float], expected: Fit) -> None:
    """Of `integer: true` 0.09, 0.83 and 3.48 became 0, 1 and 3, and nothing said so."""
    schema = schema_with(f"lab: {{type: number, min: 0, max: 200, {line}}}")
    table = GOOD.assign(lab=[*[7.0] * (60 - len(values)), *values])
    found = check(TableSource(table), schema, max_unreadable=0.05)
    assert found.columns["lab"] == expected
    assert found.as_declared == (expected == Fit(60))
    if expected.rounded:
        assert found.columns["lab"].first_rounded is not None


@pytest.mark.parametrize("width", ["float16", "float32", "float64"])
def test_a_narrow_float_has_the_decimals_that_it_was_written_with(width: str) -> None:
    schema = schema_with("lab: {type: number, min: 0, max: 200, decimals: 1, outside: refuse}")
    check(TableSource(GOOD.assign(lab=np.array([36.6, 0.1, 99.9] * 20, dtype=width))), schema)
    with pytest.raises(InputError, match="20 values have more than 1 decimal"):
        check(TableSource(GOOD.assign(lab=np.array([36.65, 0.1, 9.9] * 20, dtype=width))), schema)


def test_a_column_of_finer_numbers_is_refused_with_what_to_declare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohortmix.core.data.table.BATCH_ROWS", 7)

    def lab(values: list[float], line: str) -> tuple[TableSource, Schema]:
        table = GOOD.assign(lab=[*[7.0] * (60 - len(values)), *values])
        return TableSource(table), schema_with(f"lab: {{type: number, min: 0, max: 200, {line}}}")

    whole, refuse, clip = "integer: true", "integer: true, outside: refuse", "integer: true, outside: clip"
    assert check(*lab([0.5] * 3, whole)).columns["lab"].rounded == 3  # 5 %
    with pytest.raises(
        InputError, match=r"'lab': 4 values are not whole numbers \(first in row 57\); declare `dec"
    ):
        check(*lab([0.5, 0.83, 3.48, 0.25], whole))
    assert check(*lab([0.5] * 4, whole), max_unreadable=0.1).columns["lab"].rounded == 4
    assert check(*lab([0.5] * 60, clip)).columns["lab"].rounded == 60
    with pytest.raises(
        InputError, match=r"1 value is not a whole number .*; declare `decimals: 2`, or leave `integ"
    ):
        check(*lab([0.25], refuse))
    with pytest.raises(InputError, match=r"\(first in row 60\); leave `integer` out, or write `outside: clip`"):
        check(*lab([1 / 3], refuse))
    with pytest.raises(
        InputError, match=r"60 values have more than 1 decimal .*`decimals: 3`, or leave `decimals` o"
    ):
        check(*lab([36.625] * 60, "decimals: 1"))


# A time and its event, and a number


FOLLOWED = Schema.from_yaml("""
name: t
patient_key: id
target: {time: days, event: status, happened: died}
columns:
  days: {type: number, min: 1, max: 1000}
  status: {type: category, values: [alive, died]}
  age: {type: number, min: 16, max: 105}
""")
PEOPLE = pd.DataFrame(
    {"id": np.arange(6), "days": [3.0, 5, 7, 9, 11, 13], "status": ["alive", "died"] * 3, "age": 50.0}
)


def test_a_follow_up_that_is_known_passes() -> None:
    """What is beyond the bounds but above zero counts as the bound, as in any other column."""
    checked = check(TableSource(PEOPLE.assign(days=[0.5, 5, 7, 9, 11, 2000])), FOLLOWED)
    assert (checked.columns["days"].clipped, checked.columns["days"].not_positive) == (2, 0)
    check(TableSource(PEOPLE.assign(age=[0.0, *PEOPLE["age"][1:]])), FOLLOWED)  # no time


@pytest.mark.parametrize(
    ("column", "values", "sentence"),
    [
        ("days", [3.0, 0, 7, -2, 11, 13], "the time is zero or below in 2 rows (first in row 2)"),
        ("days", [3.0, 5, NOTHING, 9, 11, 13], "the time is missing in 1 row (first in row 3)"),
        ("days", ["3", "5", "7", "9", "long", "13"], "the time holds 1 value that is not a number in 1 to 1000"),
        (
            "status",
            ["alive", "died", "alive", "died", "alive", NOTHING],
            "the event is missing in 1 row (first in",
        ),
        (
            "status",
            ["alive", "lost", "lost", "died", "alive", "died"],
            "the event holds 2 values that are not one of",
        ),
    ],
)
def test_a_follow_up_that_is_not_known_is_refused_with_count_and_first_row(
    column: str, values: list[Any], sentence: str
) -> None:
    assert f"column {column!r}: {sentence}" in faults(PEOPLE.assign(**{column: values}), FOLLOWED)
    assert "-2" not in faults(PEOPLE.assign(days=[3.0, 0, 7, -2, 11, 13]), FOLLOWED)


def test_a_clip_does_not_make_a_time_of_zero_one() -> None:
    columns = {**FOLLOWED.columns, "days": FOLLOWED.columns["days"].model_copy(update={"outside": "clip"})}
    clipping = FOLLOWED.model_copy(update={"columns": columns})
    assert "zero or below in 1 row" in faults(PEOPLE.assign(days=[0.0, *PEOPLE["days"][1:]]), clipping)


def test_rows_of_nobody_are_not_looked_at_for_their_follow_up() -> None:
    check(TableSource(PEOPLE.assign(id=[NOTHING, *range(5)], days=[0.0, *PEOPLE["days"][1:]])), FOLLOWED)


def test_the_first_row_is_that_of_the_whole_table() -> None:
    class Halves(TableSource):
        def batches(self) -> Iterator[pa.RecordBatch]:
            yield from self._table.to_batches(max_chunksize=3)

    with pytest.raises(InputError, match="zero or below in 2 rows \\(first in row 5\\)"):
        check(Halves(PEOPLE.assign(days=[3.0, 5, 7, 9, 0, 0])), FOLLOWED)


def test_a_number_as_the_target_may_be_clipped_if_that_is_declared_and_never_missing() -> None:
    def of(**more: object) -> Schema:
        return Schema.model_validate(
            {
                "name": "t",
                "target": "stay",
                "columns": {
                    "stay": {"type": "number", "min": 0, "max": 30, **more},
                    "age": {"type": "number", "min": 0, "max": 105},
                },
            }
        )

    long = pd.DataFrame({"stay": [3.0, 31.0, 5.0], "age": 50})
    said = faults(long, of())
    assert "the target holds 1 value that is not a number in 0 to 30" in said
    assert "declare a class" not in said
    assert check(TableSource(long), of(outside="clip")).columns["stay"].clipped == 1
    assert "has no value in 1 row" in faults(long.assign(stay=[3.0, NOTHING, 5.0]), of(outside="clip"))
