"""Runs and pointers name their line of the audit log; on SQLite history cannot be replaced.

On PostgreSQL no table is rewritten. On SQLite the new columns keep their default.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# Each with the columns that are unique.
APPEND_ONLY = {
    "audit_log": (("number",), ("previous_sha256",)),
    "model_versions": (("name", "version"),),
    "promotions": (("name", "stage", "number"),),
    "retraining_decisions": (("run_id",),),
}
MOVES = ("run_published", "run_made_current", "predictions_rolled_back")


def upgrade() -> None:
    for table in ("scoring_runs", "current_runs"):
        number = sa.Column("audit_number", sa.BigInteger(), nullable=False, server_default="0")
        op.add_column(table, number)
    _number_what_is_there()
    if op.get_bind().dialect.name == "postgresql":
        for table in ("scoring_runs", "current_runs"):
            op.alter_column(table, "audit_number", server_default=None)
    else:
        _refuse_replacements_on_sqlite()


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in APPEND_ONLY:
            op.execute(f"drop trigger {table}_refuses_replacement")
    for table in ("current_runs", "scoring_runs"):
        op.drop_column(table, "audit_number")


def _refuse_replacements_on_sqlite() -> None:
    """INSERT OR REPLACE deletes the row in its way without asking the trigger that guards it.

    Unless the connection that writes has set recursive_triggers. A trigger before the insert is
    asked in any case. `rowid` is a key of every table, too.
    """
    for table, keys in APPEND_ONLY.items():
        taken = " or ".join(
            "(" + " and ".join(f"{name} = new.{name}" for name in key) + ")"
            for key in (("rowid",), *keys)
        )
        in_the_way = f"select 1 from {table} where {taken}"  # noqa: S608
        op.execute(
            f"create trigger {table}_refuses_replacement before insert on {table} "
            f"when exists ({in_the_way}) "
            f"begin select raise(abort, '{table} is append-only'); end"
        )


def _number_what_is_there() -> None:
    """A run gets the line that published it, a pointer the last one that moved it."""
    log = sa.table("audit_log", sa.column("number"), sa.column("event"), sa.column("details"))
    moves = sa.select(log).where(log.c.event.in_(MOVES)).order_by(log.c.number)
    bind = op.get_bind()
    for number, event, text in bind.execute(moves).all():
        details = json.loads(text)
        values = {"number": number, "run": details["run_id"]}
        if event == "run_published":
            published = "update scoring_runs set audit_number = :number where run_id = :run"
            bind.execute(sa.text(published), values)
        shown = "update current_runs set audit_number = :number where run_id = :run"
        bind.execute(sa.text(shown), values)
