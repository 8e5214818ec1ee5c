"""Alerts, sent to a real receiver; what is held back is tried on a scheduler (tests/e2e)."""

import json
import re
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException

from dags import retraining
from dags.alert import ALARMS, COOL_DOWN, Alert, AlertNotSent, _key, tell
from dags.run_job import FieldUnknown
from monitoring import decision
from settings import PROJECT_ROOT
from tests.inbox import Inbox, open_inbox, open_mailbox

FAILURE = {
    "ti": SimpleNamespace(
        dag_id="nightly_scoring",
        task_id="validate_delivery",
        run_id="scheduled__2026-04-05",
        log_url="http://airflow/dags/nightly_scoring/runs/1",
    ),
    "task": SimpleNamespace(owner="data", arguments=["--score-date=2026-04-04", "--run-id=abc"]),
    "exception": AirflowFailException(
        "validate_delivery: 84 of 500 rows broken, limit 5 %. Have it delivered again."
    ),
}


@pytest.fixture
def inbox(monkeypatch):
    """A receiver, and the connection that leads there."""
    with open_inbox() as inbox:
        monkeypatch.setenv("AIRFLOW_CONN_APPRISE_DEFAULT", inbox.connection)
        yield inbox


def test_a_failure_is_posted_with_night_cause_readers_owner_what_to_do_and_links(inbox):
    Alert("critical").notify(FAILURE)
    [body] = inbox.bodies
    assert body["title"] == "2026-04-04 refused: 84 of 500 rows broken, limit 5 %"
    assert body["type"] == "failure"
    assert body["message"].split("\n\n") == [
        "validate_delivery: 84 of 500 rows broken, limit 5 %. Have it delivered again.",
        "Readers see the last night published before; nothing of 2026-04-04 is.",
        "Whose it is: data (critical; run scheduled__2026-04-05)",
        "What to do: The data is bad, not the code. The log and the Data Docs tab of the run list "
        "the broken promises with counts.",
        "Log: http://airflow/dags/nightly_scoring/runs/1",
        "What each red task means: http://airflow/dags/nightly_scoring",
    ]


def test_a_fault_is_told_by_the_words_of_the_job(inbox):
    error = RuntimeError(
        "validate_delivery failed (exit code 1): WarehouseAway: nobody answers. Go."
    )
    Alert("critical").notify({**FAILURE, "exception": error})
    assert inbox.bodies[0]["title"] == "2026-04-04 validate_delivery failed: nobody answers"


def test_what_a_job_found_is_posted_under_its_own_name_and_owner(inbox):
    alarm = {"name": "drift", "severity": "warning", "sentence": "three nights"}
    tell([alarm], FAILURE, night="2026-04-03")
    [body] = inbox.bodies
    assert (body["title"], body["type"]) == ("2026-04-03 drift: three nights", "warning")
    assert "Readers see the scores of 2026-04-03: they are published." in body["message"]
    assert "Whose it is: owners of the model" in body["message"]
    assert "What to do: Warning. The inputs have differed" in body["message"]


@pytest.mark.parametrize(
    ("verdict", "asks", "told"),
    [
        ("pass", "True", ["approval wanted"]),
        ("pass", "False", []),
        ("fail", "True", ["gate failed"]),
    ],
)
def test_a_person_is_told_that_an_approval_is_wanted(inbox, verdict, asks, told):
    found = {"version": "v1.1.0", "verdict": verdict, "reasons": ["log loss is better"]}
    retraining.dag.get_task("tell").python_callable(found, asks, **FAILURE)
    assert [body["title"].split(": ")[0].split(" ", 1)[1] for body in inbox.bodies] == told


@pytest.mark.parametrize(
    ("options", "type_", "arrives_as"),
    [("", "text/plain", "<img src=x>"), ("&format=html", "text/html", "&lt;img&nbsp;src=x&gt;")],
)
def test_what_was_delivered_arrives_in_a_mail_as_it_was_and_not_as_html(
    monkeypatch, options, type_, arrives_as
):
    hostile = AirflowFailException("validate_delivery: column <img src=x>\nBcc: all is unknown")
    with open_mailbox() as (port, mails):
        address = (
            f"mailto://127.0.0.1:{port}/?from=night@localhost.org&to=ada@localhost.org{options}"
        )
        connection = {"config": [{"path": address, "tag": "all"}]}
        monkeypatch.setenv(
            "AIRFLOW_CONN_APPRISE_DEFAULT",
            json.dumps({"conn_type": "apprise", "extra": connection}),
        )
        Alert("critical").notify({**FAILURE, "exception": hostile})

    [mail] = mails
    body = mail.get_body((type_.removeprefix("text/"),))
    assert body.get_content_type() == type_
    assert arrives_as in body.get_content()
    assert mail["Subject"] == "2026-04-04 refused: column <img src=x>"
    assert mail["Bcc"] is None


def test_of_a_slip_in_a_form_people_are_told_what_a_slip_is(inbox):
    slip = FieldUnknown("the form of nightly_scoring has no field scoredate, only score_date.")
    Alert("critical").notify({**FAILURE, "exception": slip})
    [body] = inbox.bodies
    assert "What to do: The run was triggered with a field" in body["message"]


def test_no_link_is_a_path_of_the_server(inbox):
    task = SimpleNamespace(**{**vars(FAILURE["ti"]), "log_url": "/opt/airflow/logs/1.log"})
    Alert("critical").notify({**FAILURE, "ti": task})
    assert "/opt" not in inbox.bodies[0]["message"]
    assert "docs/" not in inbox.bodies[0]["message"]


@pytest.mark.parametrize("connection", [None, "", "{}"])
def test_without_a_channel_a_failure_is_logged_only(caplog, monkeypatch, connection):
    monkeypatch.delenv("AIRFLOW_CONN_APPRISE_DEFAULT", raising=False)
    if connection is not None:
        monkeypatch.setenv("AIRFLOW_CONN_APPRISE_DEFAULT", connection)
    Alert().notify(FAILURE)
    assert "84 of 500 rows broken" in caplog.text
    assert "nobody was told" in caplog.text


def test_a_channel_that_does_not_take_the_alert_is_an_error(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_APPRISE_DEFAULT", Inbox(port=9).connection)
    with pytest.raises(AlertNotSent, match="2026-04-04 refused"):
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
