"""The tables of the warehouse. `warehouse/migrations` makes them; a test holds the two together."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

import catalog

MICROSECONDS = "%Y-%m-%dT%H:%M:%S.%fZ"


class Instant(sa.types.TypeDecorator):
    """A moment, in UTC: ``timestamptz`` on PostgreSQL, text of fixed width on SQLite.

    A datetime without a zone is refused with ValueError; what is read is always in UTC.
    """

    impl = sa.TIMESTAMP(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.String(27))
        return dialect.type_descriptor(sa.TIMESTAMP(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect):
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; say which moment is meant")
        moment = value.astimezone(UTC)
        return moment.strftime(MICROSECONDS) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any | None, dialect: sa.Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name == "sqlite":
            return datetime.strptime(value, MICROSECONDS).replace(tzinfo=UTC)
        return value.astimezone(UTC)


class Json(sa.types.TypeDecorator):
    """A JSON value as canonical text: sorted keys, no blanks, so that it can be hashed."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: sa.Dialect) -> str:  # noqa: ARG002
        return canonical(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect):  # noqa: ARG002
        return None if value is None else json.loads(value)


def canonical(value: object) -> str:
    """``value`` as JSON text that is the same wherever and whenever it is written.

    Raises:
        ValueError: If it holds a number that JSON has no word for (NaN, infinity).
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


METADATA = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _column(
    name: str, type_: sa.types.TypeEngine | type[sa.types.TypeEngine], *arguments, **options
) -> sa.Column:
    """A column that is never null unless it says so."""
    return sa.Column(name, type_, *arguments, **{"nullable": False, **options})


def _counts(*names: str) -> list[sa.Column | sa.CheckConstraint]:
    """Whole numbers that are never negative."""
    checks = (sa.CheckConstraint(f"{name} >= 0", name=f"{name}_is_a_count") for name in names)
    return [*(_column(name, sa.BigInteger) for name in names), *checks]


# By the type of the column in the lake.
_TYPES = {
    "string": sa.Text,
    "double": sa.Double,
    "int": sa.SmallInteger,
    "boolean": sa.Boolean,
}


def _published(dataset: catalog.Dataset, nullable: Collection[str] = ()) -> list[sa.Column]:
    """The columns of a dataset as a table holds them, with the run that each row is of.

    The catalog is the one place where they are declared.
    """
    columns = []
    for column in dataset.schema.split(", "):
        name, type_ = column.split()
        columns.append(_column(name, _TYPES[type_], nullable=name in nullable))
    return [columns[0], _column("run_id", sa.Text), *columns[1:]]


_ARM_IS_KNOWN = "arm in ('champion', 'challenger')"

SCORING_RUNS = sa.Table(
    "scoring_runs",
    METADATA,
    _column("run_id", sa.Text, primary_key=True),
    _column("score_date", sa.Date, index=True),
    _column("source", sa.Text),
    _column("question", sa.Text),
    _column("model_name", sa.Text),
    _column("model_version", sa.Text),
    _column("threshold_version", sa.Text),
    _column("bundle_sha256", sa.Text),
    _column("challenger_version", sa.Text, nullable=True),
    _column("challenger_threshold_version", sa.Text, nullable=True),
    _column("challenger_bundle_sha256", sa.Text, nullable=True),
    _column("challenger_percent", sa.SmallInteger, nullable=True),
    _column("features_sha256", sa.Text),
    _column("params_sha256", sa.Text),
    _column("code_version", sa.Text),
    _column("deliveries", Json),
    _column("predictions_sha256", sa.Text),
    *_counts("delivered", "accepted", "quarantined", "excluded"),
    *_counts("population", "scored", "fallback"),
    _column("reason", sa.Text),
    _column("published_at", Instant),
    _column("published_by", sa.Text),
    _column("stage_seconds", Json),
    _column("audit_number", sa.BigInteger),
    _column("hashed_columns", Json),
    _column("chain_sha256", sa.Text, nullable=True),
    sa.UniqueConstraint("run_id", "score_date"),
    sa.CheckConstraint("delivered = accepted + quarantined + excluded", name="rows_add_up"),
    sa.CheckConstraint("population = scored + fallback", name="customers_add_up"),
    sa.CheckConstraint(
        "challenger_percent >= 0 and challenger_percent <= 100", name="percent_is_of_a_hundred"
    ),
)
"""One row per run. ``delivered`` and what it divides into are the delivery of the score date;
``deliveries`` maps each day to the delivery used; ``stage_seconds`` each job to its time.
``predictions_sha256`` is of all that was published, in the order of the customers. The columns of
the challenger are null when there was none; ``challenger_percent`` is the share of customers whose
published score is its own, 0 when it only scored in shadow. ``audit_number`` is the line of the
audit log that tells of the publishing; runs are ordered by it, ``published_at`` is for people.
``hashed_columns`` names by table the columns that ``predictions_sha256`` is of, so that a column
which is added later says nothing about earlier runs. ``chain_sha256`` is of what each job of the
run has read and written, from the delivered bytes on; null for runs of older code."""

PREDICTIONS = sa.Table(
    "predictions",
    METADATA,
    *_published(catalog.PREDICTIONS, nullable=("reason_1", "reason_2", "reason_3")),
    # The run leads, so that a night costs the same however many there are. There is no foreign key
    # to scoring_runs: a look-up per row, where `publish` writes both and counts.
    sa.PrimaryKeyConstraint("run_id", "customer_id"),
    sa.CheckConstraint("customer_id <> ''", name="customer_is_named"),
    sa.CheckConstraint("probability >= 0 and probability <= 1", name="probability_is_one"),
    sa.CheckConstraint("decile >= 1 and decile <= 10", name="decile_is_one_of_ten"),
    sa.CheckConstraint("status in ('scored', 'previous', 'default')", name="status_is_known"),
    sa.CheckConstraint(_ARM_IS_KNOWN, name="arm_is_known"),
    sa.CheckConstraint("not (is_control and is_contacted)", name="control_is_not_contacted"),
)
"""One row per run and customer. ``status``: ``scored``, or a fallback: ``previous`` (last night's
score), ``default`` (the prior). ``decile`` 1 is the likeliest tenth. ``arm`` says whose score it is
that readers see, ``question`` what it answers. ``is_control`` marks those who are never
contacted."""

ARM_SCORES = sa.Table(
    "arm_scores",
    METADATA,
    *_published(catalog.ARM_SCORES),
    sa.PrimaryKeyConstraint("run_id", "customer_id"),
    sa.CheckConstraint(
        "champion_probability >= 0 and champion_probability <= 1", name="champion_is_one"
    ),
    sa.CheckConstraint(
        "challenger_probability >= 0 and challenger_probability <= 1", name="challenger_is_one"
    ),
)
"""One row per customer of a run that had a challenger, whatever its share: what either model says
of the customer. Not for readers of scores."""

CURRENT_RUNS = sa.Table(
    "current_runs",
    METADATA,
    _column("score_date", sa.Date, primary_key=True),
    _column("run_id", sa.Text),
    _column("moved_at", Instant),
    _column("audit_number", sa.BigInteger),
    # Both columns, so that a night cannot point at the run of another night.
    sa.ForeignKeyConstraint(
        ["run_id", "score_date"], ["scoring_runs.run_id", "scoring_runs.score_date"]
    ),
)
"""One row per score date: the run that readers see. ``audit_number`` is the line of the audit log
that tells how it came there."""

QUARANTINE_COUNTS = sa.Table(
    "quarantine_counts",
    METADATA,
    _column("run_id", sa.Text, sa.ForeignKey("scoring_runs.run_id")),
    _column("kind", sa.Text),
    _column("rule", sa.Text),
    *_counts("rows"),
    _column("share", sa.Double),
    sa.PrimaryKeyConstraint("run_id", "kind", "rule"),
    sa.CheckConstraint("kind in ('quarantined', 'excluded')", name="kind_is_known"),
    sa.CheckConstraint("share >= 0 and share <= 1", name="share_is_one"),
)
"""One row per run and rule: rows whose first broken (or excluding) rule it is, and their share of
what was delivered."""

DRIFT = sa.Table(
    "drift",
    METADATA,
    _column("run_id", sa.Text, sa.ForeignKey("scoring_runs.run_id")),
    _column("against", sa.Text),
    _column("column_name", sa.Text),
    _column("kind", sa.Text),
    _column("method", sa.Text),
    _column("value", sa.Double, nullable=True),
    _column("threshold", sa.Double, nullable=True),
    _column("verdict", sa.Text),
    _column("detail", sa.Text),
    sa.PrimaryKeyConstraint("run_id", "against", "column_name"),
    sa.CheckConstraint("against in ('reference', 'same_weekday')", name="against_is_known"),
)
"""One row per run, comparison and column, and one for the night as a whole (kind ``night``).
``against`` is what the night was compared with: the rows that judged the model, or the trailing
nights of the same weekday. ``value`` is null where nothing was computed, ``threshold`` where the
value only informs."""

QUALITY = sa.Table(
    "quality",
    METADATA,
    _column("run_id", sa.Text, sa.ForeignKey("scoring_runs.run_id")),
    _column("dataset", sa.Text),
    _column("column_name", sa.Text),
    _column("measure", sa.Text),
    _column("value", sa.Double, nullable=True),
    _column("low", sa.Double, nullable=True),
    _column("high", sa.Double, nullable=True),
    _column("verdict", sa.Text),
    _column("detail", sa.Text),
    sa.PrimaryKeyConstraint("run_id", "dataset", "column_name", "measure"),
    sa.CheckConstraint("verdict in ('usual', 'incident', 'informs')", name="verdict_is_known"),
)
"""One row per run, column and measure, over all rows. Outside ``low`` to ``high`` a value is an
incident; where both are null it only informs."""

PERFORMANCE = sa.Table(
    "performance",
    METADATA,
    _column("run_id", sa.Text, sa.ForeignKey("scoring_runs.run_id")),
    _column("score_date", sa.Date, index=True),
    _column("arm", sa.Text),
    _column("model_version", sa.Text),
    _column("maturity", sa.Text),
    _column("measured_on", sa.Date),
    _column("slice", sa.Text),
    _column("metric", sa.Text),
    _column("value", sa.Double, nullable=True),
    _column("low", sa.Double, nullable=True),
    _column("high", sa.Double, nullable=True),
    *_counts("customers"),
    sa.PrimaryKeyConstraint("run_id", "arm", "maturity", "measured_on", "slice", "metric"),
    sa.CheckConstraint(_ARM_IS_KNOWN, name="arm_is_known"),
    sa.CheckConstraint("maturity in ('mature', 'partial', 'estimated')", name="maturity_is_known"),
)
"""One row per cohort (a published run), arm, slice and metric. ``mature`` values rest on all
labels, ``partial`` ones on those that had arrived on ``measured_on``, ``estimated`` ones on none:
they are what the probabilities promise. ``low`` to ``high`` is the 95 % interval; null where
undefined. A mature cohort is measured again when deliveries change its labels: `newest_performance`
has what was measured last."""

LABEL_MATURITY = sa.Table(
    "label_maturity",
    METADATA,
    _column("run_id", sa.Text, sa.ForeignKey("scoring_runs.run_id")),
    _column("score_date", sa.Date),
    _column("days", sa.SmallInteger),
    *_counts("buyers"),
    sa.PrimaryKeyConstraint("run_id", "days"),
    sa.CheckConstraint("days >= 1", name="days_count_from_1"),
)
"""The maturity curve of each mature cohort: how many customers had bought, as known ``days``
days after the score date."""

RETRAINING_DECISIONS = sa.Table(
    "retraining_decisions",
    METADATA,
    _column("run_id", sa.Text, sa.ForeignKey("scoring_runs.run_id"), primary_key=True),
    _column("score_date", sa.Date, index=True),
    _column("decision", sa.Text),
    _column("trigger", sa.Text, nullable=True),
    _column("reasons", Json),
    _column("evidence", Json),
    _column("child_run", sa.Text, nullable=True),
    _column("decided_at", Instant),
    sa.CheckConstraint(
        "decision in ('retrain', 'wait', 'alarm', 'ignore')", name="decision_is_known"
    ),
)
"""One row per published run: what was decided about the model that night, and on what evidence;
append-only. ``child_run`` is the Airflow run that trains, null unless the decision is to."""

MODEL_VERSIONS = sa.Table(
    "model_versions",
    METADATA,
    _column("name", sa.Text),
    _column("version", sa.Text),
    _column("commit", sa.Text),
    _column("bundle_sha256", sa.Text),
    _column("bundle_md5", sa.Text),
    _column("source", sa.Text),
    _column("training_until", sa.Date),
    _column("metrics", Json),
    _column("reason", sa.Text),
    _column("actor", sa.Text),
    _column("recorded_at", Instant),
    _column("asked_at", Instant, nullable=True),
    _column("token", sa.Text, nullable=True),
    sa.PrimaryKeyConstraint("name", "version"),
)
"""One row per registered model; append-only. ``recorded_at`` is when the row was written,
``asked_at`` when the training was asked for, ``token`` which one it was (in Airflow the id of its
run); both are null where that is not known."""

PROMOTIONS = sa.Table(
    "promotions",
    METADATA,
    _column("name", sa.Text),
    _column("stage", sa.Text),
    _column("number", sa.Integer, autoincrement=False),
    _column("version", sa.Text, nullable=True),
    _column("percent", sa.SmallInteger, nullable=True),
    _column("previous", sa.Text, nullable=True),
    _column("reason", sa.Text),
    _column("actor", sa.Text),
    _column("at", Instant),
    sa.PrimaryKeyConstraint("name", "stage", "number"),
    sa.CheckConstraint("stage in ('champion', 'challenger')", name="stage_is_known"),
    sa.CheckConstraint("number >= 1", name="number_counts_from_1"),
)
"""One row per move of the champion or of the challenger, each numbered from 1; append-only.
``percent`` is the share of customers that the version takes: 100 for a champion, 0 for a challenger
in shadow; null, as ``version`` is, when the challenger was withdrawn. ``previous`` is the version
in that place before, null for the first."""

AUDIT_LOG = sa.Table(
    "audit_log",
    METADATA,
    _column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    _column("at", Instant),
    _column("event", sa.Text),
    _column("details", Json),
    _column("previous_sha256", sa.Text, unique=True),
    _column("sha256", sa.Text),
)
"""One row per event, numbered from 1; append-only. ``sha256`` covers the row and the one before."""

_PUBLISHED: list[tuple[str, Any]] = [
    ("score_date", sa.Date),
    *((column.name, column.type) for column in PREDICTIONS.c),
    # Those of the arm whose score the row is.
    ("model_version", sa.Text),
    ("threshold_version", sa.Text),
]

CURRENT_PREDICTIONS = sa.table("current_predictions", *(sa.column(*pair) for pair in _PUBLISHED))
"""View: the published predictions of every night."""

LATEST_PREDICTIONS = sa.table("latest_predictions", *(sa.column(*pair) for pair in _PUBLISHED))
"""View: those of the newest night."""

NEWEST_PERFORMANCE = sa.table(
    "newest_performance", *(sa.column(column.name, column.type) for column in PERFORMANCE.c)
)
"""View: of each cohort and maturity what was measured last. A cohort is measured again when lines
that came late change its labels; ``performance`` keeps what was measured before."""

RETRAININGS = sa.table(
    "retrainings",
    sa.column("name", sa.Text),
    sa.column("version", sa.Text),
    sa.column("score_date", sa.Date),
    sa.column("trigger", sa.Text),
    sa.column("asked_at", Instant),
    sa.column("registered_at", Instant),
    sa.column("tried_at", Instant),
    sa.column("live_at", Instant),
)
"""View: one row per registered model, from the night that asked for it (null: by hand) to the
moments at which it first scored in shadow and at which it became champion."""
