"""Nights through a real Airflow: its scheduler, API server and DAG processor on PostgreSQL.

A small shop with a past and a trained champion is set up once; all tests use it, in order.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import yaml

from local.airflow.client import TRIES, AirflowFailed, Client
from local.airflow.nights import RunFailed, run_nights
from local.airflow.paused import unpause_what_runs_by_hand, what_waits
from local.airflow.processes import run_cli, running
from settings import PROJECT_ROOT, Settings
from tests.e2e.conftest import Cluster, commands_below
from tests.inbox import Inbox, open_inbox
from warehouse import connect, current_run
from warehouse.tables import (
    ARM_SCORES,
    AUDIT_LOG,
    CURRENT_RUNS,
    DRIFT,
    PREDICTIONS,
    PROMOTIONS,
    QUARANTINE_COUNTS,
    RETRAINING_DECISIONS,
    SCORING_RUNS,
)

pytestmark = pytest.mark.e2e

TRAINED_UNTIL = date(2026, 3, 31)
GOOD_NIGHT = date(2026, 4, 1)
BAD_NIGHT = date(2026, 4, 2)
NIGHT_IN_SHADOW = date(2026, 4, 3)
UNDELIVERED_NIGHT = date(2026, 4, 9)

# The jobs of a night that compute, in one session, because each start of Spark on a cluster takes
# ten seconds of the processor. Each says its name before it begins.
JOBS = """
import sys
from datetime import date
from importlib import import_module
from jobs import publish_predictions
from jobs.session import session
from params import read_params
from records import RunRecord
from settings import Settings

score_date, run_id = sys.argv[1:]
settings, params = Settings(), read_params()
record = RunRecord.read(settings.data_root, date.fromisoformat(score_date), run_id)

def run(*names):
    for name in names:
        job = import_module(f"jobs.{name}")
        print(name, flush=True)
        job.run(spark, settings, params, record)

with session(settings, "a night", settings.spark, rows=1000) as spark:
    run("validate_delivery", "summarise_activity", "build_features", "score_customers")
    publish_predictions.run(settings, record)
    run("measure_quality", "measure_performance")
"""

RESTATEMENT = {
    "first": str(GOOD_NIGHT),
    "last": str(GOOD_NIGHT),
    "reason": "asked for by a test",
}
QUICK_TRAINING = {
    "history_days": 60,
    "as_of_count": 8,
    "holdout_count": 1,
    "calibration_count": 2,
    "bootstrap_rounds": 20,
}

# When, by whom and from which commit a run was published, how long its jobs took, and the bytes in
# which an engine wrote its files may differ.
OF_THE_RUN_ITSELF = {
    "reason",
    "published_at",
    "published_by",
    "stage_seconds",
    "chain_sha256",
    "moved_at",
    "code_version",
}


@pytest.fixture(scope="module")
def deployment(top) -> Settings:
    """Seven months of a small shop, three nights to come (one of them broken), and a champion."""
    code = quickly_trained_code(top)
    settings = Settings(data_root=top / "data", code_url=str(code))
    job(settings, "migrate_warehouse")
    job(
        settings,
        "generate_deliveries",
        *("--from", "2025-09-01", "--until", str(NIGHT_IN_SHADOW), "--customers", "2000"),
        *("--fault", f"missing_column:{BAD_NIGHT}"),
    )
    job(settings, "load_history", "--until", str(TRAINED_UNTIL))
    first = ("--until", str(TRAINED_UNTIL), "--reason", "first model")
    version = job(settings, "retrain_model", *first)["version"]
    job(settings, "promote_model", "--version", version, "--reason", "first model")
    # What is trained from now on may learn more than the champion could.
    edit_params(code, "training", {"rows_per_date": 25_000})
    edit_params(code, "model", {"max_rounds": 300})
    return settings


@pytest.fixture(scope="module")
def before_the_nights(deployment, tmp_path_factory) -> Path:
    """A copy of lake and warehouse as they were before any night."""
    copy = tmp_path_factory.mktemp("before")
    shutil.copytree(deployment.data_root / "lake", copy / "lake")
    with contextlib.closing(sqlite3.connect(deployment.data_root / "warehouse.db")) as warehouse:
        warehouse.execute("vacuum into ?", [str(copy / "warehouse.db")])
    return copy


@pytest.fixture(scope="module")
def inbox() -> Iterator[Inbox]:
    with open_inbox() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def ui(deployment, before_the_nights, inbox, tmp_path_factory):  # noqa: ARG001
    """The command that runs Airflow for all tests; the last one leaves it."""
    environment = {
        "SCORING_RETRY_SECONDS": "0.5",
        "SCORING_POLL_SECONDS": "15",
        "AIRFLOW_CONN_APPRISE_DEFAULT": inbox.connection,
    }
    said, address = tmp_path_factory.mktemp("ui") / "said", "airflow/address.json"
    with begun(deployment, said, "local.airflow", "ui", **environment) as process:
        await_that(lambda: process.poll() is not None or (deployment.data_root / address).exists())
        assert process.poll() is None, said.read_text()
        yield process


@pytest.fixture(scope="module")
def airflow(ui, deployment) -> Iterator[Client]:  # noqa: ARG001
    with running(deployment) as client:
        client.pause("nightly_scoring", False)
        yield client


@dataclass(frozen=True)
class KilledNight:
    """A night whose build_features was killed: its run, and what was left of the job."""

    run_id: str
    state: str
    left_behind: list[int]


def test_when_a_part_cannot_start_its_log_is_shown_and_nothing_goes_on(deployment):
    """The first start, so that the one after it finds a server and tables."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(AirflowFailed, match=r"api-server ended(.|\n)*address already in use"),
            running(deployment, port),
        ):
            pass
    assert left_of(deployment) == []


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (["nights", f"--from={GOOD_NIGHT}", f"--until={GOOD_NIGHT}"], signal.SIGHUP),
        (["ui"], signal.SIGINT),
    ],
)
def test_a_signal_at_the_start_leaves_no_process_behind(deployment, tmp_path, command, word):
    with begun(deployment, tmp_path / "said", "local.airflow", *command) as process:
        await_that(lambda: any("db migrate" in line for line in left_of(deployment)))
        process.send_signal(word)
        assert process.wait(timeout=60) == 128 + word
    assert left_of(deployment) == []


