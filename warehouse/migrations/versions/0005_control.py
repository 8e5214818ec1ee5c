"""Predictions say who is in the control and so is never contacted; of runs until now nobody was.

The statement copies no row: on either database a column with a constant default is a note in the
catalogue. The views are made by `warehouse.migrate`.
"""

from alembic import op

from warehouse.views import drop_views

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    drop_views(op.get_bind())
    op.execute(
        "alter table predictions add column is_control boolean default false not null "
        "constraint ck_predictions_control_is_not_contacted "
        "check (not (is_control and is_contacted))"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("predictions", "is_control", server_default=None)


def downgrade() -> None:
    drop_views(op.get_bind())
    if op.get_bind().dialect.name == "postgresql":
        op.drop_column("predictions", "is_control")
        return
    with op.batch_alter_table("predictions") as table:
        table.drop_constraint(op.f("ck_predictions_control_is_not_contacted"), type_="check")
        table.drop_column("is_control")
