"""Publishing a night: the rows are added under the run's id and a pointer moves, in one go."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

import pyarrow as pa
import sqlalchemy as sa

from errors import BadData
from warehouse.audit import append_audit
from warehouse.bulk import bulk_engine, load
from warehouse.connection import writing
from warehouse.content import Content
from warehouse.queries import current_run_of
from warehouse.tables import CURRENT_RUNS, PREDICTIONS, QUARANTINE_COUNTS, SCORING_RUNS

# Locks of this kind are numbered by score date; see append_audit for the other kind.
PUBLISH_LOCK = 7_236_119

Outcome = Literal["published", "made_current", "unchanged"]


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """What is recorded about a run when it is published.

    ``delivered``, ``accepted``, ``quarantined`` and ``excluded`` are rows of the score date's own
    delivery, the latter two by rule; ``fallback`` counts customers by ``previous`` and
    ``default``. ``deliveries`` maps each day to the delivery used; ``stage_seconds`` each job to
    the time it took. ``published_at`` must carry a zone.
    """

    run_id: str
    score_date: date
    source: str
    model_name: str
    model_version: str
    threshold_version: str
    bundle_sha256: str
    features_sha256: str
    params_sha256: str
    code_version: str
    deliveries: dict[str, str]
    delivered: int
    accepted: int
    quarantined: dict[str, int]
    excluded: dict[str, int]
    population: int
    scored: int
    fallback: dict[str, int]
    reason: str
    published_at: datetime
    published_by: str
    stage_seconds: dict[str, float]
    challenger_version: str | None = None
    challenger_threshold_version: str | None = None
    challenger_bundle_sha256: str | None = None
    challenger_percent: int | None = None


class CountsDiffer(BadData):
    """The predictions are not as many as score_customers counted."""


class RunDiffers(BadData):
    """A run that is published already came again with other predictions."""


class Overtaken(BadData):
    """Another run of the night was published in the meantime. A retry must not undo that."""


def publish(
    engine: sa.Engine,
    run: PublishedRun,
    batches: Iterable[pa.RecordBatch],
    *,
    replaces: str | None,
) -> Outcome:
    """Make ``run`` the one that readers see for its score date, in one transaction.

    Publishing a run again adds nothing: it is read and compared, and if another run has become
    current since, the pointer moves back to it.

    Args:
        engine: Of a warehouse that is up to date (`check_migrated`).
        run: What to record.
        batches: Columns of `catalog.PREDICTIONS` in the order of the customers; read once.
        replaces: The run that was current when the caller began to work, or None.

    Raises:
        PredictionsBroken, CountsDiffer, RunDiffers, Overtaken: Nothing was published.
        sqlalchemy.exc.IntegrityError: The warehouse refused it, for instance because delivered is
            not accepted + quarantined + excluded. Nothing was published.
        WarehouseAway: It cannot be reached.
    """
    content = Content(run.run_id, batches)
    with writing(bulk_engine(engine)) as connection:
        _lock(connection, run.score_date)
        current = current_run_of(connection, run.score_date)
        if current not in (replaces, run.run_id):
            raise Overtaken(
                f"run {current} of {run.score_date} was published while run {run.run_id} was on "
                "its way, and stays current. If the older run is the right one, publish it again."
            )

        known = sa.select(SCORING_RUNS.c.predictions_sha256).where(
            SCORING_RUNS.c.run_id == run.run_id
        )
        published_sha256 = connection.scalar(known)
        if published_sha256 is None:
            load(connection, content)
            _check_counts(connection, run)
            _record(connection, run, content.sha256)
        else:
            deque(content, maxlen=0)
            if content.sha256 != published_sha256:
                raise RunDiffers(
                    f"run {run.run_id} of {run.score_date} is published with other predictions "
                    f"(sha256 {published_sha256[:12]}, now {content.sha256[:12]}): the same inputs "
                    "gave different scores. Nothing was changed; find out why before going on."
                )

        if current == run.run_id:
            return "unchanged"
        _point(connection, run, current)
        append_audit(
            connection,
            "run_made_current" if published_sha256 else "run_published",
            {
                "run_id": run.run_id,
                "score_date": str(run.score_date),
                "instead_of": current,
                "predictions_sha256": content.sha256,
                "by": run.published_by,
                "reason": run.reason,
            },
        )
    return "made_current" if published_sha256 else "published"


def _lock(connection: sa.Connection, score_date: date) -> None:
    """Keep other publishers of that night out; on SQLite all writers are kept out already."""
    if connection.dialect.name == "postgresql":
        night = sa.cast(score_date.toordinal(), sa.Integer)
        kind = sa.cast(PUBLISH_LOCK, sa.Integer)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(kind, night)))


def _check_counts(connection: sa.Connection, run: PublishedRun) -> None:
    by_status = (
        sa.select(PREDICTIONS.c.status, sa.func.count())
        .where(PREDICTIONS.c.run_id == run.run_id)
        .group_by(PREDICTIONS.c.status)
    )
    found = dict(connection.execute(by_status).all())
    expected = {"scored": run.scored, **run.fallback}
    expected = {status: customers for status, customers in expected.items() if customers}
    if found != expected or run.population != sum(found.values()) or not found:
        raise CountsDiffer(
            f"run {run.run_id} of {run.score_date} has {sum(found.values())} predictions {found}, "
            f"but score_customers counted a population of {run.population} {expected}. "
            "Nothing was published; run score_customers again."
        )


def _record(connection: sa.Connection, run: PublishedRun, predictions_sha256: str) -> None:
    same = {column.name for column in SCORING_RUNS.c} - {"quarantined", "excluded", "fallback"}
    connection.execute(
        SCORING_RUNS.insert().values(
            **{name: getattr(run, name) for name in same - {"predictions_sha256"}},
            predictions_sha256=predictions_sha256,
            quarantined=sum(run.quarantined.values()),
            excluded=sum(run.excluded.values()),
            fallback=sum(run.fallback.values()),
        )
    )
    by_rule = [
        {
            "run_id": run.run_id,
            "kind": kind,
            "rule": rule,
            "rows": rows,
            "share": rows / run.delivered,
        }
        for kind in ("quarantined", "excluded")
        for rule, rows in getattr(run, kind).items()
        if rows
    ]
    if by_rule:
        connection.execute(QUARANTINE_COUNTS.insert(), by_rule)


def _point(connection: sa.Connection, run: PublishedRun, current: str | None) -> None:
    values = {"run_id": run.run_id, "moved_at": run.published_at}
    if current is None:
        statement = CURRENT_RUNS.insert().values(score_date=run.score_date, **values)
    else:
        night = CURRENT_RUNS.c.score_date == run.score_date
        statement = CURRENT_RUNS.update().where(night).values(values)
    connection.execute(statement)