@pytest.fixture(scope="module")
def good_night(airflow, deployment) -> KilledNight:
    """Asked for through the API with fields of the form, without a logical date."""
    form = {"score_date": str(GOOD_NIGHT), "model": "champion", "reason": "asked for by a test"}
    run_id = airflow.trigger("nightly_scoring", None, form | {"may_retrain": False})

    victims = await_job_with_engine("build_features", deployment.data_root)
    os.kill(victims[0], signal.SIGKILL)
    left_behind = await_ends(victims)

    return KilledNight(run_id, await_run(airflow, run_id), left_behind)


@pytest.fixture(scope="module")
def cluster_night(
    good_night,  # noqa: ARG001
    cluster,
    top,
    deployment,
    before_the_nights,
) -> Iterator[Future[Settings]]:
    """The same night on a Spark cluster that loses a worker, while other tests wait for Airflow."""
    root = top / "cluster"
    shutil.copytree(before_the_nights, root)
    shutil.copytree(deployment.data_root / "incoming", root / "incoming")
    there = Settings(
        data_root=root,
        registry_url=deployment.registry_url,
        model_store_url=deployment.model_store_url,
        spark=cluster.url,
        spark_executor_memory="512m",
    )
    pool = ThreadPoolExecutor()
    yield pool.submit(run_on_cluster, cluster, there)
    pool.shutdown(wait=False, cancel_futures=True)


def run_on_cluster(cluster: Cluster, there: Settings) -> Settings:
    """Run the good night by hand, and kill a worker at work; the deployment it was run in."""
    night = ("--score-date", str(GOOD_NIGHT))
    run_id = job(there, "open_run", *night)["run_id"]
    command = [sys.executable, "-c", JOBS, str(GOOD_NIGHT), run_id]
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, env=environment_of(there), stdout=subprocess.PIPE, text=True
    ) as process:
        begun = []
        for line in process.stdout:
            begun.append(line.strip())
            if begun[-1] == "build_features":
                cluster.kill_a_busy_worker()
    assert (process.returncode, begun[-1]) == (0, "measure_performance")
    for name in ("report_drift", "advance_rollout", "decide_retraining"):
        job(there, name, *night, "--run-id", run_id)
    return there


