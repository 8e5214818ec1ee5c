"""The order of events is the audit log's, never a clock's: runs and pointers name their line of it.

On PostgreSQL no table is rewritten. On SQLite the new columns keep their default.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

MOVES = ("run_published", "run_made_current", "predictions_rolled_back")


def upgrade() -> None:
    for table in ("scoring_runs", "current_runs"):
        number = sa.Column("audit_number", sa.BigInteger(), nullable=False, server_default="0")
        op.add_column(table, number)
    _number_what_is_there()
    if op.get_bind().dialect.name == "postgresql":
        for table in ("scoring_runs", "current_runs"):
            op.alter_column(table, "audit_number", server_default=None)


def downgrade() -> None:
    for table in ("current_runs", "scoring_runs"):
        op.drop_column(table, "audit_number")


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
