"""The keys of the large tables lead with the run, so that a night costs the same however many are.

PostgreSQL leaves the rows where they are, builds each key once more, within `maintenance_work_mem`
and beside the old one on disk, and keeps readers out until all is done: about ten seconds for ten
million rows. SQLite copies both tables, row by row.
"""

import logging

import sqlalchemy as sa
from alembic import op

from warehouse.views import drop_views

revision = "0004"
down_revision = "0003"

LARGE = ("predictions", "arm_scores")

log = logging.getLogger("jobs.migrate_warehouse")


def upgrade() -> None:
    drop_views(op.get_bind())
    for table in LARGE:
        op.drop_index(op.f(f"ix_{table}_run_id"), table)
        _key(table, "run_id", "customer_id")


def downgrade() -> None:
    drop_views(op.get_bind())
    for table in LARGE:
        _key(table, "customer_id", "run_id")
        op.create_index(op.f(f"ix_{table}_run_id"), table, ["run_id"], postgresql_using="brin")


def _key(table: str, *columns: str) -> None:
    rows = op.get_bind().scalar(sa.select(sa.func.count()).select_from(sa.table(table)))
    log.info("%s: a new key of %d rows, (%s)", table, rows, ", ".join(columns))
    key = op.f(f"pk_{table}")
    with op.batch_alter_table(table) as batch:
        batch.drop_constraint(key, type_="primary")
        batch.create_primary_key(key, list(columns))
