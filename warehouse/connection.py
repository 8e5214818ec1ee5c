"""How the warehouse is reached: SQLite or PostgreSQL, by URL."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

# A writer on SQLite waits so long for the one before it to finish a night.
SQLITE_WAIT_SECONDS = 300

WRITES = "warehouse_writes"

READERS_KEEP = "Nothing of this transaction was kept; readers still see what was published before."


class WarehouseAway(ConnectionError):
    """Nobody answers where the warehouse should be."""

    def __init__(self, url: sa.URL, reason: BaseException) -> None:
        super().__init__(
            f"the warehouse {_shown(url)} cannot be reached "
            f"({str(reason).strip()}). See that it runs, or that its folder is there, or set "
            "SCORING_WAREHOUSE_URL. What was computed is in the lake: run this job again."
        )


class WarehouseLost(ConnectionError):
    """The warehouse went away while we talked to it."""

    def __init__(self, url: sa.URL, reason: str) -> None:
        super().__init__(
            f"the connection to the warehouse {_shown(url)} was cut ({reason}). If that was "
            "before the commit, readers still see what was published before, else the whole new "
            "run. See that the server runs; what was computed is in the lake: run this job again."
        )


class WarehouseFull(Exception):
    """The disk of the warehouse is full."""

    def __init__(self, url: sa.URL, reason: str) -> None:
        super().__init__(
            f"the disk of the warehouse {_shown(url)} is full ({reason}). {READERS_KEEP} "
            "Make room there; what was computed is in the lake: run this job again."
        )


class WarehouseBusy(Exception):
    """Another process keeps the lock of a SQLite file."""

    def __init__(self, url: sa.URL, reason: str) -> None:
        super().__init__(
            f"another process has been writing to the warehouse {_shown(url)} for more than "
            f"{SQLITE_WAIT_SECONDS} seconds ({reason}). {READERS_KEEP} See which one it is, and "
            "run this job again."
        )


# What drivers say, in lower case: SQLite's, and PostgreSQL's through two drivers.
_SAYINGS = {
    WarehouseFull: ("database or disk is full", "no space left on device"),
    WarehouseBusy: ("database is locked",),
    WarehouseLost: (
        *("server closed the connection", "terminating connection", "connection is lost"),
        *("no connection to the server", "connection not open", "the connection is closed"),
        *("consuming input failed", "could not receive data", "could not send data"),
        *("ssl connection has been closed", "failed to rollback", "failed to begin"),
    ),
}


def connect(url: str | sa.URL, **options) -> sa.Engine:
    """An engine for the warehouse at ``url``; the first query connects.

    Raises (when connecting):
        WarehouseAway: If it cannot be reached; the URL is shown without its password.

    Raises (when a statement is executed):
        WarehouseLost, WarehouseFull, WarehouseBusy: Say what happened and what readers see.
    """
    engine = _engine(url, **options)
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


def readers_engine(engine: sa.Engine) -> sa.Engine:
    """The same warehouse; a SQLite file is opened for reading only."""
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return engine
    file = quote(str(Path(engine.url.database).resolve()))
    url = engine.url.set(database=f"file:{file}", query={"mode": "ro", "uri": "true"})
    return _engine(url)


def _engine(url: str | sa.URL, **options) -> sa.Engine:
    # An error must not show customers and their scores, which are a statement's parameters.
    engine = sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True, **options)
    sa.event.listen(engine, "handle_error", _explain)
    return engine


def close_to_others(url: sa.URL) -> None:
    """Take a SQLite file from those who are neither its owner nor of its group."""
    if url.get_backend_name() == "sqlite" and url.database:
        for file in Path(url.database).parent.glob(f"{Path(url.database).name}*"):
            file.chmod(file.stat().st_mode & 0o770)


def explained(url: sa.URL, error: BaseException) -> Exception | None:
    """What a driver's error means, where it has a name here; None for all others."""
    said = without_rows(str(error)).strip()
    for kind, sayings in _SAYINGS.items():
        if any(saying in said.lower() for saying in sayings):
            return kind(url, " ".join(said.split()))
    return None


def without_rows(text: str) -> str:
    """What PostgreSQL says, without the lines in which it shows the row it is about.

    >>> without_rows("violates decile_is_one_of_ten\\nDETAIL:  Failing row contains (ada, ...).")
    'violates decile_is_one_of_ten'
    """
    return re.split(r"\s*\b(?:DETAIL|CONTEXT):", text, maxsplit=1)[0]


def _explain(context: sa.engine.ExceptionContext) -> None:
    error, engine, driver = context.original_exception, context.engine, context.dialect.dbapi
    if engine is None or driver is None or not isinstance(error, driver.Error):
        return
    if context.connection is None and isinstance(error, driver.OperationalError):
        raise WarehouseAway(engine.url, error) from None
    meaning = explained(engine.url, error)
    if meaning is not None:
        raise meaning
    # Both are shown in a traceback.
    for shown in filter(None, (error, context.sqlalchemy_exception)):
        shown.args = tuple(without_rows(str(part)) for part in shown.args)


def _shown(url: sa.URL) -> str:
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


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
