"""Readers: the schema's columns as text, cell by cell, and a sentence without a value for what cannot be read."""

import gzip
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged_parquet import damage_a_row_group
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohortmix.client.table import parquet_file
from cohortmix.client.table.data import column_names, open_all, open_table
from cohortmix.client.table.snapshot import pin_snapshot
from cohortmix.core.data.encoding import Cells
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import BATCH_ROWS, InputError, Source, plain, require_exact_codes
from cohortmix.core.data.values import simple

DICTIONARY = """
name: t
patient_key: id
target: y
columns:
  x: {type: number, min: 0, max: 10}
  y: {type: category, values: [EU, NA]}
"""
SCHEMA = Schema.from_yaml(DICTIONARY)


def rows(source: Source) -> list[dict[str, object]]:
    return [row for batch in source.batches() for row in batch.to_pylist()]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_cells_are_texts_and_only_the_schemas_columns_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "secret,id,y,x\ns,1,EU,007\ns,2.0,EU,1e3\n")
    source = open_table(path, SCHEMA)
    assert source.names == ("x", "y", "id")
    assert rows(source) == [{"x": "007", "y": "EU", "id": "1"}, {"x": "1e3", "y": "EU", "id": "2.0"}]
    assert rows(source) == rows(source)
    assert column_names(path) == ["secret", "id", "y", "x"]
    assert rows(open_all(path))[0] == {"secret": "s", "id": "1", "y": "EU", "x": "007"}


def test_one_record_does_not_change_how_another_is_read(tmp_path: Path) -> None:
    table = "id,x,y\n1,5,EU\n2,{},EU\n"
    read = [
        rows(open_table(write(tmp_path / "t.csv", table.format(x)), SCHEMA))[0] for x in ("6", "six", "", "1e99")
    ]
    assert all(row == {"x": "5", "y": "EU", "id": "1"} for row in read)


def test_texts_that_say_no_value_are_null_unless_declared(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", 'id,x,y\n1,,NA\nNA,NaN,null\n3,null,""\n4,NA, EU\n')
    assert rows(open_table(path, SCHEMA)) == [
        {"x": None, "y": "NA", "id": "1"},
        {"x": None, "y": None, "id": None},
        {"x": None, "y": None, "id": "3"},
        {"x": None, "y": " EU", "id": "4"},
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", "id,x,y\n1,5,EU\n"),
        ("crlf.csv", "id,x,y\r\n1,5,EU\r\n"),
        ("cr.csv", "id,x,y\r1,5,EU\r"),
        ("mark.csv", b"\xef\xbb\xbfid,x,y\n1,5,EU\n"),
        ("semicolon.csv", "id;x;y\n1;5;EU\n"),
        ("quoted.csv", '"a, b, c, d";id;x;y\n"1, 2";1;5;EU\n'),
        ("tab.tsv", "id\tx\ty\n1\t5\tEU\n"),
        ("T.CSV", "id,x,y\n1,5,EU"),
        ("packed.csv.gz", gzip.compress(b"id,x,y\n1,5,EU\n", mtime=0)),
        ("note.csv", b'id,note,x,y\n1,"caf\xe9, ""au lait""",5,EU\n'),
        ("other_names.csv", "id,x,y,größe\n1,5,EU,\n"),
    ],
)
def test_csv_as_it_comes(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert rows(open_table(write(tmp_path / name, content), SCHEMA)) == [{"x": "5", "y": "EU", "id": "1"}]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("header", ["id,x,note,y", "note,x,id,y", "note,y,x,id"])
@pytest.mark.parametrize("between", [0, 1, 50])
def test_a_quotation_mark_left_open_deletes_nobody(tmp_path: Path, header: str, end: str, between: int) -> None:
    """No record may swallow those that follow, not even by a column that is not read: all are read, or none."""

    def line(**cells: str) -> str:
        return ",".join(cells[name] for name in header.split(","))

    def file(note: str) -> Path:
        others = [line(id=str(i), x="6", note="b", y="EU") for i in range(between)]
        first, last = line(id="99", x="3", note=note, y="EU"), line(id="90", x="7", note='"quoted"', y="EU")
        return write(tmp_path / "t.csv", end.join([header, first, *others, last, ""]))

    read = rows(open_table(file('"closed"'), SCHEMA))
    assert [row["id"] for row in read] == ["99", *(str(i) for i in range(between)), "90"]
    with pytest.raises(InputError, match="a cell spans several lines; is a quotation mark open"):
        rows(open_table(file('"open'), SCHEMA))


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_a_text_of_several_lines_is_refused_with_what_to_do(tmp_path: Path, end: str) -> None:
    path = write(tmp_path / "t.csv", f'id,note,x,y\n1,"SECRET{end}lines",5,EU\n')
    with pytest.raises(InputError, match="remove its column or the line breaks in it") as caught:
        rows(open_table(path, SCHEMA))
    assert "SECRET" not in str(caught.value)


def test_parquet_file_and_folder(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"id": [1, 2, 3], "z": "s", "x": [5.0, None, 7.0], "y": pd.Categorical(["EU", "NA", None])}
    )
    frame.to_parquet(tmp_path / "t.parquet")
    expected = [{"x": 5.0, "y": "EU", "id": 1}, {"x": None, "y": "NA", "id": 2}, {"x": 7.0, "y": None, "id": 3}]
    assert rows(open_table(tmp_path / "t.parquet", SCHEMA)) == expected
    folder = tmp_path / "parts"
    folder.mkdir()
    write(folder / "README.txt", "not a part")
    frame.iloc[:1].to_parquet(folder / "a.parquet")
    frame.iloc[1:][["y", "x", "id"]].to_parquet(folder / "b.parquet")
    assert rows(open_table(folder, SCHEMA)) == expected


