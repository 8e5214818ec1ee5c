"""The decision of a night, from the records that its jobs and those before it have left."""

import shutil
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

import warehouse
from jobs import decide_retraining
from jobs.decide_retraining import fresh_cohorts
from params import read_params
from records import Challenger, RunRecord
from settings import Settings
from tests.records import finish, run_record
from tests.warehouse.nights import a_run, predictions
from warehouse.tables import QUALITY, RETRAINING_DECISIONS

PARAMS = read_params()
NIGHT = date(2026, 6, 15)
HORIZON = timedelta(days=PARAMS.training.horizon_days)


class Version:
    """A model that was trained on what was known 60 days before the night."""

    name, version, commit, bundle_sha256, bundle_md5 = "repurchase", "v1.0.0", "c", "b", "m"
    source, metrics, reason, actor = "generated", {}, "first", "ada"
    asked_at = token = None
    training_until = NIGHT - timedelta(days=60)


@pytest.fixture
def deployed(tmp_path, empty_warehouse) -> Settings:
    settings = Settings(data_root=tmp_path / "data")
    settings.data_root.mkdir()
    shutil.copy(empty_warehouse, settings.data_root)
    warehouse.record_version(warehouse.connect(settings.warehouse_url), Version())
    return settings


def a_night(
    settings: Settings,
    score_date: date,
    *,
    drift: str = "steady",
    estimated: str = "holds",
    cohort: str = "holds",
    incidents: tuple[str, ...] = (),
    withdrawn: bool = False,
    **changes,
) -> RunRecord:
    """A published night, with what its jobs found; ``cohort`` is that of the one that matured."""
    root, engine = settings.data_root, warehouse.connect(settings.warehouse_url)
    values = a_run(f"run-{score_date}", score_date=score_date)
    record = run_record(score_date, run_id=values.run_id, **changes)
    record.write(root)
    warehouse.publish(engine, values, [predictions("ada", "bob")], replaces=None)
    mature = {
        "score_date": str(score_date - HORIZON),
        "run_id": f"run-{score_date - HORIZON}",
        "finding": cohort,
    }
    has_cohort = warehouse.current_run(engine, score_date - HORIZON) is not None
    performance = {
        "mature": mature if has_cohort else None,
        "estimated": {"finding": estimated},
        "sentence": f"the cohort of {score_date - HORIZON} {cohort}",
    }
    stages = {
        "measure_quality": {"verdict": "usual", "incidents": list(incidents)},
        "report_drift": {"verdict": drift},
        "measure_performance": performance,
        "advance_rollout": {
            "action": "withdraw" if withdrawn else "none",
            "version": "v1.1.0",
            "reasons": ["its scores are constant"] if withdrawn else [],
        },
    }
    for stage, facts in stages.items():
        finish(root, record, stage, facts)
    rows = [
        {
            "run_id": record.run_id,
            "dataset": "transactions",
            "column_name": "country",
            "measure": f"missing_share_{at}",
            "verdict": "incident",
            "detail": sentence,
        }
        for at, sentence in enumerate(incidents)
    ]
    if rows:
        with engine.begin() as connection:
            connection.execute(QUALITY.insert(), rows)
    return record


def nights_until(settings: Settings, count: int, **found) -> RunRecord:
    """``count`` nights up to NIGHT, and those whose cohorts mature on them; returns the last."""
    for back in reversed(range(count)):
        a_night(settings, NIGHT - HORIZON - timedelta(days=back))
    records = [
        a_night(settings, NIGHT - timedelta(days=back), **found) for back in reversed(range(count))
    ]
    return records[-1]


def decided(settings: Settings, record: RunRecord, **arguments) -> dict:
    return decide_retraining.run(settings, PARAMS, record, **arguments)


def test_a_quiet_night_is_left_alone(deployed):
    facts = decided(deployed, nights_until(deployed, 3))
    assert (facts["decision"], facts["alarms"], facts["child_run"]) == ("ignore", [], None)


def test_three_cohorts_in_a_row_that_lost_ask_for_a_retraining_once(deployed):
    record = nights_until(deployed, 3, cohort="loss")

    facts = decided(deployed, record)

    assert (facts["decision"], facts["trigger"]) == ("retrain", "performance")
    assert facts["child_run"] == f"performance__{NIGHT}"
    # The task is cleared, and by now there is a training under way.
    again = decided(deployed, record, in_flight="a retraining is running")
    assert again == facts
    a_night(deployed, NIGHT + timedelta(days=1) - HORIZON)
    tomorrow = a_night(deployed, NIGHT + timedelta(days=1), cohort="loss")
    assert decided(deployed, tomorrow)["decision"] == "wait"


def test_a_champion_trained_for_a_loss_is_followed_until_a_training_does_not_pass(deployed):
    """Asked for on NIGHT, champion 13 nights later; what is asked for then never becomes one."""
    decided(deployed, nights_until(deployed, 3, cohort="loss"))
    engine = warehouse.connect(deployed.warehouse_url)

    class Second(Version):
        version, token, training_until = "v1.1.0", f"performance__{NIGHT}", NIGHT

    warehouse.record_version(engine, Second())

    def on(day: int) -> tuple[str, str | None]:
        night = a_night(deployed, NIGHT + timedelta(days=day), model_version="v1.1.0")
        facts = decided(deployed, night)
        return facts["decision"], facts["trigger"]

    assert on(59) == ("ignore", None)
    assert on(60) == ("retrain", "follow_up")
    assert on(61) == ("ignore", None)
    assert on(160) == ("ignore", None)
    # An old night that is run again, by a model that was asked for after it.
    assert on(-5) == ("ignore", None)


