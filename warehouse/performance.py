"""How well the published scores turned out, cohort by cohort."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date

import pyarrow as pa
import sqlalchemy as sa

from errors import BadData
from warehouse.connection import writing
from warehouse.content import sha256_as_published
from warehouse.nights import judged_runs
from warehouse.tables import (
    DRIFT,
    LABEL_MATURITY,
    PERFORMANCE,
    SCORING_RUNS,
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """A row of ``performance``; ``customers`` are those of the slice."""

    run_id: str
    score_date: date
    arm: str
    model_version: str
    maturity: str
    measured_on: date
    slice: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    customers: int


@dataclass(frozen=True, slots=True)
class EstimateError:
    """What was estimated for a cohort on its own night, and what its labels showed later."""

    score_date: date
    run_id: str
    estimated: float
    realised: float

    @property
    def error(self) -> float:
        """Estimated minus realised."""
        return self.estimated - self.realised


class PublishedChanged(BadData):
    """What the lake holds of a run is not what was published of it."""


def check_published(
    engine: sa.Engine,
    run_id: str,
    predictions: Iterable[pa.RecordBatch],
    arm_scores: Iterable[pa.RecordBatch] = (),
) -> None:
    """Raise PublishedChanged unless these are, value by value, what was published as that run.

    Args:
        engine: Of the warehouse.
        run_id: A published run.
        predictions: Columns of `catalog.PREDICTIONS` in the order of the customers; read once.
        arm_scores: Of a run with a challenger: columns of `catalog.ARM_SCORES` in the same order.

    Raises:
        PublishedChanged: If a value or a row differs.
        PredictionsBroken: If they could never have been published.
    """
    c = SCORING_RUNS.c
    query = sa.select(c.predictions_sha256, c.hashed_columns).where(c.run_id == run_id)
    with engine.connect() as connection:
        run = connection.execute(query).one()
    found = sha256_as_published(run_id, predictions, arm_scores, run.hashed_columns)
    if found != run.predictions_sha256:
        raise PublishedChanged(
            f"the predictions of run {run_id} in the lake have hash {found[:12]}, but "
            f"{run.predictions_sha256[:12]} was published: a file was changed after that. Nothing "
            "was measured; restore the run's folder of the lake from a backup."
        )


def replace_performance(
    engine: sa.Engine, run_id: str, measured_on: date, rows: Iterable[Measurement]
) -> None:
    """Make ``rows`` the whole of what was found about that cohort on that night.

    A cohort that was partial on that night because a delivery was missing, and is mature now that
    it has come, keeps no partial rows. What other nights have found stays, also of a mature cohort:
    `newest_performance` shows what was measured last.

    Raises:
        sqlalchemy.exc.IntegrityError: If no such run was published.
    """
    c = PERFORMANCE.c
    values = [asdict(row) for row in rows]
    with writing(engine) as connection:
        mine = PERFORMANCE.delete().where(c.run_id == run_id, c.measured_on == measured_on)
        connection.execute(mine)
        if values:
            connection.execute(PERFORMANCE.insert(), values)


def measured_cohorts(
    engine: sa.Engine, first: date, last: date, night: date
) -> dict[date, date | None]:
    """The published nights from ``first`` to ``last``, each with the last night before ``night``
    that found it mature; null if none did."""
    c = PERFORMANCE.c
    runs = judged_runs(engine, first, last)
    measured = (
        sa.select(c.run_id, sa.func.max(c.measured_on))
        .where(c.run_id.in_(list(runs.values())), c.maturity == "mature", c.measured_on < night)
        .group_by(c.run_id)
    )
    with engine.connect() as connection:
        measured_on = dict(map(tuple, connection.execute(measured)))
    return {day: measured_on.get(run_id) for day, run_id in sorted(runs.items())}


def replace_maturity_curve(
    engine: sa.Engine, run_id: str, score_date: date, buyers: Sequence[int]
) -> None:
    """Keep how many buyers of a cohort were known after 1, 2, ... days.

    Raises:
        sqlalchemy.exc.IntegrityError: If no such run was published.
    """
    rows = [
        {"run_id": run_id, "score_date": score_date, "days": days, "buyers": count}
        for days, count in enumerate(buyers, start=1)
    ]
    with writing(engine) as connection:
        connection.execute(LABEL_MATURITY.delete().where(LABEL_MATURITY.c.run_id == run_id))
        if rows:
            connection.execute(LABEL_MATURITY.insert(), rows)


def night_drift(engine: sa.Engine, run_id: str) -> str | None:
    """The drift verdict on the inputs of that run as a whole: ``drift`` if it is that against the
    reference or the weeks before; None if it was never reported."""
    c = DRIFT.c
    verdicts = sa.select(c.against, c.verdict).where(c.run_id == run_id, c.kind == "night")
    with engine.connect() as connection:
        found = {row.against: row.verdict for row in connection.execute(verdicts)}
    return "drift" if "drift" in found.values() else found.get("reference")


def estimate_errors(
    engine: sa.Engine, until: date, metric: str = "roc_auc", arm: str = "champion"
) -> list[EstimateError]:
    """For each published cohort that had matured by ``until``, its estimate beside the truth.

    Over all customers, the oldest cohort first. Cohorts where either is undefined are left out. Of
    one that was measured again the last value by then counts.
    """
    estimated, mature = PERFORMANCE.alias("estimated"), PERFORMANCE.alias("mature")
    same = (estimated.c[name] == mature.c[name] for name in ("run_id", "arm", "slice", "metric"))
    query = (
        sa.select(
            mature.c.score_date,
            mature.c.run_id,
            estimated.c.value.label("estimated"),
            mature.c.value.label("realised"),
        )
        .join_from(mature, estimated, sa.and_(*same))
        .where(
            mature.c.run_id.in_(list(judged_runs(engine, date.min, until).values())),
            mature.c.maturity == "mature",
            estimated.c.maturity == "estimated",
            mature.c.measured_on <= until,
            mature.c.slice == "all",
            mature.c.metric == metric,
            mature.c.arm == arm,
            mature.c.value.is_not(None),
            estimated.c.value.is_not(None),
        )
        .order_by(mature.c.score_date, mature.c.measured_on)
    )
    with engine.connect() as connection:
        rows = connection.execute(query).mappings()
        # The last one of a run stays.
        return list({row["run_id"]: EstimateError(**row) for row in rows}.values())