CODES = Schema.from_yaml(f'{DICTIONARY}  c: {{type: category, values: [a, b, "7"], missing: true}}\n')
TEXTS = st.sampled_from(["EU", " EU ", "NA", "na", "nan", "", "a", "b ", "7", "7.0", "caf\u00e9", "cafe\u0301"])
FORMS = st.sampled_from(["texts", "dictionary", "wide", "whole numbers", "floats", "truth"])


def stored(texts: list[str | None], form: str) -> pa.Array:
    """A column in the form in which a file may have it."""
    kinds = {"whole numbers": pa.int64(), "floats": pa.float64(), "truth": pa.bool_()}
    if form in kinds:
        return pa.array([None if text is None else 7 for text in texts]).cast(kinds[form])
    array = pa.array(texts, pa.large_string() if form == "wide" else pa.string())
    return array.dictionary_encode() if form == "dictionary" else array


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.tuples(TEXTS | st.none(), TEXTS | st.none()), min_size=1, max_size=30),
    forms=st.tuples(FORMS, FORMS),
    group=st.integers(1, 31),
    batch=st.integers(1, 31),
)
def test_a_category_reads_the_same_however_a_file_keeps_it(
    tmp_path: Path, texts: list[tuple[str | None, str | None]], forms: tuple[str, str], group: int, batch: int
) -> None:
    """As its texts one by one: in dictionaries or not, in row groups and batches of any sizes."""
    columns = {name: stored([row[at] for row in texts], forms[at]) for at, name in enumerate("yc")}
    table = pa.table({"id": range(len(texts)), "x": [1.0] * len(texts)} | columns)
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_file, "BATCH_ROWS", batch)
        read = [*open_table(tmp_path / "t.parquet", CODES).batches()]
    assert [key for part in read for key in part.column("id").to_pylist()] == [*range(len(texts))]
    for name in "yc":
        cells = Cells.of(name, CODES.columns[name])
        alone = [plain(simple(table.column(name))[at : at + 1], CODES.columns[name]) for at in range(len(texts))]
        assert [code for part in read for code in cells.codes(part.column(name)).tolist()] == [
            cells.codes(value)[0] for value in alone
        ]


def test_small_row_groups_are_read_together(tmp_path: Path) -> None:
    table = pa.table({"id": range(2000), "x": [1.0] * 2000, "y": ["EU", "NA"] * 1000})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=10)
    assert len([*open_table(tmp_path / "t.parquet", SCHEMA).batches()]) == 1


