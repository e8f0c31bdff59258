"""A table or view of a SQL database as a source of record batches, through SQLAlchemy.

Whole numbers, floats and truth values keep the type that the database declares. Everything else becomes text, cell
by cell; a time keeps its offset from UTC where the database has one. In SQLite a cell need not have the declared
type of its column, so there every column is text. Nothing but SELECTs of the named columns is ever sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from cohortmix.client.table.sql_cells import array_of, has_inexact, join
from cohortmix.core.data.schema import Schema
from cohortmix.core.data.table import (
    BATCH_ROWS,
    InputError,
    code_columns,
    inexact_codes,
    require_columns,
)

FETCHED_ROWS = 4096  # at a time, so few that their cells stay near the processor while columns are made of them
NO_PERMISSION = "42501"  # SQLSTATE of "insufficient_privilege", in the SQL standard and in PostgreSQL


class SqlSource:
    """Columns of a table or view. Each reading has the database's order of rows, which can differ from the last.

    Parameters
    ----------
    url : as SQLAlchemy writes it, and without a password under any of the names that drivers have for one: libpq
        and other drivers read it from a file.
    table : a table or view; `SCHEMA.TABLE` where it is in a schema of the database.
    schema : the data dictionary; its columns and patient key are read, no others.

    Raises
    ------
    InputError
        If the database or the table cannot be reached (also later, from `batches`), or lacks a column.
    """

    def __init__(self, url: str, table: str, schema: Schema) -> None:
        self._engine = _engine(url)
        namespace, _, name = table.rpartition(".")
        self._table, self._namespace = name, namespace or None
        with _connecting(table):
            try:
                declared = sa.inspect(self._engine).get_columns(name, schema=self._namespace)
            except sa.exc.NoSuchTableError:
                raise InputError(
                    f"the database has no table or view {table!r} that this user may see; check its name, and "
                    "write SCHEMA.TABLE where it is in a schema of its own"
                ) from None
        types = {column["name"]: column["type"] for column in declared}
        self.names = (*schema.columns, *([schema.patient_key] if schema.patient_key else []))
        require_columns(list(types), self.names)
        self._schema = schema
        self._codes = frozenset(code_columns(schema))
        typed = self._engine.dialect.name != "sqlite"
        self._types = {name: _arrow_type(types[name]) if typed else pa.string() for name in self.names}
        self._cast_to_text = {
            name: self._engine.dialect.name == "postgresql" and isinstance(types[name], sa.Date | sa.DateTime)
            for name in self.names
        }

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows of one SELECT, as the database streams them; at most `BATCH_ROWS` at a time."""
        try:
            yield from self._read(self.names)
        except InputError:  # a sentence of our own, which quotes no record
            raise
        except _UNREADABLE as error:
            raise self._fault(error) from None

    def _read(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        query = sa.select(*map(self._column, names)).select_from(sa.table(self._table, schema=self._namespace))
        with self._permitted(), self._engine.connect() as connection:
            result = connection.execution_options(stream_results=True, yield_per=FETCHED_ROWS).execute(query)
            parts = (self._arrays(names, rows) for rows in result.partitions())
            while some := list(islice(parts, BATCH_ROWS // FETCHED_ROWS)):
                yield pa.RecordBatch.from_arrays(list(join(some)), names=list(names))

    def _arrays(self, names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[pa.Array]:
        """An array of each column."""
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
        for name, cells in columns.items():
            if name in self._codes and has_inexact(cells):
                raise inexact_codes(name, self._schema)
        return [array_of(cells, self._types[name]) for name, cells in columns.items()]

    def _column(self, name: str) -> sa.ColumnElement[Any]:
        # Without a type SQLAlchemy converts nothing, so it cannot stop at a cell that it cannot convert.
        # PostgreSQL is asked for days and times as text, since its driver stops at 'infinity'.
        column: sa.ColumnClause[Any] = sa.column(name)
        return sa.cast(column, sa.Text) if self._cast_to_text[name] else column

    def _fault(self, error: Exception) -> InputError:
        """What to raise for an error while records are read; it names the column that cannot be read, if one
        cannot.

        The database's own text may quote a record, so only the kind of the error is shown.
        """
        kind = type(getattr(error, "orig", None) or error).__name__
        for name in self.names:
            try:
                for _ in self._read([name]):
                    pass
            except _UNREADABLE:
                return InputError(
                    f"column {name!r} of {self._table!r} holds a value that the database's driver cannot read "
                    f"({kind}); have it written as text, as in a view with CAST({name} AS TEXT)"
                )
        return InputError(f"the table {self._table!r} cannot be read to its end: {kind} from the database")

    @contextmanager
    def _permitted(self) -> Iterator[None]:
        """Say which right the user lacks, on what, and how an administrator grants it."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != NO_PERMISSION:
                raise
            user = self._engine.url.username or "this user"
            if self._namespace is not None and "for schema" in str(error.orig):
                right, on = "USAGE", f"SCHEMA {self._namespace}"
            else:
                right, on = (
                    "SELECT",
                    self._table if self._namespace is None else f"{self._namespace}.{self._table}",
                )
            raise InputError(
                f"the database user {user!r} may not read the table {self._table!r}: it lacks the right {right} "
                f"on {on}; ask the database's administrator for GRANT {right} ON {on} TO {user}"
            ) from None


def check_url(url: str) -> None:
    """InputError unless this is the URL of a database whose driver is installed, without a password."""
    _engine(url).dispose()


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
        if _holds_password(parsed):
            raise InputError("leave the password out of the URL; libpq reads PGPASSFILE or ~/.pgpass")
        # So that days and times read the same whatever is set for the database or its user.
        settings = "-c datestyle=ISO,YMD -c timezone=UTC"
        plain = parsed.drivername == "postgresql+psycopg" and "options" not in parsed.query
        return sa.create_engine(
            parsed,
            poolclass=sa.NullPool,
            hide_parameters=True,
            connect_args={"options": settings} if plain else {},
        )
    except sa.exc.NoSuchModuleError:
        raise InputError(f"SQLAlchemy knows no database {url.partition(':')[0]!r}") from None
    except sa.exc.ArgumentError:
        raise InputError("expected the URL of a database, such as postgresql+psycopg://user@/db") from None
    except ModuleNotFoundError as error:
        raise InputError(f"the database's driver {error.name!r} is not installed; see docs/deploy.md") from None


def _holds_password(url: sa.URL) -> bool:
    """Whether the URL holds a password, or an option under one of the many names that drivers have for one."""
    values = ";".join(value for given in url.normalized_query.values() for value in given)
    return (
        url.password is not None
        or any(re.search("pass|pwd", name, re.IGNORECASE) for name in url.query)
        or re.search(r"(pwd|password)\s*=", values, re.IGNORECASE) is not None  # as odbc_connect has them
    )


def _arrow_type(declared: sa.types.TypeEngine[Any]) -> pa.DataType:
    if isinstance(declared, sa.Boolean):
        return pa.bool_()
    if isinstance(declared, sa.Integer):
        return pa.int64()
    return pa.float64() if isinstance(declared, sa.Float) else pa.string()


_UNREADABLE = (sa.exc.SQLAlchemyError, UnicodeError, ValueError, OverflowError, pa.ArrowException)


@contextmanager
def _connecting(table: str) -> Iterator[None]:
    """Show the database's own sentence for an error before any record was read: it cannot quote one yet."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        reason = next(iter(str(error.orig).strip().splitlines()), "without a reason")
        raise InputError(f"the database of {table!r} cannot be reached: {reason}") from None
