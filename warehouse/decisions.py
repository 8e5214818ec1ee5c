"""What was decided about the model, night by night, and what decisions rest on."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa

from warehouse.audit import append_audit
from warehouse.connection import writing
from warehouse.tables import (
    CURRENT_RUNS,
    MODEL_VERSIONS,
    QUALITY,
    RETRAINING_DECISIONS,
    SCORING_RUNS,
)


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A row of ``retraining_decisions``; ``evidence`` is what the decision was made from."""

    run_id: str
    score_date: date
    decision: str
    trigger: str | None
    reasons: list[str]
    evidence: dict
    child_run: str | None


def current_runs(engine: sa.Engine, first: date, last: date) -> dict[date, str]:
    """The run that readers see for each published night from ``first`` to ``last``."""
    nights = sa.select(CURRENT_RUNS.c.score_date, CURRENT_RUNS.c.run_id).where(
        CURRENT_RUNS.c.score_date.between(first, last)
    )
    with engine.connect() as connection:
        return {row.score_date: row.run_id for row in connection.execute(nights)}


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
    nights = (
        sa.select(CURRENT_RUNS.c.score_date)
        .join_from(CURRENT_RUNS, QUALITY, QUALITY.c.run_id == CURRENT_RUNS.c.run_id)
        .where(CURRENT_RUNS.c.score_date.between(first, last), QUALITY.c.verdict == "incident")
        .distinct()
    )
    with engine.connect() as connection:
        return set(connection.scalars(nights))


def usual_weekdays(engine: sa.Engine, night: date, count: int) -> list[date]:
    """The same weekdays of so many weeks before, the newest first, without the incidents.

    What is compared with them must not be: wrong data would be usual in a week.
    """
    weekdays = [night - timedelta(weeks=back) for back in range(1, count + 1)]
    wrong = incident_nights(engine, weekdays[-1], weekdays[0])
    return [day for day in weekdays if day not in wrong]


def customers_scored(engine: sa.Engine, nights: Iterable[date]) -> int:
    """The populations of those published nights, added up."""
    population = (
        sa.select(sa.func.coalesce(sa.func.sum(SCORING_RUNS.c.population), 0))
        .join_from(CURRENT_RUNS, SCORING_RUNS, SCORING_RUNS.c.run_id == CURRENT_RUNS.c.run_id)
        .where(CURRENT_RUNS.c.score_date.in_(list(nights)))
    )
    with engine.connect() as connection:
        return int(connection.scalar(population))


def training_until(engine: sa.Engine, name: str, version: str) -> date:
    """The last day that the training of that model looked at.

    Raises:
        LookupError: If the warehouse does not remember the version; says what to run.
    """
    c = MODEL_VERSIONS.c
    with engine.connect() as connection:
        found = connection.scalar(
            sa.select(c.training_until).where(c.name == name, c.version == version)
        )
    if found is None:
        raise LookupError(
            f"the warehouse does not remember {name} {version}. Promoting copies the registry's "
            f"history: python -m jobs.promote_model --version {version} --reason 'copy history'"
        )
    return found


def retrainings_asked(engine: sa.Engine, until: date) -> list[date]:
    """The nights up to ``until`` that asked for a retraining, the newest first."""
    c = RETRAINING_DECISIONS.c
    nights = (
        sa.select(c.score_date)
        .where(c.decision == "retrain", c.score_date <= until)
        .distinct()
        .order_by(c.score_date.desc())
    )
    with engine.connect() as connection:
        return list(connection.scalars(nights))


def decision_of(engine: sa.Engine, run_id: str) -> RecordedDecision | None:
    """What was decided after that run; None if nothing was yet."""
    names = list(RecordedDecision.__dataclass_fields__)
    row = sa.select(*(RETRAINING_DECISIONS.c[name] for name in names)).where(
        RETRAINING_DECISIONS.c.run_id == run_id
    )
    with engine.connect() as connection:
        found = connection.execute(row).mappings().one_or_none()
    return RecordedDecision(**found) if found else None


def record_decision(engine: sa.Engine, decision: RecordedDecision) -> RecordedDecision:
    """Write a decision down, with a line in the audit log if it asks for a retraining.

    Returns:
        The decision that stands: the first one made after that run.

    Raises:
        sqlalchemy.exc.IntegrityError: If no such run was published.
    """
    row = {name: getattr(decision, name) for name in RecordedDecision.__dataclass_fields__}
    with writing(engine) as connection:
        known = connection.scalar(
            sa.select(sa.func.count()).where(RETRAINING_DECISIONS.c.run_id == decision.run_id)
        )
        if not known:
            connection.execute(
                RETRAINING_DECISIONS.insert().values(**row, decided_at=datetime.now(UTC))
            )
            if decision.decision == "retrain":
                append_audit(
                    connection,
                    "retraining_asked",
                    {
                        "run_id": decision.run_id,
                        "score_date": str(decision.score_date),
                        "trigger": decision.trigger,
                        "child_run": decision.child_run,
                        "reason": "; ".join(decision.reasons),
                    },
                )
    return decision_of(engine, decision.run_id)