def test_one_text_that_is_no_utf8_does_not_make_a_parquet_file_unreadable(tmp_path: Path) -> None:
    raw = pa.array([b"EU", b"E\xffU", b" NA", None], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    pq.write_table(pa.table({"id": texts, "x": [1, 2, 3, 4], "y": texts}), tmp_path / "t.parquet")
    expected = [("EU", "EU"), ("E\\xffU", "E\\xffU"), (None, " NA"), (None, None)]
    assert [(row["id"], row["y"]) for row in rows(open_table(tmp_path / "t.parquet", SCHEMA))] == expected


def test_a_large_table_comes_in_bounded_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cohortmix.client.table.parquet_file.BATCH_ROWS", 1000)
    monkeypatch.setattr("cohortmix.client.table.csv_file.BLOCK_BYTES", 10_000)
    count = 5_000
    table = pa.table({"id": range(count), "x": range(count), "y": ["EU"] * count})
    pq.write_table(table, tmp_path / "t.parquet")
    table.to_pandas().to_csv(tmp_path / "t.csv", index=False)
    for name in ("t.parquet", "t.csv"):
        sizes = [batch.num_rows for batch in open_table(tmp_path / name, SCHEMA).batches()]
        assert sum(sizes) == count
        assert len(sizes) > 1
        assert max(sizes) <= 1000


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", "id,x\n1,5\n", "missing column 'y': the table has 'id' and 'x'"),
        ("t.csv", "SECRET,40,HIV\nb,5,EU\n", "none of the columns 'x', 'y' and 'id': has the file a header line?"),
        ("t.csv", "id,x,y,y\n1,5,EU,EU\n", "two columns named 'y'"),
        ("t.csv", "", "is empty: expected a line of column names"),
        ("t.csv", "id,x,y\n1,5,EU\n2,SECRET\n", "a line has another number of cells than the header"),
        ("t.csv", b"id,x,y\n1,5,\xe9SECRET\n", "its text is not UTF-8"),
        ("t.csv", 'id,x,y\n1,5,"SECRET\n2,6,EU\n', "a cell spans several lines"),
        ("t.csv", 'id,x,y,"a\nb"\n1,5,EU,SECRET\n', "the column names are not on one line"),
        ("t.csv", "SECRET" * 30_000, "cannot be read as CSV: the file is damaged"),
        ("t.csv.gz", "id,x,y\n1,5,SECRET\n", "cannot be read as CSV: the file is damaged"),
        ("t.parquet", "id,x,y\n1,5,SECRET\n", "cannot be read as Parquet: the file is damaged"),
        ("t.xlsx", "id,x,y\n1,5,SECRET\n", "expected a folder of Parquet files, or a file with an ending of"),
    ],
)
def test_a_file_that_cannot_be_read_gets_a_sentence_without_its_values(
    tmp_path: Path, name: str, content: str | bytes, sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        rows(open_table(write(tmp_path / name, content), SCHEMA))
    assert sentence in str(caught.value)
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_row_group_that_cannot_be_read_stops_the_reading(tmp_path: Path, group: int) -> None:
    """With a sentence; the rows before it have been read."""
    table = pa.table({"id": range(3 * BATCH_ROWS), "x": [1.5] * 3 * BATCH_ROWS, "y": ["SECRET"] * 3 * BATCH_ROWS})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=BATCH_ROWS)
    damage_a_row_group(tmp_path / "t.parquet", group)
    batches = open_table(tmp_path / "t.parquet", SCHEMA).batches()
    for _ in range(group):
        next(batches)
    with pytest.raises(InputError, match="cannot be read as Parquet: the file is damaged") as caught:
        next(batches)
    assert "SECRET" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("left", [0, 1000])
def test_a_file_that_is_cut_off_while_it_is_read_stops_the_reading(tmp_path: Path, left: int) -> None:
    rows_of_file = 20 * BATCH_ROWS
    table = pa.table({"id": np.arange(rows_of_file), "x": np.random.default_rng(0).random(rows_of_file)})
    table = table.append_column("y", pa.array(["EU"] * rows_of_file))
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=BATCH_ROWS)
    batches = open_table(tmp_path / "t.parquet", SCHEMA).batches()
    next(batches)
    os.truncate(tmp_path / "t.parquet", left)
    with pytest.raises(InputError, match="cannot be read as Parquet: the file is damaged"):
        list(batches)


def test_a_path_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        open_table(tmp_path / "t.csv", SCHEMA)
    with pytest.raises(InputError, match=r"holds no \.parquet file"):
        open_table(tmp_path, SCHEMA)


def test_a_part_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [1], "x": [5.0], "y": ["EU"]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame[["id", "x"]].to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match="missing column 'y'"):
        rows(open_table(tmp_path, SCHEMA))


def test_parts_of_different_types_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [1], "x": [5.0], "y": ["EU"]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.assign(x="5").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(
        InputError, match=r"b.parquet': column 'x' holds texts, in another file of the folder numbers;"
    ):
        rows(open_table(tmp_path, SCHEMA))


