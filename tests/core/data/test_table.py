"""Cells are read one by one: what a cell means never depends on the other cells of its column."""

import uuid
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cohortmix.core.data.cell import category_text
from cohortmix.core.data.dictionary.columns import Category, Date, Number
from cohortmix.core.data.dictionary.grid import bounds
from cohortmix.core.data.encoding import Cells
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import (
    BATCH_ROWS,
    InputError,
    TableSource,
    is_null,
    plain,
    require_columns,
    require_exact_codes,
)
from cohortmix.core.data.values import category_codes, numbers, patient_keys, simple
from cohortmix.core.privacy.budget import Budget

NOTHING: Any = None  # in a list of cells, which pandas' types do not expect
AGE = Number(type="number", min=16, max=105)
DAY = Date(type="date", min=date(1991, 1, 1), max=date(1996, 12, 31))
SEX = Category(type="category", values=("F", "M"))


def rows(source: TableSource) -> list[dict[str, object]]:
    return [row for batch in source.batches() for row in batch.to_pylist()]


def test_a_data_frame_keeps_its_values_and_its_holes() -> None:
    frame = pd.DataFrame(
        {
            "number": [1.5, None],
            "whole": pd.array([3, None], dtype="Int64"),
            "text": ["a", None],
            "mixed": [1, "1.0"],
            "day": pd.to_datetime(["1991-02-03", NOTHING]),
            "flag": [True, False],
            "code": pd.Categorical([None, "x"]),
            7: [1, 2],
        }
    )
    source = TableSource(frame)
    assert source.names == ("number", "whole", "text", "mixed", "day", "flag", "code", "7")
    first, second = rows(source)
    assert first | {"day": None} == {
        "number": 1.5, "whole": 3, "text": "a", "mixed": "1", "day": None, "flag": True, "code": None, "7": 1,
    }  # fmt: skip
    assert [second[name] for name in ("number", "whole", "text", "mixed", "day")] == [
        None,
        None,
        None,
        "1.0",
        None,
    ]
    assert numbers(next(source.batches()).column("day"), DAY)[0] == pd.Timestamp("1991-02-03").toordinal()


@given(st.floats(allow_nan=False), st.sampled_from([np.float64, np.float32, float]))
@example(-0.0, float)
@example(1e16, np.float64)
@example(-1e22, float)
@example(0.1, np.float32)
def test_a_float_reads_the_same_beside_a_text(number: float, kind: type[float]) -> None:
    """A text elsewhere in the column makes it one of objects; what the float says stays."""
    with np.errstate(over="ignore"):
        value = kind(number)
    alone = next(TableSource(pd.DataFrame({"x": [value]})).batches()).column("x")
    beside = next(TableSource(pd.DataFrame({"x": [value, "text"]}, dtype=object)).batches()).column("x")
    assert category_text(beside[0].as_py()) == category_text(alone[0].as_py())
    np.testing.assert_array_equal(numbers(beside, AGE)[:1], numbers(alone, AGE))


@pytest.mark.parametrize(("number", "code"), [(-0.0, 0), (0.0, 0), (1e16, 1), (1.0, 2), (0.5, -1), (1e15, -1)])
def test_a_float_is_the_category_that_it_writes(number: float, code: int) -> None:
    column = Category(type="category", values=("0", "10000000000000000", "1"))
    for cells in ([number], [number, "text"], [number, None], [number, True]):
        (batch,) = TableSource(pd.DataFrame({"x": pd.Series(cells, dtype=object)})).batches()
        assert category_codes(batch.column("x"), column)[0] == code
    (batch,) = TableSource(pd.DataFrame({"x": [number]})).batches()
    assert category_codes(batch.column("x"), column).tolist() == [code]


def test_a_data_frame_is_copied() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0]})
    source = TableSource(frame)
    frame.loc[0, "x"] = 99.0
    assert rows(source) == [{"x": 1.0}, {"x": 2.0}]


