"""Which nights are published, which run readers see of each, and which had wrong data."""

from collections.abc import Iterable
from datetime import date, timedelta

import sqlalchemy as sa

from records import Pointer
from warehouse.tables import AUDIT_LOG, CURRENT_RUNS, QUALITY, SCORING_RUNS

RESTATED = "nights_restated"
DROPPED = "run_dropped"


def current_run(engine: sa.Engine, score_date: date) -> str | None:
    """The id of the run that readers see for ``score_date``; None if nothing is published."""
    pointer = pointer_of(engine, score_date)
    return pointer.run_id if pointer else None


def pointer_of(engine: sa.Engine, score_date: date) -> Pointer | None:
    """The run that readers see for ``score_date``, and since which line of the audit log."""
    with engine.connect() as connection:
        return pointer_within(connection, score_date)


def pointer_within(connection: sa.Connection, score_date: date) -> Pointer | None:
    """The same within a transaction."""
    c = CURRENT_RUNS.c
    row = connection.execute(
        sa.select(c.run_id, c.audit_number).where(c.score_date == score_date)
    ).one_or_none()
    return Pointer(run_id=row.run_id, audit_number=row.audit_number) if row else None


def run_before(engine: sa.Engine, score_date: date) -> str | None:
    """The current run of the newest night before ``score_date``; None if there is none."""
    newest = (
        sa.select(CURRENT_RUNS.c.run_id)
        .where(CURRENT_RUNS.c.score_date < score_date)
        .order_by(CURRENT_RUNS.c.score_date.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        return connection.scalar(newest)


def current_runs(engine: sa.Engine, first: date, last: date) -> dict[date, str]:
    """The run that readers see for each published night from ``first`` to ``last``."""
    nights = sa.select(CURRENT_RUNS.c.score_date, CURRENT_RUNS.c.run_id).where(
        CURRENT_RUNS.c.score_date.between(first, last)
    )
    with engine.connect() as connection:
        return {row.score_date: row.run_id for row in connection.execute(nights)}


def restated_runs(connection: sa.Connection) -> dict[str, str]:
    """Each run that restated a night, with the run by which that night is judged."""
    restatements = (
        sa.select(AUDIT_LOG.c.details)
        .where(AUDIT_LOG.c.event == RESTATED)
        .order_by(AUDIT_LOG.c.number)
    )
    return {
        night["run_id"]: night["judged_by"]
        for details in connection.scalars(restatements)
        for night in details["nights"]
    }


def dropped_runs(connection: sa.Connection) -> dict[str, sa.Row]:
    """Each run whose scores were dropped, with the line of the audit log that tells of it."""
    lines = (
        sa.select(AUDIT_LOG.c.at, AUDIT_LOG.c.details)
        .where(AUDIT_LOG.c.event == DROPPED)
        .order_by(AUDIT_LOG.c.number)
    )
    return {line.details["run_id"]: line for line in connection.execute(lines)}


def judged_runs(engine: sa.Engine, first: date, last: date) -> dict[date, str]:
    """The run by which each published night from ``first`` to ``last`` is judged.

    It is the run that readers see; of a night that was restated, the one they saw before. What is
    known only since then was no fault of the model or of the data, and no success either.
    """
    with engine.connect() as connection:
        restated = restated_runs(connection)
    runs = current_runs(engine, first, last)
    return {night: restated.get(run_id, run_id) for night, run_id in runs.items()}


def newest_night(engine: sa.Engine) -> date | None:
    """The newest score date that is published; None if none is."""
    with engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.max(CURRENT_RUNS.c.score_date)))


def is_newest(engine: sa.Engine, night: date, run_id: str) -> bool:
    """Whether that run is what readers see of the newest night."""
    newest = (
        sa.select(CURRENT_RUNS.c.score_date, CURRENT_RUNS.c.run_id)
        .order_by(CURRENT_RUNS.c.score_date.desc())
        .limit(1)
    )
    with engine.connect() as connection:
        return connection.execute(newest).one_or_none() == (night, run_id)


def incident_nights(engine: sa.Engine, first: date, last: date) -> set[date]:
    """The nights from ``first`` to ``last`` whose published data had a quality incident."""
    return set(incidents(engine, first, last))


def incidents(engine: sa.Engine, first: date, last: date) -> dict[date, set[tuple[str, str]]]:
    """By night from ``first`` to ``last``, dataset and column of what was wrong in its published
    data; nights without an incident are left out."""
    runs = judged_runs(engine, first, last)
    wrong = (
        sa.select(QUALITY.c.run_id, QUALITY.c.dataset, QUALITY.c.column_name)
        .where(QUALITY.c.run_id.in_(list(runs.values())), QUALITY.c.verdict == "incident")
        .distinct()
    )
    found: dict[date, set[tuple[str, str]]] = {}
    with engine.connect() as connection:
        columns = connection.execute(wrong).all()
    nights = {run_id: night for night, run_id in runs.items()}
    for run_id, dataset, column in columns:
        found.setdefault(nights[run_id], set()).add((dataset, column))
    return found


def weekdays_before(night: date, count: int) -> list[date]:
    """The same weekday of the last ``count`` weeks, newest first."""
    return [night - timedelta(weeks=back) for back in range(1, count + 1)]


def customers_scored(engine: sa.Engine, nights: Iterable[date]) -> int:
    """The populations of those published nights, added up."""
    population = (
        sa.select(sa.func.coalesce(sa.func.sum(SCORING_RUNS.c.population), 0))
        .join_from(CURRENT_RUNS, SCORING_RUNS, SCORING_RUNS.c.run_id == CURRENT_RUNS.c.run_id)
        .where(CURRENT_RUNS.c.score_date.in_(list(nights)))
    )
    with engine.connect() as connection:
        return int(connection.execute(population).scalar_one())
