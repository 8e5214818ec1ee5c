"""Making and changing the tables, with Alembic.

To change a table: change `warehouse/tables.py`, add the next file to `migrations/versions` (a copy
of the newest with its own `revision` and `down_revision`), and run tests/warehouse, which say
where the two differ. Views (`warehouse/views.py`) and rights (`warehouse/roles.py`) are declared
once and made after the last migration; one that changes what a view shows drops the views first.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from warehouse.connection import close_to_others, connect, make_folder, writing
from warehouse.roles import foreign_owner, give_rights
from warehouse.views import make_views

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 7_236_119_005

log = logging.getLogger("jobs.migrate_warehouse")


class MayNotMigrate(Exception):
    """The user does not own the tables of the warehouse."""


class NotMigrated(Exception):
    """The tables of the warehouse are not those this code was written for."""


def migrate(url: str) -> str:
    """Bring tables, views and rights up to date, in one transaction.

    Two processes may do this at once.

    Args:
        url: Of the warehouse, as the owner of its tables.

    Returns:
        The revision that the tables now have.

    Raises:
        MayNotMigrate: If the user does not own them.
        WarehouseAway: If the warehouse cannot be reached.
    """
    from alembic import command

    engine = connect(url)
    make_folder(engine.url)
    owner = foreign_owner(engine)
    if owner is not None:
        raise MayNotMigrate(
            f"the tables of the warehouse belong to {owner}, who alone can migrate them and give "
            f"others their rights. Nothing was changed. Set SCORING_WAREHOUSE_OWNER_URL to {owner}."
        )
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        command.upgrade(migration_config(connection), "head")
        make_views(connection)
        todo = give_rights(connection)
        if todo is not None:
            log.warning(todo)
        revision = _revision(connection)
        assert revision is not None
    close_to_others(engine.url)
    return revision


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
