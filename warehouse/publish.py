"""Publishing a night: the rows are added under the run's id and a pointer moves, in one go."""

from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Literal

import pyarrow as pa
import sqlalchemy as sa

from errors import BadData
from records import Pointer
from warehouse.audit import append_audit
from warehouse.bulk import bulk_engine, load
from warehouse.connection import writing
from warehouse.content import (
    Content,
    columns_to_hash,
    sha256_as_published,
    sha256_of_run,
)
from warehouse.nights import pointer_within
from warehouse.pointer import ROLLED_BACK, lock_night, move_pointer
from warehouse.tables import ARM_SCORES, AUDIT_LOG, PREDICTIONS, QUARANTINE_COUNTS, SCORING_RUNS

Outcome = Literal["published", "unchanged"]

PUBLISHED = "run_published"


@dataclass(frozen=True, slots=True)
class PublishedRun:
    """What is recorded about a run when it is published.

    ``delivered``, ``accepted``, ``quarantined`` and ``excluded`` are rows of the score date's own
    delivery, the latter two by rule; ``fallback`` counts customers by ``previous`` and
    ``default``. ``deliveries`` maps each day to the delivery used; ``stage_seconds`` each job to
    the time it took. ``published_at`` must carry a zone. The fields of the challenger are null when
    there was none; ``challenger_served`` customers have its score. ``chain_sha256`` is of what each
    job has read and written, from the delivered bytes on.
    """

    run_id: str
    score_date: date
    source: str
    question: str
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
    chain_sha256: str | None = None


class CountsDiffer(BadData):
    """The predictions, or the scores of both models, are not as many as score_customers counted."""


class RunDiffers(BadData):
    """A run that is published already came again with other predictions."""


class Overtaken(BadData):
    """Readers see something else than when the run was opened. A retry must not undo that."""


def publish(
    engine: sa.Engine | sa.Connection,
    run: PublishedRun,
    batches: Iterable[pa.RecordBatch],
    *,
    replaces: Pointer | None,
    arm_scores: Iterable[pa.RecordBatch] = (),
) -> Outcome:
    """Make ``run`` the one that readers see for its score date, in one transaction.

    Publishing the run that they see adds nothing: it is read and compared. A run that they saw
    once is shown again by `roll_back` only.

    Args:
        engine: Of a warehouse that is up to date (`check_migrated`); or a connection over
            `bulk_engine` in a transaction that writes, which then decides.
        run: What to record.
        batches: Columns of `catalog.PREDICTIONS` in the order of the customers; read once.
        replaces: What readers saw of the night when the run was opened; None if nothing.
        arm_scores: Of a run with a challenger: columns of `catalog.ARM_SCORES` in the same order.

    Raises:
        PredictionsBroken, CountsDiffer, RunDiffers, Overtaken: Nothing was published.
        sqlalchemy.exc.IntegrityError: The warehouse refused it, for instance because delivered is
            not accepted + quarantined + excluded. Nothing was published.
        WarehouseAway, WarehouseLost, WarehouseFull, WarehouseBusy: What happened, and what to do.
    """
    with _publishing(engine) as connection:
        lock_night(connection, run.score_date)
        pointer = pointer_within(connection, run.score_date)
        c = SCORING_RUNS.c
        published = connection.execute(
            sa.select(c.predictions_sha256, c.hashed_columns).where(c.run_id == run.run_id)
        ).one_or_none()
        if published is not None and pointer is not None and pointer.run_id == run.run_id:
            # Columns that were added since say nothing about this run.
            columns = published.hashed_columns
            sha256 = sha256_as_published(run.run_id, batches, arm_scores, columns)
            _check_same(run, sha256, published.predictions_sha256)
            return "unchanged"
        if pointer is not None and (published is not None or pointer != replaces):
            raise Overtaken(_what_happened(connection, run, pointer, published is not None))

        content = Content(run.run_id, batches)
        arms = Content(run.run_id, arm_scores, ARM_SCORES)
        load(connection, PREDICTIONS, content)
        if run.challenger_version is not None:
            load(connection, ARM_SCORES, arms)
        _check_counts(connection, run)
        columns = columns_to_hash(run.challenger_version is not None)
        sha256 = sha256_of_run(content, arms, columns)
        number = append_audit(
            connection,
            PUBLISHED,
            {
                "run_id": run.run_id,
                "score_date": str(run.score_date),
                "instead_of": pointer and pointer.run_id,
                "predictions_sha256": sha256,
                "by": run.published_by,
                "reason": run.reason,
            },
        )
        recorded = {
            "predictions_sha256": sha256,
            "hashed_columns": columns,
            "audit_number": number,
        }
        _record(connection, run, recorded)
        move_pointer(connection, run.score_date, run.run_id, run.published_at, number)
    return "published"


def _publishing(engine: sa.Engine | sa.Connection) -> AbstractContextManager[sa.Connection]:
    if isinstance(engine, sa.Connection):
        return nullcontext(engine)
    return writing(bulk_engine(engine))


def _check_same(run: PublishedRun, sha256: str, published_sha256: str) -> None:
    if sha256 != published_sha256:
        raise RunDiffers(
            f"run {run.run_id} of {run.score_date} is published with other predictions "
            f"(sha256 {published_sha256[:12]}, now {sha256[:12]}): the same inputs "
            "gave different scores. Nothing was changed; find out why before going on."
        )


def _what_happened(
    connection: sa.Connection, run: PublishedRun, pointer: Pointer, is_published: bool
) -> str:
    """Why the run is not shown, as the audit log tells it, and how to show it all the same."""
    c = AUDIT_LOG.c
    line = connection.execute(
        sa.select(c.event, c.details).where(c.number == pointer.audit_number)
    ).one_or_none()
    details = line.details if line else {}
    who = f"by {details.get('by', 'nobody knows whom')} ({details.get('reason', 'no reason')})"
    if line and line.event == ROLLED_BACK:
        how = f"which the night was rolled back to from run {details['instead_of']} {who}"
    else:
        how = f"which was published {who}"
    night = f"--score-date {run.score_date} --run-id {run.run_id}"
    if is_published:
        again = f"python -m jobs.roll_back_predictions {night} --reason '...'"
    else:
        again = f"python -m jobs.publish_predictions {night} --instead-of {pointer.run_id}"
    return (
        f"run {run.run_id} of {run.score_date} is not shown to readers: since it was opened they "
        f"see run {pointer.run_id}, {how}. Nothing was changed, and nothing has to be done unless "
        f"run {run.run_id} is the right one. Then show it: {again}"
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


def _record(connection: sa.Connection, run: PublishedRun, recorded: dict) -> None:
    added_up = {"quarantined", "excluded", "fallback"}
    same = {field.name for field in fields(run)} & set(SCORING_RUNS.c.keys()) - added_up
    connection.execute(
        SCORING_RUNS.insert().values(
            **{name: getattr(run, name) for name in same},
            **recorded,
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
