"""Check that everything a published night rests on is still what was recorded.

Follows the hashes and the sums from the delivered bytes over lines, activity, features and
predictions to the rows of the warehouse and its audit log, and names the first thing that is not
as recorded. The night's own day is checked in full, of the other days the activity; with --deep,
all days in full. Then a sample of the night's customers is computed through the entry of training
(several as-of dates at once, each with what was known by then) and compared, cell by cell, with
what the night scored: a certificate that training and scoring see the same, kept with the run.
"""

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import catalog
import warehouse
from errors import BadData, WrongInput
from features.activity import read_activity
from features.build import build_features, features_sha256, names_of
from jobs.engine import AUTO
from jobs.entry import night_parser, run_name, start
from jobs.intake import LINES, check_copy
from jobs.pinned import published_record, scoring_params_sha256
from jobs.publishing import STAGES_BEFORE, chain_sha256
from jobs.session import engine_of, job_session
from jobs.sorted_rows import compare_sorted
from lake import (
    Piece,
    PieceAltered,
    PieceMissing,
    RecordDamaged,
    check_pieces,
    read_batches,
    value_sha256,
)
from ledger import Known, delivery_id, delivery_of, entries, known, read_rules, rules_of
from models.bundle_hash import BundleRefused, bundle_sha256
from params import Params
from records import (
    ActivityRecord,
    IntakeRecord,
    RunRecord,
    StageRecord,
    run_id,
)
from sealed import RecordOutdated
from settings import Settings

PARSER = night_parser(__doc__)
PARSER.add_argument(
    "--run-id", type=run_name, help="a published run; default the one that readers see"
)
PARSER.add_argument("--deep", action="store_true", help="check every day in full")

SAMPLE_CUSTOMERS = 200

COUNTED = ("delivery_id", "delivered", "accepted", "quarantined", "excluded")

RESTORE = "Restore it from a backup; whether the scores still follow from it: {replay}"

log = logging.getLogger("jobs.audit_night")


class NotAsRecorded(BadData):
    """Something that a published night rests on is not what was recorded."""


class TrainingDiffers(BadData):
    """Training would see other values than the night has scored."""


@dataclass(slots=True)
class Checked:
    """What was looked at."""

    files: int = 0
    bytes: int = 0


def run(spark: SparkSession, settings: Settings, record: RunRecord, is_deep: bool = False) -> dict:
    """Do the job; the facts are what was checked, and the certificate.

    Raises:
        NotAsRecorded: At the first thing that is not as recorded; names it and what to do.
        TrainingDiffers: If training would see other values than the night has scored.
    """
    started = time.monotonic()
    root = settings.data_root
    engine = warehouse.connect(settings.warehouse_url)
    facts = check_chain(root, engine, record, is_deep=is_deep)
    why = why_not_certified(engine, record)
    if why is not None:
        log.warning("no certificate: %s", why)
        return {**facts, "certificate": {"customers": 0, "why": why}}
    facts["certificate"] = certify(spark, root, record)
    StageRecord(
        stage="audit_night",
        seconds=time.monotonic() - started,
        facts=facts,
        engine=engine_of(spark),
    ).write(root, record)
    return facts


# --------------------------------------------------------------------------- the chain of hashes


def check_chain(root: Path, engine: sa.Engine, record: RunRecord, *, is_deep: bool) -> dict:
    """Follow a run from the delivered bytes to the rows of the warehouse.

    Raises:
        NotAsRecorded: At the first thing that is not as recorded.
    """
    checked = Checked()
    check_inputs(root, record)
    for day in record.intakes if is_deep else [record.score_date]:
        check_day(root, record, day, checked)
    activity = [_activity(root, record, day, intake) for day, intake in record.all_intakes]
    # As build_features names them: two days may have the same intake.
    pieces = {f"{one.known_on} {one.intake}": one.activity for one in activity}
    _check_files(root, pieces.values(), record, checked)
    check_stages(root, record, pieces, checked)
    rows = check_warehouse(root, engine, record)
    events = check_log(engine, record)
    return {
        "is_deep": is_deep,
        "days": len(record.intakes),
        "files": checked.files,
        "bytes": checked.bytes,
        "published_rows": rows,
        "audit_log_rows": events,
    }


