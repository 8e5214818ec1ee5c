"""Builders of what the jobs before leave in the lake; a test names only the values it is about."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import catalog
import ledger
from lake import Piece, attempt, describe_piece, read_json, value_sha256, write_json
from ledger import Entry
from params import read_params
from records import ActivityRecord, IntakeRecord, RunRecord, StageRecord
from sealed import SEAL, sealed

ENTRY_MOMENT = datetime(2026, 4, 2, 3, tzinfo=UTC)


@cache
def todays_rules() -> dict[str, object]:
    """Rules of this checkout for the generated source."""
    return ledger.intake_rules(read_params(), "generated")


def intake(delivery: str = "d1") -> str:
    """The intake of a delivery under the rules of this checkout."""
    return ledger.intake_id(delivery, value_sha256(todays_rules())[: ledger.RULES_DIGITS])


def run_record(score_date: date, **values: object) -> RunRecord:
    """The record of a run of that night, whose only delivery is its own, ``d1``."""
    made = {
        "run_id": "run-1",
        "score_date": score_date,
        "source": "generated",
        "intakes": {score_date: intake()},
        "files": [],
        "params": read_params().model_dump(mode="json"),
        "model_name": "repurchase",
        "model_version": "v1.0.0",
        "bundle_sha256": "b" * 64,
        "features_sha256": "f" * 64,
        "code_sha256": "a" * 64,
        "params_sha256": "c" * 64,
        "code_version": "0123456789ab",
        "previous_run_id": None,
        "reason": "test",
    }
    return RunRecord(**made | values)


def edit_record(path: Path, keys: tuple, value: object, *, is_sealed_again: bool = True) -> None:
    """Put another value into a record of the lake; by default so that nobody sees it by the seal.

    None removes the key.
    """
    content = read_json(path)
    seal = content.pop(SEAL, None)
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    assert inner[keys[-1]] != value
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    # Rules have no seal; their name is their hash.
    if seal is not None:
        content = sealed(content, path) if is_sealed_again else content | {SEAL: seal}
    write_json(path, content)


def put_piece(root: Path, folder: Path, *tables: pa.Table | pa.RecordBatch) -> Piece:
    """Write each table as a file of a new piece below ``folder``."""
    place = folder / attempt()
    place.mkdir(parents=True)
    paths = [place / f"part-{number:05}.parquet" for number in range(len(tables))]
    for path, table in zip(paths, tables, strict=True):
        pq.write_table(pa.table(table), path)
    return describe_piece(root, paths)


def put_dataset(root: Path, record: RunRecord, layout: str, *tables: pa.Table) -> Piece:
    """Write a piece of the run where ``layout`` says."""
    return put_piece(root, root / layout.format(**record.key), *tables)


def finish(
    root: Path, record: RunRecord, stage: str, facts: dict | None = None, **pieces: Piece
) -> None:
    """Let a job of the run have finished, with these facts and pieces."""
    made = StageRecord(stage=stage, seconds=1.5, facts=facts or {}, pieces=pieces)
    made.write(root, record)


def put_entry(
    root: Path,
    known_on: date,
    delivery: str = "d1",
    known_from: date | None = None,
    folder: str | None = None,
) -> Entry:
    """Put a delivery on the ledger as the last of its day; it came on time unless told otherwise.

    Its copy is made of no files.
    """
    entry = Entry(
        number=len(ledger.entries(root, known_on)) + 1,
        known_on=known_on,
        delivery_id=delivery,
        known_from=known_from or known_on,
        taken_by="test",
        received_at=ENTRY_MOMENT,
        folder=folder or f"lake/received/known_on={known_on}/{delivery}",
        files=[],
    )
    entry.put(root / catalog.LEDGER_ENTRY.format(known_on=known_on, number=entry.number))
    return entry


def put_intake(
    root: Path,
    known_on: date,
    delivery: str = "d1",
    pieces: Mapping[str, Piece] | None = None,
    **values: object,
) -> IntakeRecord:
    """Let a delivery have been taken in under today's rules; ten lines of the day, all accepted."""
    made = {
        "known_on": known_on,
        "intake": intake(delivery),
        "delivery_id": delivery,
        "source": "generated",
        "delivered": 10,
        "accepted": 10,
        "quarantined": {},
        "excluded": {},
        "of_the_day": values.get("delivered", 10),
        "late": 0,
        "findings": [],
        "pieces": pieces or {},
    }
    record = IntakeRecord(**made | values)
    record.write(root)
    return record


def put_activity(
    root: Path,
    known_on: date,
    table: pa.Table,
    delivery: str = "d1",
    known_from: date | None = None,
) -> ActivityRecord:
    """Let nights use a delivery that became this activity: its piece, its record, its entry."""
    ledger.pin_rules(root, todays_rules())
    put_entry(root, known_on, delivery, known_from)
    folder = catalog.ACTIVITY.partition(root, known_on=known_on, intake=intake(delivery))
    record = ActivityRecord(
        known_on=known_on,
        intake=intake(delivery),
        known_from=known_from or known_on,
        transactions_sha256="t" * 64,
        activity=put_piece(root, folder, table),
    )
    record.write(root)
    return record