def test_the_row_holds_the_evidence(deployed):
    record = nights_until(deployed, 3, drift="drift")
    decided(deployed, record)

    with warehouse.connect(deployed.warehouse_url).connect() as connection:
        [row] = connection.execute(sa.select(RETRAINING_DECISIONS)).mappings()
    assert (row["score_date"], row["decision"]) == (NIGHT, "alarm")
    assert row["evidence"]["drift"] == ["drift"] * 3 + ["unknown"] * 3
    assert row["evidence"]["trained_until"] == str(Version.training_until)
    assert datetime.now(UTC) - row["decided_at"] < timedelta(minutes=5)


STORM = ("country is missing in 50 % of the lines",)


def test_cohorts_whose_labels_came_in_during_a_storm_are_no_evidence(deployed):
    for day in range(10, 14):
        a_night(deployed, NIGHT - timedelta(days=day), incidents=STORM)
    record = nights_until(deployed, 3, cohort="loss")

    facts = decided(deployed, record)

    assert facts["decision"] == "ignore"
    assert "by the labels incident" in facts["reasons"][0]


def test_one_incident_does_not_blind_the_detection_of_a_loss_for_a_month(deployed):
    a_night(deployed, NIGHT - timedelta(days=10), incidents=STORM)
    record = nights_until(deployed, 3, cohort="loss")
    assert decided(deployed, record)["trigger"] == "performance"


def test_the_cohort_of_a_night_of_wrong_data_is_passed_over(deployed):
    for back in reversed(range(5)):
        wrong = STORM if back == 1 else ()
        a_night(deployed, NIGHT - HORIZON - timedelta(days=back), incidents=wrong)
    for back in reversed(range(5)):
        record = a_night(
            deployed, NIGHT - timedelta(days=back), cohort="holds" if back == 4 else "loss"
        )
    facts = decided(deployed, record)
    assert facts["trigger"] == "performance"
    with warehouse.connect(deployed.warehouse_url).connect() as connection:
        [row] = connection.execute(sa.select(RETRAINING_DECISIONS)).mappings()
    assert row["evidence"]["realised"][:5] == ["loss", "incident", "loss", "loss", "holds"]


def test_a_night_that_was_not_run_does_not_end_a_row(deployed):
    for back in (4, 2, 1, 0):
        record = a_night(
            deployed, NIGHT - timedelta(days=back), drift="drift" if back < 4 else "steady"
        )
    missing = a_night(deployed, NIGHT + timedelta(days=2), drift="drift")
    facts = decided(deployed, missing)
    assert [alarm["name"] for alarm in facts["alarms"]] == ["drift"]
    assert record.score_date == NIGHT


def test_a_night_of_wrong_data_calls_people(deployed):
    record = a_night(deployed, NIGHT, incidents=("country is missing",), cohort="loss")
    facts = decided(deployed, record)
    assert facts["decision"] == "alarm"
    assert facts["alarms"] == [
        {"name": "data_incident", "severity": "critical", "sentence": "country is missing"}
    ]


def test_cohorts_that_another_model_scored_say_nothing_about_this_one(deployed):
    for back in range(3):
        before = NIGHT - HORIZON - timedelta(days=back)
        a_night(deployed, before, model_version="v0.9.0")
        a_night(deployed, NIGHT - timedelta(days=back), cohort="loss")
    record = RunRecord.read(deployed.data_root, NIGHT, f"run-{NIGHT}")

    assert "by the labels unknown" in decided(deployed, record)["reasons"][0]


@pytest.mark.parametrize("how", ["a later night is published", "backfill"])
def test_a_past_night_decides_nothing(deployed, how):
    record = nights_until(deployed, 3, cohort="loss")
    if how != "backfill":
        a_night(deployed, NIGHT + timedelta(days=1))
    facts = decided(deployed, record, past=how == "backfill")
    assert (facts["decision"], facts["alarms"]) == ("ignore", [])


def test_a_challenger_that_is_being_tried_makes_a_retraining_wait(deployed):
    challenger = Challenger(version="v1.1.0", bundle_sha256="d" * 64, percent=5)
    nights_until(deployed, 3, cohort="loss")
    record = RunRecord.read(deployed.data_root, NIGHT, f"run-{NIGHT}")
    facts = decided(deployed, record.model_copy(update={"challenger": challenger}))
    assert facts["decision"] == "wait"
    assert "challenger v1.1.0 is being tried already" in facts["reasons"]


def test_people_hear_of_a_challenger_that_was_withdrawn(deployed):
    facts = decided(deployed, a_night(deployed, NIGHT, withdrawn=True))
    assert [alarm["name"] for alarm in facts["alarms"]] == ["challenger_withdrawn"]
    assert "v1.1.0 was withdrawn: its scores are constant" in facts["alarms"][0]["sentence"]


def test_labels_are_counted_one_cohort_a_horizon():
    horizon = timedelta(days=30)
    # Trained until 1 March: the labels of 30 January are the last that it saw whole.
    assert fresh_cohorts(date(2026, 5, 30), horizon, date(2026, 3, 1)) == [
        date(2026, 4, 30),
        date(2026, 3, 31),
        date(2026, 3, 1),
    ]
