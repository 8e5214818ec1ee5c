"""What is remembered about a challenger: its nights, and how it did beside the champion."""

from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from warehouse.nights import judged_runs
from warehouse.tables import AUDIT_LOG, NEWEST_PERFORMANCE, QUALITY, SCORING_RUNS

WHO_SCORED = """
select p.score_date, p.customer_id, p.probability, p.is_contacted, p.is_control, p.status,
       p.arm, p.model_version, m.percent,
       m.number as move, m.actor as put_there_by, m.at as put_there_at,
       m.reason as put_there_because,
       a.event as shown_by_event, a.at as shown_at, a.details as shown_details, a.sha256
from current_predictions p
join scoring_runs r on r.run_id = p.run_id
left join promotions m
  on m.name = r.model_name and m.stage = p.arm and m.number = (
    select max(number) from promotions
    where name = r.model_name and stage = p.arm and version = p.model_version
      and at <= r.published_at
      and (p.arm = 'champion' or percent = r.challenger_percent))
join current_runs s on s.score_date = p.score_date
join audit_log a on a.number = s.audit_number
where p.customer_id = :customer_id and p.score_date = :score_date
"""
"""Which model scored this customer on that night, and who put it there? One row: the score as
readers see it, the move in the registry that let its model score (null for a version that was
asked for by name and never promoted), and the line of the audit log that let readers see it."""


@dataclass(frozen=True, slots=True)
class ArmMetric:
    """A metric of one arm over a whole cohort, with its 95 % interval."""

    score_date: date
    arm: str
    metric: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ApprovalAnswer:
    """What was answered when a version wanted to score customers; ``what``, in a few words."""

    version: str
    at: datetime
    what: str
    actor: str
    reason: str


_ANSWERS = {
    ("challenger_approved", "person"): "approved by a person",
    ("challenger_approved", "automatic"): "approved, nobody was asked",
    ("challenger_rejected", "person"): "rejected by a person",
}


def approval_answers(engine: sa.Engine) -> list[ApprovalAnswer]:
    """Every approval and rejection, in the order of the audit log."""
    log, events = AUDIT_LOG.c, {event for event, _ in _ANSWERS}
    query = sa.select(log.event, log.at, log.details).where(log.event.in_(events))
    with engine.connect() as connection:
        rows = connection.execute(query.order_by(log.number)).all()
    return [
        ApprovalAnswer(
            version=details["version"],
            at=at,
            what=_ANSWERS[event, details["approval"]],
            actor=details["actor"],
            reason=details["reason"],
        )
        for event, at, details in rows
    ]


def nights_tried(
    engine: sa.Engine, until: date, version: str, percent: int, since: datetime
) -> int:
    """Published nights up to ``until`` in which that challenger had that percent.

    A night counts once, whatever was retried. One that was not the newest when it was published is
    a backfill and does not count, nor does one published before ``since``, an earlier trial, nor
    one whose data had an incident.
    """
    run, newer = SCORING_RUNS.alias("run"), SCORING_RUNS.alias("newer")
    is_backfill = (
        sa.select(newer.c.run_id)
        .where(newer.c.score_date > run.c.score_date, newer.c.audit_number < run.c.audit_number)
        .exists()
    )
    has_incident = (
        sa.select(QUALITY.c.run_id)
        .where(QUALITY.c.run_id == run.c.run_id, QUALITY.c.verdict == "incident")
        .exists()
    )
    nights = (
        sa.select(sa.func.count())
        .select_from(run)
        .where(
            run.c.run_id.in_(list(judged_runs(engine, date.min, until).values())),
            run.c.challenger_version == version,
            run.c.challenger_percent == percent,
            run.c.published_at >= since,
            ~is_backfill,
            ~has_incident,
        )
    )
    with engine.connect() as connection:
        return connection.execute(nights).scalar_one()


def newest_comparison(engine: sa.Engine, champion: str, challenger: str) -> list[ArmMetric]:
    """The metrics of both versions on the newest mature cohort that has been scored by both.

    Only metrics with an interval; empty if there is no such cohort.
    """
    c = NEWEST_PERFORMANCE.c
    of_arm = {"champion": champion, "challenger": challenger}
    is_seen = c.run_id.in_(list(judged_runs(engine, date.min, date.max).values()))
    is_whole = (c.maturity == "mature") & (c.slice == "all") & c.low.isnot(None) & is_seen
    runs = [
        sa.select(c.run_id).where(is_whole, c.arm == arm, c.model_version == version)
        for arm, version in of_arm.items()
    ]
    in_both = is_whole & c.run_id.in_(runs[0]) & c.run_id.in_(runs[1])
    newest = sa.select(sa.func.max(c.score_date)).where(in_both).scalar_subquery()
    metrics = sa.select(c.score_date, c.arm, c.metric, c.low, c.high).where(
        in_both, c.score_date == newest
    )
    with engine.connect() as connection:
        return [ArmMetric(*row) for row in connection.execute(metrics)]
