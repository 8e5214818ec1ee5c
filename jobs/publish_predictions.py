"""Let readers see the scores of a run: all of them at once, or none.

Reads the run's predictions, with a challenger the scores of both models, and what was recorded
about it; writes the warehouse. Running it again changes nothing. It is refused when readers see
something else of the night than when the run was opened, unless --instead-of names it.
"""

import argparse
import getpass
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

import warehouse
from jobs.entry import run_parser, start
from lake import check_pieces, read_batches
from records import IntakeRecord, Pointer, RunRecord, StageRecord
from settings import Settings

PARSER = run_parser(__doc__)
PARSER.add_argument(
    "--instead-of",
    metavar="RUN",
    help="publish although readers see this other run since the run was opened",
)
PARSER.add_argument("--dry-run", action="store_true", help="say what would be published")

STAGES_BEFORE = (
    "validate_delivery",
    "summarise_activity",
    "build_features",
    "score_customers",
)

log = logging.getLogger("jobs.publish_predictions")


def run(
    settings: Settings, record: RunRecord, dry_run: bool = False, instead_of: str | None = None
) -> dict:
    """Do the job; what tests call.

    Returns:
        ``outcome`` (published, unchanged or dry_run), ``replaces`` (the run that was current
        when this one was opened) and counts.

    Raises:
        PieceMissing, PieceAltered: If the predictions are not as score_customers wrote them.
        FileNotFoundError: If an earlier job of the run has not finished; names it.
        What `warehouse.publish` raises.
    """
    started = time.perf_counter()
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    replaces = record.replaces
    if instead_of is not None:
        replaces = named_pointer(engine, record, instead_of)
    root = settings.data_root
    described = describe(root, record)
    scoring = StageRecord.read(root, record, "score_customers")
    files = checked_files(root, record, scoring, "predictions")
    arms = [] if record.challenger is None else checked_files(root, record, scoring, "arm_scores")

    if dry_run:
        outcome = "dry_run"
        log.info("would publish %s", described)
    else:
        outcome = warehouse.publish(
            engine,
            described,
            read_batches(files),
            replaces=replaces,
            arm_scores=read_batches(arms),
        )

    facts = {
        "outcome": outcome,
        "replaces": replaces and replaces.run_id,
        "population": described.population,
        "scored": described.scored,
        "fallback": sum(described.fallback.values()),
    }
    if record.challenger is not None:
        facts["challenger"] = described.challenger_served
    if not dry_run:
        seconds = time.perf_counter() - started
        inputs = {name: piece.sha256 for name, piece in scoring.pieces.items()}
        StageRecord(stage="publish_predictions", seconds=seconds, facts=facts, inputs=inputs).write(
            root, record
        )
    return facts


def named_pointer(engine: sa.Engine, record: RunRecord, instead_of: str) -> Pointer:
    """What readers see of the night, which must be the run that somebody has named."""
    pointer = warehouse.pointer_of(engine, record.score_date)
    if pointer is None or pointer.run_id != instead_of:
        raise warehouse.Overtaken(
            f"readers see run {pointer and pointer.run_id} of {record.score_date}, not "
            f"{instead_of}. Nothing was changed; look at both runs and name the one they see."
        )
    return pointer


def describe(root: Path, record: RunRecord) -> warehouse.PublishedRun:
    """What the warehouse keeps about the run, from the records its jobs have left."""
    delivery = IntakeRecord.read(root, record.score_date, record.intake)
    stages = {name: StageRecord.read(root, record, name) for name in STAGES_BEFORE}
    scoring = stages["score_customers"].facts
    challenger = record.challenger
    served = scoring.get("challenger", {})
    return warehouse.PublishedRun(
        run_id=record.run_id,
        score_date=record.score_date,
        source=record.source,
        model_name=record.model_name,
        model_version=record.model_version,
        threshold_version=scoring["threshold_version"],
        bundle_sha256=record.bundle_sha256,
        features_sha256=record.features_sha256,
        params_sha256=record.params_sha256,
        code_version=record.code_version,
        deliveries={str(day): record.named_intakes(day) for day in record.intakes},
        delivered=delivery.delivered,
        accepted=delivery.accepted,
        quarantined=delivery.quarantined,
        excluded=delivery.excluded,
        population=scoring["population"],
        scored=scoring["scored"],
        fallback=scoring["fallback"],
        reason=record.reason,
        published_at=datetime.now(UTC),
        published_by=os.environ.get("AIRFLOW_CTX_DAG_RUN_ID") or getpass.getuser(),
        stage_seconds={name: stage.seconds for name, stage in stages.items()},
        challenger_version=challenger.version if challenger else None,
        challenger_bundle_sha256=challenger.bundle_sha256 if challenger else None,
        challenger_threshold_version=served.get("threshold_version"),
        challenger_percent=served.get("percent"),
        challenger_served=served.get("served", 0),
    )


def checked_files(root: Path, record: RunRecord, scoring: StageRecord, name: str) -> list[Path]:
    """The files of what score_customers wrote, in the order of their customers, and as it wrote
    them.

    Raises:
        PieceMissing, PieceAltered: If a file is gone or holds other bytes.
        CountsDiffer: If there is not one row for each customer of the population.
    """
    piece, population = scoring.pieces[name], scoring.facts["population"]
    again = f"Make them again: {record.command('score_customers')}"
    if piece.rows != population:
        raise warehouse.CountsDiffer(
            f"{piece.rows} {name} were written, but score_customers counted a population of "
            f"{population}. {again}"
        )
    return check_pieces(root, [piece], again)


def main(arguments: argparse.Namespace) -> dict:
    """Publish the run of the command line."""
    settings = Settings()
    record = RunRecord.read(settings.data_root, arguments.score_date, arguments.run_id)
    return run(settings, record, arguments.dry_run, arguments.instead_of)


if __name__ == "__main__":
    start(PARSER, main)
