"""What monitoring finds, what is decided on it, and two models that score side by side.

On PostgreSQL the large table is not rewritten: a column with a constant default is a note in the
catalogue. SQLite copies `predictions` once.
"""

import importlib
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

MOMENT = sa.TIMESTAMP(timezone=True).with_variant(sa.String(27), "sqlite")
ARM_IS_KNOWN = "arm in ('champion', 'challenger')"

CURRENT_PREDICTIONS = """
create view current_predictions as
select current_runs.score_date, predictions.customer_id, predictions.run_id,
       predictions.probability, predictions.decile, predictions.is_contacted,
       predictions.reason_1, predictions.reason_2, predictions.reason_3, predictions.status,
       predictions.arm,
       case predictions.arm when 'challenger' then scoring_runs.challenger_version
            else scoring_runs.model_version end as model_version,
       case predictions.arm when 'challenger' then scoring_runs.challenger_threshold_version
            else scoring_runs.threshold_version end as threshold_version
from current_runs
join scoring_runs on scoring_runs.run_id = current_runs.run_id
join predictions on predictions.run_id = current_runs.run_id
"""
LATEST_PREDICTIONS = """
create view latest_predictions as
select * from current_predictions
where score_date = (select max(score_date) from current_runs)
"""

RETRAININGS = """
create view retrainings as
select model_versions.name, model_versions.version, retraining_decisions.score_date,
       retraining_decisions.trigger, model_versions.asked_at,
       model_versions.recorded_at as registered_at,
       min(case promotions.stage when 'challenger' then promotions.at end) as tried_at,
       min(case promotions.stage when 'champion' then promotions.at end) as live_at
from model_versions
left join retraining_decisions on retraining_decisions.child_run = model_versions.token
left join promotions on promotions.name = model_versions.name
                    and promotions.version = model_versions.version
group by model_versions.name, model_versions.version, retraining_decisions.score_date,
         retraining_decisions.trigger, model_versions.asked_at, model_versions.recorded_at
"""

CHALLENGER_COLUMNS = (
    *("challenger_version", "challenger_threshold_version", "challenger_bundle_sha256"),
    "challenger_percent",
)
NEW_TABLES = ("arm_scores", "quality", "performance", "label_maturity", "retraining_decisions")
REPLACEABLE = ("quality", "performance", "label_maturity")
READABLE = (
    *("current_predictions", "latest_predictions"),
    *("quality", "performance", "label_maturity", "retraining_decisions"),
)


def upgrade() -> None:
    op.execute("drop view latest_predictions")
    op.execute("drop view current_predictions")
    _add_the_challenger()
    _widen_keys()
    op.add_column("model_versions", sa.Column("asked_at", MOMENT, nullable=True))
    op.add_column("model_versions", sa.Column("token", sa.Text(), nullable=True))
    _make_tables()
    op.execute(CURRENT_PREDICTIONS)
    op.execute(LATEST_PREDICTIONS)
    op.execute(RETRAININGS)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "create trigger retraining_decisions_is_append_only before update or delete or "
            "truncate on retraining_decisions for each statement execute function refuse_change()"
        )
        _give_rights()
    else:
        # Copying a table on SQLite loses its triggers.
        _refuse_changes_on_sqlite("promotions", "retraining_decisions")


def downgrade() -> None:
    challenged = "select exists (select 1 from promotions where stage = 'challenger')"
    if op.get_bind().scalar(sa.text(challenged)):
        raise RuntimeError(
            "revision 0001 has no place for the challengers that this warehouse remembers: restore "
            "the backup made before 0002, or stay at 0002. Nothing was changed."
        )
    for view in ("retrainings", "latest_predictions", "current_predictions"):
        op.execute(f"drop view {view}")
    for table in NEW_TABLES:
        op.drop_table(table)
    with op.batch_alter_table("predictions") as batch:
        batch.drop_constraint(op.f("ck_predictions_arm_is_known"), type_="check")
        batch.drop_column("arm")
    _narrow_keys()
    with op.batch_alter_table("model_versions") as batch:
        batch.drop_column("asked_at")
        batch.drop_column("token")
    with op.batch_alter_table("scoring_runs") as batch:
        batch.drop_constraint(op.f("ck_scoring_runs_percent_is_of_a_hundred"), type_="check")
        for column in CHALLENGER_COLUMNS:
            batch.drop_column(column)
    first = importlib.import_module("warehouse.migrations.versions.0001_first_tables")
    op.execute(first.CURRENT_PREDICTIONS)
    op.execute(first.LATEST_PREDICTIONS)
    if op.get_bind().dialect.name == "sqlite":
        _refuse_changes_on_sqlite("promotions", "model_versions")
    elif "scoring_reader" in _roles():
        op.execute("grant select on current_predictions, latest_predictions to scoring_reader")