def test_a_night_asked_for_through_the_api_is_published(good_night, airflow, deployment):
    assert good_night.state == "success"
    assert airflow.run("nightly_scoring", good_night.run_id)["logical_date"] is None

    warehouse = connect(deployment.warehouse_url)
    run_id = current_run(warehouse, GOOD_NIGHT)
    assert run_id == opened_run(airflow, good_night.run_id)
    [run] = rows(warehouse, SCORING_RUNS)
    assert run["reason"] == "asked for by a test"
    assert run["published_by"] == good_night.run_id
    assert run["population"] == len(rows(warehouse, PREDICTIONS)) > 100
    assert rows(warehouse, DRIFT)


def test_a_killed_job_is_run_again_and_nothing_of_it_goes_on(good_night, airflow):
    tries = {
        name: task["try_number"]
        for name, task in airflow.tasks("nightly_scoring", good_night.run_id).items()
    }
    assert (tries["build_features"], tries["validate_delivery"]) == (2, 1)
    assert good_night.left_behind == []


def test_a_job_writes_into_the_log_of_its_task(good_night, airflow):
    task = airflow.tasks("nightly_scoring", good_night.run_id)["publish_predictions"]
    log = airflow.log("nightly_scoring", good_night.run_id, task)
    assert any(line.startswith("$ python -m jobs.publish_predictions") for line in log)


def test_reports_of_the_night_are_in_the_ui_for_who_is_logged_in(good_night, airflow):
    pages = f"{airflow.url}/nightly-reports/runs/nightly_scoring/{good_night.run_id}"
    assert httpx.get(f"{pages}/drift").status_code == 401
    headers = airflow.headers()
    drift = httpx.get(f"{pages}/drift", headers=headers, follow_redirects=True)
    assert (drift.status_code, drift.headers["content-type"][:9]) == (200, "text/html")
    docs = httpx.get(f"{pages}/data-docs", headers=headers).text
    assert all(f"data_docs/{name}" in docs for name in ("transactions", "features", "predictions"))


def test_only_the_schedule_is_paused_and_who_asks_for_what_is_paused_is_told(airflow):
    airflow.pause("restate", True)
    airflow.pause("nightly_scoring", True)
    [sentence] = unpause_what_runs_by_hand(airflow)
    assert sentence.startswith("nightly_scoring is paused")
    assert [dag["dag_id"] for dag in airflow.call("GET", "/dags", paused=True)["dags"]] == [
        "nightly_scoring"
    ]
    [waits] = what_waits(airflow, ["dags", "trigger", "nightly_scoring"])
    assert "waits until it is unpaused" in waits
    assert what_waits(airflow, ["dags", "trigger", "restate"]) == []
    airflow.pause("nightly_scoring", False)


def test_a_field_that_the_form_does_not_allow_is_refused(airflow):
    with pytest.raises(httpx.HTTPStatusError) as refused:
        airflow.trigger("nightly_scoring", None, {"model": "v1; reboot"})
    assert refused.value.response.status_code == 400


@pytest.mark.usefixtures("good_night", "cluster_night")
def test_a_bad_delivery_stops_its_night_and_the_last_night_stays(airflow, deployment, inbox):
    warehouse = connect(deployment.warehouse_url)
    before = rows(warehouse, CURRENT_RUNS)

    with pytest.raises(RunFailed, match="failed in validate_delivery"):
        run_nights(airflow, [BAD_NIGHT])

    tasks = airflow.tasks("nightly_scoring", f"night__{BAD_NIGHT}")
    assert (tasks["validate_delivery"]["state"], tasks["validate_delivery"]["try_number"]) == (
        "failed",
        1,
    )
    assert tasks["publish_predictions"]["state"] == "upstream_failed"
    assert rows(warehouse, CURRENT_RUNS) == before != []

    [alert] = inbox.bodies
    assert alert["title"].startswith(f"{BAD_NIGHT} refused: ")
    assert "unit_price" in alert["message"]
    assert f"nothing of {BAD_NIGHT} is" in alert["message"]
    assert "The data is bad, not the code." in alert["message"]
    # Cleared in vain, it fails again; nobody is told twice.
    clear(airflow, "nightly_scoring", f"night__{BAD_NIGHT}", "validate_delivery")
    assert await_run(airflow, f"night__{BAD_NIGHT}") == "failed"
    assert len(inbox.bodies) == 1
    memory = json.loads(airflow.call("GET", "/variables/scoring_alerts_sent")["value"])
    assert [entry["held_back"] for entry in memory.values()] == [1]