def test_batches_are_bounded_and_can_be_read_again() -> None:
    source = TableSource(pa.table({"x": np.arange(2 * BATCH_ROWS + 1)}))
    first, second = ([batch.num_rows for batch in source.batches()] for _ in range(2))
    assert first == second == [BATCH_ROWS, BATCH_ROWS, 1]


def test_only_the_asked_columns_are_kept_and_each_must_be_there_once() -> None:
    table = pa.table({"a": [1], "b": [2]})
    assert TableSource(table, ("b",)).names == ("b",)
    with pytest.raises(InputError, match="missing column 'c': the table has 'a' and 'b'"):
        TableSource(table, ("b", "c"))
    with pytest.raises(InputError, match="two columns named 'a'"):
        TableSource(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    require_columns(["a", "a", "b"], ["b"])


LARGE = 10**17
KEYED = Schema.from_yaml(
    "{name: t, patient_key: id, target: y, columns: "
    "{x: {type: number, min: 0, max: 1}, y: {type: category, values: [a, b]}}}"
)


@pytest.mark.parametrize(
    "keys",
    [
        pd.Series([LARGE, LARGE + 1, None]),  # float64: pandas has merged two patients here
        pd.Series([1.0, -float(2**53), None]),
        pd.Series([1, 2**24], dtype="float32"),
        pd.Series([1, np.inf]),
        pd.array([float(LARGE), None], dtype="Float64"),
    ],
)
def test_a_key_of_floats_that_may_merge_patients_is_refused(keys: pd.Series) -> None:
    with pytest.raises(InputError, match=r"'id' is a column of floats.* read the file with pyarrow") as caught:
        require_exact_codes(TableSource(pd.DataFrame({"id": keys, "x": 0.5, "y": "a"})), KEYED)
    assert str(LARGE) not in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        pd.Series([1, 2**53 - 1, None]),
        pd.Series([1, 2**24 - 1], dtype="float32"),
        pd.Series([LARGE, LARGE + 1]),
        pd.array([LARGE, None], dtype="Int64"),
        pd.Series([str(LARGE), "1e300", None]),
        pd.Series([None, None], dtype=float),
    ],
)
def test_a_key_that_tells_patients_apart_passes(keys: pd.Series) -> None:
    require_exact_codes(TableSource(pd.DataFrame({"id": keys, "x": float(LARGE), "y": "a"})), KEYED)
    require_exact_codes(TableSource(pd.DataFrame({"id": "p", "x": float(LARGE), "y": keys})), KEYED)


def test_a_category_of_floats_that_may_merge_codes_is_refused() -> None:
    """One empty cell makes floats of a column of whole numbers: all large codes would be read otherwise for it."""
    codes = [LARGE + i for i in range(3)]
    table = pd.DataFrame({"id": ["p", "q", "r"], "x": 0.5, "y": codes})
    require_exact_codes(TableSource(table), KEYED)
    with pytest.raises(InputError, match="column 'y' is a column of floats"):
        require_exact_codes(TableSource(table.assign(y=[NOTHING, *codes[1:]]).astype({"y": float})), KEYED)
    require_exact_codes(TableSource(table.assign(y=pd.array([None, *codes[1:]], dtype="Int64"))), KEYED)


def test_a_key_is_looked_at_in_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohortmix.core.data.table.BATCH_ROWS", 2)
    with pytest.raises(InputError, match="column of floats"):
        require_exact_codes(TableSource(pa.table({"id": [1.0, 2.0, float(LARGE)], "y": ["a"] * 3})), KEYED)


def test_synthesize_refuses_merged_patients_before_it_counts_them() -> None:
    from cohortmix.core.synthesis import synthesize  # brings in JAX

    frame = pd.DataFrame({"id": [LARGE + i for i in range(49)], "x": 0.5, "y": "a"})
    merged = pd.concat([frame, frame.assign(id=None)]).astype({"id": float})
    for table in (frame, frame.astype({"id": str}), pa.Table.from_pandas(frame)):
        with pytest.raises(InputError, match="49 patients are too few"):
            synthesize(table, KEYED, Budget.from_epsilon(1.0))
    for table in (merged, pa.Table.from_pandas(merged), TableSource(merged)):
        with pytest.raises(InputError, match="column of floats"):
            synthesize(table, KEYED, Budget.from_epsilon(1.0))