def check_inputs(root: Path, record: RunRecord) -> None:
    """Hold the run's own record against its name, and what it pins against their hashes."""
    path = catalog.RUN_RECORD.format(**record.key)
    challenged = record.challenger is not None
    try:
        params_sha256 = scoring_params_sha256(record.pinned_params, record.source, challenged)
    except (RecordOutdated, WrongInput) as error:
        _fail(record, f"the parameters in {path} cannot be read by this code ({_short(error)})")
    if params_sha256 != record.params_sha256:
        _differs(record, f"the parameters in {path}", record.params_sha256, params_sha256)
    name = run_id(
        record.score_date,
        question=record.question.name,
        intakes=record.intakes,
        features_sha256=record.features_sha256,
        code_sha256=record.code_sha256,
        params_sha256=record.params_sha256,
        bundle_sha256=record.bundle_sha256,
        challenger=record.challenger,
        repairs=record.repairs,
    )
    if name != record.run_id:
        _differs(record, f"the inputs in {path}, hashed as a run's id,", record.run_id, name)
    for rules in sorted({rules_of(intake) for intake in record.intakes.values()}):
        _taken(record, partial(read_rules, root, rules))
    bundles = [record.bundle_sha256]
    bundles += [record.challenger.bundle_sha256] if record.challenger else []
    for sha256 in bundles:
        try:
            found = bundle_sha256(root / "bundles" / sha256)
        except BundleRefused:
            continue  # It is only a copy of what the model store has, and fetched when needed.
        if found != sha256:
            raise NotAsRecorded(
                f"the bundle in {root / 'bundles' / sha256}, by which {_named(record)} was scored, "
                f"is not what was registered (hash {found[:12]}). Remove that folder; it is "
                f"fetched again when it is needed. Then: {record.command('replay_night')}"
            )


def check_day(root: Path, record: RunRecord, day: date, checked: Checked) -> None:
    """Follow one day from its delivered files to its activity."""
    intake, is_own = record.intakes[day], day == record.score_date
    listed = _taken(record, partial(entries, root, day))
    if [one.number for one in listed] != list(range(1, len(listed) + 1)):
        _fail(record, f"the ledger of {day} does not number its deliveries one after the other")
    came = [one for one in listed if one.delivery_id == delivery_of(intake)]
    if not came:
        _fail(
            record, f"the ledger of {day} has no delivery {delivery_of(intake)}, which it rests on"
        )
    entry = came[-1]
    if delivery_id(entry.files) != entry.delivery_id or entry.known_on != day:
        name = catalog.LEDGER_ENTRY.format(known_on=day, number=entry.number)
        _differs(record, f"the files in {name}", entry.delivery_id, delivery_id(entry.files))
    if is_own and entry.files != record.files:
        _fail(record, f"its record names other files of {day} than the ledger")
    try:
        check_copy(root, entry.folder, entry.files)
    except (PieceMissing, PieceAltered) as error:
        raise NotAsRecorded(f"{_named(record)}: {error}") from None
    checked.files += len(entry.files)
    checked.bytes += sum(file.bytes for file in entry.files)

    taken = _intake(root, record, day, intake)
    summary = _activity(root, record, day, intake)
    where = catalog.INTAKE_RECORD.format(known_on=day, intake=intake)
    if repaired := entry.repairs or taken.repairs:
        _fail(record, f"{where}, on which {day} rests, is said to be a repair of {repaired}")
    written = {
        "accepted": (taken.accepted, taken.pieces[catalog.TRANSACTIONS.name]),
        "excluded": (
            sum(taken.excluded.values()),
            taken.pieces[catalog.EXCLUDED_TRANSACTIONS.name],
        ),
        "quarantined": (
            sum(taken.quarantined.values()),
            taken.pieces[catalog.QUARANTINED_TRANSACTIONS.name],
        ),
    }
    total = sum(count for count, _ in written.values())
    if taken.delivered != total:
        _fail(
            record,
            f"{where} does not add up: delivered {taken.delivered}, accepted + excluded + "
            f"quarantined {total}",
        )
    if entry.rows is not None and entry.rows != taken.delivered:
        _fail(record, f"{where} says {taken.delivered} rows, the delivered files {entry.rows}")
    for outcome, (count, piece) in written.items():
        if piece.rows != count:
            _fail(record, f"{where} counts {count} {outcome} lines, but its files {piece.rows}")
    _check_files(root, [taken.pieces[each.name] for each in LINES], record, checked)
    if summary.transactions_sha256 != taken.pieces[catalog.TRANSACTIONS.name].sha256:
        _fail(record, f"the activity of {day} was made from other lines than {where} names")
    if is_own:
        validated = _stage(root, record, "validate_delivery")
        summarised = _stage(root, record, "summarise_activity")
        for stage, facts in (
            (validated, {name: getattr(taken, name) for name in COUNTED}),
            (summarised, {"intake": intake, "rows": summary.activity.rows}),
        ):
            for name, value in facts.items():
                if stage.facts.get(name) != value:
                    _fail(
                        record,
                        f"{stage.stage} recorded {name} {_short(stage.facts.get(name))}, where the "
                        f"intake's records say {_short(value)}",
                    )
        _same(record, "validate_delivery read", "delivery", validated.inputs, taken.delivery_id)
        for each in LINES:
            _same_piece(record, validated, each.name, taken.pieces[each.name])
        _same(
            *(record, "summarise_activity read", "transactions"),
            *(summarised.inputs, summary.transactions_sha256),
        )
        _same_piece(record, summarised, "activity", summary.activity)


