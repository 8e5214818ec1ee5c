"""How the warehouse is reached: SQLite or PostgreSQL, by URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

# A writer on SQLite waits so long for the one before it to finish a night.
SQLITE_WAIT_SECONDS = 300

WRITES = "warehouse_writes"


class WarehouseAway(ConnectionError):
    """Nobody answers where the warehouse should be."""

    def __init__(self, url: sa.URL, reason: BaseException) -> None:
        shown = url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)
        super().__init__(
            f"the warehouse {shown} cannot be reached "
            f"({str(reason).strip()}). See that it runs, or that its folder is there, or set "
            "SCORING_WAREHOUSE_URL. What was computed is in the lake: run this job again."
        )


def connect(url: str | sa.URL, **options) -> sa.Engine:
    """An engine for the warehouse at ``url``; the first query connects.

    Raises (when connecting):
        WarehouseAway: If it cannot be reached; the URL is shown without its password.
    """
    engine = sa.create_engine(url, poolclass=sa.NullPool, **options)
    sa.event.listen(engine, "handle_error", _say_where)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that writes: committed when the block ends well, else rolled back.

    On SQLite it takes the write lock at once; readers go on reading what was there before.
    """
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        yield connection


def make_folder(url: sa.URL) -> None:
    """Make the folder of a SQLite file; nothing to do for a server."""
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)


def _say_where(context: sa.engine.ExceptionContext) -> None:
    engine, driver = context.engine, context.dialect.dbapi
    if context.connection is not None or engine is None or driver is None:
        return
    if isinstance(context.original_exception, driver.OperationalError):
        raise WarehouseAway(engine.url, context.original_exception) from None


def _prepare_sqlite(connection, record) -> None:  # noqa: ARG001
    # The driver's own transactions begin at the first write, too late for a lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    for setting in (
        f"busy_timeout = {SQLITE_WAIT_SECONDS * 1000}",
        "journal_mode = wal",
        "synchronous = full",
        "foreign_keys = on",
    ):
        cursor.execute(f"pragma {setting}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("begin immediate" if writes else "begin")