def test_names_are_listed_only_where_one_of_them_is_a_column() -> None:
    """With none of the columns there, a first record may stand in place of the header."""
    with pytest.raises(
        InputError, match=r"none of the columns 'a' and 'b': has the file a header line\?"
    ) as caught:
        require_columns(["Smith0", "40", "HIV positive"], ["a", "b"])
    assert not any(value in str(caught.value) for value in ("Smith0", "40", "HIV"))
    with pytest.raises(InputError, match="missing column 'b': the table has 'a' and 'c'"):
        require_columns(["a", "c"], ["a", "b"])
    require_columns(["a"], [])


def test_texts_that_say_no_value_are_null_unless_declared() -> None:
    array = pa.array(["NA", " NaN ", "null", "", None, "EU", "nab"])
    assert is_null(plain(array)).tolist() == [True, True, True, True, True, False, False]
    region = Category(type="category", values=("EU", "NA"))
    assert is_null(plain(array, region)).tolist() == [False, True, True, True, True, False, False]
    assert category_codes(plain(array, region), region).tolist() == [1, -1, -1, -1, -1, 0, -1]


def test_encoded_and_wide_texts_are_made_plain() -> None:
    for array in (
        pa.array(["F", "NA"]).dictionary_encode(),
        pa.array(["F", "NA"], type=pa.string_view()),
        pa.array(["F", "NA"], type=pa.large_string()),
        pa.chunked_array([["F"], ["NA"]]),
    ):
        assert plain(array).to_pylist() == ["F", None]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_a_text_that_is_no_utf8_is_a_value_that_nobody_declares_and_changes_no_other(kind: pa.DataType) -> None:
    raw = pa.array([b"F", b"\xffF", b" NA ", b"M\xc3\xbc", None], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    for array in (texts.cast(kind), texts.dictionary_encode(), pa.chunked_array([texts[:2], texts[2:]])):
        assert plain(array).to_pylist() == ["F", r"\xffF", None, "Mü", None]


def test_numbers_read_what_is_a_number_and_nothing_else() -> None:
    texts = pa.array(["7", " 7.0 ", "+7", "7e0", "seven", "<7", "inf", None, "7,0"])
    expected = [7, 7, 7, 7, np.nan, np.nan, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(numbers(texts, AGE), expected)
    np.testing.assert_array_equal(numbers(pa.array([7.5, np.inf, np.nan, None]), AGE), [7.5, *[np.nan] * 3])
    np.testing.assert_array_equal(numbers(pa.array([7, None]), AGE), [7, np.nan])


def test_dates_read_iso_days_and_nothing_else() -> None:
    texts = pa.array(["1991-02-03", "1991-02-03T10:00", "1991-02-30", "03/02/1991", None])
    day = float(pd.Timestamp("1991-02-03").toordinal())
    np.testing.assert_array_equal(numbers(texts, DAY), [day, day, np.nan, np.nan, np.nan])
    assert bounds(DAY) == (day - 33, pd.Timestamp("1996-12-31").toordinal())


CELLS = st.one_of(
    st.none(),
    st.floats(-200, 200).map(repr),
    st.integers(-200, 200).map(str),
    st.sampled_from(["F", " M ", "x", "", "NA", "1991-02-03", "1e999", "0x10", "1_0", "٣"]),
)


@given(st.lists(CELLS, min_size=1, max_size=8), st.data())
def test_a_cell_reads_the_same_in_any_company(texts: list[str | None], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(texts) - 1))
    together, alone = pa.array(texts, pa.string()), pa.array([texts[index]], pa.string())
    for column in (AGE, DAY):
        np.testing.assert_array_equal(numbers(plain(together), column)[index], numbers(plain(alone), column)[0])
    assert category_codes(plain(together, SEX), SEX)[index] == category_codes(plain(alone, SEX), SEX)[0]


@given(st.lists(CELLS, min_size=1, max_size=8))
def test_the_vault_reads_the_same_values(texts: list[str | None]) -> None:
    """Local checks and the encoder agree on which cells hold a value."""
    array = pa.array(texts, pa.string())
    for column in (AGE, DAY):
        known = Cells.of("x", column).codes(array) >= 0
        np.testing.assert_array_equal(~np.isnan(numbers(array, column)), known)
    np.testing.assert_array_equal(category_codes(array, SEX), Cells.of("x", SEX).codes(array))


def test_a_declared_text_is_never_a_number() -> None:
    """ICD-9 has 414, 414.0 and 414.00; a schema that declares numbers takes 1.0 for 1, as pandas writes it."""
    codes = Category(type="category", values=("414", "414.00", "414.01"))
    texts = pa.array(["414", "414.0", "414.00", "414.01", " 414 "])
    assert category_codes(texts, codes).tolist() == [0, -1, 1, 2, 0]
    assert category_codes(pa.array([414.0, 414.5]), codes).tolist() == [
        0,
        -1,
    ]  # typed: a number, however it is held
    declared = Category(type="category", values=(1, 2))
    for cells in (["1", "1.0", "2.00", "01", "1.5"], [b"1", b"1.0", b"2.00", b"01", b"1.5"]):
        assert category_codes(pa.array(cells), declared).tolist() == [0, 0, 1, -1, -1]


@pytest.mark.parametrize("declared", [("true", "false"), ("True", "False"), (True, False)])
@pytest.mark.parametrize("cells", [["True", "FALSE"], [True, False], [b"true", b"False"]])
def test_truth_values_are_the_same_from_every_file(declared: tuple[Any, ...], cells: list[Any]) -> None:
    column = Category(type="category", values=declared)
    assert category_codes(pa.array(cells), column).tolist() == [0, 1]
    beside = Category(type="category", values=(*[str(each) for each in declared], "unknown"))
    assert category_codes(pa.array(["TRUE"]), beside).tolist() == [-1]  # a text among others is itself


@pytest.mark.parametrize(
    ("zone", "day"), [(None, 6), ("UTC", 6), ("Europe/Berlin", 7), ("America/New_York", 6), ("Asia/Tokyo", 7)]
)
def test_the_day_of_a_time_is_that_of_the_declared_place(zone: str | None, day: int) -> None:
    column = Date(type="date", min=date(1990, 1, 1), max=date(1999, 12, 31), timezone=zone)
    time = pd.Timestamp("1994-05-06 23:30", tz="UTC")
    expected = float(pd.Timestamp(1994, 5, day).toordinal())
    for cells in (["1994-05-06T23:30:00Z"], ["1994-05-06 23:30:00+00"], [time]):
        assert numbers(pa.array(cells), column).tolist() == [expected]
    assert (
        numbers(pa.array(["1994-05-06 23:30", "1994-05-06"]), column).tolist()
        == [pd.Timestamp("1994-05-06").toordinal()] * 2
    )  # without an offset it is as it is written


def test_every_type_of_pandas_is_read() -> None:
    frame = pd.DataFrame(
        {
            "sparse": pd.arrays.SparseArray([0, 1, 0]),
            "sparse floats": pd.arrays.SparseArray([np.nan, 1.5, np.nan]),
            "bytes": [b"F", b"M", None],
            "uuid": [uuid.UUID(int=7)] * 3,
            "decimal": [Decimal("1.50"), Decimal(2), None],
            "complex": [1 + 2j, 0j, 1j],
            "days": pd.to_datetime(["1991-02-03", NOTHING, "1991-02-03"]).tz_localize("UTC"),
            "arrow": pd.array(["a", None, "b"], dtype="string[pyarrow]"),
            "codes": pd.Categorical([1, 2, None]),
            "lists": [[1], [2, 3], None],
        }
    )
    (batch,) = TableSource(frame).batches()
    found = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    assert found["sparse"] == [0, 1, 0]
    assert found["sparse floats"] == [None, 1.5, None]
    assert found["bytes"] == ["F", "M", None]
    assert found["uuid"] == [str(uuid.UUID(int=7))] * 3
    assert found["decimal"] == ["1.5", "2", None]
    assert found["days"][1] is None
    assert found["codes"] in ([1, 2, None], ["1", "2", None])
    assert found["arrow"] == ["a", None, "b"]
    assert len(found["complex"]) == len(found["lists"]) == 3
    unsigned = pa.table({"x": pa.array([2**64 - 1], pa.uint64())})
    (batch,) = TableSource(unsigned).batches()
    assert category_codes(batch.column("x"), Category(type="category", values=(str(2**64 - 1),))).tolist() == [0]


def test_a_key_is_read_as_a_text_and_nobody_is_told_apart_by_a_form() -> None:
    keys = pa.array(["7", "7.0", " 7 ", "M\u00fc", "Mu\u0308", "NA", "", None])
    assert patient_keys(keys) == ["7", "7.0", "7", "M\u00fc", "M\u00fc", None, None, None]
    assert patient_keys(pa.array([7.0, None])) == patient_keys(pa.array([7, None])) == ["7", None]
    assert patient_keys(pa.array([uuid.UUID(int=1).bytes], pa.uuid())) == [str(uuid.UUID(int=1))]
    assert patient_keys(pa.array([[1]])) == [None]
    assert patient_keys(pa.array([-(2**63)], pa.int64()).view(pa.timestamp("ns"))) == [None]  # pandas' NaT


def test_what_one_empty_cell_does_to_a_column_is_seen_as_objects_too() -> None:
    """pandas' idiom for None in place of NaN leaves floats behind, which have merged long since."""
    keys = pd.Series([LARGE + i for i in range(60)] + [None]).astype(float).astype(object)
    frame = pd.DataFrame({"id": keys.where(keys.notna(), None), "x": 0.5, "y": "a"})
    with pytest.raises(InputError, match="the patient key 'id' is a column of floats"):
        require_exact_codes(TableSource(frame), KEYED)
    require_exact_codes(TableSource(frame.assign(id=range(61), x=frame["id"])), KEYED)


def test_a_day_reads_the_same_where_a_null_makes_floats_of_it() -> None:
    day = float(pd.Timestamp("1994-05-06").toordinal())
    for cells in ([19940506], [19940506.0], ["19940506"], [Decimal(19940506)]):
        assert numbers(pa.array(cells), DAY).tolist() == [day]
    assert np.isnan(numbers(pa.array([34460.0, 0.5]), DAY)).all()


@pytest.mark.parametrize(
    "value",
    [10**5000, Decimal("sNaN"), Decimal("1E-999999"), Decimal("1E+999999"), "\ud800", "1" * 200_000 + "x", -0.0],
    ids=["many digits", "signalling", "tiny", "huge", "half a pair", "long", "minus zero"],
)
def test_one_odd_object_stops_nothing(value: object) -> None:
    (batch,) = TableSource(pd.DataFrame({"x": pd.Series([value, "F", None], dtype=object)})).batches()
    for column in (AGE, DAY, SEX):
        assert len(Cells.of("x", column).codes(batch.column("x"))) == 3
    assert category_codes(batch.column("x"), SEX).tolist()[1] == 0
    assert len(patient_keys(batch.column("x"))) == 3


def test_decimals_of_many_digits_stay_apart() -> None:
    cells = [Decimal("1234567890123456789012345678.91"), Decimal("1234567890123456789012345678.92")]
    assert len(set(patient_keys(pa.array(cells, pa.decimal128(38, 2))))) == 2
    assert patient_keys(pa.array([Decimal("7.00"), Decimal("-0.10"), Decimal("0.00")])) == ["7", "-0.1", "0"]


def test_a_dictionary_of_views_is_read() -> None:
    coded = pa.DictionaryArray.from_arrays(
        pa.array([1, 0, None], pa.int8()), pa.array(["F", "M"], pa.string_view())
    )
    assert patient_keys(coded) == ["M", "F", None]
    assert category_codes(plain(coded), SEX).tolist() == [1, 0, -1]


FLOAT32 = pd.Series([2**24 + i for i in range(1, 6)] + [None], dtype="float32")


@pytest.mark.parametrize(
    "keys",
    [
        pd.Series([LARGE + i for i in range(5)] + [None], dtype="float64").astype("category"),
        FLOAT32.astype("category"),
        pd.Series([np.float32(2**24 + i) for i in range(5)] + ["x"], dtype=object),
        pd.Series([np.float16(2**11 + i) for i in range(5)] + ["x"], dtype=object),
        pd.Series([complex(LARGE + i) for i in range(5)] + [complex(1)]),
        pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([pa.array(FLOAT32).dictionary_encode()]))),
    ],
    ids=["category", "category of float32", "float32 objects", "float16 objects", "complex", "arrow"],
)
def test_floats_that_may_have_merged_are_seen_in_whatever_holds_them(keys: pd.Series) -> None:
    frame = pd.DataFrame({"id": keys, "x": 0.5, "y": "a"})
    with pytest.raises(InputError, match="the patient key 'id' is a column of floats"):
        require_exact_codes(TableSource(frame), KEYED)
    small = pd.DataFrame({"id": pd.Series(range(6), dtype="float32").astype("category"), "x": 0.5, "y": "a"})
    require_exact_codes(TableSource(small), KEYED)


