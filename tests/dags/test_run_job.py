"""Tests of dags/run_job.py, with jobs of a few lines started for real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.bases.operator import ExecutorSafeguard
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from dags.run_job import JobOperator, JobSensor, job_command, run_job
from settings import PROJECT_ROOT

HOSTILE = [
    "; touch /tmp/injected",
    "$(touch /tmp/injected)",
    "`touch /tmp/injected`",
    "--model=v9.9.9",
    "-h",
    "a'b\"c\\d",
    "two\nlines",
    "{{ 7 * 7 }}",
    "%s && exit 20",
    "",
    " ",
    "日本",
]


@pytest.fixture
def _outside_airflow(monkeypatch):
    """Lets a test call ``execute`` itself."""
    monkeypatch.setattr(ExecutorSafeguard, "test_mode", True)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def await_end(pid: int) -> bool:
    """Whether the process ends within 30 s."""
    for _ in range(300):
        if not is_running(pid):
            return True
        time.sleep(0.1)
    return False


def await_text(path: Path) -> str:
    for _ in range(300):
        if path.exists() and path.read_text():
            return path.read_text()
        time.sleep(0.1)
    raise AssertionError(f"{path} was not written")


@pytest.mark.usefixtures("_outside_airflow")
def test_last_line_of_output_is_the_result_even_when_a_log_line_follows(stand_in):
    stand_in("talk", 'import sys; print("a"); print(\'{"n": 1}\'); print("bye", file=sys.stderr)')
    assert run_job("talk").execute({}) == {"n": 1}


@pytest.mark.usefixtures("_outside_airflow")
def test_what_a_job_logs_is_in_the_log_of_the_task(stand_in, capsys):
    stand_in("talk", 'import sys; print("to stderr", file=sys.stderr); print("{}")')
    run_job("talk", "--why=a b").execute({})
    logged = capsys.readouterr().out
    assert "to stderr" in logged
    assert "$ python -m jobs.talk '--why=a b'" in logged


@pytest.mark.usefixtures("_outside_airflow")
def test_an_error_of_a_job_is_an_error_in_the_log_of_the_task_all_its_lines(stand_in, capsys):
    line = "2026-04-02 02:00:01,123 %s %s"
    said = [
        line % ("INFO", "reading"),
        line % ("ERROR", "refused: 6 rows"),
        "→ what to do: ask",
        line % ("WARNING", "thin"),
    ]
    stand_in("talk", f"import sys; print({chr(10).join(said)!r}, file=sys.stderr); print('{{}}')")
    run_job("talk").execute({})
    logged = capsys.readouterr().out.splitlines()
    levels = {
        text: next(one for one in logged if text in one).lower()
        for text in ("reading", "refused: 6 rows", "→ what to do: ask", "thin")
    }
    assert ["error" in one.split("refused")[0] for one in levels.values()] == [
        False,
        True,
        True,
        False,
    ]
    assert "warning" in levels["thin"]
    # Airflow shows a time of its own.
    assert not any("02:00:01,123" in one for one in logged)


@pytest.mark.usefixtures("_outside_airflow")
def test_bad_data_fails_at_once_with_the_reason(stand_in):
    stand_in("judge", 'import sys; print("column x is missing", file=sys.stderr); sys.exit(20)')
    with pytest.raises(AirflowFailException, match="judge: column x is missing"):
        run_job("judge").execute({})


@pytest.mark.usefixtures("_outside_airflow")
@pytest.mark.parametrize(
    ("kind", "raised"), [("BadData", AirflowFailException), ("OSError", RuntimeError)]
)
def test_what_went_wrong_is_told_whole_however_many_lines_it_has(stand_in, kind, raised):
    code = f"""
        import sys
        sys.path[:0] = ["{PROJECT_ROOT}", "{PROJECT_ROOT}/jobs"]
        from errors import BadData
        from entry import job_parser, start
        def main(_):
            raise {kind}("column x is missing:\\n- in a.csv\\nAsk upstream.")
        start(job_parser("Judges."), main)
    """
    stand_in("judge", code)
    with pytest.raises(raised, match=r"column x is missing:\n- in a\.csv\nAsk upstream\."):
        run_job("judge").execute({})


@pytest.mark.usefixtures("_outside_airflow")
@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("raise OSError('disk full')", r"exit code 1\): OSError: disk full"),
        ("import sys; sys.exit(99)", "exit code 99"),
        ("import os; os.kill(os.getpid(), 9)", "SIGKILL"),
        ("import sys; sys.exit(75)", "exit code 75"),
    ],
)
def test_any_other_end_is_a_fault_to_be_tried_again(stand_in, code, how):
    stand_in("fail", code)
    with pytest.raises(RuntimeError, match=how) as caught:
        run_job("fail").execute({})
    assert not isinstance(caught.value, AirflowFailException)


@pytest.mark.usefixtures("_outside_airflow")
def test_a_task_that_was_not_asked_for_is_skipped(stand_in):
    stand_in("never", "raise SystemExit(1)")
    with pytest.raises(AirflowSkipException):
        run_job("never", only_if="False").execute({})


def test_hostile_fields_of_the_form_stay_one_value(bag, stand_in):
    stand_in("open_run", "import json, sys; print(json.dumps(sys.argv[1:]))")
    import jobs.open_run

    for text in HOSTILE:
        task = bag.dags["nightly_scoring"].get_task("open_run").prepare_for_execution()
        task.render_template_fields(
            {
                "params": {"model": "champion", "reason": text, "accept_missing_days": False},
                "ti": SimpleNamespace(xcom_pull=lambda _: {"score_date": "2026-04-01"}),
                "run_id": "by its id",
            }
        )
        flags = task.result(task.run())
        asked = jobs.open_run.PARSER.parse_args(flags)
        assert (asked.reason, asked.model) == (text or "by its id", "champion")
    assert not Path("/tmp/injected").exists()  # noqa: S108


def test_jobs_get_our_settings_and_none_of_airflows_secrets(stand_in, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "x")
    monkeypatch.setenv("AIRFLOW_CONN_MAIL", "x")
    monkeypatch.setenv("SCORING_SOURCE", "generated")
    stand_in("show", "import json, os; print(json.dumps(dict(os.environ)))")
    task = run_job("show")
    names = set(task.result(task.run()))
    assert "SCORING_SOURCE" in names
    assert not {name for name in names if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_"))}


def test_stopping_a_task_ends_the_job_and_what_it_has_started(stand_in, tmp_path):
    pids = tmp_path / "pids"
    stand_in(
        "sleep",
        f"""
        import os, subprocess, sys
        child = subprocess.Popen(["sleep", "600"])
        open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        child.wait()
        """,
    )
    from dags.run_job import JobProcess

    job = JobProcess.start(job_command("sleep", []), print)
    job_pid, child_pid = map(int, await_text(pids).split())
    job.stop()
    assert await_end(job_pid)
    assert await_end(child_pid)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv (util-linux) is not installed")
def test_a_killed_worker_leaves_no_job_behind(stand_in, tmp_path):
    pid = tmp_path / "pid"
    stand_in(
        "sleep",
        f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)",
    )
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                f"""
                from pathlib import Path
                from dags import run_job
                run_job.PROJECT_ROOT = Path({str(tmp_path)!r})
                run_job.JobProcess.start(run_job.job_command("sleep", []), print).wait()
                """
            ),
        ],
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
    )
    job_pid = int(await_text(pid))
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert await_end(job_pid)


def test_a_job_ends_when_the_supervisor_of_its_task_was_killed(stand_in, monkeypatch):
    stand_in("sleep", "import time; time.sleep(600)")
    parents = iter([100, 100, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents, 1))
    task = run_job("sleep")
    task.run()
    assert task.running.process.returncode == -signal.SIGTERM


@pytest.mark.usefixtures("_outside_airflow")
def test_what_is_awaited_is_handed_on_when_it_is_there(stand_in):
    stand_in("look", 'print(\'{"score_date": "2026-04-01"}\')')
    assert sensor("look").execute(first_look()) == {"score_date": "2026-04-01"}


@pytest.mark.usefixtures("_outside_airflow")
def test_a_delivery_that_is_not_there_is_looked_for_again(stand_in):
    stand_in("look", "raise SystemExit(75)")
    with pytest.raises(AirflowRescheduleException):
        sensor("look").execute(first_look())


@pytest.mark.usefixtures("_outside_airflow")
def test_who_waits_for_a_delivery_says_until_when(stand_in, capsys):
    stand_in("look", "raise SystemExit(75)")
    with pytest.raises(AirflowRescheduleException):
        sensor("look").execute(first_look(datetime.now(UTC).replace(2099, 4, 2, 5, 30)))
    assert "waits until 2099-04-02 06:30 UTC, and looks every 0:01:00" in capsys.readouterr().out


@pytest.mark.usefixtures("_outside_airflow")
def test_after_the_deadline_the_error_says_what_was_awaited(stand_in):
    stand_in("look", 'import sys; print("nothing in /in/x", file=sys.stderr); sys.exit(75)')
    with pytest.raises(AirflowSensorTimeout, match=r"1:00:00.*nothing in /in/x"):
        sensor("look").execute(first_look(datetime(2026, 1, 1, tzinfo=UTC)))


@pytest.mark.usefixtures("_outside_airflow")
def test_a_fault_while_waiting_is_not_taken_for_a_missing_delivery(stand_in):
    stand_in("look", "raise OSError('gone')")
    with pytest.raises(RuntimeError, match="gone"):
        sensor("look").execute(first_look())


def sensor(job: str) -> JobSensor:
    return JobSensor(job=job, arguments=[], poke_interval=60, timeout=3600)


def first_look(at: datetime | None = None) -> dict:
    """The context of a sensor whose first look was at that instant, or is now."""
    return {"ti": SimpleNamespace(get_first_reschedule_date=lambda _: at)}


def test_a_job_operator_is_named_for_its_job():
    assert run_job("build_features").task_id == "build_features"
    assert isinstance(run_job("build_features"), JobOperator)
    assert json.dumps(job_command("x", ["", "--a=1", ""])[1:]) == '["-m", "jobs.x", "--a=1"]'
