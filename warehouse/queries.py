"""What others ask the warehouse."""

import re
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from warehouse.connection import readers_engine
from warehouse.nights import dropped_runs, restated_runs
from warehouse.roles import READER
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
    or empty before decide_retraining. ``deliveries`` maps each day to the intake used.
    ``judged_by`` is the run that drift and decision are of: another one if the night was restated.
    """

    score_date: date
    run_id: str
    question: str
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
    deliveries: dict[date, str]
    judged_by: str


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
    is_control: bool
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
            *(p.probability, p.decile, p.is_contacted, p.status, p.arm, p.is_control),
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
    """The ``limit`` newest published nights whose scores are there, the oldest of them first."""
    newest = (
        sa.select(SCORING_RUNS)
        .join_from(CURRENT_RUNS, SCORING_RUNS, CURRENT_RUNS.c.run_id == SCORING_RUNS.c.run_id)
        .order_by(CURRENT_RUNS.c.score_date.desc())
    )
    with engine.connect() as connection:
        kept = SCORING_RUNS.c.run_id.not_in(list(dropped_runs(connection)))
        runs = connection.execute(newest.where(kept).limit(limit)).all()
        restated = restated_runs(connection)
        return [
            _night(connection, run, restated.get(run.run_id, run.run_id)) for run in reversed(runs)
        ]


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


def _night(connection: sa.Connection, run: sa.Row, judged_by: str) -> Night:
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
            DRIFT.c.run_id == judged_by,
            DRIFT.c.against == "reference",
            DRIFT.c.kind != "night",
        )
    ).one()
    c = RETRAINING_DECISIONS.c
    decided = connection.execute(
        sa.select(c.decision, c.reasons, c.evidence).where(c.run_id == judged_by)
    ).one_or_none()
    return Night(
        score_date=run.score_date,
        run_id=run.run_id,
        question=run.question,
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
        deliveries={date.fromisoformat(day): name for day, name in run.deliveries.items()},
        judged_by=judged_by,
    )


class QueryRefused(ValueError):
    """The database does not understand a user's query, does not allow it, or it took too long."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a user's query, each as long as ``names``; ``is_cut`` if there are more."""

    names: list[str]
    rows: list[sa.Row]
    is_cut: bool


def look_up(
    engine: sa.Engine,
    sql: str,
    values: Mapping[str, str] | None = None,
    *,
    seconds: int = 60,
    limit: int = 1000,
) -> Answer:
    """The answer to a query of the user's own, which cannot change anything.

    It runs as a reader: in a transaction that only reads, on PostgreSQL also as `READER` where the
    user is one, on SQLite on a file opened for reading only.

    Args:
        engine: Of the warehouse.
        sql: One statement.
        values: What its ``:names`` stand for; without any, a colon or a percent sign is just that.
        seconds: After these it is stopped.
        limit: The most rows that are fetched.

    Raises:
        QueryRefused: In the database's own words.
        WarehouseAway: If it cannot be reached.
    """
    try:
        with readers_engine(engine).connect() as connection:
            connection = connection.execution_options(no_parameters=not values)
            _only_read(connection, seconds)
            if not values:
                answer = connection.exec_driver_sql(sql)
            else:
                # Untyped, a value is taken for what it is compared with: a date for a date.
                bound = [
                    sa.bindparam(name, each, sa.types.NullType()) for name, each in values.items()
                ]
                answer = connection.execute(sa.text(sql).bindparams(*bound))
            names, rows = list(answer.keys()), answer.fetchmany(limit + 1)
    except sa.exc.SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or error).strip()
        if re.search("statement timeout|interrupted", why):
            why = f"it was stopped after {seconds} seconds; give it more with --seconds"
        raise QueryRefused(f"the warehouse did not answer {sql.strip()!r}: {why}") from None
    return Answer(names, list(rows[:limit]), is_cut=len(rows) > limit)


def _only_read(connection: sa.Connection, seconds: int) -> None:
    driver: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("pragma query_only = on")
        # Neither other files nor copies of this one.
        driver.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        until = time.monotonic() + seconds
        driver.set_progress_handler(lambda: time.monotonic() > until, 10_000)
        return
    # What is prepared is one statement; a second one could end the transaction.
    driver.prepare_threshold = 0
    is_reader = sa.text(
        "select count(*) from pg_roles "
        "where rolname = :reader and pg_has_role(current_user, oid, 'member')"
    )
    may_be_reader = connection.scalar(is_reader, {"reader": READER})
    connection.rollback()
    connection.exec_driver_sql("set transaction read only")
    connection.exec_driver_sql(f"set local statement_timeout = '{int(seconds)}s'")
    if may_be_reader:
        connection.exec_driver_sql(f"set local role {READER}")
    connection.execution_options(stream_results=True)