def test_a_field_that_the_form_does_not_have_is_refused(airflow):
    run_id = airflow.trigger("restate", None, RESTATEMENT | {"aply": True})
    assert await_run(airflow, run_id, "restate") == "failed"
    task = airflow.tasks("restate", run_id)["restate"]
    assert task["try_number"] == 1
    said = "\n".join(airflow.log("restate", run_id, task))
    assert "the form of restate has no field aply, only apply, " in said
    assert "$ python -m jobs.restate" not in said


@pytest.mark.usefixtures("good_night")
def test_a_backfill_gives_the_tables_that_the_night_gave(airflow, deployment, before_the_nights):
    warehouse = connect(deployment.warehouse_url)
    by_night = published(warehouse)
    warehouse.dispose()
    put_back(deployment, before_the_nights)
    assert published(warehouse) != by_night

    airflow.pause("nightly_scoring", False)
    morning = GOOD_NIGHT + timedelta(days=1)
    exit_code, client = run_cli(
        deployment,
        [
            *("backfill", "create", "--dag-id", "nightly_scoring", "--max-active-runs", "1"),
            *("--from-date", str(morning), "--to-date", f"{morning}T23:59:59"),
        ],
    )
    assert (exit_code, client and client.url) == (0, airflow.url)
    # 02:00 in London is 01:00 UTC in summer.
    await_success(airflow, f"backfill__{morning}T01:00:00+00:00")

    assert published(warehouse) == by_night


def test_a_spark_cluster_that_loses_a_worker_gives_the_tables_that_this_machine_gave(
    cluster_night, deployment
):
    there = cluster_night.result()
    by_night = published(connect(deployment.warehouse_url))
    assert published(connect(there.warehouse_url)) == by_night


@pytest.fixture(scope="module")
def challenger(airflow, good_night, deployment) -> str:  # noqa: ARG001
    """A model trained through the form of the DAG; a person rejected it, and then approved.

    Asked for and approved by the runbook's own commands.
    """
    trigger, approve = runbook_requests()
    form = {"until": str(GOOD_NIGHT), "reason": "asked for by a test", "approval": "person"}
    trigger = trigger.replace("nightly_scoring", "retraining")
    trigger = re.sub(r'"conf": \{.*?\}', f'"conf": {json.dumps(form)}', trigger)
    run_id = by_hand(airflow, trigger)["dag_run_id"]
    question = f"/dags/retraining/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
    await_question(airflow, deployment, run_id)
    asked = airflow.call("GET", question)
    assert "v1.1.0" in asked["subject"]
    assert "v1.0.0" in asked["subject"]
    answer = {"chosen_options": ["Reject"], "params_input": {"why": "not on a Friday"}}
    airflow.call("PATCH", question, answer)
    await_success(airflow, run_id, "retraining")
    assert airflow.tasks("retraining", run_id)["start_rollout"]["state"] == "skipped"

    clear(airflow, "retraining", run_id, "approve")
    # The task has ended when it asked, when it had its answer, and when it asked again.
    await_question(airflow, deployment, run_id, ended_times=3)
    by_hand(airflow, approve, RUN=run_id)
    await_success(airflow, run_id, "retraining")
    return "v1.1.0"


def test_a_better_model_is_trained_judged_and_approved_and_then_tried(
    airflow, challenger, deployment
):
    warehouse = connect(deployment.warehouse_url)
    columns = ("stage", "version", "percent", "actor", "reason")
    moves = [tuple(row[name] for name in columns) for row in rows(warehouse, PROMOTIONS)]
    assert ("challenger", challenger, 0, "admin", "clearly better") in moves
    audit = {row["event"]: row["details"] for row in rows(warehouse, AUDIT_LOG)}
    assert audit["gate_passed"]["version"] == challenger
    said = {"version": challenger, "approval": "person", "actor": "admin"}
    assert audit["challenger_rejected"] == said | {"reason": "not on a Friday"}
    assert audit["challenger_approved"] == said | {"reason": "clearly better"}
    page = httpx.get(
        f"{airflow.url}/nightly-reports/files/models/{challenger}/gate/index.html",
        headers=airflow.headers(),
    )
    assert page.status_code == 200


