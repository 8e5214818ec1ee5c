"""Tests of the job that publishes a run out of the lake."""

import shutil
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pytest
import sqlalchemy as sa

import catalog
import warehouse
from errors import BadData
from jobs import publish_predictions, publishing, roll_back_predictions
from lake import RecordDamaged
from records import Challenger, RunRecord, StageRecord
from settings import Settings
from tests.harm import HARMS
from tests.records import edit_record, finish, intake, put_dataset, put_intake, run_record
from tests.warehouse.nights import NIGHT, arm_scores, predictions
from warehouse import tables


@dataclass
class Lake:
    """What the earlier jobs of a night leave behind; ``write`` puts it down for one run."""

    settings: Settings

    def write(
        self,
        *files: pa.RecordBatch,
        run_id="run-1",
        population=None,
        tried=None,
        replaces=None,
        arms: pa.RecordBatch | None = None,
        **facts,
    ) -> RunRecord:
        root = self.settings.data_root
        customers = sum(file.num_rows for file in files) if population is None else population
        pinned = {date(2026, 3, 31): intake("d1"), NIGHT: intake("d2")}
        record = run_record(
            NIGHT, run_id=run_id, intakes=pinned, challenger=tried, replaces=replaces
        )
        record.write(root)
        outcomes = {
            "delivered": 10,
            "accepted": 7,
            "quarantined": {"price_is_positive": 2},
            "excluded": {"customer_is_known": 1},
        }
        put_intake(root, NIGHT, "d2", **outcomes)
        counts = {
            "population": customers,
            "scored": customers,
            "fallback": {"previous": 0, "default": 0},
            "threshold_version": "aa11",
        }
        for stage in publishing.STAGES_BEFORE[:-1]:
            finish(root, record, stage)
        pieces = {"predictions": put_dataset(root, record, catalog.PREDICTIONS_LAYOUT, *files)}
        if arms is not None:
            pieces["arm_scores"] = put_dataset(root, record, catalog.ARM_SCORES.layout, arms)
        finish(root, record, "score_customers", counts | facts, **pieces)
        return record


@pytest.fixture
def lake(settings, empty_warehouse) -> Lake:
    shutil.copy(empty_warehouse, settings.data_root)
    return Lake(settings)


@pytest.fixture
def engine(settings):
    return warehouse.connect(settings.warehouse_url)


def test_the_files_of_a_run_become_its_published_night(lake, settings, engine):
    batch = predictions("ada", "bob", status=["scored", "default"], probability=[0.25, 0.5])
    record = lake.write(
        batch.slice(0, 1), batch.slice(1), scored=1, fallback={"previous": 0, "default": 1}
    )

    facts = publish_predictions.run(settings, record)

    assert facts == {
        "outcome": "published",
        "replaces": None,
        "population": 2,
        "scored": 1,
        "fallback": 1,
    }
    with engine.connect() as connection:
        c = tables.LATEST_PREDICTIONS.c
        rows = connection.execute(sa.select(c.customer_id, c.probability, c.status)).all()
        [run] = connection.execute(sa.select(tables.SCORING_RUNS)).all()
    assert sorted(rows) == [("ada", 0.25, "scored"), ("bob", 0.5, "default")]
    assert (run.delivered, run.accepted, run.quarantined, run.excluded) == (10, 7, 2, 1)
    assert run.deliveries == {"2026-03-31": intake("d1"), "2026-04-01": intake("d2")}
    assert run.threshold_version == "aa11"
    assert run.stage_seconds["score_customers"] == 1.5
    stage = StageRecord.read(settings.data_root, record, "publish_predictions")
    assert stage.facts == facts
    scoring = StageRecord.read(settings.data_root, record, "score_customers")
    assert stage.inputs == {"predictions": scoring.pieces["predictions"].sha256}


