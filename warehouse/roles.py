"""Who may do what in the warehouse on PostgreSQL: the owner migrates, jobs write, people read.

Groups without a login: grant ``scoring_writer`` to the user of the jobs, ``scoring_reader`` to
those who use the scores, and ``scoring_remover`` to a user of its own for `jobs.apply_retention`.
The owner of the tables is in none of them. SQLite has no users.
"""

import sqlalchemy as sa

from warehouse.tables import (
    ARM_SCORES,
    AUDIT_LOG,
    CURRENT_PREDICTIONS,
    CURRENT_RUNS,
    DRIFT,
    LABEL_MATURITY,
    LATEST_PREDICTIONS,
    METADATA,
    NEWEST_PERFORMANCE,
    PERFORMANCE,
    PREDICTIONS,
    QUALITY,
    RETRAININGS,
    SCORING_RUNS,
)

WRITER = "scoring_writer"
READER = "scoring_reader"
REMOVER = "scoring_remover"

VIEWS = (CURRENT_PREDICTIONS, LATEST_PREDICTIONS, NEWEST_PERFORMANCE, RETRAININGS)
# Scores of runs that nobody is to see.
NOT_FOR_READERS = (PREDICTIONS, ARM_SCORES)
# What a job that runs again finds out again.
REPLACEABLE = (DRIFT, QUALITY, PERFORMANCE, LABEL_MATURITY)


def give_rights(connection: sa.Connection) -> str | None:
    """Make the groups if they are not there, and give them exactly the rights they should have.

    Args:
        connection: In a transaction, of the owner of the tables.

    Returns:
        What an administrator has to do because this user must not; None if there is nothing.
    """
    if connection.dialect.name != "postgresql":
        return None
    rights = {WRITER: _of_writer(), READER: _of_reader(), REMOVER: _of_remover()}
    missing = [role for role in rights if not _is_there(connection, role)]
    for role, statements in rights.items():
        if role not in missing:
            for statement in statements:
                connection.execute(sa.text(statement))
    if not missing:
        return None
    made = " ".join(f"create role {role} nologin;" for role in missing)
    return (
        "groups of users that are not there, and that this user must not make: "
        f"{', '.join(missing)}. Nobody but the owner of the tables can do what they are for. Ask "
        f"an administrator of the server to run: {made} Then run this again."
    )


def foreign_owner(engine: sa.Engine) -> str | None:
    """The owner of the audit log where that is not the user of ``engine``; None on SQLite."""
    if engine.dialect.name != "postgresql":
        return None
    owner = sa.text(
        "select tableowner from pg_tables where schemaname = 'public' and tablename = :table "
        "and not pg_has_role(current_user, tableowner, 'member')"
    )
    with engine.connect() as connection:
        return connection.scalar(owner, {"table": AUDIT_LOG.name})


def owner_warning(engine: sa.Engine) -> str | None:
    """Why the user of ``engine`` should not run jobs; None if it owns nothing, or on SQLite."""
    if engine.dialect.name != "postgresql":
        return None
    owned = sa.text(
        "select count(*) from pg_tables where schemaname = 'public' "
        "and pg_has_role(current_user, tableowner, 'member')"
    )
    with engine.connect() as connection:
        tables, user = connection.scalar(owned), connection.scalar(sa.text("select current_user"))
    if not tables:
        return None
    return (
        f"the jobs run as {user}, who owns {tables} tables of the warehouse and could change its "
        f"audit log. Give them a user of their own: create role <name> login in role {WRITER}, "
        f"{READER}; and set SCORING_WAREHOUSE_URL to it, SCORING_WAREHOUSE_OWNER_URL to {user}."
    )


def _is_there(connection: sa.Connection, role: str) -> bool:
    """Whether there is such a role, made here if it may be."""
    connection.execute(
        sa.text(
            f"""
            do $$ begin create role {role} nologin;
            exception when duplicate_object or unique_violation or insufficient_privilege then null;
            end $$
            """
        )
    )
    named = sa.text("select count(*) from pg_roles where rolname = :role")
    return connection.scalar(named, {"role": role}) == 1


def _of_writer() -> list[str]:
    every = _names(*METADATA.sorted_tables)
    return [
        f"revoke all on {every}, {_names(*VIEWS)} from {WRITER}",
        f"grant select, insert on {every} to {WRITER}",
        f"grant select on {_names(*VIEWS)}, alembic_version to {WRITER}",
        f"grant update on {CURRENT_RUNS.name} to {WRITER}",
        f"grant delete on {_names(*REPLACEABLE)} to {WRITER}",
    ]


def _of_reader() -> list[str]:
    tables = [table for table in METADATA.sorted_tables if table not in NOT_FOR_READERS]
    return [
        f"revoke all on {_names(*METADATA.sorted_tables, *VIEWS)} from {READER}",
        f"grant select on {_names(*tables, *VIEWS)}, alembic_version to {READER}",
    ]


def _of_remover() -> list[str]:
    asked = _names(SCORING_RUNS, CURRENT_RUNS, AUDIT_LOG, *NOT_FOR_READERS)
    return [
        f"revoke all on {_names(*METADATA.sorted_tables, *VIEWS)} from {REMOVER}",
        f"grant select on {asked}, alembic_version to {REMOVER}",
        f"grant delete on {_names(*NOT_FOR_READERS)} to {REMOVER}",
        f"grant insert on {AUDIT_LOG.name} to {REMOVER}",
    ]


def _names(*tables: sa.TableClause) -> str:
    return ", ".join(table.name for table in tables)
