"""What others ask the warehouse."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from warehouse.tables import (
    CURRENT_RUNS,
    DRIFT,
    PREDICTIONS,
    QUARANTINE_COUNTS,
    RETRAINING_DECISIONS,
    SCORING_RUNS,
)

BUCKETS = 10


@dataclass(frozen=True, slots=True)
class Night:
    """A published night. Counts are of rows (delivered and its parts) and of customers.

    ``histogram`` counts customers by probability, in ten equal steps from 0 to 1.
    ``drifted_columns`` of ``compared_columns`` have drifted; both are 0 before report_drift.
    ``decision``, its ``reasons`` and what is known of the ``performance``, in a sentence, are null
    or empty before decide_retraining.
    """

    score_date: date
    run_id: str
    model_version: str
    delivered: int
    accepted: int
    quarantined: int
    excluded: int
    population: int
    scored: int
    fallback: int
    mean_probability: float
    contacted_share: float
    histogram: tuple[int, ...]
    compared_columns: int
    drifted_columns: int
    decision: str | None
    reasons: tuple[str, ...]
    performance: str | None
    published_at: datetime


@dataclass(frozen=True, slots=True)
class RuleCount:
    """Rows of the published nights that a rule took out; ``kind``: quarantined or excluded."""

    kind: str
    rule: str
    rows: int


@dataclass(frozen=True, slots=True)
class CustomerScore:
    """What was published of one customer; model and threshold are those of the arm."""

    probability: float
    decile: int
    is_contacted: bool
    status: str
    arm: str
    model_version: str
    threshold_version: str


def score_of(engine: sa.Engine, run_id: str, customer_id: str) -> CustomerScore | None:
    """The score of a customer in a published run; None if the run has none."""
    p, run = PREDICTIONS.c, SCORING_RUNS.c
    is_challenger = p.arm == "challenger"
    model, threshold = (
        sa.case((is_challenger, theirs), else_=ours)
        for theirs, ours in (
            (run.challenger_version, run.model_version),
            (run.challenger_threshold_version, run.threshold_version),
        )
    )
    query = (
        sa.select(
            *(p.probability, p.decile, p.is_contacted, p.status, p.arm),
            model.label("model_version"),
            threshold.label("threshold_version"),
        )
        .join_from(PREDICTIONS, SCORING_RUNS, run.run_id == p.run_id)
        .where(p.run_id == run_id, p.customer_id == customer_id)
    )
    with engine.connect() as connection:
        found = connection.execute(query).mappings().one_or_none()
    return CustomerScore(**found) if found else None


def newest_nights(engine: sa.Engine, limit: int) -> list[Night]:
    """The ``limit`` newest published nights, the oldest of them first."""
    newest = (
        sa.select(SCORING_RUNS)
        .join_from(CURRENT_RUNS, SCORING_RUNS, CURRENT_RUNS.c.run_id == SCORING_RUNS.c.run_id)
        .order_by(CURRENT_RUNS.c.score_date.desc())
        .limit(limit)
    )
    with engine.connect() as connection:
        runs = connection.execute(newest).all()
        return [_night(connection, run) for run in reversed(runs)]


def top_rules(engine: sa.Engine, nights: list[Night], limit: int) -> list[RuleCount]:
    """The rules that took most rows out of the deliveries of ``nights``."""
    rows = sa.func.sum(QUARANTINE_COUNTS.c.rows)
    by_rule = (
        sa.select(QUARANTINE_COUNTS.c.kind, QUARANTINE_COUNTS.c.rule, rows)
        .where(QUARANTINE_COUNTS.c.run_id.in_([night.run_id for night in nights]))
        .group_by(QUARANTINE_COUNTS.c.kind, QUARANTINE_COUNTS.c.rule)
        .order_by(rows.desc(), QUARANTINE_COUNTS.c.kind, QUARANTINE_COUNTS.c.rule)
        .limit(limit)
    )
    with engine.connect() as connection:
        return [
            RuleCount(kind, rule, int(count)) for kind, rule, count in connection.execute(by_rule)
        ]


def _night(connection: sa.Connection, run: sa.Row) -> Night:
    probability = PREDICTIONS.c.probability
    # From above, so that the first bucket reached is the right one; 1.0 belongs to the last.
    bucket = sa.case(
        *((probability >= step / BUCKETS, step) for step in range(BUCKETS - 1, 0, -1)), else_=0
    )
    shape = connection.execute(
        sa.select(
            bucket.label("bucket"),
            sa.func.count().label("customers"),
            sa.func.sum(probability).label("probability"),
            sa.func.sum(sa.cast(PREDICTIONS.c.is_contacted, sa.Integer)).label("contacted"),
        )
        .where(PREDICTIONS.c.run_id == run.run_id)
        .group_by(sa.literal_column("bucket"))
        .order_by(sa.literal_column("bucket"))
    ).all()
    by_bucket = {row.bucket: row.customers for row in shape}
    compared = DRIFT.c.verdict.in_(["drift", "steady"])
    drift = connection.execute(
        sa.select(
            sa.func.count().filter(compared).label("compared"),
            sa.func.count().filter(DRIFT.c.verdict == "drift").label("drifted"),
        ).where(
            DRIFT.c.run_id == run.run_id,
            DRIFT.c.against == "reference",
            DRIFT.c.kind != "night",
        )
    ).one()
    c = RETRAINING_DECISIONS.c
    decided = connection.execute(
        sa.select(c.decision, c.reasons, c.evidence).where(c.run_id == run.run_id)
    ).one_or_none()
    return Night(
        score_date=run.score_date,
        run_id=run.run_id,
        model_version=run.model_version,
        delivered=run.delivered,
        accepted=run.accepted,
        quarantined=run.quarantined,
        excluded=run.excluded,
        population=run.population,
        scored=run.scored,
        fallback=run.fallback,
        mean_probability=sum(row.probability for row in shape) / run.population,
        contacted_share=sum(row.contacted for row in shape) / run.population,
        histogram=tuple(by_bucket.get(step, 0) for step in range(BUCKETS)),
        compared_columns=drift.compared,
        drifted_columns=drift.drifted,
        decision=decided and decided.decision,
        reasons=tuple(decided.reasons) if decided else (),
        performance=decided and decided.evidence.get("performance"),
        published_at=run.published_at,
    )


def look_up(
    engine: sa.Engine, sql: str, values: Mapping[str, str] | None = None
) -> tuple[list[str], list[sa.Row]]:
    """Column names and rows of a query of the user's own, which cannot change anything.

    Args:
        engine: Of the warehouse.
        sql: One statement.
        values: What its ``:names`` stand for; without any, a colon or a percent sign is just that.

    Raises:
        sqlalchemy.exc.ArgumentError: If the query has no such name.
        sqlalchemy.exc.StatementError: If a name has no value, or the database does not understand
            the query, or it writes.
    """
    with engine.connect().execution_options(no_parameters=not values) as connection:
        if connection.dialect.name == "postgresql":
            # What is prepared is one statement; a second one could end the transaction.
            connection.connection.driver_connection.prepare_threshold = 0
        readonly = {"sqlite": "pragma query_only = on", "postgresql": "set transaction read only"}
        connection.exec_driver_sql(readonly[connection.dialect.name])
        if not values:
            answer = connection.exec_driver_sql(sql)
        else:
            # Untyped, a value is taken for what it is compared with: a date for a date.
            bound = [sa.bindparam(name, each, sa.types.NullType()) for name, each in values.items()]
            answer = connection.execute(sa.text(sql).bindparams(*bound))
        return list(answer.keys()), list(answer.all())
