"""Alerts, sent to a real receiver; what is held back is tried on a scheduler (tests/e2e)."""

import re
from types import SimpleNamespace

import pytest

from dags.alert import ALARMS, COOL_DOWN, Alert, AlertNotSent, _key, tell
from monitoring import decision
from settings import PROJECT_ROOT
from tests.inbox import Inbox, open_inbox

FAILURE = {
    "ti": SimpleNamespace(
        dag_id="nightly_scoring",
        task_id="validate_delivery",
        run_id="scheduled__2026-04-02",
        log_url="http://airflow/dags/nightly_scoring",
    ),
    "task": SimpleNamespace(owner="data"),
    "exception": ValueError("column quantity is missing"),
}


@pytest.fixture
def inbox(monkeypatch):
    """A receiver, and the connection that leads there."""
    with open_inbox() as inbox:
        monkeypatch.setenv("AIRFLOW_CONN_APPRISE_DEFAULT", inbox.connection)
        yield inbox


def test_a_failure_is_posted_with_severity_task_reason_owner_and_where_to_read_on(inbox):
    Alert("critical").notify(FAILURE)
    [body] = inbox.bodies
    assert body["title"] == "[critical] nightly_scoring: validate_delivery"
    assert body["type"] == "failure"
    assert body["message"].splitlines() == [
        "column quantity is missing",
        "run: scheduled__2026-04-02",
        "owner: data",
        "what to do: docs/runbook.md#validate_delivery",
        "log: http://airflow/dags/nightly_scoring",
    ]


def test_what_a_job_found_is_posted_under_its_own_name_and_owner(inbox):
    tell([{"name": "drift", "severity": "warning", "sentence": "three nights"}], FAILURE)
    [body] = inbox.bodies
    assert (body["title"], body["type"]) == ("[warning] nightly_scoring: drift", "warning")
    assert "owner: owners of the model" in body["message"]
    assert "what to do: docs/runbook.md#drift" in body["message"]


@pytest.mark.parametrize("connection", [None, "", "{}"])
def test_without_a_channel_a_failure_is_logged_only(caplog, monkeypatch, connection):
    monkeypatch.delenv("AIRFLOW_CONN_APPRISE_DEFAULT", raising=False)
    if connection is not None:
        monkeypatch.setenv("AIRFLOW_CONN_APPRISE_DEFAULT", connection)
    Alert().notify(FAILURE)
    assert "column quantity is missing" in caplog.text
    assert "nobody was told" in caplog.text


def test_a_channel_that_does_not_take_the_alert_is_an_error(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_APPRISE_DEFAULT", Inbox(port=9).connection)
    with pytest.raises(AlertNotSent, match="validate_delivery"):
        Alert().notify(FAILURE)


def test_the_same_alert_of_another_night_is_the_same_and_another_column_is_not():
    first = _key("[critical] nightly_scoring: data_incident", "country: 12 % missing on 2026-04-01")
    assert first == _key(
        "[critical] nightly_scoring: data_incident", "country: 50.5 % missing on 2026-04-02"
    )
    assert first != _key(
        "[critical] nightly_scoring: data_incident", "quantity: 12 % missing on 2026-04-01"
    )


def test_the_same_news_of_another_version_is_other_news():
    first, second = (
        _key("[warning] retraining: gate_failed", f"{version} lost the gate: 0.8{digit}")
        for version, digit in (("v1.2.0", 1), ("v1.13.0", 2))
    )
    assert first != second


def test_a_channel_that_takes_nothing_keeps_no_alarm_out_of_the_log(caplog, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_APPRISE_DEFAULT", Inbox(port=9).connection)
    alarms = [
        {"name": name, "severity": "warning", "sentence": f"of {name}"}
        for name in ("data_incident", "drift")
    ]
    with pytest.raises(AlertNotSent, match=r"data_incident[\s\S]*drift"):
        tell(alarms, FAILURE)
    assert "of drift" in caplog.text


def test_every_alarm_of_a_job_has_an_owner_a_cool_down_and_its_page_in_the_runbook():
    source = (PROJECT_ROOT / "monitoring" / "decision.py").read_text()
    source += (PROJECT_ROOT / "jobs" / "decide_retraining.py").read_text()
    raised = set(re.findall(r'Alarm\(\s*"(\w+)"', source))
    for path in (PROJECT_ROOT / "dags").glob("*.py"):
        raised |= set(re.findall(r'{"name": "(\w+)", "severity"', path.read_text()))
    headings = re.findall(r"^### (.+)$", (PROJECT_ROOT / "docs/runbook.md").read_text(), re.M)
    named = {name for heading in headings for name in heading.split(", ")}
    assert raised == set(ALARMS)
    assert raised <= named
    assert set(COOL_DOWN) == set(decision.Alarm.__annotations__["severity"].__args__)