def check_stages(
    root: Path, record: RunRecord, activity: Mapping[str, Piece], checked: Checked
) -> None:
    """Follow the run from all its activity to what was published."""
    built = _stage(root, record, "build_features")
    scored = _stage(root, record, "score_customers")
    published = _stage(root, record, "publish_predictions")
    all_days = value_sha256({name: piece.sha256 for name, piece in activity.items()})
    _same(record, "build_features read", "activity", built.inputs, all_days)
    features = built.pieces["features"]
    _check_files(root, [*built.pieces.values(), *scored.pieces.values()], record, checked)
    for name, piece in built.pieces.items():
        _same(record, "score_customers read", name, scored.inputs, piece.sha256)
    for name, piece in scored.pieces.items():
        _same(record, "publish_predictions read", name, published.inputs, piece.sha256)
    facts = scored.facts
    counts = {
        "customers described by build_features": built.facts["population"],
        "rows of features": features.rows,
        **{f"rows of {name}": piece.rows for name, piece in scored.pieces.items()},
        "customers scored or given a fallback": facts["scored"] + sum(facts["fallback"].values()),
        "customers published": published.facts["population"],
        "customers published as scored or with a fallback": (
            published.facts["scored"] + published.facts["fallback"]
        ),
    }
    for what, count in counts.items():
        if count != facts["population"]:
            _fail(record, f"it has a population of {facts['population']}, but {count} {what}")


