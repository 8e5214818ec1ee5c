"""The pointer that readers follow: one row per night, moved by publishing and by rolling back."""

from dataclasses import dataclass
from datetime import UTC, date, datetime

import sqlalchemy as sa

from warehouse.audit import append_audit
from warehouse.connection import writing
from warehouse.nights import dropped_runs, pointer_within
from warehouse.tables import AUDIT_LOG, CURRENT_RUNS, SCORING_RUNS

# Locks of this kind are numbered by score date; see append_audit for the other kind.
PUBLISH_LOCK = 7_236_119

ROLLED_BACK = "predictions_rolled_back"


class NothingToRollBack(ValueError):
    """The night has no such run, or none before the one that readers see."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """Readers see ``run_id`` for the night; ``instead_of`` is what they saw before, maybe it."""

    run_id: str
    instead_of: str | None


def roll_back(
    engine: sa.Engine,
    score_date: date,
    *,
    actor: str,
    reason: str,
    run_id: str | None = None,
    token: str | None = None,
) -> RollBack:
    """Let readers see an earlier run of the night again: one row changes, in one transaction.

    The run that is left stays; publishing does not show it again, only a roll-back that names it.

    Args:
        engine: Of a warehouse that is up to date (`check_migrated`).
        score_date: The night.
        actor: Who asks for it.
        reason: Why.
        run_id: The run to show; None for the one published last before the current one, runs
            that a roll-back has left not counted. Naming the current run changes nothing.
        token: Names the attempt: again with the same one only says what was done then.

    Raises:
        NothingToRollBack: There is no such run; names those there are.
        WarehouseAway: It cannot be reached.
    """
    with writing(engine) as connection:
        lock_night(connection, score_date)
        for details in _roll_backs(connection, score_date):
            if token is not None and details["token"] == token:
                return RollBack(run_id=details["run_id"], instead_of=details["instead_of"])
        pointer = pointer_within(connection, score_date)
        current = pointer.run_id if pointer else None
        target = _target(connection, score_date, current, run_id)
        if target != current:
            number = append_audit(
                connection,
                ROLLED_BACK,
                {
                    "run_id": target,
                    "score_date": str(score_date),
                    "instead_of": current,
                    "by": actor,
                    "reason": reason,
                    "token": token,
                },
            )
            move_pointer(connection, score_date, target, datetime.now(UTC), number)
    return RollBack(run_id=target, instead_of=current)


def lock_night(connection: sa.Connection, score_date: date) -> None:
    """Keep others from moving that night; on SQLite all writers are kept out already."""
    if connection.dialect.name == "postgresql":
        night = sa.cast(score_date.toordinal(), sa.Integer)
        kind = sa.cast(PUBLISH_LOCK, sa.Integer)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(kind, night)))


def move_pointer(
    connection: sa.Connection, score_date: date, run_id: str, at: datetime, audit_number: int
) -> None:
    """Let the night show ``run_id``, as that line of the audit log says."""
    values = {"run_id": run_id, "moved_at": at, "audit_number": audit_number}
    if pointer_within(connection, score_date) is None:
        connection.execute(CURRENT_RUNS.insert().values(score_date=score_date, **values))
    else:
        night = CURRENT_RUNS.c.score_date == score_date
        connection.execute(CURRENT_RUNS.update().where(night).values(values))


def _left_behind(connection: sa.Connection, score_date: date) -> set[str]:
    """The runs of the night that a roll-back has left and none has shown again since."""
    left = set()
    for details in _roll_backs(connection, score_date):
        left.discard(details["run_id"])
        left.add(details["instead_of"])
    return left


def _roll_backs(connection: sa.Connection, score_date: date) -> list[dict]:
    """What the audit log says about the roll-backs of that night, in their order."""
    of_all_nights = (
        sa.select(AUDIT_LOG.c.details)
        .where(AUDIT_LOG.c.event == ROLLED_BACK)
        .order_by(AUDIT_LOG.c.number)
    )
    return [
        details
        for details in connection.scalars(of_all_nights)
        if details["score_date"] == str(score_date)
    ]


def _target(
    connection: sa.Connection, score_date: date, current: str | None, wanted: str | None
) -> str:
    c = SCORING_RUNS.c
    newest_first = (
        sa.select(c.run_id).where(c.score_date == score_date).order_by(c.audit_number.desc())
    )
    dropped = dropped_runs(connection)
    published = [name for name in connection.scalars(newest_first) if name not in dropped]
    if wanted is None and current in published:
        before = published[published.index(current) + 1 :]
        left = _left_behind(connection, score_date)
        wanted = next((run_id for run_id in before if run_id not in left), None)
    if wanted is None or wanted not in published:
        raise NothingToRollBack(
            f"{score_date} shows run {current or 'none'}; there is no run {wanted or 'before it'} "
            f"to show instead. Published, the newest first: {', '.join(published) or 'none'}. "
            "Name one of them with --run-id."
        )
    return wanted
