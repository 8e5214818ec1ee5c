"""The audit of a published night: everything it rests on is as recorded, or is named."""

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from pyspark.sql import functions as F

import jobs.build_features
from features.build import FEATURE_NAMES, build_features
from jobs import audit_night
from jobs.audit_night import NotAsRecorded, TrainingDiffers, check_chain
from jobs.pinned import NotPublished, published_record
from lake import describe_piece
from records import ActivityRecord, IntakeRecord, RunRecord, StageRecord
from sealed import RecordOutdated, read_sealed
from settings import PROJECT_ROOT
from tests.jobs.published.conftest import CLOCKS_CHANGE, NIGHT, PARAMS
from tests.records import edit_record

EARLIER = NIGHT - timedelta(days=20)


def record_of(shop, night=NIGHT) -> RunRecord:
    return published_record(shop.settings, shop.warehouse, night)


def files_of(shop, day) -> dict[str, Path]:
    """One file of each step of a day's way through the lake."""
    record = record_of(shop)
    intake = record.intakes[day]
    taken = IntakeRecord.read(shop.root, day, intake)
    summary = ActivityRecord.read(shop.root, day, intake)
    pieces = {**taken.pieces, "activity": summary.activity}
    if day == record.score_date:
        for stage in ("build_features", "score_customers"):
            pieces |= StageRecord.read(shop.root, record, stage).pieces
    [received] = (shop.root / f"lake/received/known_on={day}").glob("*/*.parquet")
    return {
        "received": received,
        **{name: shop.root / piece.files[0].path for name, piece in pieces.items()},
    }


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def audit(shop, *, is_deep=False) -> dict:
    return check_chain(shop.root, shop.warehouse, record_of(shop), is_deep=is_deep)


@pytest.mark.parametrize("is_deep", [False, True])
def test_a_night_as_it_was_published_passes(shop, is_deep):
    facts = audit(shop, is_deep=is_deep)
    days = (NIGHT - min(record_of(shop).intakes)).days + 1
    # Of a day in full its delivery and three kinds of lines, of every day the activity; then the
    # features, those who cannot be scored, and the predictions.
    assert facts["files"] == 4 * (days if is_deep else 1) + days + 3
    assert facts["published_rows"] > 100


@pytest.mark.parametrize(
    "what",
    [
        "received",
        "transactions",
        "excluded_transactions",
        "quarantined_transactions",
        "activity",
        "features",
        "predictions",
    ],
)
def test_one_flipped_bit_of_any_file_of_the_night_is_named(shop, what):
    path = files_of(shop, NIGHT)[what]
    flip_a_bit(path)
    with pytest.raises(NotAsRecorded, match=str(path)):
        audit(shop)


def test_of_other_days_the_activity_is_checked_and_all_the_rest_when_asked_for(shop):
    files = files_of(shop, EARLIER)
    flip_a_bit(files["received"])
    audit(shop)
    with pytest.raises(NotAsRecorded, match=str(files["received"])):
        audit(shop, is_deep=True)
    flip_a_bit(files["activity"])
    with pytest.raises(NotAsRecorded, match=str(files["activity"])):
        audit(shop)


def test_a_dropped_row_of_features_is_named_also_when_its_own_record_was_changed_to_fit(shop):
    record = record_of(shop)
    path = files_of(shop, NIGHT)["features"]
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(NotAsRecorded, match=str(path)):
        audit(shop)

    stage = StageRecord.read(shop.root, record, "build_features")
    stage.model_copy(update={"pieces": {"features": describe_piece(shop.root, [path])}}).write(
        shop.root, record
    )
    with pytest.raises(NotAsRecorded, match="score_customers read"):
        audit(shop)