def check_warehouse(root: Path, engine: sa.Engine, record: RunRecord) -> int:
    """Hold the warehouse against the records and the files; the number of rows it publishes."""
    row = _row(engine, record)
    taken = _intake(root, record, record.score_date, record.intake)
    scored = _stage(root, record, "score_customers")
    challenger = record.challenger
    compared = scored.facts.get("challenger", {})
    recorded = {
        **record.model_dump(
            include={
                "source",
                "model_name",
                "model_version",
                "bundle_sha256",
                "features_sha256",
                "params_sha256",
                "code_version",
                "reason",
            }
        ),
        "deliveries": {str(day): record.named_intakes(day) for day in record.intakes},
        "threshold_version": scored.facts["threshold_version"],
        "challenger_version": challenger and challenger.version,
        "challenger_bundle_sha256": challenger and challenger.bundle_sha256,
        "challenger_percent": compared.get("percent"),
        "challenger_threshold_version": compared.get("threshold_version"),
        "delivered": taken.delivered,
        "accepted": taken.accepted,
        "quarantined": sum(taken.quarantined.values()),
        "excluded": sum(taken.excluded.values()),
        "population": scored.facts["population"],
        "scored": scored.facts["scored"],
        "fallback": sum(scored.facts["fallback"].values()),
    }
    for column, value in recorded.items():
        if row[column] != value:
            _fail(
                record,
                f"scoring_runs.{column} in the warehouse is {_short(row[column])}, but the lake's "
                f"records say {_short(value)}",
            )
    stages = {name: _stage(root, record, name) for name in STAGES_BEFORE}
    chain = chain_sha256(root, record, stages)
    # Runs of older code have none.
    if row["chain_sha256"] not in (None, chain):
        _differs(
            record,
            f"what {catalog.RUN_RECORD.format(**record.key)} and the records of its jobs say "
            "(scoring_runs.chain_sha256)",
            row["chain_sha256"],
            chain,
        )
    rules = {
        kind: {rule: rows for rule, rows in getattr(taken, kind).items() if rows}
        for kind in ("quarantined", "excluded")
    }
    found = warehouse.published_rules(engine, record.run_id)
    if found != rules:
        _fail(record, f"quarantine_counts in the warehouse is {found}, the lake's record {rules}")

    tables = ["predictions"] if challenger is None else ["predictions", "arm_scores"]
    in_lake = [
        read_batches(root / file.path for file in scored.pieces[name].files) for name in tables
    ]
    in_warehouse = [warehouse.published_rows(engine, record.run_id, name) for name in tables]
    for where, sides in (("the lake", in_lake), ("the warehouse", in_warehouse)):
        try:
            sha256 = warehouse.sha256_as_published(
                record.run_id, sides[0], sides[1] if challenger else [], row["hashed_columns"]
            )
        except warehouse.PredictionsBroken as error:
            raise NotAsRecorded(f"{_named(record)}, in {where}: {error}") from None
        if sha256 != row["predictions_sha256"]:
            _differs(
                record,
                f"the predictions in {where}, value by value,",
                row["predictions_sha256"],
                sha256,
            )
    return row["population"]


def _row(engine: sa.Engine, record: RunRecord) -> dict:
    row = warehouse.published_run(engine, record.run_id)
    if row is None:
        _fail(record, "scoring_runs has no row of it any more")
    return row


def check_log(engine: sa.Engine, record: RunRecord) -> int:
    """Hold the audit log against itself and the run against it; the number of its rows."""
    try:
        events = warehouse.check_audit(engine)
    except warehouse.AuditBroken as error:
        raise NotAsRecorded(str(error)) from None
    logged = warehouse.logged_sha256(engine, record.run_id)
    row = _row(engine, record)
    if logged != row["predictions_sha256"]:
        _fail(
            record,
            f"scoring_runs.predictions_sha256 is {row['predictions_sha256'][:12]}, but by the "
            f"audit log {(logged or 'nothing')[:12]} was published",
        )
    return events


# ------------------------------------------------------------------------------- the certificate


def why_not_certified(engine: sa.Engine, record: RunRecord) -> str | None:
    """Why this checkout cannot say what training would see of that night; None if it can."""
    if record.features_sha256 != features_sha256():
        return (
            "features have changed since that night; audit it in a checkout of "
            f"{record.code_version}"
        )
    night = record.score_date
    judged = warehouse.judged_runs(engine, night, night).get(night)
    if judged != record.run_id:
        return f"training sees that night as run {judged} did, by which it is judged"
    return None