@pytest.mark.parametrize(
    ("path", "field", "value"),
    [
        (catalog.RUN_RECORD, "model_version", "v9.9.9"),
        (catalog.RUN_RECORD, "reason", "another"),
        (catalog.RUN_RECORD, "previous_run_id", "0123456789abcdef"),
        (catalog.STAGE_RECORD, "seconds", 9.0),
    ],
)
def test_nothing_is_published_of_a_record_that_was_changed(
    lake, settings, engine, path, field, value
):
    record = lake.write(predictions("ada"))
    changed = settings.data_root / path.format(**record.key, stage="score_customers")
    edit_record(changed, (field,), value, is_sealed_again=False)
    with pytest.raises(RecordDamaged, match=str(changed)):
        publish_predictions.run(settings, record)
    assert warehouse.current_run(engine, NIGHT) is None


def test_publishing_again_changes_nothing(lake, settings):
    record = lake.write(predictions("ada"))
    publish_predictions.run(settings, record)

    facts = publish_predictions.run(settings, record)

    assert (facts["outcome"], facts["replaces"]) == ("unchanged", None)


def test_a_superseding_run_takes_the_place_of_the_old_one(lake, settings, engine):
    publish_predictions.run(settings, lake.write(predictions("ada")))

    later = lake.write(
        predictions("ada", "bob"), run_id="run-2", replaces=warehouse.pointer_of(engine, NIGHT)
    )
    facts = publish_predictions.run(settings, later)

    assert (facts["outcome"], facts["replaces"]) == ("published", "run-1")
    assert warehouse.current_run(engine, NIGHT) == "run-2"


def test_what_replaces_another_run_after_all_must_name_the_one_that_readers_see(
    lake, settings, engine
):
    older = lake.write(predictions("ada"))
    publish_predictions.run(settings, lake.write(predictions("ada"), run_id="run-2"))

    with pytest.raises(warehouse.Overtaken, match="--run-id run-1 --instead-of run-2"):
        publish_predictions.run(settings, older)
    with pytest.raises(warehouse.Overtaken, match="readers see run run-2"):
        publish_predictions.run(settings, older, instead_of="run-7")
    facts = publish_predictions.run(settings, older, instead_of="run-2")

    assert (facts["outcome"], facts["replaces"]) == ("published", "run-2")
    assert warehouse.current_run(engine, NIGHT) == "run-1"


def test_a_dry_run_says_what_it_would_publish_and_changes_nothing(lake, settings, engine, caplog):
    record = lake.write(predictions("ada"))
    caplog.set_level("INFO")

    facts = publish_predictions.run(settings, record, dry_run=True)

    assert (facts["outcome"], facts["population"]) == ("dry_run", 1)
    assert "would publish" in caplog.text
    assert warehouse.current_run(engine, NIGHT) is None
    with pytest.raises(FileNotFoundError):
        StageRecord.read(settings.data_root, record, "publish_predictions")


def test_files_in_another_order_than_their_names_are_refused(lake, settings):
    record = lake.write(predictions("bob"), predictions("ada"))

    with pytest.raises(warehouse.PredictionsBroken, match="'ada' comes after 'bob'"):
        publish_predictions.run(settings, record)


def test_fewer_predictions_than_were_counted_are_refused(lake, settings, engine):
    record = lake.write(predictions("ada"), population=2)

    with pytest.raises(warehouse.CountsDiffer, match=r"1 predictions.* population of 2"):
        publish_predictions.run(settings, record)

    assert warehouse.current_run(engine, NIGHT) is None


def test_a_dry_run_counts_too(lake, settings):
    record = lake.write(predictions("ada"), population=2)

    with pytest.raises(warehouse.CountsDiffer):
        publish_predictions.run(settings, record, dry_run=True)


