"""Airflow on one machine, without starting it: its secrets, and what is said of a red night."""

import json
import os
import stat
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

import catalog
from errors import WrongInput
from local.airflow.client import TRIES, Client
from local.airflow.nights import RunFailed, nights_between, run_nights
from local.airflow.processes import secrets_of
from params import read_params


class Killed(BaseException):
    """Stands for `kill -9`."""


@pytest.mark.parametrize("survived", [0, 1])
def test_secrets_half_made_are_made_anew_with_a_login_that_fits(tmp_path, monkeypatch, survived):
    sync, written = os.fsync, []

    def sync_until_killed(file):
        if len(written) == survived:
            raise Killed
        written.append(file)
        sync(file)

    monkeypatch.setattr("os.fsync", sync_until_killed)
    with pytest.raises(Killed):
        secrets_of(tmp_path)
    monkeypatch.setattr("os.fsync", sync)

    made = secrets_of(tmp_path)
    assert json.loads((tmp_path / "passwords.json").read_text()) == {"admin": made["password"]}
    assert secrets_of(tmp_path) == made
    for name in ("secrets.json", "passwords.json"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


class Deadlocked(BaseHTTPRequestHandler):
    """An Airflow whose database undoes the next requests, as many as ``undone`` says."""

    undone = 0
    asked = 0

    def do_POST(self):
        self.say(201, {"access_token": "token"})

    def do_PATCH(self):
        Deadlocked.asked += 1
        if Deadlocked.asked <= Deadlocked.undone:
            detail = {"reason": "Database error", "statement": "hidden", "orig_error": "hidden"}
            self.say(500, {"detail": detail})
        else:
            self.say(200, {"state": "failed"})

    def say(self, status: int, answer: dict):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *words):
        pass


@pytest.fixture
def deadlocked(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    Deadlocked.asked = 0
    with HTTPServer(("127.0.0.1", 0), Deadlocked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Client(f"http://127.0.0.1:{server.server_port}", "secret")
        server.shutdown()


def test_a_request_that_the_database_undid_is_made_again(deadlocked, monkeypatch):
    monkeypatch.setattr(Deadlocked, "undone", 2)
    assert deadlocked.call("PATCH", "/dags/a/dagRuns/b", {"state": "failed"}) == {"state": "failed"}
    assert Deadlocked.asked == 3


def test_a_request_that_the_database_undoes_each_time_is_given_up(deadlocked, monkeypatch):
    monkeypatch.setattr(Deadlocked, "undone", 100)
    with pytest.raises(httpx.HTTPStatusError) as refusal:
        deadlocked.call("PATCH", "/dags/a/dagRuns/b", {"state": "failed"})
    assert Deadlocked.asked == TRIES
    assert "Database error" in refusal.value.__notes__[0]


class RedNight(Client):
    """A client of an Airflow in which every run is red and has these tasks."""

    states = {}  # noqa: RUF012

    def call(self, method, path, body=None, **query):  # noqa: ARG002
        if path.endswith("/taskInstances"):
            tasks = [
                {"task_id": name, "state": state, "try_number": 1, "duration": 1.0}
                for name, state in self.states.items()
            ]
            return {"task_instances": tasks}
        if path.endswith("/logs/1"):
            return {"content": [{"event": f"the end of {path.split('/')[-3]}"}]}
        if path.endswith("/dagRuns"):
            return {"dag_runs": [], "dag_run_id": "night__2026-04-01"}
        return {"is_paused": False, "state": "failed"}


def say(monkeypatch, night: date = date(2026, 4, 1), **states) -> str:
    """What is said of a night that is red and whose tasks are so."""
    monkeypatch.setattr(RedNight, "states", states)
    with pytest.raises(RunFailed) as failure:
        run_nights(RedNight("http://localhost:8080", "secret"), [night])
    return str(failure.value)


def test_a_red_night_names_the_task_and_the_end_of_its_log(monkeypatch):
    said = say(monkeypatch, open_run="success", build_features="failed", publish="upstream_failed")
    assert "failed in build_features:\nthe end of build_features" in said


def test_a_red_night_without_a_failed_task_names_the_state_of_each(monkeypatch):
    said = say(monkeypatch, open_run="success", build_features="skipped", publish=None)
    assert "open_run success, build_features skipped, publish not begun" in said
    assert "http://localhost:8080/dags/nightly_scoring/runs/night__2026-04-01" in said


@pytest.mark.parametrize(
    ("night", "instant"),
    [
        (date(2026, 1, 15), "2026-01-16T07:00:00+00:00"),
        (date(2026, 7, 15), "2026-07-16T06:00:00+00:00"),
        # The clock goes forward over two o'clock.
        (date(2026, 3, 7), "2026-03-08T07:00:00+00:00"),
    ],
)
def test_a_night_by_hand_has_the_logical_date_of_the_schedule_of_its_source(
    monkeypatch, night, instant
):
    params = read_params()
    shop = params.source("generated").model_copy(update={"timezone": "America/New_York"})
    elsewhere = params.model_copy(update={"sources": {"generated": shop}})
    monkeypatch.setattr("local.airflow.nights.read_params", lambda: elsewhere)
    asked = []
    monkeypatch.setattr(
        RedNight, "trigger", lambda *arguments: asked.append(arguments[-1]) or "night"
    )
    say(monkeypatch, night, open_run="failed")
    assert [at.isoformat() for at in asked] == [instant]


def test_a_closed_weekday_is_no_night_by_hand_unless_it_was_delivered(settings):
    params = read_params()
    shop = params.source("generated").model_copy(update={"closed_weekdays": ["saturday", "sunday"]})
    params = params.model_copy(update={"sources": {"generated": shop}})
    friday, saturday, sunday, monday = (date(2026, 7, day) for day in (3, 4, 5, 6))
    catalog.incoming_folder(settings.data_root, saturday).mkdir(parents=True)
    assert nights_between(settings, params, friday, monday) == [friday, saturday, monday]
    with pytest.raises(WrongInput, match="2026-07-05: generated never trades on that weekday"):
        nights_between(settings, params, sunday, sunday)