def test_a_challenger_in_shadow_scores_everybody_and_is_seen_by_nobody(
    airflow, challenger, deployment
):
    warehouse = connect(deployment.warehouse_url)
    end_runs(airflow, ["scheduled"])
    # The delivery of the night before was refused.
    form = {"accept_missing_days": True}
    run_nights(airflow, [NIGHT_IN_SHADOW], form | {"may_retrain": True})

    in_shadow = current_run(warehouse, NIGHT_IN_SHADOW)
    [run] = rows_of_run(warehouse, SCORING_RUNS, in_shadow)
    assert (run["challenger_version"], run["challenger_percent"]) == (challenger, 0)
    beside = rows_of_run(warehouse, ARM_SCORES, in_shadow)
    seen = rows_of_run(warehouse, PREDICTIONS, in_shadow)
    assert len(beside) == run["population"]
    assert {row["arm"] for row in seen} == {"champion"}
    assert {row["customer_id"]: row["probability"] for row in seen} == {
        row["customer_id"]: row["champion_probability"] for row in beside
    }
    assert any(row["champion_probability"] != row["challenger_probability"] for row in beside)
    [decision] = rows_of_run(warehouse, RETRAINING_DECISIONS, in_shadow)
    assert decision["evidence"]["in_flight"] == f"challenger {challenger} is being tried"

    by_name = form | {"score_date": str(NIGHT_IN_SHADOW), "model": challenger, "reason": "try it"}
    await_success(airflow, airflow.trigger("nightly_scoring", None, by_name))
    mistaken = current_run(warehouse, NIGHT_IN_SHADOW)
    assert mistaken != in_shadow

    back = {"score_date": str(NIGHT_IN_SHADOW), "reason": "tried by a test"}
    run_id = airflow.trigger("roll_back_predictions", None, back)
    await_success(airflow, run_id, "roll_back_predictions")
    assert current_run(warehouse, NIGHT_IN_SHADOW) == in_shadow


@pytest.mark.usefixtures("challenger")
def test_a_failure_after_the_scores_are_out_leaves_the_run_red_and_the_decision_made(
    airflow, deployment, inbox
):
    run_id, registry = f"night__{NIGHT_IN_SHADOW}", Path(deployment.registry_url)
    registry.rename(registry.with_name("away"))
    clear(airflow, "nightly_scoring", run_id, "advance_rollout")
    assert await_run(airflow, run_id) == "failed"

    states = {n: t["state"] for n, t in airflow.tasks("nightly_scoring", run_id).items()}
    assert (states["advance_rollout"], states["night_complete"]) == ("failed", "upstream_failed")
    assert states["decide_retraining"] == states["tell"] == "success"
    assert inbox.bodies[-1]["title"].startswith(f"{NIGHT_IN_SHADOW} advance_rollout failed: ")
    assert "cannot read the model registry" in inbox.bodies[-1]["message"]

    registry.with_name("away").rename(registry)
    clear(airflow, "nightly_scoring", run_id, "advance_rollout")
    await_success(airflow, run_id)


@pytest.mark.usefixtures("airflow")
def test_what_airflow_keeps_is_closed_to_other_users(deployment):
    home = deployment.data_root / "airflow"
    modes = {name: (home / name).stat().st_mode & 0o777 for name in (".", "secrets.json")}
    assert modes == {".": 0o700, "secrets.json": 0o600}


def test_a_night_without_a_delivery_says_at_once_until_when_it_waits_and_can_be_left(
    airflow, ui, deployment, tmp_path
):
    """The last test: Airflow is left while a job runs, which is a group of processes of its own."""
    end_runs(airflow, ["scheduled"])
    said = tmp_path / "said"
    night = (f"--from={UNDELIVERED_NIGHT}", f"--until={UNDELIVERED_NIGHT}")
    with begun(deployment, said, "local.airflow", "nights", *night) as nights:
        await_that(lambda: "  waits until 20" in said.read_text())
        assert f"{UNDELIVERED_NIGHT}  no delivery at {deployment.data_root}" in said.read_text()
        nights.terminate()
        assert nights.wait(timeout=60) == 128 + signal.SIGTERM
    await_that(lambda: any("jobs.await_delivery" in line for line in left_of(deployment)))
    ui.terminate()
    assert ui.wait(timeout=60) == 128 + signal.SIGTERM
    assert left_of(deployment) == []


# ------------------------------------------------------------------------------------ helpers


