"""Dropping the scores of runs that nobody needs any more. What is known about the runs stays."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from errors import BadData
from params import Retention
from warehouse.audit import append_audit
from warehouse.connection import writing
from warehouse.nights import DROPPED, dropped_runs, pointer_within, restated_runs
from warehouse.pointer import lock_night
from warehouse.roles import REMOVER
from warehouse.tables import ARM_SCORES, CURRENT_RUNS, PREDICTIONS, SCORING_RUNS


class RunDropped(BadData):
    """The scores of a run were dropped."""


class MayNotDrop(Exception):
    """The user of the warehouse may not delete scores."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A published run whose scores are there.

    ``is_current`` if readers see it, ``is_judged`` if its night is judged by it; ``moved_at`` is
    when the pointer of its night moved last.
    """

    run_id: str
    score_date: date
    customers: int
    is_current: bool
    is_judged: bool
    moved_at: datetime


def stored_runs(engine: sa.Engine) -> list[StoredRun]:
    """Every published run whose scores are there, by night and in the order of publishing."""
    run, shown = SCORING_RUNS.c, CURRENT_RUNS.c
    query = (
        sa.select(
            run.run_id,
            run.score_date,
            run.population.label("customers"),
            shown.run_id.label("current"),
            shown.moved_at,
        )
        .join_from(SCORING_RUNS, CURRENT_RUNS, run.score_date == shown.score_date)
        .order_by(run.score_date, run.audit_number)
    )
    with engine.connect() as connection:
        rows = connection.execute(query).all()
        judged_by = restated_runs(connection)
        dropped = dropped_runs(connection)
    return [
        StoredRun(
            run_id=row.run_id,
            score_date=row.score_date,
            customers=row.customers,
            is_current=row.run_id == row.current,
            is_judged=row.run_id == judged_by.get(row.current, row.current),
            moved_at=row.moved_at,
        )
        for row in rows
        if row.run_id not in dropped
    ]


def runs_to_drop(
    runs: Iterable[StoredRun], rules: Retention, needed_days: int
) -> list[tuple[StoredRun, str]]:
    """The runs that the rules let go, each with the reason. Ages are counted to the newest night.

    Args:
        needed_days: The age in days up to which a night may still be measured or compared with: by
            then the run that readers see and the run that judges it stay, whatever the rules say.
    """
    runs = list(runs)
    newest = max((run.score_date for run in runs), default=date.min)
    newest_move = max((run.moved_at for run in runs), default=None)
    found = []
    for run in runs:
        age = (newest - run.score_date).days
        if run.score_date in rules.keep_nights:
            continue
        if age <= needed_days and (run.is_current or run.is_judged):
            continue
        assert newest_move is not None
        left_days = (newest_move - run.moved_at).days
        if rules.night_days is not None and age > max(rules.night_days, needed_days):
            found.append((run, f"the night is {age} days older than the newest"))
        elif (
            rules.superseded_days is not None
            and not run.is_current
            and left_days > rules.superseded_days
        ):
            found.append((run, f"readers have seen another run for {left_days} days"))
    return found


def drop_run(engine: sa.Engine, run: StoredRun, *, actor: str, reason: str) -> bool:
    """Delete the scores of a run, with a line of the audit log, in one transaction.

    Returns:
        False if nothing was done: the run was dropped already, or readers see it by now and did not
        when it was chosen.
    """
    with writing(engine) as connection:
        lock_night(connection, run.score_date)
        pointer = pointer_within(connection, run.score_date)
        is_current = pointer is not None and pointer.run_id == run.run_id
        if run.run_id in dropped_runs(connection) or is_current != run.is_current:
            return False
        for table in (PREDICTIONS, ARM_SCORES):
            connection.execute(table.delete().where(table.c.run_id == run.run_id))
        details = {
            "run_id": run.run_id,
            "score_date": str(run.score_date),
            "customers": run.customers,
            "was_current": is_current,
            "by": actor,
            "reason": reason,
        }
        append_audit(connection, DROPPED, details)
    return True


def dropped_nights(engine: sa.Engine) -> dict[str, date]:
    """The runs whose scores were dropped, with their nights."""
    with engine.connect() as connection:
        lines = dropped_runs(connection)
    return {name: date.fromisoformat(line.details["score_date"]) for name, line in lines.items()}


def check_kept(engine: sa.Engine, run_id: str) -> None:
    """Raise RunDropped if the scores of that run were dropped.

    Raises:
        RunDropped: Says when, by whom and why.
    """
    with engine.connect() as connection:
        line = dropped_runs(connection).get(run_id)
    if line is not None:
        raise RunDropped(
            f"the scores of run {run_id} of {line.details['score_date']} were dropped on "
            f"{line.at:%Y-%m-%d} by {line.details['by']} ({line.details['reason']}), so it can "
            "no longer be explained, audited or replayed. What is known about it stays, in "
            "scoring_runs and in the records of the lake."
        )


def check_may_drop(engine: sa.Engine) -> None:
    """Raise MayNotDrop unless the user may delete scores; on SQLite everybody may.

    Raises:
        MayNotDrop: Says what an administrator has to do.
    """
    if engine.dialect.name != "postgresql":
        return
    may = sa.text("select current_user, has_table_privilege('predictions', 'delete')")
    with engine.connect() as connection:
        user, is_allowed = connection.execute(may).one()
    if not is_allowed:
        raise MayNotDrop(
            f"{user} may not delete scores, as it should be for the user of the jobs. Run this as "
            f"a user of its own: create role <name> login in role {REMOVER}; and "
            "SCORING_WAREHOUSE_URL with it for this command only."
        )
