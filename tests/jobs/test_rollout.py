"""Starting, advancing and withdrawing a challenger, and the ways back; with the real registry."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

import warehouse
from jobs import (
    advance_rollout,
    promote_model,
    roll_back_model,
    roll_back_predictions,
    start_rollout,
)
from jobs.registry import ModelDoesNotFit, open_registry
from models.registry import RolloutBlocked, VersionUnknown
from params import read_params
from records import Challenger, RunRecord, StageRecord
from tests.jobs.challengers import register_challenger
from tests.records import finish, run_record
from tests.warehouse.nights import a_challenged_run, a_run, arm_scores, predictions
from warehouse import tables

PARAMS = read_params()
PARAMS = PARAMS.model_copy(
    update={"rollout": PARAMS.rollout.model_copy(update={"percents": [0, 5], "min_nights": 2})}
)
NIGHT = date(2026, 4, 1)


@pytest.fixture
def registry(deployed, model_shop):
    """v1.0.0 is champion; v1.2.0 can score, v1.1.0 cannot."""
    promote_model.run(deployed, PARAMS, version="v1.0.0", reason="first", actor="ada")
    register_challenger(deployed, model_shop)
    return open_registry(deployed, PARAMS)


def begin(settings, version="v1.2.0") -> dict:
    return start_rollout.run(settings, PARAMS, version, reason="won the gate", actor="ada")


def tried(registry) -> tuple[str, int] | None:
    challenger = registry.read().challenger
    return challenger and (challenger[0].version, challenger[1])


def rows(settings, query) -> list[tuple]:
    statement = sa.text(query) if isinstance(query, str) else query
    with warehouse.connect(settings.warehouse_url).connect() as connection:
        return [tuple(row) for row in connection.execute(statement)]


def test_a_rollout_begins_in_shadow_and_the_warehouse_knows_why(deployed, registry):
    assert begin(deployed) == {"version": "v1.2.0", "percent": 0, "number": 1}
    assert tried(registry) == ("v1.2.0", 0)
    [move] = rows(
        deployed,
        "select version, percent, reason, actor from promotions where stage = 'challenger'",
    )
    assert move == ("v1.2.0", 0, "won the gate", "ada")


def test_beginning_again_does_not_set_back_what_was_reached(deployed, registry):
    begin(deployed)
    registry.challenge("v1.2.0", 5, actor="ada", reason="further")
    assert begin(deployed) == {"version": "v1.2.0", "percent": 5, "number": 2}


def test_who_cannot_score_or_is_champion_is_not_tried(deployed, registry):
    with pytest.raises(ModelDoesNotFit, match="tenure_days"):
        begin(deployed, "v1.1.0")
    with pytest.raises(RolloutBlocked, match="is the champion"):
        begin(deployed, "v1.0.0")
    assert registry.read().challenges == ()


def test_a_person_can_stop_a_rollout(deployed, registry):
    begin(deployed)
    withdrawn = start_rollout.withdraw(deployed, PARAMS, reason="a hunch", actor="bob")
    assert withdrawn == {"withdrawn": "v1.2.0"}
    assert tried(registry) is None
    assert start_rollout.withdraw(deployed, PARAMS, reason="again", actor="bob") == {
        "withdrawn": None
    }
    events = rows(deployed, "select event from audit_log order by number")
    assert events[-2:] == [("challenger_placed",), ("challenger_withdrawn",)]


def publish_night(settings, registry, night=NIGHT, unfit=(), tag="") -> RunRecord:
    """Publish a night with the challenger that the registry has now."""
    version, percent = registry.read().challenger
    challenger = Challenger(
        version=version.version, bundle_sha256=version.bundle_sha256, percent=percent
    )
    record = run_record(night, run_id=f"{night}-{percent}{tag}", challenger=challenger)
    record.write(settings.data_root)
    scoring = {"challenger": {"unfit": list(unfit)}}
    for stage, facts in (("score_customers", scoring), ("publish_predictions", {})):
        finish(settings.data_root, record, stage, facts)
    run = a_challenged_run(
        record.run_id,
        score_date=night,
        challenger_version=version.version,
        challenger_percent=0 if unfit else percent,
        challenger_served=0,
        # As if published now, for what counts is when the challenger was placed.
        published_at=max(registry.read().challenge.at, newest_moment(settings))
        + timedelta(seconds=1),
    )
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.publish(
        engine,
        run,
        [predictions("ada", "bob")],
        replaces=warehouse.pointer_of(engine, night),
        arm_scores=[arm_scores("ada", "bob")],
    )
    return record


def newest_moment(settings):
    c = tables.SCORING_RUNS.c.published_at
    [(newest,)] = rows(
        settings,
        sa.select(c)
        .union(sa.select(tables.PROMOTIONS.c.at))
        .order_by(sa.desc("published_at"))
        .limit(1),
    )
    return newest


def advance(settings, record) -> dict:
    return advance_rollout.run(settings, PARAMS, record)


def test_a_fit_challenger_goes_from_shadow_to_champion_by_itself(deployed, registry):
    begin(deployed)
    actions = []
    for day in range(4):
        record = publish_night(deployed, registry, NIGHT + timedelta(days=day))
        facts = advance(deployed, record)
        actions.append((facts["action"], facts["percent"]))
        assert facts["version"] == "v1.2.0"
        assert StageRecord.read(deployed.data_root, record, "advance_rollout").facts == facts
    assert actions == [("stay", 0), ("advance", 5), ("stay", 5), ("promote", 100)]
    assert registry.resolve("champion").version == "v1.2.0"
    assert tried(registry) is None
    [why] = rows(deployed, "select reason from promotions where number = 2 and stage = 'champion'")
    assert why[0].startswith("night of 2026-04-04: at 5 % of the customers: night 2")


@pytest.mark.parametrize("percent", [0, 5])
def test_an_unfit_challenger_is_withdrawn_on_its_first_night(deployed, registry, percent):
    registry.challenge("v1.2.0", percent, actor="ada", reason="straight in")
    record = publish_night(deployed, registry, unfit=["it gives all customers the same score"])

    facts = advance(deployed, record)

    assert (facts["action"], facts["percent"]) == ("withdraw", 0)
    assert facts["reasons"] == ["it gives all customers the same score"]
    assert tried(registry) is None
    assert registry.resolve("champion").version == "v1.0.0"
    [move] = rows(deployed, "select reason from promotions where version is null")
    assert "the same score" in move[0]


def test_advancing_again_after_the_same_night_changes_nothing_and_says_the_same(deployed, registry):
    begin(deployed)
    publish_night(deployed, registry)
    record = publish_night(deployed, registry, NIGHT + timedelta(days=1))
    first = advance(deployed, record)
    before = registry.read()
    for _ in range(2):
        again = advance(deployed, record)
        assert {**again, "reasons": None} == {**first, "reasons": None}
        assert first["reasons"][0] in again["reasons"][0]
    assert registry.read() == before

    # Even when the challenger has moved on since.
    registry.challenge("v1.2.0", 50, actor="ada", reason="by hand")
    assert advance(deployed, record)["action"] == "advance"
    assert tried(registry) == ("v1.2.0", 50)


def test_a_move_that_the_job_could_not_report_is_found_by_its_retry(deployed, registry):
    begin(deployed)
    record = publish_night(deployed, registry, unfit=["constant"])
    registry.withdraw(actor="airflow", reason="night of 2026-04-01: constant", token=record.run_id)

    facts = advance(deployed, record)

    assert (facts["action"], facts["version"]) == ("withdraw", "v1.2.0")
    assert len(registry.read().challenges) == 2
    assert rows(deployed, "select count(*) from promotions where version is null") == [(1,)]


def test_retries_backfills_and_superseded_runs_do_not_count_as_nights(deployed, registry):
    begin(deployed)
    publish_night(deployed, registry, NIGHT + timedelta(days=5))
    for tag in ("again", "and again"):
        newest = publish_night(deployed, registry, NIGHT + timedelta(days=5), tag=tag)
    for day in range(3):
        past = publish_night(deployed, registry, NIGHT + timedelta(days=day))
        assert advance(deployed, past)["action"] == "none"

    assert advance(deployed, newest)["action"] == "stay"


def test_a_run_that_readers_do_not_see_decides_nothing(deployed, registry):
    begin(deployed)
    superseded = publish_night(deployed, registry, unfit=["constant"])
    publish_night(deployed, registry, tag="late delivery")
    assert advance(deployed, superseded)["action"] == "none"
    assert tried(registry) == ("v1.2.0", 0)


def test_nights_of_an_earlier_trial_do_not_count(deployed, registry):
    begin(deployed)
    publish_night(deployed, registry)
    # Between the trials lies the present: the moments of these nights are made up.
    registry.withdraw(actor="ada", reason="pause")
    move = begin(deployed)
    assert move["number"] == 3
    engine = warehouse.connect(deployed.warehouse_url)
    since = registry.read().challenge.at + timedelta(minutes=1)
    assert warehouse.nights_tried(engine, NIGHT, "v1.2.0", 0, since) == 0
    assert warehouse.nights_tried(engine, NIGHT, "v1.2.0", 0, since - timedelta(hours=1)) == 1
    assert warehouse.nights_tried(engine, NIGHT, "v1.2.0", 5, since - timedelta(hours=1)) == 0
    assert warehouse.nights_tried(engine, NIGHT, "v1.0.0", 0, since - timedelta(hours=1)) == 0


def test_a_night_opened_before_a_person_withdrew_the_challenger_moves_nothing(deployed, registry):
    begin(deployed)
    record = publish_night(deployed, registry)
    registry.withdraw(actor="bob", reason="by hand")
    facts = advance(deployed, record)
    assert facts["action"] == "none"
    assert "now nothing is being tried" in facts["reasons"][0]


def test_a_run_without_challenger_moves_nothing(deployed, registry):
    begin(deployed)
    record = publish_night(deployed, registry).model_copy(update={"challenger": None})
    assert advance(deployed, record) == {
        "action": "none",
        "version": None,
        "percent": None,
        "reasons": ["no challenger scored along"],
    }


def test_a_run_that_is_not_published_is_named(deployed, registry):
    begin(deployed)
    record = publish_night(deployed, registry)
    stage = deployed.data_root / f"lake/runs/score_date={NIGHT}/{record.run_id}.stages"
    (stage / "publish_predictions.json").unlink()
    with pytest.raises(FileNotFoundError, match="publish_predictions has not finished"):
        advance(deployed, record)


LOST = "roc_auc_difference"


def measured(run_id: str, arm: str, version: str, metric: str, low: float, high: float):
    row = {"run_id": run_id, "score_date": NIGHT, "arm": arm, "model_version": version}
    row |= {"maturity": "mature", "measured_on": NIGHT, "slice": "all", "metric": metric}
    row |= {"value": (low + high) / 2, "low": low, "high": high, "customers": 100}
    return row


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({}, "withdraw"),
        ({"maturity": "partial"}, "stay"),
        ({"slice": "country: Norway"}, "stay"),
        ({"model_version": "v1.1.0"}, "stay"),
        ({"low": None, "high": None}, "stay"),
    ],
    ids=["mature", "partial", "a slice", "another version", "no interval"],
)
def test_a_loss_on_outcomes_withdraws_the_challenger(deployed, registry, changes, action):
    begin(deployed)
    record = publish_night(deployed, registry)
    engine = warehouse.connect(deployed.warehouse_url)
    with warehouse.writing(engine) as connection:
        connection.execute(
            tables.PERFORMANCE.insert(),
            [
                measured(record.run_id, "champion", "v1.0.0", "roc_auc", 0.7, 0.8),
                measured(record.run_id, "challenger", "v1.2.0", LOST, -0.2, -0.1) | changes,
            ],
        )
    assert advance(deployed, record)["action"] == action


def test_a_night_with_wrong_data_takes_no_step_and_does_not_count(deployed, registry):
    begin(deployed)
    record = publish_night(deployed, registry, NIGHT + timedelta(days=1))
    names = ("run_id", "dataset", "column_name", "measure", "verdict", "detail")
    row = dict.fromkeys(names, "x") | {"run_id": record.run_id, "verdict": "incident"}
    engine = warehouse.connect(deployed.warehouse_url)
    with warehouse.writing(engine) as connection:
        connection.execute(tables.QUALITY.insert().values(row))
    facts = advance(deployed, record)
    assert facts["action"] == "stay"
    assert "incident" in facts["reasons"][0]
    # Two nights are needed, and two good ones follow.
    for days in (2, 3):
        action = "advance" if days == 3 else "stay"
        record = publish_night(deployed, registry, NIGHT + timedelta(days=days))
        assert advance(deployed, record)["action"] == action


@pytest.mark.parametrize(
    ("wrong_day", "action"), [(None, "withdraw"), (0, "advance"), (1, "withdraw")]
)
def test_a_cohort_of_a_night_with_wrong_data_withdraws_nobody(
    deployed, registry, wrong_day, action
):
    """A wrong day among the thirty of its labels decides nothing, so there the loss counts."""
    begin(deployed)
    engine = warehouse.connect(deployed.warehouse_url)
    nights = [publish_night(deployed, registry, NIGHT + timedelta(days=n)) for n in range(3)]
    cohort = nights[0].run_id
    with warehouse.writing(engine) as connection:
        connection.execute(
            tables.PERFORMANCE.insert(),
            [
                measured(cohort, "champion", "v1.0.0", "roc_auc", 0.7, 0.8),
                measured(cohort, "challenger", "v1.2.0", LOST, -0.2, -0.1),
            ],
        )
        if wrong_day is not None:
            names = ("run_id", "dataset", "column_name", "measure", "verdict", "detail")
            row = dict.fromkeys(names, "x") | {"verdict": "incident"}
            row["run_id"] = nights[wrong_day].run_id
            connection.execute(tables.QUALITY.insert().values(row))
    assert advance(deployed, nights[-1])["action"] == action


def roll_back_to(settings, version=None, token=None) -> dict:
    return roll_back_model.run(
        settings, PARAMS, version=version, reason="worse in the shop", actor="bob", token=token
    )


def test_a_retry_of_a_roll_back_of_the_model_does_not_go_back_twice(deployed, registry):
    promote_model.run(deployed, PARAMS, version="v1.2.0", reason="better", actor="ada")
    click = {"token": "click-1"}
    first = roll_back_to(deployed, **click)
    assert roll_back_to(deployed, **click) == first
    assert registry.resolve("champion").version == "v1.0.0"
    assert len(registry.read().promotions) == 3


def test_the_model_goes_back_to_the_champion_before_and_the_trial_ends(deployed, registry):
    promote_model.run(deployed, PARAMS, version="v1.2.0", reason="better", actor="ada")
    registry.challenge("v1.0.0", 0, actor="ada", reason="compare")

    facts = roll_back_to(deployed)

    assert facts == {"champion": "v1.0.0", "number": 3, "previous": "v1.2.0"}
    assert tried(registry) is None
    [move] = rows(deployed, "select reason, actor from promotions where number = 3")
    assert move == ("roll-back: worse in the shop", "bob")
    with pytest.raises(VersionUnknown, match="was the first champion"):
        roll_back_to(deployed)
    assert roll_back_to(deployed, "v1.2.0")["champion"] == "v1.2.0"


def test_the_predictions_of_a_night_go_back_with_nothing_but_the_warehouse(settings):
    warehouse.migrate(settings.warehouse_url)
    engine = warehouse.connect(settings.warehouse_url)
    for number in (1, 2):
        run = a_run(f"run-{number}", published_at=a_run().published_at + timedelta(hours=number))
        before = warehouse.pointer_of(engine, NIGHT)
        warehouse.publish(engine, run, [predictions("ada", "bob")], replaces=before)

    facts = roll_back_predictions.run(settings, NIGHT, reason="wrong prices", actor="bob")

    assert facts == {"score_date": "2026-04-01", "run_id": "run-1", "instead_of": "run-2"}
    assert warehouse.current_run(engine, NIGHT) == "run-1"
    again = roll_back_predictions.run(
        settings, NIGHT, reason="it was right", actor="bob", run_id="run-2"
    )
    assert (again["run_id"], again["instead_of"]) == ("run-2", "run-1")
