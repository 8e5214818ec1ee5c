"""Rows by the million, in the caller's transaction and in bounded memory."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGDialect, PGExecutionContext
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine.interfaces import IsolationLevel

from warehouse.connection import connect, explained, without_rows
from warehouse.tables import ARM_SCORES, PREDICTIONS

# The fastest of the sizes tried, and the smallest: memory stays flat however long the night is.
BATCH_ROWS = 8192

# As wide as the table's column: PostgreSQL takes the bytes as they are.
_TYPES = {
    sa.Text: pa.string(),
    sa.Double: pa.float64(),
    sa.SmallInteger: pa.int16(),
    sa.Boolean: pa.bool_(),
}

SCHEMAS = {
    table.name: pa.schema([(column.name, _TYPES[type(column.type)]) for column in table.c])
    for table in (PREDICTIONS, ARM_SCORES)
}
"""The tables that are loaded by the million, with their columns as `load` takes them."""


class _Context(PGExecutionContext):
    def create_cursor(self):
        # The driver's default reads through COPY, which takes neither SHOW nor a lock's result.
        return self._dbapi_connection.cursor(adbc_stmt_kwargs={"adbc.postgresql.use_copy": "false"})


class AdbcDialect(PGDialect):
    """SQLAlchemy over ADBC's PostgreSQL driver.

    It lets the bulk load, which only that driver does fast, share one transaction with ordinary
    statements. It serves `publish`; everything else uses psycopg.
    """

    driver = "adbc"
    supports_statement_cache = True
    execution_ctx_cls = _Context

    @classmethod
    def import_dbapi(cls):
        from adbc_driver_postgresql import dbapi

        return dbapi

    def create_connect_args(self, url: sa.URL) -> tuple[list, dict]:
        from psycopg.conninfo import make_conninfo

        # Both drivers are made of libpq, and what psycopg is told in words ADBC takes as text.
        _, words = PGDialect_psycopg().create_connect_args(url)
        return [make_conninfo(**words)], {}

    def do_rollback(self, dbapi_connection) -> None:
        # After a cut connection there is nothing to roll back, and the error to be told of is the
        # one that came before.
        with suppress(self.import_dbapi().Error):
            super().do_rollback(dbapi_connection)

    def get_default_isolation_level(self, dbapi_conn) -> IsolationLevel:  # noqa: ARG002
        return "READ COMMITTED"


registry.register("postgresql.adbc", __name__, AdbcDialect.__name__)


def bulk_engine(engine: sa.Engine) -> sa.Engine:
    """An engine to the same warehouse whose connections `load` can use."""
    if engine.dialect.name == "sqlite":
        return engine
    return connect(engine.url.set(drivername="postgresql+adbc"), paramstyle="numeric_dollar")


def load(connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
    """Append ``batches`` to the table, in the connection's transaction.

    They have the table's schema in `SCHEMAS`. What ``batches`` raises is raised here.
    """
    if connection.dialect.name == "sqlite":
        _insert(connection, table, batches)
    else:
        _ingest(connection, table, batches)


def _insert(connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
    statement = str(table.insert().compile(dialect=connection.dialect))
    for batch in _small(batches):
        columns = [batch.column(column.name).to_pylist() for column in table.c]
        connection.exec_driver_sql(statement, list(zip(*columns, strict=True)))


def _ingest(connection: sa.Connection, table: sa.Table, batches: Iterable[pa.RecordBatch]) -> None:
    failures: list[Exception] = []
    # What only this driver can do.
    driver: Any = connection.dialect.dbapi
    adbc: Any = connection.connection

    def remembered() -> Iterator[pa.RecordBatch]:
        try:
            yield from _small(batches)
        except Exception as failure:
            failures.append(failure)
            raise

    reader = pa.RecordBatchReader.from_batches(SCHEMAS[table.name], remembered())
    try:
        with adbc.cursor() as cursor:
            cursor.adbc_ingest(table.name, reader, mode="append")
    except driver.Error as error:
        # The driver passes on the text of an exception in its input, not the exception.
        if failures:
            raise failures[0] from None
        # It was not SQLAlchemy that called the driver, so nobody else explains its error.
        meaning = explained(connection.engine.url, error)
        if meaning is not None:
            raise meaning from None
        error.args = tuple(without_rows(str(part)) for part in error.args)
        raise


def _small(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)