def quickly_trained_code(top: Path) -> Path:
    """A clone of the project whose training is over soon."""
    clone = top / "code"
    git("clone", "--quiet", str(PROJECT_ROOT), str(clone))
    # So few rows tell no more than days since the last purchase.
    edit_params(clone, "training", QUICK_TRAINING | {"rows_per_date": 60})
    edit_params(clone, "model", {"max_rounds": 1})
    return clone


def edit_params(clone: Path, section: str, values: dict) -> None:
    """Commit other values for keys of a section of ``params.yaml``."""
    params = yaml.safe_load((clone / "params.yaml").read_text())
    params[section] |= values
    (clone / "params.yaml").write_text(yaml.safe_dump(params))
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    git("-C", str(clone), *identity, "commit", "--quiet", "-am", f"Other values of {section}")


def git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], check=True)


def job(settings: Settings, name: str, *flags: str) -> dict:
    """Run a job as one would by hand; its result."""
    return json.loads(python(settings, "-m", f"jobs.{name}", *flags).splitlines()[-1])


def python(settings: Settings, *arguments: str) -> str:
    """What a Python process of this deployment prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT_ROOT,
        env=environment_of(settings),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def environment_of(settings: Settings) -> dict[str, str]:
    ours = {f"SCORING_{key.upper()}": str(value) for key, value in settings}
    return os.environ | ours | {"SPARK_LOCAL_IP": "127.0.0.1"}


def await_run(airflow: Client, run_id: str, dag_id: str = "nightly_scoring") -> str:
    """How the run ended; an error after ten minutes.

    Whenever it finds the time the schedule begins today's night, which would await its delivery
    here and keep all others waiting; not while the run is under way, so it is not looked for then:
    a list of runs costs Airflow 40 ms of the processor.
    """
    for _ in range(600):
        state = airflow.run(dag_id, run_id)["state"]
        if state != "running":
            end_runs(airflow, ["scheduled"])
        if state in ("success", "failed"):
            return state
        time.sleep(1)
    raise AssertionError(f"{run_id} did not end: {airflow.tasks(dag_id, run_id)}")


def await_success(airflow: Client, run_id: str, dag_id: str = "nightly_scoring") -> None:
    """Wait for the end of the run; an error with the log of the red task, if one is."""
    if await_run(airflow, run_id, dag_id) == "failed":
        red = [t for t in airflow.tasks(dag_id, run_id).values() if t["state"] == "failed"]
        raise AssertionError(
            "\n".join(line for t in red for line in airflow.log(dag_id, run_id, t))
        )


def runbook_requests() -> tuple[str, str]:
    """The commands by which the runbook triggers a run and answers a question; each logs in."""
    trigger, answer = commands_below("docs/runbook.md", "Airflow by hand")
    login = "".join(line for line in trigger.splitlines(True) if re.match("login=|token=", line))
    return trigger, login + answer


def by_hand(airflow: Client, commands: str, **values: str) -> dict:
    """What Airflow answers to these commands, with the password of this one."""
    commands = commands.replace('"password": "..."', f'"password": "{airflow.password}"')
    environment = os.environ | {"URL": airflow.url} | values
    for _ in range(TRIES):
        said = subprocess.run(
            ["bash", "-ec", commands], env=environment, check=True, stdout=subprocess.PIPE
        ).stdout
        if b'"Database error"' not in said:
            break
        time.sleep(1)
    return json.loads(said)


def clear(airflow: Client, dag_id: str, run_id: str, task_id: str) -> None:
    """Let a task and all that follows run again."""
    what = {"dag_run_id": run_id, "task_ids": [task_id], "include_downstream": True}
    how = {"dry_run": False, "reset_dag_runs": True, "only_failed": False}
    airflow.call("POST", f"/dags/{dag_id}/clearTaskInstances", what | how)


def await_question(
    airflow: Client, deployment: Settings, run_id: str, ended_times: int = 1
) -> None:
    """Wait until a training asks a person; an error if it ends first, or in ten minutes.

    Airflow 3.3 takes an answer for the death of the task as long as its scheduler has not seen that
    the asking process has ended, which no person is quick enough to notice.
    """
    log = deployment.data_root / "airflow" / "logs" / "scheduler.log"
    ended = f"TaskInstanceKey(dag_id='retraining', task_id='approve', run_id='{run_id}'"
    ended = f"executor event with state success for task instance {ended}"
    for _ in range(600):
        tasks = airflow.tasks("retraining", run_id)
        if tasks["approve"]["state"] == "awaiting_input" and (
            log.read_text().count(ended) >= ended_times
        ):
            return
        assert airflow.run("retraining", run_id)["state"] in ("queued", "running"), tasks
        time.sleep(1)
    raise AssertionError(f"{run_id} asked nobody: {tasks}")


def end_runs(airflow: Client, run_types: list[str]) -> None:
    """End the nights that were begun, by how they were begun."""
    nights = "/dags/nightly_scoring/dagRuns"
    begun = airflow.call("GET", nights, run_type=run_types, state=["queued", "running"])
    for run in begun["dag_runs"]:
        airflow.call("PATCH", f"{nights}/{run['dag_run_id']}", {"state": "failed"})


def rows_of_run(warehouse: sa.Engine, table: sa.Table, run_id: str) -> list[dict]:
    return [row for row in rows(warehouse, table) if row["run_id"] == run_id]


def opened_run(airflow: Client, run_id: str) -> str:
    path = f"/dags/nightly_scoring/dagRuns/{run_id}/taskInstances/open_run/xcomEntries/return_value"
    return airflow.call("GET", path, deserialize=True)["value"]["run_id"]


def rows(warehouse: sa.Engine, table: sa.Table) -> list[dict]:
    """All rows of a table, in the order of its key."""
    with warehouse.connect() as connection:
        found = connection.execute(sa.select(table).order_by(*table.primary_key))
        return [dict(row) for row in found.mappings()]


def published(warehouse: sa.Engine) -> dict[str, list[dict]]:
    """What readers see of all nights."""
    return {
        table.name: [
            {name: value for name, value in row.items() if name not in OF_THE_RUN_ITSELF}
            for row in rows(warehouse, table)
        ]
        for table in (SCORING_RUNS, PREDICTIONS, CURRENT_RUNS, QUARANTINE_COUNTS, DRIFT)
    }


def put_back(deployment: Settings, copy: Path) -> None:
    """Make lake and warehouse what they were when the copy was made."""
    root = deployment.data_root
    shutil.rmtree(root / "lake")
    shutil.copytree(copy / "lake", root / "lake")
    for file in root.glob("warehouse.db*"):
        file.unlink()
    shutil.copy(copy / "warehouse.db", root / "warehouse.db")


@contextlib.contextmanager
def begun(
    settings: Settings, said: Path, *command: str, **variables: str
) -> Iterator[subprocess.Popen]:
    """A command of ours in that deployment, which says into ``said`` what it has to say."""
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=PROJECT_ROOT,
            env=environment_of(settings) | variables,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def await_that(is_so: Callable[[], bool]) -> None:
    """Return when it is so; an error after five minutes."""
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("it did not come")


def left_of(deployment: Settings) -> list[str]:
    """The command lines of all processes that this deployment has started."""
    root = str(deployment.data_root)
    commands = {pid: " ".join(words(pid, "cmdline")) for pid in processes()}
    return [
        command
        for pid, command in commands.items()
        if command and (root in command or f"SCORING_DATA_ROOT={root}" in words(pid, "environ"))
    ]


def await_job_with_engine(name: str, root: Path) -> list[int]:
    """The process of a job, and all it has started, once it has its engine in memory."""
    for _ in range(6000):
        for pid in processes():
            if (
                f"jobs.{name}" in words(pid, "cmdline")
                and f"SCORING_DATA_ROOT={root}" in words(pid, "environ")
                and any("pysail" in line for line in words(pid, "maps"))
            ):
                return [pid, *descendants(pid)]
        time.sleep(0.02)
    raise AssertionError(f"{name} did not start its engine")


def await_ends(pids: list[int]) -> list[int]:
    """Those of the processes that have not ended after 30 s."""
    left = pids
    for _ in range(300):
        left = [pid for pid in left if words(pid, "cmdline") != [""]]
        if not left:
            break
        time.sleep(0.1)
    return left


def processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def descendants(pid: int) -> list[int]:
    children = [child for child in processes() if parent(child) == pid]
    return [member for child in children for member in (child, *descendants(child))]


def parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def words(pid: int, file: str) -> list[str]:
    """The command line or the environment of a process; one empty word when it has ended."""
    try:
        return Path(f"/proc/{pid}/{file}").read_text().rstrip("\0").split("\0")
    except OSError:
        return [""]
