"""The first tables: runs, predictions, the pointer to the current run, and what is kept about them.

On PostgreSQL there are two groups of users: scoring_writer for the jobs, scoring_reader for those
who use the scores. Roles belong to the whole server, so they may exist, or may be made by an
administrator who does not let the migration make them; they are given their rights here.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

MOMENT = sa.TIMESTAMP(timezone=True).with_variant(sa.String(27), "sqlite")

CURRENT_PREDICTIONS = """
create view current_predictions as
select current_runs.score_date, predictions.customer_id, predictions.run_id,
       predictions.probability, predictions.decile, predictions.is_contacted,
       predictions.reason_1, predictions.reason_2, predictions.reason_3, predictions.status,
       scoring_runs.model_version, scoring_runs.threshold_version
from current_runs
join scoring_runs on scoring_runs.run_id = current_runs.run_id
join predictions on predictions.run_id = current_runs.run_id
"""
LATEST_PREDICTIONS = """
create view latest_predictions as
select * from current_predictions
where score_date = (select max(score_date) from current_runs)
"""

APPEND_ONLY = ("model_versions", "promotions", "audit_log")
READABLE = (
    *("current_predictions", "latest_predictions"),
    *("scoring_runs", "current_runs", "quarantine_counts", "drift", "alembic_version"),
)


def upgrade() -> None:
    _make_tables()
    op.execute(CURRENT_PREDICTIONS)
    op.execute(LATEST_PREDICTIONS)
    if op.get_bind().dialect.name == "postgresql":
        _refuse_changes_on_postgresql()
        _give_rights()
    else:
        _refuse_changes_on_sqlite()


def downgrade() -> None:
    op.execute("drop view latest_predictions")
    op.execute("drop view current_predictions")
    for table in (
        *("quarantine_counts", "drift", "current_runs", "scoring_runs", "predictions"),
        *("promotions", "model_versions", "audit_log"),
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("drop function refuse_change")


def _refuse_changes_on_postgresql() -> None:
    op.execute(
        """
        create function refuse_change() returns trigger language plpgsql as $$
        begin raise exception '% is append-only', tg_table_name; end $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"create trigger {table}_is_append_only before update or delete or truncate "
            f"on {table} for each statement execute function refuse_change()"
        )


def _refuse_changes_on_sqlite() -> None:
    for table in APPEND_ONLY:
        for change in ("update", "delete"):
            op.execute(
                f"create trigger {table}_refuses_{change} before {change} on {table} "
                f"begin select raise(abort, '{table} is append-only'); end"
            )


def _give_rights() -> None:
    for role in ("scoring_reader", "scoring_writer"):
        op.execute(
            f"""
            do $$ begin create role {role} nologin;
            exception when duplicate_object or unique_violation or insufficient_privilege then null;
            end $$
            """
        )
    roles = op.get_bind().scalars(sa.text("select rolname from pg_roles")).all()
    if "scoring_reader" in roles:
        op.execute(f"grant select on {', '.join(READABLE)} to scoring_reader")
    if "scoring_writer" in roles:
        op.execute("grant select, insert on all tables in schema public to scoring_writer")
        op.execute("grant update on current_runs to scoring_writer")
        op.execute("grant delete on drift to scoring_writer")


