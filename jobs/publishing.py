"""What jobs share that let readers see runs: what the warehouse keeps of a run, and its files."""

import getpass
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import warehouse
from lake import check_pieces, value_sha256
from records import IntakeRecord, Pointer, RunRecord, StageRecord

STAGES_BEFORE = (
    "validate_delivery",
    "summarise_activity",
    "build_features",
    "score_customers",
)


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
        question=record.question.name,
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
        chain_sha256=chain_sha256(root, record, stages),
        challenger_version=challenger.version if challenger else None,
        challenger_bundle_sha256=challenger.bundle_sha256 if challenger else None,
        challenger_threshold_version=served.get("threshold_version"),
        challenger_percent=served.get("percent"),
        challenger_served=served.get("served", 0),
    )


def chain_sha256(root: Path, record: RunRecord, stages: Mapping[str, StageRecord]) -> str:
    """The hash of all that the run has pinned, and of what each job before publishing has read and
    written, by content.

    It ties a run's row in the warehouse to the delivered bytes: each job's record names the hash of
    what it read, which is the hash of what the one before it wrote.
    """
    links = {
        name: {
            "read": stage.inputs,
            "wrote": {piece: one.sha256 for piece, one in stage.pieces.items()},
        }
        for name, stage in stages.items()
    }
    return value_sha256({"run": record.seal(root), "delivery": record.intake, "stages": links})


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


def published_facts(
    run: warehouse.PublishedRun, outcome: str, replaces: Pointer | None
) -> dict[str, object]:
    """What is said and kept about publishing a run."""
    facts: dict[str, object] = {
        "outcome": outcome,
        "replaces": replaces and replaces.run_id,
        "population": run.population,
        "scored": run.scored,
        "fallback": sum(run.fallback.values()),
    }
    if run.challenger_version is not None:
        facts["challenger"] = run.challenger_served
    return facts


def keep_published(
    root: Path, record: RunRecord, scoring: StageRecord, facts: dict, *, seconds: float
) -> None:
    """Leave the record that the run was published, with the hashes of what was."""
    inputs = {name: piece.sha256 for name, piece in scoring.pieces.items()}
    StageRecord(stage="publish_predictions", seconds=seconds, facts=facts, inputs=inputs).write(
        root, record
    )