def test_a_truth_value_reads_the_same_beside_other_texts() -> None:
    column = Category(type="category", values=("True", "False", "unknown"))
    alone, beside = pd.Series([True, False]), pd.Series([True, False, "unknown"], dtype=object)
    for series in (alone, beside):
        (batch,) = TableSource(pd.DataFrame({"x": series})).batches()
        assert category_codes(batch.column("x"), column).tolist()[:2] == [0, 1]
    two = Category(type="category", values=("True", "true", "unknown"))
    assert category_codes(pa.array(["True", "true"]), two).tolist() == [0, 1]


def test_an_instant_reads_the_same_as_an_object() -> None:
    instant = np.datetime64("2020-01-01T00:00:00")
    texts = []
    for values in ([instant, "x"], [instant, instant]):
        (batch,) = TableSource(pd.DataFrame({"x": pd.Series(values)})).batches()
        texts.append(category_text(batch.column("x").to_pylist()[0]))
    assert texts[0] == texts[1]


def test_a_time_at_the_end_of_the_calendar_is_no_day_elsewhere() -> None:
    last = pa.array([-(2**63) + 1, 0], pa.int64()).view(pa.timestamp("ns", "UTC"))
    column = Date(type="date", min=date(1900, 1, 1), max=date(2000, 1, 1), timezone="America/New_York")
    found = numbers(last, column)
    assert np.isnan(found[0])
    assert found[1] == date(1969, 12, 31).toordinal()


def test_a_type_that_cannot_be_read_is_named_without_a_value() -> None:
    frame = pd.DataFrame({"x": pd.Series(np.array([1.0, 2.0], dtype=np.longdouble))})
    with pytest.raises(InputError, match="column 'x' has the type float128, which cannot be read"):
        TableSource(frame)


def test_runs_and_views_are_decoded() -> None:
    import pyarrow.compute as pc

    (batch,) = TableSource(pa.table({"x": pc.run_end_encode(pa.array(["a", "a", "b"]))})).batches()
    assert batch.column("x").to_pylist() == ["a", "a", "b"]
    views = pa.DictionaryArray.from_arrays(pa.array([0, 1, 0]), pa.array([b"a", b"b"], pa.binary_view()))
    assert simple(views).to_pylist() == ["a", "b", "a"]
