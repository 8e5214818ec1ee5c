"""Runs name their line of the audit log and what was hashed of them; inserts are bounded.

The views are made by `warehouse.migrate` from here on. On PostgreSQL no table is rewritten. On
SQLite the new columns keep their default.
"""

import importlib
import json

import sqlalchemy as sa
from alembic import op

from warehouse.views import drop_views

revision = "0003"
down_revision = "0002"

# Each with the columns that are unique.
APPEND_ONLY = {
    "audit_log": (("number",), ("previous_sha256",)),
    "model_versions": (("name", "version"),),
    "promotions": (("name", "stage", "number"),),
    "retraining_decisions": (("run_id",),),
}
# A night that is further from the newest one is a slip of the pen, and would hide all others.
FURTHEST_DAYS = 366
# What was hashed of every run until now. Without a challenger the arm was left out.
HASHED = (
    *("customer_id", "probability", "decile", "is_contacted"),
    *("reason_1", "reason_2", "reason_3", "status"),
)
HASHED_OF_ARMS = (
    *("customer_id", "champion_probability", "champion_is_contacted"),
    *("challenger_probability", "challenger_is_contacted"),
)
MOVES = ("run_published", "run_made_current", "predictions_rolled_back")


def upgrade() -> None:
    for table in ("scoring_runs", "current_runs"):
        number = sa.Column("audit_number", sa.BigInteger(), nullable=False, server_default="0")
        op.add_column(table, number)
    op.add_column("scoring_runs", sa.Column("chain_sha256", sa.Text(), nullable=True))
    _number_what_is_there()
    _name_what_was_hashed()
    if op.get_bind().dialect.name == "postgresql":
        for table in ("scoring_runs", "current_runs"):
            op.alter_column(table, "audit_number", server_default=None)
        op.alter_column("scoring_runs", "hashed_columns", server_default=None)
        _refuse_far_nights_on_postgresql()
    else:
        _refuse_replacements_on_sqlite()
        _refuse_far_nights_on_sqlite()


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for table in APPEND_ONLY:
            op.execute(f"drop trigger {table}_refuses_replacement")
        op.execute("drop trigger scoring_runs_refuses_far_nights")
    else:
        op.execute("drop trigger scoring_runs_refuses_far_nights on scoring_runs")
        op.execute("drop function refuse_far_nights")
    drop_views(op.get_bind())
    for column in ("chain_sha256", "hashed_columns"):
        op.drop_column("scoring_runs", column)
    for table in ("current_runs", "scoring_runs"):
        op.drop_column(table, "audit_number")
    before = importlib.import_module("warehouse.migrations.versions.0002_monitoring")
    for view in (before.CURRENT_PREDICTIONS, before.LATEST_PREDICTIONS, before.RETRAININGS):
        op.execute(view)


def _refuse_far_nights_on_postgresql() -> None:
    furthest = f"select max(score_date) + {FURTHEST_DAYS} from scoring_runs"  # noqa: S608
    op.execute(
        f"""
        create function refuse_far_nights() returns trigger language plpgsql as $$
        begin
            if new.score_date > ({furthest}) then
                raise exception 'score_date % is more than {FURTHEST_DAYS} days after the newest '
                    'night', new.score_date using errcode = 'check_violation';
            end if;
            return new;
        end $$
        """
    )
    op.execute(
        "create trigger scoring_runs_refuses_far_nights before insert on scoring_runs "
        "for each row execute function refuse_far_nights()"
    )


def _refuse_far_nights_on_sqlite() -> None:
    newest = f"select date(max(score_date), '+{FURTHEST_DAYS} days') from scoring_runs"  # noqa: S608
    op.execute(
        "create trigger scoring_runs_refuses_far_nights before insert on scoring_runs "
        f"when new.score_date > ({newest}) begin select raise(abort, "
        f"'score_date is more than {FURTHEST_DAYS} days after the newest night'); end"
    )


def _name_what_was_hashed() -> None:
    plain = json.dumps({"predictions": HASHED}, separators=(",", ":"))
    both = {"arm_scores": HASHED_OF_ARMS, "predictions": (*HASHED, "arm")}
    op.add_column(
        "scoring_runs",
        sa.Column("hashed_columns", sa.Text(), nullable=False, server_default=plain),
    )
    challenged = (
        "update scoring_runs set hashed_columns = :both where challenger_version is not null"
    )
    values = {"both": json.dumps(both, separators=(",", ":"))}
    op.get_bind().execute(sa.text(challenged), values)


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