def certify(spark: SparkSession, root: Path, record: RunRecord) -> dict:
    """Compute a sample of the night's customers as training does, and compare every cell.

    Raises:
        TrainingDiffers: If a cell differs, or training would rest on other deliveries.
    """
    params = record.pinned_params
    deliveries = known(root, rules_of(record.intake), record.score_date, strict=False)
    later = {one.intake for one in deliveries if one.known_from > record.score_date}
    if known_better := [day for day, name in record.all_intakes if name in later]:
        # Restated, or run again with a correction: training still sees what was known that night.
        return {"customers": 0, "cells": 0, "differ": 0, "known_better": len(known_better)}
    check_deliveries(record, deliveries)
    features = _stage(root, record, "build_features").pieces["features"]
    sample = sample_rows([root / file.path for file in features.files], features.rows, record)
    customers = sample["customer_id"].to_pylist()

    pieces = [
        (ActivityRecord.read(root, one.known_on, one.intake).activity, nights_of(one))
        for one in deliveries
    ]
    source = params.source(record.source)
    activity = read_activity(spark, root, pieces, source=source)
    activity = activity.where(F.col("customer_id").isin(customers))
    as_of = as_of_dates(record.score_date, params)
    described = build_features(activity, as_of, params.population.active_days, source)
    tonight = described.where(F.col("as_of") == F.lit(record.score_date)).drop("as_of")
    computed = tonight.orderBy("customer_id").toArrow()

    found = compare_sorted([sample.to_batches()], [computed.to_batches()])
    cells = sample.num_rows * len(names_of(source))
    if found.differ:
        columns = ", ".join(f"{name} ({count})" for name, count in found.columns.most_common())
        raise TrainingDiffers(
            f"{found.differ} of {found.customers} customers of {_named(record)} look otherwise to "
            f"training than to the night, in {columns}; recorded by the night, now through "
            f"training: {'; '.join(found.examples)}. Somewhere there is a second way to compute "
            "these features: see what changed in features/ and jobs/build_features.py. Until then "
            "train nothing, and roll back the model that was trained otherwise."
        )
    return {
        "customers": found.customers,
        "as_of": [str(day) for day in as_of],
        "cells": cells,
        "differ": 0,
    }


def check_deliveries(record: RunRecord, deliveries: Iterable[Known]) -> None:
    """Raise TrainingDiffers unless training sees in that night the deliveries that it has pinned.

    Raises:
        TrainingDiffers: Counts the days, and names the first.
    """
    standing = {
        one.known_on: one.intake
        for one in deliveries
        if one.stands_in(record.score_date) and not one.is_repair
    }
    days = [
        day
        for day in sorted(standing.keys() | record.intakes.keys())
        if standing.get(day) != record.intakes.get(day)
    ]
    if days:
        raise TrainingDiffers(
            f"{_named(record)} has pinned other deliveries than training would see as of that "
            f"night: {len(days)} days, the first is {days[0]} "
            f"({record.intakes.get(days[0], 'none')}, for training "
            f"{standing.get(days[0], 'none')}). A delivery was taken in after the night as if it "
            "had been known in it: look at lake/ledger of that day."
        )


def nights_of(delivery: Known) -> tuple[date | None, date | None]:
    """The nights in which a delivery was known, as training gets them."""
    is_on_time = delivery.known_from == delivery.known_on
    return (None if is_on_time else delivery.known_from, delivery.known_until)


def as_of_dates(score_date: date, params: Params) -> list[date]:
    """The night, and two dates before it as far apart as those of training."""
    step = timedelta(days=params.training.as_of_step_days)
    return [score_date - 2 * step, score_date - step, score_date]


def sample_rows(files: list[Path], rows: int, record: RunRecord) -> pa.Table:
    """Some rows of sorted files, the same each time for a run, in their order."""
    random = np.random.default_rng(int(record.run_id, 16))
    chosen = np.sort(random.choice(rows, size=min(rows, SAMPLE_CUSTOMERS), replace=False))
    before, taken = 0, []
    for batch in read_batches(files):
        inside = chosen[(before <= chosen) & (chosen < before + batch.num_rows)] - before
        taken.append(batch.take(pa.array(inside, pa.int64())))
        before += batch.num_rows
    return pa.Table.from_batches(taken)


