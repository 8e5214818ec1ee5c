"""Runs and predictions name the question that they answer.

Until now there was one, a purchase within 30 days. Runs that were published before keep the hash of
the columns they had. On PostgreSQL no table is rewritten. On SQLite the new columns keep their
default.
"""

import sqlalchemy as sa
from alembic import op

from warehouse.views import drop_views

revision = "0006"
down_revision = "0005"

TABLES = ("scoring_runs", "predictions")
ASKED_SO_FAR = "purchase_within_30d"


def upgrade() -> None:
    drop_views(op.get_bind())
    for table in TABLES:
        question = sa.Column("question", sa.Text(), nullable=False, server_default=ASKED_SO_FAR)
        op.add_column(table, question)
        if op.get_bind().dialect.name == "postgresql":
            op.alter_column(table, "question", server_default=None)


def downgrade() -> None:
    drop_views(op.get_bind())
    for table in TABLES:
        op.drop_column(table, "question")
