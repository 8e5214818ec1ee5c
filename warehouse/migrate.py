"""Making and changing the tables, with Alembic.

To change a table: change `warehouse/tables.py`, add the next file to `migrations/versions` (a copy
of the newest with its own `revision` and `down_revision`), and run tests/warehouse, which say
where the two differ.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from warehouse.connection import connect, make_folder, writing

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 7_236_119_005


class NotMigrated(Exception):
    """The tables of the warehouse are not those this code was written for."""


def migrate(url: str) -> str:
    """Bring the tables up to date, in one transaction; nothing happens when they are.

    Two processes may do this at once.

    Returns:
        The revision that the tables now have.
    """
    from alembic import command

    engine = connect(url)
    make_folder(engine.url)
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        command.upgrade(migration_config(connection), "head")
        return _revision(connection)


def check_migrated(engine: sa.Engine) -> None:
    """Raise NotMigrated unless the tables are those this code was written for.

    Raises:
        NotMigrated: Says what to run.
        WarehouseAway: If the warehouse cannot be reached.
    """
    from alembic.script import ScriptDirectory

    newest = ScriptDirectory(str(MIGRATIONS)).get_current_head()
    with engine.connect() as connection:
        here = _revision(connection)
    if here != newest:
        raise NotMigrated(
            f"the tables of the warehouse {engine.url.render_as_string(hide_password=True)} are "
            f"at revision {here}, this code needs {newest}. "
            "Run: python -m jobs.migrate_warehouse (or take the code that fits the tables)."
        )


def has_tables(engine: sa.Engine) -> bool:
    """Whether the tables were ever made; asking makes no SQLite file where there is none.

    Raises:
        WarehouseAway: If the warehouse cannot be reached.
    """
    url = engine.url
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return False
    with engine.connect() as connection:
        return _revision(connection) is not None


def migration_config(connection: sa.Connection) -> "Config":
    """What Alembic's commands need to work in the connection's transaction."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(sa.text("select version_num from alembic_version"))