def _add_the_challenger() -> None:
    for column in (
        "challenger_version",
        "challenger_threshold_version",
        "challenger_bundle_sha256",
    ):
        op.add_column("scoring_runs", sa.Column(column, sa.Text(), nullable=True))
    op.execute(
        "alter table scoring_runs add column challenger_percent smallint "
        "constraint ck_scoring_runs_percent_is_of_a_hundred "
        "check (challenger_percent >= 0 and challenger_percent <= 100)"
    )
    with op.batch_alter_table("predictions") as table:
        table.add_column(sa.Column("arm", sa.Text(), nullable=False, server_default="champion"))
        table.create_check_constraint(op.f("ck_predictions_arm_is_known"), ARM_IS_KNOWN)
    with op.batch_alter_table("predictions") as table:
        table.alter_column("arm", server_default=None)


def _widen_keys() -> None:
    with op.batch_alter_table("drift") as table:
        table.add_column(
            sa.Column("against", sa.Text(), nullable=False, server_default="reference")
        )
        table.drop_constraint(op.f("pk_drift"), type_="primary")
        table.create_primary_key(op.f("pk_drift"), ["run_id", "against", "column_name"])
        table.create_check_constraint(
            op.f("ck_drift_against_is_known"), "against in ('reference', 'same_weekday')"
        )
    with op.batch_alter_table("drift") as table:
        table.alter_column("against", server_default=None)

    with op.batch_alter_table("promotions") as table:
        table.add_column(sa.Column("stage", sa.Text(), nullable=False, server_default="champion"))
        table.add_column(sa.Column("percent", sa.SmallInteger(), server_default="100"))
        table.alter_column("version", existing_type=sa.Text(), nullable=True)
        table.drop_constraint(op.f("pk_promotions"), type_="primary")
        table.create_primary_key(op.f("pk_promotions"), ["name", "stage", "number"])
        table.create_check_constraint(
            op.f("ck_promotions_stage_is_known"), "stage in ('champion', 'challenger')"
        )
    with op.batch_alter_table("promotions") as table:
        table.alter_column("stage", server_default=None)
        table.alter_column("percent", server_default=None)


