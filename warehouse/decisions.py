"""What was decided about the model, night by night, and what decisions rest on."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import sqlalchemy as sa

from warehouse.audit import append_audit
from warehouse.connection import writing
from warehouse.tables import (
    MODEL_VERSIONS,
    RETRAINING_DECISIONS,
    RETRAININGS,
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


def asked_for_by(engine: sa.Engine, name: str, version: str) -> tuple[date, str] | None:
    """The night that asked for the training of that model, and what made it; None if a person
    did."""
    c = RETRAININGS.c
    asked = sa.select(c.score_date, c.trigger).where(
        c.name == name, c.version == version, c.score_date.is_not(None)
    )
    with engine.connect() as connection:
        found = connection.execute(asked).one_or_none()
    return (found.score_date, found.trigger) if found else None


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
    return decision_of(engine, decision.run_id) or decision
