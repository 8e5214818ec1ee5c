"""Tests of dags/alert.py."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest

from dags.alert import alert

FAILURE = {
    "ti": SimpleNamespace(
        dag_id="nightly_scoring",
        task_id="validate_delivery",
        run_id="scheduled__2026-04-02",
        log_url="http://airflow/dags/nightly_scoring",
    ),
    "exception": ValueError("column quantity is missing"),
}


@pytest.fixture
def inbox():
    """A web server that keeps what is posted to it: its address and the bodies."""
    bodies = []

    class Keeper(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Keeper)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_failure_is_posted_with_task_reason_and_link(inbox, monkeypatch):
    url, bodies = inbox
    monkeypatch.setenv("SCORING_ALERT_WEBHOOK_URL", url)
    alert(FAILURE)
    [body] = bodies
    for part in ("validate_delivery", "column quantity is missing", "http://airflow/dags/"):
        assert part in body["text"]


def test_without_an_address_a_failure_is_logged_only(caplog, monkeypatch):
    monkeypatch.delenv("SCORING_ALERT_WEBHOOK_URL", raising=False)
    alert(FAILURE)
    assert "column quantity is missing" in caplog.text


def test_every_task_alerts(bag):
    for dag in bag.dags.values():
        for task in dag.tasks:
            assert task.on_failure_callback == [alert], task.task_id
