"""Tests of the DAG files as a whole: what is in them, in which order, with which flags."""

import ast
import importlib
import re
import runpy
import sys
from datetime import UTC, datetime, time
from types import SimpleNamespace

import pytest

from dags.alert import ALARMS
from dags.run_job import JobOperator, JobSensor
from dags.score_date import SOURCE, day_before
from settings import PROJECT_ROOT

DAGS = ("nightly_scoring", "restate", "retraining", "roll_back_model", "roll_back_predictions")
RESULTS = {
    "await_delivery": {"score_date": "2026-04-01"},
    "open_run": {"score_date": "2026-04-01", "run_id": "20bf91009b8d11ce"},
    "decide_retraining": {"child_run": "drift__2026-04-01", "reasons": ["three nights drifted"]},
    "retrain_model": {"version": "v1.0.1"},
    "judge_challenger": {
        "version": "v1.0.1",
        "champion": "v1.0.0",
        "reasons": ["log loss is better"],
        "page": "/reports/index.html",
        "approval": "automatic",
    },
    "approve": {
        "chosen_options": ["Approve"],
        "params_input": {"why": "looks right"},
        "responded_by_user": {"id": "7", "name": "ben"},
    },
    "record_approval": {"approved": True, "actor": "ben", "reason": "looks right"},
}
TYPED = {
    "score_date": "2026-04-01",
    "first": "2026-04-01",
    "last": "2026-04-03",
    "reason": "the report was wrong",
}
"""What a person fills in where a form has no default."""


def run_of(logical_date: datetime | None, run_after: datetime | None = None):
    return SimpleNamespace(
        logical_date=logical_date,
        run_after=run_after,
        run_type="manual",
        triggering_user_name="ana",
    )


def context_of(dag, **form) -> dict:
    """What a template sees in a run with these fields of the form."""
    typed = TYPED if dag.dag_id.startswith(("restate", "roll_back")) else {}
    return {
        "params": {name: param.value for name, param in dag.params.items()} | typed | form,
        "run_id": "manual__2026-04-02",
        "dag_run": run_of(*[datetime(2026, 4, 2, 1, tzinfo=UTC)] * 2),
        "ti": SimpleNamespace(
            xcom_pull=RESULTS.__getitem__,
            get_dr_count=lambda *_, **__: 1,
            run_id="manual__2026-04-02",
        ),
    }


def rendered_arguments(dag, task, **form) -> list[str]:
    template = dag.get_template_env()
    context = context_of(dag, **form) | (dag.user_defined_macros or {})
    return [template.from_string(argument).render(context) for argument in task.arguments]


def job_tasks(dag) -> list:
    return [task for task in dag.topological_sort() if isinstance(task, JobOperator | JobSensor)]


def outline(dag) -> str:
    """What a person would want to read of a DAG: its tasks in order, and their commands."""
    lines = [f"{dag.dag_id} ({getattr(dag.timetable, 'expression', 'no schedule')})"]
    for task in dag.topological_sort():
        lines += ["", f"{task.task_id} (after {', '.join(sorted(task.upstream_task_ids)) or '-'})"]
        if isinstance(task, JobOperator | JobSensor):
            lines += [f"    python -m jobs.{task.job}", *(f"        {a}" for a in task.arguments)]
        if task.trigger_rule != "all_success":
            lines.append(f"    when {task.trigger_rule.value}")
        if getattr(task, "only_if", "True") != "True":
            lines.append(f"    only if {task.only_if}")
        if task.pool != "default_pool":
            lines.append(f"    pool {task.pool}")
        if hasattr(task, "trigger_dag_id"):
            lines.append(f"    triggers {task.trigger_dag_id}: {task.trigger_run_id}")
            lines += [f"        {key}: {value}" for key, value in task.conf.items()]
    return "\n".join(lines) + "\n"


def test_exactly_the_expected_dags_load(bag):
    assert bag.import_errors == {}
    assert set(bag.dags) == set(DAGS)


@pytest.mark.parametrize("dag_id", DAGS)
def test_outline_is_the_accepted_one(bag, dag_id, golden):
    golden(f"{dag_id}.txt", outline(bag.dags[dag_id]))


@pytest.mark.parametrize("dag_id", DAGS)
def test_every_job_accepts_the_flags_its_task_passes(bag, dag_id):
    dag = bag.dags[dag_id]
    switches = {name: True for name, param in dag.params.items() if param.value is False}
    for form in ({}, switches):
        for task in job_tasks(dag):
            flags = [flag for flag in rendered_arguments(dag, task, **form) if flag]
            parser = importlib.import_module(f"jobs.{task.job}").PARSER
            try:
                parser.parse_args(flags)
            except SystemExit:
                pytest.fail(f"jobs/{task.job}.py does not accept {flags}")


@pytest.mark.parametrize("dag_id", DAGS)
def test_the_page_for_the_person_on_call_says_what_each_red_task_means(bag, dag_id):
    dag = bag.dags[dag_id]
    explained = {
        task
        for item in re.findall(r"^- (`.*?):", dag.doc_md, flags=re.MULTILINE)
        for task in re.findall(r"`(\w+)`", item)
    }
    assert explained == set(dag.task_ids)


