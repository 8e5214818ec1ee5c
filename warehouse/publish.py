"""Publishing a night: the rows are added under the run's id and a pointer moves, in one go."""

from collections import Counter, deque
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
from warehouse.content import Content, sha256_of_run
from warehouse.nights import current_run_of
from warehouse.pointer import lock_night, move_pointer, taken_back
from warehouse.tables import ARM_SCORES, PREDICTIONS, QUARANTINE_COUNTS, SCORING_RUNS

Outcome = Literal["published", "made_current", "unchanged"]


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """What is recorded about a run when it is published.

    ``delivered``, ``accepted``, ``quarantined`` and ``excluded`` are rows of the score date's own
    delivery, the latter two by rule; ``fallback`` counts customers by ``previous`` and
    ``default``. ``deliveries`` maps each day to the delivery used; ``stage_seconds`` each job to
    the time it took. ``published_at`` must carry a zone. The fields of the challenger are null when
    there was none; ``challenger_served`` customers have its score.
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
    challenger_served: int = 0


class CountsDiffer(BadData):
    """The predictions, or the scores of both models, are not as many as score_customers counted."""


class RunDiffers(BadData):
    """A run that is published already came again with other predictions."""


class Overtaken(BadData):
    """Another run of the night was published in the meantime. A retry must not undo that."""


class TakenBack(BadData):
    """The run was taken back from readers by a roll-back. A retry must not undo that."""


def publish(
    engine: sa.Engine,
    run: PublishedRun,
    batches: Iterable[pa.RecordBatch],
    *,
    replaces: str | None,
    arm_scores: Iterable[pa.RecordBatch] = (),
) -> Outcome:
    """Make ``run`` the one that readers see for its score date, in one transaction.

    Publishing a run again adds nothing: it is read and compared, and if another run has become
    current since, the pointer moves back to it.

    Args:
        engine: Of a warehouse that is up to date (`check_migrated`).
        run: What to record.
        batches: Columns of `catalog.PREDICTIONS` in the order of the customers; read once.
        replaces: The run that was current when the caller began to work, or None.
        arm_scores: Of a run with a challenger: columns of `catalog.ARM_SCORES` in the same order.

    Raises:
        PredictionsBroken, CountsDiffer, RunDiffers, Overtaken, TakenBack: Nothing was published.
        sqlalchemy.exc.IntegrityError: The warehouse refused it, for instance because delivered is
            not accepted + quarantined + excluded. Nothing was published.
        WarehouseAway: It cannot be reached.
    """
    content = Content(run.run_id, batches)
    arms = Content(run.run_id, arm_scores, ARM_SCORES)
    with writing(bulk_engine(engine)) as connection:
        lock_night(connection, run.score_date)
        current = current_run_of(connection, run.score_date)
        if current not in (replaces, run.run_id):
            raise Overtaken(
                f"run {current} of {run.score_date} was published while run {run.run_id} was on "
                "its way, and stays current. If the older run is the right one, publish it again."
            )
        _check_not_taken_back(connection, run)

        known = sa.select(SCORING_RUNS.c.predictions_sha256).where(
            SCORING_RUNS.c.run_id == run.run_id
        )
        published_sha256 = connection.scalar(known)
        if published_sha256 is None:
            load(connection, PREDICTIONS, content)
            if run.challenger_version is not None:
                load(connection, ARM_SCORES, arms)
            _check_counts(connection, run)
            sha256 = sha256_of_run(content, arms if run.challenger_version else None)
            _record(connection, run, sha256)
        else:
            deque(content, maxlen=0)
            deque(arms, maxlen=0)
            sha256 = sha256_of_run(content, arms if run.challenger_version else None)
            if sha256 != published_sha256:
                raise RunDiffers(
                    f"run {run.run_id} of {run.score_date} is published with other predictions "
                    f"(sha256 {published_sha256[:12]}, now {sha256[:12]}): the same inputs "
                    "gave different scores. Nothing was changed; find out why before going on."
                )

        if current == run.run_id:
            return "unchanged"
        move_pointer(connection, run.score_date, current, run.run_id, run.published_at)
        append_audit(
            connection,
            "run_made_current" if published_sha256 else "run_published",
            {
                "run_id": run.run_id,
                "score_date": str(run.score_date),
                "instead_of": current,
                "predictions_sha256": sha256,
                "by": run.published_by,
                "reason": run.reason,
            },
        )
    return "made_current" if published_sha256 else "published"


def _check_not_taken_back(connection: sa.Connection, run: PublishedRun) -> None:
    details = taken_back(connection, run.score_date).get(run.run_id)
    if details is not None:
        raise TakenBack(
            f"run {run.run_id} of {run.score_date} was taken back from readers by {details['by']} "
            f"({details['reason']}), who see run {details['run_id']} instead. Nothing was changed. "
            "To show it again: python -m jobs.roll_back_predictions "
            f"--score-date {run.score_date} --run-id {run.run_id} --reason '...'"
        )


def _check_counts(connection: sa.Connection, run: PublishedRun) -> None:
    c = PREDICTIONS.c
    by_kind = (
        sa.select(c.status, c.arm, sa.func.count())
        .where(c.run_id == run.run_id)
        .group_by(c.status, c.arm)
    )
    found: Counter[str] = Counter()
    served = 0
    for status, arm, customers in connection.execute(by_kind):
        found[status] += customers
        served += customers if arm == "challenger" else 0
    expected = {"scored": run.scored, **run.fallback}
    expected = {status: customers for status, customers in expected.items() if customers}
    if found != expected or run.population != sum(found.values()) or not found:
        raise CountsDiffer(
            f"run {run.run_id} of {run.score_date} has {sum(found.values())} predictions "
            f"{dict(found)}, but score_customers counted a population of {run.population} "
            f"{expected}. Nothing was published; run score_customers again."
        )
    both = connection.scalar(sa.select(sa.func.count()).where(ARM_SCORES.c.run_id == run.run_id))
    tried = run.population if run.challenger_version is not None else 0
    if (served, both) != (run.challenger_served, tried):
        raise CountsDiffer(
            f"run {run.run_id} of {run.score_date} has {served} predictions of its challenger and "
            f"{both} rows with the scores of both models, but score_customers "
            f"counted {run.challenger_served} and {tried}. Nothing was published; run "
            "score_customers again."
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