def _make_tables() -> None:
    op.create_table(
        "audit_log",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), nullable=False),
        sa.Column("previous_sha256", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_log")),
        sa.UniqueConstraint("previous_sha256", name=op.f("uq_audit_log_previous_sha256")),
    )
    op.create_table(
        "model_versions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("commit", sa.Text(), nullable=False),
        sa.Column("bundle_sha256", sa.Text(), nullable=False),
        sa.Column("bundle_md5", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("training_until", sa.Date(), nullable=False),
        sa.Column("metrics", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("recorded_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name=op.f("pk_model_versions")),
    )
    op.create_table(
        "predictions",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("decile", sa.SmallInteger(), nullable=False),
        sa.Column("is_contacted", sa.Boolean(), nullable=False),
        sa.Column("reason_1", sa.Text(), nullable=True),
        sa.Column("reason_2", sa.Text(), nullable=True),
        sa.Column("reason_3", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.CheckConstraint("customer_id <> ''", name=op.f("ck_predictions_customer_is_named")),
        sa.CheckConstraint(
            "status in ('scored', 'previous', 'default')",
            name=op.f("ck_predictions_status_is_known"),
        ),
        sa.CheckConstraint(
            "decile >= 1 and decile <= 10", name=op.f("ck_predictions_decile_is_one_of_ten")
        ),
        sa.CheckConstraint(
            "probability >= 0 and probability <= 1", name=op.f("ck_predictions_probability_is_one")
        ),
        sa.PrimaryKeyConstraint("customer_id", "run_id", name=op.f("pk_predictions")),
    )
    op.create_index(
        op.f("ix_predictions_run_id"),
        "predictions",
        ["run_id"],
        unique=False,
        postgresql_using="brin",
    )
    op.create_table(
        "promotions",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.CheckConstraint("number >= 1", name=op.f("ck_promotions_number_counts_from_1")),
        sa.PrimaryKeyConstraint("name", "number", name=op.f("pk_promotions")),
    )
    op.create_table(
        "scoring_runs",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("score_date", sa.Date(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("threshold_version", sa.Text(), nullable=False),
        sa.Column("bundle_sha256", sa.Text(), nullable=False),
        sa.Column("features_sha256", sa.Text(), nullable=False),
        sa.Column("params_sha256", sa.Text(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("deliveries", sa.Text(), nullable=False),
        sa.Column("predictions_sha256", sa.Text(), nullable=False),
        sa.Column("delivered", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("quarantined", sa.BigInteger(), nullable=False),
        sa.Column("excluded", sa.BigInteger(), nullable=False),
        sa.Column("population", sa.BigInteger(), nullable=False),
        sa.Column("scored", sa.BigInteger(), nullable=False),
        sa.Column("fallback", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("published_at", MOMENT, nullable=False),
        sa.Column("published_by", sa.Text(), nullable=False),
        sa.Column("stage_seconds", sa.Text(), nullable=False),
        sa.CheckConstraint("accepted >= 0", name=op.f("ck_scoring_runs_accepted_is_a_count")),
        sa.CheckConstraint(
            "delivered = accepted + quarantined + excluded",
            name=op.f("ck_scoring_runs_rows_add_up"),
        ),
        sa.CheckConstraint("delivered >= 0", name=op.f("ck_scoring_runs_delivered_is_a_count")),
        sa.CheckConstraint("excluded >= 0", name=op.f("ck_scoring_runs_excluded_is_a_count")),
        sa.CheckConstraint("fallback >= 0", name=op.f("ck_scoring_runs_fallback_is_a_count")),
        sa.CheckConstraint(
            "population = scored + fallback", name=op.f("ck_scoring_runs_customers_add_up")
        ),
        sa.CheckConstraint("population >= 0", name=op.f("ck_scoring_runs_population_is_a_count")),
        sa.CheckConstraint("quarantined >= 0", name=op.f("ck_scoring_runs_quarantined_is_a_count")),
        sa.CheckConstraint("scored >= 0", name=op.f("ck_scoring_runs_scored_is_a_count")),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_scoring_runs")),
        sa.UniqueConstraint("run_id", "score_date", name=op.f("uq_scoring_runs_run_id_score_date")),
    )
    op.create_index(
        op.f("ix_scoring_runs_score_date"), "scoring_runs", ["score_date"], unique=False
    )
    op.create_table(
        "current_runs",
        sa.Column("score_date", sa.Date(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("moved_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id", "score_date"],
            ["scoring_runs.run_id", "scoring_runs.score_date"],
            name=op.f("fk_current_runs_scoring_runs"),
        ),
        sa.PrimaryKeyConstraint("score_date", name=op.f("pk_current_runs")),
    )
    op.create_table(
        "drift",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("column_name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("threshold", sa.Double(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["scoring_runs.run_id"], name=op.f("fk_drift_scoring_runs")
        ),
        sa.PrimaryKeyConstraint("run_id", "column_name", name=op.f("pk_drift")),
    )
    op.create_table(
        "quarantine_counts",
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.CheckConstraint(
            "kind in ('quarantined', 'excluded')", name=op.f("ck_quarantine_counts_kind_is_known")
        ),
        sa.CheckConstraint("rows >= 0", name=op.f("ck_quarantine_counts_rows_is_a_count")),
        sa.CheckConstraint(
            "share >= 0 and share <= 1", name=op.f("ck_quarantine_counts_share_is_one")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["scoring_runs.run_id"], name=op.f("fk_quarantine_counts_scoring_runs")
        ),
        sa.PrimaryKeyConstraint("run_id", "kind", "rule", name=op.f("pk_quarantine_counts")),
    )