# ------------------------------------------------------------------------------------- sentences


def _check_files(root: Path, pieces: Iterable[Piece], record: RunRecord, checked: Checked) -> None:
    pieces = list(pieces)
    try:
        paths = check_pieces(root, pieces, _restore(record))
    except (PieceMissing, PieceAltered) as error:
        raise NotAsRecorded(f"{_named(record)}: {error}") from None
    for path, file in zip(paths, (file for one in pieces for file in one.files), strict=True):
        rows = pq.read_metadata(path).num_rows
        if rows != file.rows:
            _fail(record, f"{path} holds {rows} rows, where {file.rows} are recorded")
        checked.files += 1
        checked.bytes += file.bytes


Kept = TypeVar("Kept")


def _taken(record: RunRecord, take: Callable[[], Kept]) -> Kept:
    """What a record of the lake says, which must be there and as it was written."""
    try:
        return take()
    except (FileNotFoundError, RecordDamaged, RecordOutdated) as error:
        raise NotAsRecorded(f"{_named(record)}: {error}") from None


def _intake(root: Path, record: RunRecord, day: date, intake: str) -> IntakeRecord:
    return _of_itself(_taken(record, partial(IntakeRecord.read, root, day, intake)), day, intake)


def _activity(root: Path, record: RunRecord, day: date, intake: str) -> ActivityRecord:
    return _of_itself(_taken(record, partial(ActivityRecord.read, root, day, intake)), day, intake)


OfIntake = TypeVar("OfIntake", IntakeRecord, ActivityRecord)


def _of_itself(found: OfIntake, day: date, intake: str) -> OfIntake:
    if (found.known_on, found.intake) != (day, intake):
        path = found.path(Path(), day, intake)
        raise NotAsRecorded(f"{path} is the record of {found.intake} of {found.known_on}.")
    return found


def _stage(root: Path, record: RunRecord, name: str) -> StageRecord:
    found = _taken(record, partial(StageRecord.read, root, record, name))
    if found.stage != name:
        _fail(record, f"the record of {name} is that of {found.stage}")
    return found


def _same(record: RunRecord, what: str, name: str, inputs: Mapping[str, str], sha256: str) -> None:
    if inputs.get(name) != sha256:
        _differs(record, f"what {what} ({name})", inputs.get(name, "nothing"), sha256)


def _same_piece(record: RunRecord, stage: StageRecord, name: str, piece: Piece) -> None:
    recorded = stage.pieces.get(name)
    if recorded is None or (recorded.sha256, recorded.rows) != (piece.sha256, piece.rows):
        sha256 = "nothing" if recorded is None else recorded.sha256
        _differs(record, f"what {stage.stage} wrote ({name})", sha256, piece.sha256)


def _differs(record: RunRecord, what: str, recorded: str, found: str) -> None:
    _fail(record, f"{what} has hash {found[:12]}, recorded is {recorded[:12]}")


def _fail(record: RunRecord, what: str) -> NoReturn:
    raise NotAsRecorded(f"{_named(record)}: {what}. {_restore(record)}")


def _restore(record: RunRecord) -> str:
    return RESTORE.format(replay=record.command("replay_night"))


def _named(record: RunRecord) -> str:
    return f"run {record.run_id} of {record.score_date}"


def _short(value: object) -> str:
    return str(value).replace("\n", " ")[:200]


def main(arguments: argparse.Namespace) -> dict:
    """Audit the night of the command line."""
    settings = Settings()
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    record = published_record(settings, engine, arguments.score_date, arguments.run_id)
    name = record.engine if settings.spark == AUTO else settings.spark
    with job_session(settings, f"audit_night {record.run_id}", name) as spark:
        facts = run(spark, settings, record, arguments.deep)
    return {**record.key, **facts}


if __name__ == "__main__":
    start(PARSER, main)