def test_other_columns_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "ward,id,x,y\nA,1,5,EU\nNA,1,5,EU\n")
    source = open_table(path, SCHEMA, also=("ward", "x"))
    assert source.names == ("x", "y", "id", "ward")
    assert [row["ward"] for row in rows(source)] == ["A", None]
    with pytest.raises(InputError, match="missing column 'bed'"):
        open_table(path, SCHEMA, also=("bed",))


def test_the_reader_does_not_bring_in_what_is_not_private() -> None:
    code = "import sys, cohortmix.client.table.data; print([m for m in sys.modules if m.startswith('cohortmix')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "cohortmix.client.table.data" in loaded
    for module in ("evaluate", "check", "draft", "noise_keyed"):
        assert module not in loaded


BY_ID = Schema.from_yaml(
    "{name: t, patient_key: id, target: y, columns: "
    "{x: {type: number, min: 0, max: 9}, y: {type: category, values: [EU, US]}}}"
)


def test_parts_of_which_one_has_a_null_key_merge_nobody(tmp_path: Path) -> None:
    """For that part pandas writes floats, which cannot tell large keys apart; the other part must not hide it."""
    keys = [2**60 + i for i in range(40)]
    for name, part in (("a", keys[:20]), ("b", keys[20:])):
        pd.DataFrame({"id": part, "x": 5.0, "y": "EU"}).to_parquet(tmp_path / f"{name}.parquet")
    require_exact_codes(open_table(tmp_path, BY_ID), BY_ID)
    pd.DataFrame({"id": [None, *keys[21:]], "x": 5.0, "y": "EU"}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match="the patient key 'id' is a column of floats"):
        require_exact_codes(open_table(tmp_path, BY_ID), BY_ID)


NARROW = pa.array([2.0**24 + 2 * i for i in range(5)], pa.float32())
HALF = pa.array(np.array([2**11 + 2 * i for i in range(5)], dtype=np.float16))
WIDE = pa.array([float(2**60 + 2**10 * i) for i in range(5)])


@pytest.mark.parametrize(
    "parts",
    [
        (NARROW, pa.array([1, 2])),
        (NARROW, pa.array([1.0, 2.0])),
        (HALF, pa.array([1.0, 2.0], pa.float32())),
        (WIDE, pa.array([Decimal(1), Decimal(2)])),
        (WIDE.dictionary_encode(), pa.array([Decimal(1), Decimal(2)]).dictionary_encode()),
        (WIDE, pa.array([1], pa.uint64())),
    ],
    ids=["with whole numbers", "with wider floats", "of 16 bits", "with decimals", "dictionaries", "unsigned"],
)
def test_parts_of_narrow_floats_merge_nobody(tmp_path: Path, parts: tuple[pa.Array, pa.Array]) -> None:
    for name, keys in zip("ab", parts, strict=True):
        columns = {"id": keys, "x": [5.0] * len(keys), "y": ["EU"] * len(keys)}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match="the patient key 'id' is a column of floats"):
        require_exact_codes(open_table(tmp_path, BY_ID), BY_ID)
    with pytest.raises(InputError, match="the patient key 'id' is a column of floats"):
        pin_snapshot(tmp_path, open_table(tmp_path, BY_ID), BY_ID, lambda copy: require_exact_codes(copy, BY_ID))


@pytest.mark.parametrize(
    ("parts", "read"),
    [
        ([pa.array([1], pa.int32()), pa.array([2], pa.int64())], [1, 2]),
        ([pa.array([1], pa.int64()), pa.array([2.5])], [1.0, 2.5]),
        ([pa.array([1], pa.int64()), pa.array([2**64 - 1], pa.uint64())], ["1", str(2**64 - 1)]),
        ([pa.nulls(1), pa.array([2.5])], [None, 2.5]),
        ([pa.array(["a"]), pa.array(["b"], pa.large_string())], ["a", "b"]),
    ],
)
def test_parts_of_different_widths_are_one_column(tmp_path: Path, parts: list[pa.Array], read: list[Any]) -> None:
    for at, x in enumerate(parts):
        pq.write_table(pa.table({"id": [at], "x": x, "y": ["EU"]}), tmp_path / f"{at}.parquet")
    assert [row["x"] for row in rows(open_table(tmp_path, SCHEMA))] == read