def test_a_record_that_was_changed_and_sealed_again_is_found_where_something_rests_on_it(shop):
    record = record_of(shop)
    runs = shop.root / f"lake/runs/score_date={NIGHT}"
    own = shop.root / f"lake/intakes/known_on={NIGHT}"
    earlier = shop.root / f"lake/intakes/known_on={EARLIER}"
    [ledger] = (shop.root / f"lake/ledger/known_on={NIGHT}").glob("*.json")
    [rules] = (shop.root / "lake/rules").glob("*.json")
    run, stages = runs / f"{record.run_id}.json", runs / f"{record.run_id}.stages"
    changes = [
        (run, ("params", "population", "active_days"), 364, "the parameters in"),
        (run, ("intakes", str(EARLIER)), "0123456789abcdef-30f14666", "hashed as a run's id"),
        (run, ("model_version",), "v9.9.9", "scoring_runs.model_version"),
        (run, ("reason",), "no reason", "scoring_runs.reason"),
        (run, ("previous_run_id",), "0123456789abcdef", "scoring_runs.chain_sha256"),
        (run, ("engine",), "local[7]", "scoring_runs.chain_sha256"),
        (rules, ("sources.generated.timezone",), "Asia/Tokyo", "lake/rules"),
        (ledger, ("files", 0, "sha256"), "0" * 64, "lake/ledger"),
        (own / f"{record.intake}.json", ("accepted",), 1, "does not add up"),
        (own / f"{record.intake}.activity.json", ("transactions_sha256",), "0", "other lines"),
        (
            earlier / f"{record.intakes[EARLIER]}.activity.json",
            ("activity", "files", 0, "rows"),
            1,
            "rows",
        ),
        (stages / "score_customers.json", ("facts", "population"), 1, "population of 1"),
        (stages / "score_customers.json", ("facts", "scored"), 1, "a population of"),
        (stages / "publish_predictions.json", ("inputs", "predictions"), "0", "publish_predict"),
    ]
    for path, keys, value, words in changes:
        before = path.read_text()
        edit_record(path, keys, value)
        with pytest.raises(NotAsRecorded, match=words):
            audit(shop)
        path.write_text(before)
    audit(shop)


NOTHING_RESTS_ON = {
    "seconds",
    "engine",
    "findings",
    "accepted_because",
    "received_at",
    "taken_by",
    "known_from",
    "source",
    "golden",
    "contacted",
    "score_histogram",
    "threshold",
    "season_step",
    "was_there",
    "outcome",
    "late",
    "of_the_day",
}
"""Said for people and for later nights, or about parameters and work that change no score."""


def leaves(value: object, keys: tuple = ()) -> list[tuple]:
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, one in inside:
        found += leaves(one, (*keys, key)) if isinstance(one, dict | list) else [(*keys, key)]
    return found


def test_almost_any_change_of_any_record_of_the_night_is_found_although_it_was_sealed_again(shop):
    folders = (
        f"runs/score_date={NIGHT}",
        f"intakes/known_on={NIGHT}",
        f"ledger/known_on={NIGHT}",
    )
    paths = sorted(path for one in folders for path in (shop.root / "lake" / one).rglob("*.json"))
    every = [(path, keys) for path in paths for keys in leaves(read_sealed(path, ""))]
    if not os.environ.get("SCORING_TEST_ALL"):
        chosen = np.random.default_rng(1).choice(len(every), 30, replace=False)
        every = [every[position] for position in chosen]
    missed = []
    for path, keys in every:
        before = path.read_text()
        value = json.loads(before)
        for key in keys:
            value = value[key]
        edit_record(path, keys, value + 1 if isinstance(value, int) else f"{value or ''}x")
        try:
            audit(shop)
        except (NotAsRecorded, NotPublished, RecordOutdated):
            pass
        else:
            missed.append((path.name, *keys))
        path.write_text(before)
    unexpected = [
        one
        for one in missed
        # The same content may have been written again, elsewhere.
        if not (one[0] in ("validate_delivery.json", "summarise_activity.json") and "files" in one)
        and not NOTHING_RESTS_ON & set(one)
        # What a run was to replace is in its own record.
        and one[-2:] != ("facts", "replaces")
    ]
    assert not unexpected, "\n".join(map(str, unexpected))


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "update predictions set probability = probability / 2 where customer_id = "
            "(select min(customer_id) from predictions)",
            "the predictions in the warehouse",
        ),
        (
            "delete from predictions where customer_id = (select min(customer_id) from predictions "
            "where run_id = (select run_id from current_runs where score_date = '2026-03-28'))",
            "the predictions in the warehouse",
        ),
        ("update scoring_runs set model_version = 'v9.9.9'", "scoring_runs.model_version"),
        ("update scoring_runs set population = population + 1, scored = scored + 1", "population"),
        ("update scoring_runs set predictions_sha256 = 'x'", "the predictions in the lake"),
        ("update quarantine_counts set rows = rows + 1", "quarantine_counts"),
        ("update audit_log set event = 'x' where number = 2", "audit_log: row 2"),
    ],
)
def test_a_changed_row_of_the_warehouse_is_named(shop, statement, words):
    with shop.warehouse.begin() as connection:
        for trigger in connection.scalars(
            sa.text("select name from sqlite_master where type = 'trigger'")
        ).all():
            connection.execute(sa.text(f"drop trigger {trigger}"))
        connection.execute(sa.text(statement))
    with pytest.raises(NotAsRecorded, match=words):
        audit(shop)


