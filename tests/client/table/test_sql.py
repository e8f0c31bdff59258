"""SQL tables: the same cells as from a Parquet file, streamed, and no record in a sentence."""

import sqlite3
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from cohortmix.client.table.data import open_table
from cohortmix.client.table.sql import SqlSource
from cohortmix.core.data.dictionary.columns import Category
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import BATCH_ROWS, InputError, Source, plain
from cohortmix.core.data.values import category_codes, numbers
from cohortmix.core.utility.checks.check import check

SCHEMA = Schema.from_yaml("""
name: t
patient_key: id
target: y
columns:
  age: {type: number, min: 0, max: 120}
  lab: {type: number, min: 0, max: 100, missing: true}
  "Größe": {type: number, min: 0, max: 3}
  alive: {type: category, values: ["true", "false"]}
  day: {type: date, min: 1990-01-01, max: 1999-12-31}
  y: {type: category, values: ["1", "2"]}
""")
ROWS = BATCH_ROWS + 1000
METADATA = sa.MetaData()
TABLE = sa.Table(
    "patients",
    METADATA,
    sa.Column("surplus", sa.Text),
    sa.Column("id", sa.Uuid),
    sa.Column("age", sa.Integer),
    sa.Column("lab", sa.Float),
    sa.Column("Größe", sa.Numeric(5, 2)),
    sa.Column("alive", sa.Boolean),
    sa.Column("day", sa.Date),
    sa.Column("y", sa.SmallInteger),
)