def _make_tables() -> None:
    op.create_table(
        "arm_scores",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("champion_probability", sa.Double(), nullable=False),
        sa.Column("champion_is_contacted", sa.Boolean(), nullable=False),
        sa.Column("challenger_probability", sa.Double(), nullable=False),
        sa.Column("challenger_is_contacted", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "champion_probability >= 0 and champion_probability <= 1",
            name=op.f("ck_arm_scores_champion_is_one"),
        ),
        sa.CheckConstraint(
            "challenger_probability >= 0 and challenger_probability <= 1",
            name=op.f("ck_arm_scores_challenger_is_one"),
        ),
        sa.PrimaryKeyConstraint("customer_id", "run_id", name=op.f("pk_arm_scores")),
    )
    op.create_index(op.f("ix_arm_scores_run_id"), "arm_scores", ["run_id"], postgresql_using="brin")
    op.create_table(
        "quality",
        _run_id("quality"),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("column_name", sa.Text(), nullable=False),
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "verdict in ('usual', 'incident', 'informs')", name=op.f("ck_quality_verdict_is_known")
        ),
        sa.PrimaryKeyConstraint(
            "run_id", "dataset", "column_name", "measure", name=op.f("pk_quality")
        ),
    )
    op.create_table(
        "performance",
        _run_id("performance"),
        sa.Column("score_date", sa.Date(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("maturity", sa.Text(), nullable=False),
        sa.Column("measured_on", sa.Date(), nullable=False),
        sa.Column("slice", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("customers", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(ARM_IS_KNOWN, name=op.f("ck_performance_arm_is_known")),
        sa.CheckConstraint(
            "maturity in ('mature', 'partial', 'estimated')",
            name=op.f("ck_performance_maturity_is_known"),
        ),
        sa.CheckConstraint("customers >= 0", name=op.f("ck_performance_customers_is_a_count")),
        sa.PrimaryKeyConstraint(
            *("run_id", "arm", "maturity", "measured_on", "slice", "metric"),
            name=op.f("pk_performance"),
        ),
    )
    op.create_index(op.f("ix_performance_score_date"), "performance", ["score_date"])
    op.create_table(
        "label_maturity",
        _run_id("label_maturity"),
        sa.Column("score_date", sa.Date(), nullable=False),
        sa.Column("days", sa.SmallInteger(), nullable=False),
        sa.Column("buyers", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("buyers >= 0", name=op.f("ck_label_maturity_buyers_is_a_count")),
        sa.CheckConstraint("days >= 1", name=op.f("ck_label_maturity_days_count_from_1")),
        sa.PrimaryKeyConstraint("run_id", "days", name=op.f("pk_label_maturity")),
    )
    op.create_table(
        "retraining_decisions",
        _run_id("retraining_decisions"),
        sa.Column("score_date", sa.Date(), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=True),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("child_run", sa.Text(), nullable=True),
        sa.Column("decided_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "decision in ('retrain', 'wait', 'alarm', 'ignore')",
            name=op.f("ck_retraining_decisions_decision_is_known"),
        ),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_retraining_decisions")),
    )
    op.create_index(
        op.f("ix_retraining_decisions_score_date"), "retraining_decisions", ["score_date"]
    )


def _narrow_keys() -> None:
    op.execute("delete from drift where against <> 'reference'")
    with op.batch_alter_table("drift") as table:
        table.drop_constraint(op.f("ck_drift_against_is_known"), type_="check")
        table.drop_constraint(op.f("pk_drift"), type_="primary")
        table.create_primary_key(op.f("pk_drift"), ["run_id", "column_name"])
        table.drop_column("against")
    with op.batch_alter_table("promotions") as table:
        table.drop_constraint(op.f("ck_promotions_stage_is_known"), type_="check")
        table.drop_constraint(op.f("pk_promotions"), type_="primary")
        table.create_primary_key(op.f("pk_promotions"), ["name", "number"])
        table.alter_column("version", existing_type=sa.Text(), nullable=False)
        table.drop_column("stage")
        table.drop_column("percent")


def _refuse_changes_on_sqlite(*tables: str) -> None:
    for table in tables:
        for change in ("update", "delete"):
            op.execute(
                f"create trigger {table}_refuses_{change} before {change} on {table} "
                f"begin select raise(abort, '{table} is append-only'); end"
            )


def _roles() -> Sequence[str]:
    return op.get_bind().scalars(sa.text("select rolname from pg_roles")).all()


def _run_id(table: str) -> sa.Column:
    published = sa.ForeignKey("scoring_runs.run_id", name=op.f(f"fk_{table}_scoring_runs"))
    return sa.Column("run_id", sa.Text(), published, nullable=False)


def _give_rights() -> None:
    roles = _roles()
    if "scoring_reader" in roles:
        op.execute(f"grant select on {', '.join(READABLE)} to scoring_reader")
    if "scoring_writer" in roles:
        op.execute(f"grant select, insert on {', '.join(NEW_TABLES)} to scoring_writer")
        views = "current_predictions, latest_predictions, retrainings"
        op.execute(f"grant select on {views} to scoring_writer")
        op.execute(f"grant delete on {', '.join(REPLACEABLE)} to scoring_writer")