def test_the_night_gets_a_certificate_that_training_sees_what_it_scored(shop):
    record = record_of(shop, CLOCKS_CHANGE)
    facts = audit_night.run(shop.spark, shop.settings, record)
    certificate = facts["certificate"]
    assert certificate["differ"] == 0
    assert certificate["cells"] == certificate["customers"] * len(FEATURE_NAMES) > 1000
    step = timedelta(days=PARAMS.training.as_of_step_days)
    assert certificate["as_of"] == [str(CLOCKS_CHANGE - n * step) for n in (2, 1, 0)]
    assert StageRecord.read(shop.root, record, "audit_night").facts == facts


def test_training_sees_an_old_night_as_it_was_also_after_a_day_was_corrected(shop):
    shop.deliver(EARLIER, seed=2)
    shop.load(CLOCKS_CHANGE)
    facts = audit_night.run(shop.spark, shop.settings, record_of(shop))
    assert facts["certificate"]["differ"] == 0

    shop.deliver(CLOCKS_CHANGE + timedelta(1))
    corrected = shop.publish(CLOCKS_CHANGE + timedelta(1))
    assert corrected.intakes[EARLIER] != record_of(shop).intakes[EARLIER]
    assert audit_night.run(shop.spark, shop.settings, corrected)["certificate"]["differ"] == 0


def test_a_forked_feature_function_is_found_on_its_first_night(shop, monkeypatch):
    def forked(activity, as_of, active_days, source):
        features = build_features(activity, as_of, active_days, source)
        recent = F.col("recency_days") < 20
        share = F.col("weekend_share_365d")
        forked = F.when(recent, 1 - share).otherwise(share)
        return features.withColumn("weekend_share_365d", forked).select(*features.columns)

    monkeypatch.setattr(jobs.build_features, "build_features", forked)
    night = CLOCKS_CHANGE + timedelta(1)
    shop.deliver(night)
    record = shop.publish(night)
    with pytest.raises(TrainingDiffers, match=r"look otherwise .* in weekend_share_365d \("):
        audit_night.run(shop.spark, shop.settings, record)


def test_the_command_says_in_a_sentence_what_is_wrong_and_is_not_tried_again(shop):
    path = files_of(shop, NIGHT)["features"]
    flip_a_bit(path)
    done = subprocess.run(
        [sys.executable, "-m", "jobs.audit_night", f"--score-date={NIGHT}"],
        cwd=PROJECT_ROOT,
        env=os.environ | {"SCORING_DATA_ROOT": str(shop.root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 20
    assert str(path) in json.loads(done.stdout.splitlines()[-1])["error"]
    assert "Traceback" not in done.stderr