@cache
def records() -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    age, lab, day = rng.integers(0, 120, ROWS), rng.random(ROWS) * 100, rng.integers(0, 3600, ROWS)
    return [
        {
            "surplus": "not read",
            "id": uuid.UUID(int=number // 2),
            "age": int(age[number]) if number % 7 else None,
            "lab": float(lab[number]) if number % 5 else None,
            "Größe": round(1.5 + number % 40 / 100, 2),
            "alive": bool(number % 3),
            "day": date(1990, 1, 1) + timedelta(days=int(day[number])),
            "y": 1 + number % 2,
        }
        for number in range(ROWS)
    ]


@pytest.fixture(scope="module")
def in_postgres(postgres: str) -> Iterator[sa.Connection]:
    """A connection to a database that holds the table, under a schema of its own."""
    engine = sa.create_engine(postgres, poolclass=sa.NullPool)
    with engine.connect() as connection:
        METADATA.create_all(connection)
        for at in range(0, ROWS, 20_000):
            connection.execute(sa.insert(TABLE), records()[at : at + 20_000])
        connection.commit()
        yield connection
    engine.dispose()


def sqlite(path: Path, *statements: str) -> str:
    url = f"sqlite:///{path / 't.db'}"
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    return url


def read(source: Source) -> dict[str, list[object]]:
    """What `core` reads in the cells of each column."""
    table = pa.Table.from_batches(list(source.batches()))
    cells: dict[str, list[object]] = {"id": [str(key) for key in table.column("id").to_pylist()]}
    for name, column in SCHEMA.columns.items():
        array = plain(table.column(name), column)
        read = category_codes(array, column) if isinstance(column, Category) else numbers(array, column)
        cells[name] = np.nan_to_num(read, nan=-1.0).tolist()
    return cells


def rows(source: Source) -> list[dict[str, object]]:
    return [row for batch in source.batches() for row in batch.to_pylist()]


def message(url: str, table: str, schema: Schema = SCHEMA) -> str:
    with pytest.raises(InputError) as caught:
        list(SqlSource(url, table, schema).batches())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_postgres_reads_as_parquet_does(in_postgres: sa.Connection, postgres: str, tmp_path: Path) -> None:
    columns = {name: [row[name] for row in records()] for name in TABLE.columns.keys()}  # noqa: SIM118
    columns["id"] = [str(key) for key in columns["id"]]
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    source = SqlSource(postgres, "patients", SCHEMA)
    assert source.names == ("age", "lab", "Größe", "alive", "day", "y", "id")
    assert read(source) == read(open_table(tmp_path / "t.parquet", SCHEMA))


def test_postgres_gives_its_column_types_and_streams(in_postgres: sa.Connection, postgres: str) -> None:
    from psycopg import ServerCursor

    used: list[type[object]] = []

    def note(_: object, cursor: object, statement: str, *more: object) -> None:
        if "FROM public" in statement:
            used.append(type(cursor))

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        batches = list(SqlSource(postgres, "public.patients", SCHEMA).batches())
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert [batch.num_rows for batch in batches] == [BATCH_ROWS, 1000]
    types = [pa.int64(), pa.float64(), pa.string(), pa.bool_(), pa.string(), pa.int64(), pa.string()]
    assert all(batch.schema.types == types for batch in batches)
    assert [issubclass(cursor, ServerCursor) for cursor in used] == [True]


WITH_A_DAY = Schema.from_yaml(
    "name: t\ntarget: y\ncolumns:\n  d: {type: date, min: 1990-01-01, max: 1999-12-31}\n"
    "  y: {type: category, values: ['1', '2']}"
)


def test_postgres_days_that_python_cannot_hold_stop_nothing(in_postgres: sa.Connection, postgres: str) -> None:
    """They count as unreadable values, and the days beside them are read."""
    in_postgres.execute(
        sa.text(
            "CREATE VIEW strange AS SELECT v.d, '1' AS y FROM (VALUES ('infinity'::date), ('-infinity'), "
            "('0044-03-15 BC'), ('12024-01-01'), ('1991-02-03'), (NULL)) AS v(d)"
        )
    )
    in_postgres.commit()
    table = pa.Table.from_batches(list(SqlSource(postgres, "strange", WITH_A_DAY).batches()))
    assert table.column("d").null_count == 1
    days = numbers(table.column("d").combine_chunks(), WITH_A_DAY.columns["d"])
    assert np.nan_to_num(days).tolist() == [0, 0, 0, 0, date(1991, 2, 3).toordinal(), 0]
    with pytest.raises(InputError, match=r"column 'd': 4 of its 5 values cannot be read as a date"):
        check(SqlSource(postgres, "strange", WITH_A_DAY), WITH_A_DAY)


def test_postgres_times_keep_their_offset_whatever_the_session_has(
    in_postgres: sa.Connection, postgres: str
) -> None:
    in_postgres.execute(
        sa.text("CREATE VIEW zoned AS SELECT '1994-05-06 23:30:00+00'::timestamptz AS d, '1' AS y FROM patients")
    )
    in_postgres.execute(sa.text("ALTER ROLE steward SET timezone TO 'Asia/Tokyo'"))
    in_postgres.execute(sa.text("ALTER ROLE steward SET datestyle TO 'SQL, DMY'"))
    in_postgres.commit()
    with pytest.raises(InputError, match=r"66,536 times with an offset from UTC.* declare `timezone:`"):
        check(SqlSource(postgres, "zoned", WITH_A_DAY), WITH_A_DAY)
    for zone, day in (("Europe/Berlin", 7), ("UTC", 6), ("America/New_York", 6)):
        column = WITH_A_DAY.columns["d"].model_copy(update={"timezone": zone})
        schema = WITH_A_DAY.model_copy(update={"columns": {**WITH_A_DAY.columns, "d": column}})
        batch, *_ = SqlSource(postgres, "zoned", schema).batches()
        assert set(numbers(batch.column("d"), column)) == {date(1994, 5, day).toordinal()}
        assert check(SqlSource(postgres, "zoned", schema), schema).columns["d"].timed == ROWS


@pytest.fixture
def reader(in_postgres: sa.Connection) -> Iterator[str]:
    """A role that may connect, and nothing else."""
    for statement in (
        "CREATE ROLE reader LOGIN",
        "CREATE SCHEMA ward",
        "CREATE TABLE ward.patients AS SELECT * FROM patients",
    ):
        in_postgres.execute(sa.text(statement))
    in_postgres.commit()
    yield "reader"
    for statement in ("DROP SCHEMA ward CASCADE", "DROP OWNED BY reader", "DROP ROLE reader"):
        in_postgres.execute(sa.text(statement))
    in_postgres.commit()


def test_a_right_that_is_missing_is_named_with_the_way_to_it(
    in_postgres: sa.Connection, postgres: str, reader: str
) -> None:
    """Each sentence ends with what the administrator types. Typed one after the other, these commands suffice."""
    url = postgres.replace("steward", reader)
    lacks = "the database user 'reader' may not read the table 'patients': it lacks the right"
    ask = "ask the database's administrator for"
    select, usage = "GRANT SELECT ON patients TO reader", "GRANT USAGE ON SCHEMA ward TO reader"
    assert message(url, "patients") == f"{lacks} SELECT on patients; {ask} {select}"
    assert message(url, "ward.patients") == f"{lacks} USAGE on SCHEMA ward; {ask} {usage}"
    for statement in (select, usage):
        in_postgres.execute(sa.text(statement))
    in_postgres.commit()
    assert len(rows(SqlSource(url, "patients", SCHEMA))) == ROWS
    inner = "GRANT SELECT ON ward.patients TO reader"
    assert message(url, "ward.patients") == f"{lacks} SELECT on ward.patients; {ask} {inner}"
    in_postgres.execute(sa.text(inner))
    in_postgres.commit()
    assert len(rows(SqlSource(url, "ward.patients", SCHEMA))) == ROWS


def test_postgres_refusals(in_postgres: sa.Connection, postgres: str) -> None:
    assert "no table or view 'patient'" in message(postgres, "patient")
    assert "no table or view" in message(postgres, "patients; DROP TABLE patients")
    assert "no table or view" in message(postgres, "nowhere.patients")
    assert "cannot be reached" in message(postgres.replace("/postgres?", "/other?"), "patients")
    assert "cannot be reached" in message(postgres.replace("steward", "thief"), "patients")
    assert "missing column" in message(postgres, "patients", other_column())
    assert in_postgres.execute(sa.text("SELECT count(*) FROM patients")).scalar() == ROWS


def other_column() -> Schema:
    columns = {**SCHEMA.columns, "weight": SCHEMA.columns["age"]}
    return SCHEMA.model_copy(update={"columns": columns})


# --- SQLite, whose cells have types of their own

SMALL = Schema.from_yaml("""
name: t
patient_key: id
target: y
columns:
  x: {type: number, min: 0, max: 10}
  y: {type: category, values: ["1", "true"]}
""")


def test_sqlite_reads_cell_by_cell(tmp_path: Path) -> None:
    table = "CREATE TABLE t (id INTEGER, x REAL, y NUMERIC, z BLOB)"
    good = "INSERT INTO t VALUES (1, 5, 1, NULL), (2, 2.5, '1.0', 'secret')"
    url = sqlite(tmp_path, table, good)
    first = [{"x": "5", "y": "1", "id": "1"}, {"x": "2.5", "y": "1", "id": "2"}]
    assert rows(SqlSource(url, "t", SMALL)) == first
    (tmp_path / "t.db").unlink()
    url = sqlite(tmp_path, table, good, "INSERT INTO t VALUES ('three', 'many', x'ff', 1), (9e18, 1e300, 1e0, 0)")
    assert rows(SqlSource(url, "t", SMALL))[:2] == first  # whatever the other cells hold
    assert [row["y"] for row in rows(SqlSource(url, "t", SMALL))[2:]] == [r"\xff", "1"]


def test_a_cell_that_stops_the_reading_is_not_quoted(tmp_path: Path) -> None:
    url = sqlite(tmp_path, "CREATE TABLE t (id INTEGER, x TEXT, y TEXT)")
    with sqlite3.connect(tmp_path / "t.db") as db:
        db.execute("INSERT INTO t VALUES (1, CAST(x'736563726574ff' AS TEXT), '1')")
    db.close()
    said = message(url, "t", SMALL)
    assert "column 'x' of 't' holds a value that the database's driver cannot read (OperationalError)" in said
    assert "secret" not in said


@pytest.mark.parametrize(("name", "what"), [("id", "the patient key 'id'"), ("y", "column 'y'")])
def test_floats_that_may_merge_codes_are_refused(name: str, what: str, tmp_path: Path) -> None:
    """A database that keeps codes as floats has merged large ones; kept as whole numbers they are read."""
    insert = "INSERT INTO t VALUES (9007199254740993, 5, 9007199254740993)"
    whole = sqlite(tmp_path, "CREATE TABLE t (id INTEGER, x REAL, y INTEGER)", insert)
    assert rows(SqlSource(whole, "t", SMALL)) == [{"x": "5", "y": "9007199254740993", "id": "9007199254740993"}]
    (tmp_path / "t.db").unlink()
    kinds = {"id": "INTEGER", "y": "INTEGER"} | {name: "REAL"}
    url = sqlite(tmp_path, f"CREATE TABLE t (id {kinds['id']}, x REAL, y {kinds['y']})", insert)
    assert f"{what} is a column of floats" in message(url, "t", SMALL)


def test_bytes_are_a_value_that_nobody_declares(tmp_path: Path) -> None:
    """A driver gives a flag as bytes (MySQL's BIT): neither empty nor declared, as in Parquet."""
    url = sqlite(tmp_path, "CREATE TABLE t (id INTEGER, x REAL, y BLOB)", "INSERT INTO t VALUES (1, 5, x'01')")
    pq.write_table(pa.table({"id": [1], "x": [5.0], "y": [b"\x01"]}), tmp_path / "t.parquet")
    for source in (SqlSource(url, "t", SMALL), open_table(tmp_path / "t.parquet", SMALL)):
        with pytest.raises(InputError, match=r"column 'y': none of its values is one of the declared.*bytes"):
            check(source, SMALL)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg://user:hunter2@host/db", "leave the password out"),
        ("postgresql+psycopg://user@/db?host=h&password=hunter2", "leave the password out"),
        ("nosuchdb://user@host/db", "knows no database 'nosuchdb'"),
        ("patients", "expected the URL of a database"),
        ("sqlite:///nowhere/t.db", "cannot be reached"),
    ],
)
def test_urls(url: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = message(url, "t", SMALL)
    assert expected in said
    assert "hunter2" not in said


NOT_A_PASSWORD = "mssql+nodriver://user@host/db?driver=ODBC+18&odbc_connect=DSN%3Dpwd%3BUID%3Dpassword"


@pytest.mark.parametrize(
    "option",
    [
        "password=hunter2",
        "Password=hunter2",
        "passwd=hunter2",
        "PWD=hunter2",
        "sslPassword=hunter2",
        "odbc_connect=DSN%3Dd%3BPwd%3Dhunter2",
        "odbc_connect=DSN=d;PASSWORD+%3D+hunter2",
        "odbc_connect=DSN=d&odbc_connect=uid=u;pwd=hunter2",
    ],
)
def test_a_password_by_any_drivers_name_is_refused(option: str) -> None:
    said = message(f"{NOT_A_PASSWORD}&{option}", "t", SMALL)
    assert "leave the password out" in said
    assert "hunter2" not in said


def test_what_only_looks_like_a_password_is_not_refused() -> None:
    assert "knows no database" in message(NOT_A_PASSWORD, "t", SMALL)


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    assert "driver 'MySQLdb' is not installed" in message("mysql://user@host/db", "t", SMALL)


def test_timestamps_are_days(tmp_path: Path) -> None:
    url = sqlite(
        tmp_path, "CREATE TABLE t (d TIMESTAMP, y TEXT)", "INSERT INTO t VALUES ('1991-02-03 23:59', '1')"
    )
    (batch,) = SqlSource(url, "t", WITH_A_DAY).batches()
    assert numbers(batch.column("d"), WITH_A_DAY.columns["d"])[0] == datetime(1991, 2, 3).toordinal()