@pytest.mark.parametrize(("harm", "error"), HARMS)
def test_predictions_that_are_not_as_they_were_written_are_not_published(
    lake, settings, engine, harm, error
):
    record = lake.write(predictions("ada", "bob"), predictions("cyd", "dee"))
    piece = StageRecord.read(settings.data_root, record, "score_customers").pieces["predictions"]
    path = settings.data_root / piece.files[1].path
    harm(path)

    again = r"python -m jobs\.score_customers --score-date 2026-04-01 --run-id run-1"
    for dry_run in (True, False):
        with pytest.raises(error, match=rf"1 of 2 files.*{path}\. .*{again}"):
            publish_predictions.run(settings, record, dry_run)

    assert warehouse.current_run(engine, NIGHT) is None


def test_a_job_of_the_run_that_has_not_finished_is_named(lake, settings):
    record = lake.write(predictions("ada"))
    root = settings.data_root
    (root / catalog.STAGE_RECORD.format(**record.key, stage="build_features")).unlink()

    with pytest.raises(FileNotFoundError, match="build_features has not finished"):
        publish_predictions.run(settings, record)


def test_a_warehouse_without_tables_is_not_published_to(settings):
    record = Lake(settings).write(predictions("ada"))

    with pytest.raises(warehouse.NotMigrated, match="migrate_warehouse"):
        publish_predictions.run(settings, record)


def write_both(lake, arms: pa.RecordBatch, served: int, percent: int) -> RunRecord:
    """Two customers and a challenger at 5 %, with what score_customers found out about it."""
    found = {"percent": percent, "served": served, "threshold_version": "bb22"}
    return lake.write(
        predictions("ada", "bob", arm=["champion", "challenger"] if served else "champion"),
        tried=Challenger(version="v1.1.0", bundle_sha256="d" * 64, percent=5),
        arms=arms,
        challenger=found,
    )


def test_the_scores_of_both_models_become_part_of_the_published_night(lake, settings, engine):
    record = write_both(lake, arm_scores("ada", "bob"), served=1, percent=5)

    assert publish_predictions.run(settings, record)["challenger"] == 1
    assert publish_predictions.run(settings, record)["outcome"] == "unchanged"

    with engine.connect() as connection:
        [run] = connection.execute(sa.select(tables.SCORING_RUNS)).all()
        both = connection.execute(sa.select(tables.ARM_SCORES)).all()
    assert (run.challenger_version, run.challenger_percent) == ("v1.1.0", 5)
    assert (run.challenger_threshold_version, run.challenger_bundle_sha256) == ("bb22", "d" * 64)
    assert len(both) == 2


def test_a_challenger_found_unfit_is_recorded_as_serving_nobody(lake, settings, engine):
    record = write_both(lake, arm_scores("ada", "bob"), served=0, percent=0)

    publish_predictions.run(settings, record)

    with engine.connect() as connection:
        assert connection.scalar(sa.select(tables.SCORING_RUNS.c.challenger_percent)) == 0


def test_fewer_rows_of_both_models_than_customers_are_refused(lake, settings, engine):
    record = write_both(lake, arm_scores("ada"), served=1, percent=5)

    with pytest.raises(warehouse.CountsDiffer, match=r"1 arm_scores .* population of 2"):
        publish_predictions.run(settings, record)

    assert warehouse.current_run(engine, NIGHT) is None


def test_a_run_that_was_rolled_back_stays_so_when_it_is_cleared(lake, settings, engine):
    publish_predictions.run(settings, lake.write(predictions("ada")))
    record = lake.write(
        predictions("ada", "bob"), run_id="run-2", replaces=warehouse.pointer_of(engine, NIGHT)
    )
    publish_predictions.run(settings, record)
    roll_back_predictions.run(settings, NIGHT, reason="wrong prices", actor="eve")

    with pytest.raises(BadData) as refusal:
        publish_predictions.run(settings, record)

    assert "rolled back to from run run-2 by eve (wrong prices)" in str(refusal.value)
    assert "roll_back_predictions --score-date 2026-04-01 --run-id run-2" in str(refusal.value)
    assert warehouse.current_run(engine, NIGHT) == "run-1"
