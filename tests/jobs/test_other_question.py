"""A shop that asks another question, from training to the measured cohort, and then changes it."""

import shutil
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from features.build import FEATURE_NAMES
from jobs import (
    build_bundle,
    build_training_set,
    evaluate_model,
    list_training_window,
    load_history,
    measure_performance,
    open_run,
    promote_model,
    score_customers,
    start_rollout,
    train_model,
)
from jobs.registry import OtherQuestion, open_registry
from models.git import git
from params import FIRST_QUESTION, Params, Question, read_params
from records import RunRecord
from settings import Settings
from tests.jobs.conftest import register, run_dvc, write_model
from tests.jobs.small_shop import bought, deliver, run_night
from warehouse import connect

FIRST, UNTIL = date(2026, 2, 1), date(2026, 3, 20)
NIGHT = UNTIL + timedelta(1)
QUESTION = Question(outcome="spend", least_amount=50, horizon_days=5)
MATURE = NIGHT + timedelta(QUESTION.horizon_days)
CUSTOMERS = [f"c{number:02}" for number in range(80)]


def purchases(day: date) -> dict[str, float]:
    """Who buys on a day, and for how much: the lower the number, the more."""
    chance = np.random.default_rng(day.toordinal())
    return {
        name: round(chance.uniform(1, 60 - number / 2), 2)
        for number, name in enumerate(CUSTOMERS)
        if chance.random() < 0.35
    }


def days(first: date, last: date) -> list[date]:
    return [first + timedelta(n) for n in range((last - first).days + 1)]


def asking() -> Params:
    values = read_params().model_dump(mode="json")
    values["sources"]["generated"]["training_until"] = str(UNTIL)
    values["training"] |= {
        "question": QUESTION.model_dump(),
        "history_days": 10,
        "as_of_count": 6,
        "as_of_step_days": 5,
        "holdout_count": 1,
        "calibration_count": 2,
        "bootstrap_rounds": 20,
    }
    values["model"]["max_rounds"] = 10
    values["drift"]["placebo_nights"] = 20
    values["performance"] |= {"partial_days": [2], "bootstrap_rounds": 20}
    return Params.model_validate(values)


PARAMS = asking()


@pytest.fixture(scope="module")
def asked(tmp_path_factory, spark, empty_warehouse) -> Path:
    """A folder with a deployment, ``data``, and the champion of the spend question."""
    folder = tmp_path_factory.mktemp("other-question")
    settings = Settings(data_root=folder / "data")
    settings.data_root.mkdir()
    shutil.copy(empty_warehouse, settings.data_root)
    for day in days(FIRST, MATURE):
        lines = [bought(name, unit_price=price) for name, price in purchases(day).items()]
        deliver(settings.data_root, day, *lines, others=())
    load_history.run(spark, settings, PARAMS, UNTIL)

    artifacts = folder / "artifacts"
    artifacts.mkdir()
    list_training_window.run(settings, PARAMS, artifacts)
    build_training_set.run(spark, settings, PARAMS, artifacts)
    for job in (train_model, evaluate_model, build_bundle):
        job.run(PARAMS, artifacts)
    shutil.copytree(artifacts / "bundle", folder / "spend")
    write_model(folder / "purchase", FEATURE_NAMES, question=FIRST_QUESTION)

    git("init", "--quiet", str(folder / "code"))
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    git(*identity, "commit", "--quiet", "--allow-empty", "-m", "Train", folder=folder / "code")
    run_dvc(folder, "init", "--no-scm")
    run_dvc(folder, "remote", "add", "--default", "store", settings.model_store_url)
    register(folder, Path(settings.registry_url), "spend", "purchase")
    promote(settings, "v1.0.0")
    return folder


@pytest.fixture
def settings(asked, tmp_path) -> Settings:
    """A copy of the deployment."""
    root = Path(shutil.copytree(asked / "data", tmp_path / "data"))
    return Settings(data_root=root)


def promote(settings: Settings, version: str) -> None:
    promote_model.run(settings, PARAMS, version=version, reason="asked", actor="ada")


def test_a_spend_is_trained_scored_and_measured_as_a_spend(asked, settings, spark):
    card = (asked / "spend" / "model_card.md").read_text()
    assert "customer spends at least 50 within the next 5 days" in " ".join(card.split())

    run = run_night(spark, settings, NIGHT, PARAMS)
    assert run.question == QUESTION
    engine = connect(settings.warehouse_url)
    with engine.connect() as connection:
        for table in ("scoring_runs", "current_predictions"):
            found = connection.execute(sa.text(f"select distinct question from {table}"))  # noqa: S608
            assert found.scalars().all() == ["spend_of_50_within_5d"]
        customers = set(
            connection.execute(sa.text("select customer_id from predictions")).scalars()
        )

    load_history.run(spark, settings, PARAMS, MATURE - timedelta(1))
    later = run_night(spark, settings, MATURE, PARAMS)
    mature = measure_performance.run(spark, settings, PARAMS, later)["mature"]
    spent = dict.fromkeys(customers, 0.0)
    for day in days(NIGHT + timedelta(1), MATURE):
        for name, price in purchases(day).items():
            spent[name] += price
    expected = sum(amount >= 50 for amount in spent.values())
    assert 0 < expected < len(customers)
    assert mature["score_date"] == str(NIGHT)
    assert (mature["customers"], mature["buyers"]) == (len(customers), expected)


def test_a_model_that_answers_another_question_scores_only_once_it_is_champion(settings, spark):
    before = run_night(spark, settings, NIGHT, PARAMS)
    with pytest.raises(OtherQuestion, match="answers purchase_within_30d, the champion spend"):
        start_rollout.run(settings, PARAMS, "v1.1.0", actor="ada", reason="try")
    open_registry(settings, PARAMS).challenge("v1.1.0", 0, actor="ada", reason="forced")
    load_history.run(spark, settings, PARAMS, MATURE)
    night = NIGHT + timedelta(1)
    opened = open_run.run(settings, PARAMS, night)
    assert opened["challenger"] is None
    assert "scores of the two cannot stand in one list" in opened["challenger_refused"]

    promote(settings, "v1.1.0")
    opened = open_run.run(settings, PARAMS, night)
    run = RunRecord.read(settings.data_root, night, opened["run_id"])
    assert run.question == FIRST_QUESTION
    assert run.previous_run_id == before.run_id
    assert score_customers.same_question(settings.data_root, run) is None