def anchors(page: str) -> set[str]:
    """Where links into a Markdown page may lead: GitHub makes them of its headings."""
    headings = re.findall(r"^#{1,6} +(.+?)[ #]*$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_link_of_every_alert_leads_to_its_own_place_in_the_runbook(bag):
    named = {task for dag_id in DAGS for task in bag.dags[dag_id].task_ids} | set(ALARMS)
    page = (PROJECT_ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    assert named - anchors(page) == set()


@pytest.mark.parametrize("dag_id", DAGS)
def test_the_form_explains_every_field(bag, dag_id):
    for name, param in bag.dags[dag_id].params.items():
        field = bag.dags[dag_id].params.get_param(name)
        assert field.description, f"{name} = {param} has no description"


@pytest.mark.parametrize("dag_id", DAGS)
def test_a_run_with_a_field_that_the_form_does_not_have_does_nothing(bag, dag_id):
    from airflow.sdk.exceptions import AirflowFailException

    dag = bag.dags[dag_id]
    asked = lambda **conf: {"dag_run": SimpleNamespace(conf=conf)}  # noqa: E731 - of three words
    for first in dag.roots:
        first.pre_execute(asked(reason="in time"))
        first.pre_execute({"dag_run": SimpleNamespace(conf=None)})
        with pytest.raises(AirflowFailException, match=r"no field scoredate, only .*reason"):
            first.pre_execute(asked(reason="a slip", scoredate="2026-04-01"))


@pytest.mark.parametrize("dag_id", DAGS)
def test_only_what_has_a_schedule_is_paused_at_first(bag, dag_id):
    dag = bag.dags[dag_id]
    has_schedule = getattr(dag.timetable, "expression", None) is not None
    assert (dag.is_paused_upon_creation is False) != has_schedule


def test_dags_import_nothing_of_airflow_but_its_public_parts():
    files = list((PROJECT_ROOT / "dags").glob("*.py"))
    assert files
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                # Apprise is what Airflow's provider of that name speaks with.
                public = name.startswith(("airflow.sdk", "airflow.providers.", "dags.", "apprise"))
                ours = name in ("params", "schedule", "settings")
                in_python = name.split(".")[0] in sys.stdlib_module_names
                assert public or ours or in_python, (file.name, name)


def test_a_run_describes_the_business_day_before_and_needs_no_logical_date():
    at = lambda *instant: datetime(*instant, tzinfo=UTC)  # noqa: E731 - a table of cases
    assert day_before(run_of(at(2026, 1, 10, 2))) == "2026-01-09"
    assert day_before(run_of(None, at(2026, 1, 10, 2))) == "2026-01-09"
    # The logical date wins: a run triggered today may stand for a night of spring.
    assert day_before(run_of(at(2026, 4, 2, 1), at(2026, 11, 21, 9))) == "2026-04-01"
    # In summer London is an hour ahead: 23:30 UTC belongs to the next day there.
    assert day_before(run_of(at(2026, 6, 30, 22, 30))) == "2026-06-29"
    assert day_before(run_of(at(2026, 6, 30, 23, 30))) == "2026-06-30"
    # The nights in which the clocks change.
    assert day_before(run_of(at(2026, 3, 29, 1))) == "2026-03-28"
    assert day_before(run_of(at(2026, 10, 25, 2))) == "2026-10-24"


def test_the_schedule_follows_the_clock_of_the_source(monkeypatch):
    bar = SOURCE.model_copy(update={"timezone": "America/New_York", "day_ends_at": time(4)})
    monkeypatch.setattr("dags.score_date.SOURCE", bar)
    scheduled = runpy.run_path(str(PROJECT_ROOT / "dags/nightly_scoring.py"))["dag"].timetable
    assert (scheduled.expression, str(scheduled.timezone)) == ("0 6 * * *", "America/New_York")
    # 03:59 in New York: the first of July is not over.
    assert day_before(run_of(datetime(2026, 7, 2, 7, 59, tzinfo=UTC))) == "2026-06-30"


def test_unpausing_starts_no_run_of_the_past(bag):
    from airflow.serialization.serialized_objects import DagSerialization

    stored = DagSerialization.serialize_dag(bag.dags["nightly_scoring"])
    scheduled = DagSerialization.deserialize_dag(stored)
    following = scheduled.next_dagrun_info(last_automated_run_info=None)
    assert following.run_after > datetime.now(UTC)
    assert following.run_after.in_timezone(SOURCE.timezone).hour == 2


@pytest.mark.parametrize("model", ["champion", "v1.0.0", "v12.3.45"])
def test_form_takes_a_model_by_version_or_as_champion(bag, model):
    assert bag.dags["nightly_scoring"].params.get_param("model").resolve(value=model) == model


@pytest.mark.parametrize("model", ["latest", "v1", "v1.0.0 --dry-run", "", "v1.0.0\nx"])
def test_form_takes_no_other_model(bag, model):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        bag.dags["nightly_scoring"].params.get_param("model").resolve(value=model)
