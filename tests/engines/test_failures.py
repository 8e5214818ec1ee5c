"""What is left of a job that dies, and what is said of an engine that does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from errors import WrongInput
from jobs.session import EngineFailed, session
from local.airflow.processes import free_port
from settings import PROJECT_ROOT, Settings
from tests.engines.conftest import wait_for

# A job that is at work until it may write.
JOB = """
import sys
from pathlib import Path
from jobs.session import session
from settings import Settings

may_write = Path(sys.argv[1]).with_name("may_write")
at_work = may_write.with_name("at_work")

def slowly(batches):
    import time
    at_work.touch()
    for batch in batches:
        while not may_write.exists():
            time.sleep(0.1)
        yield batch

with session(Settings(), "a job", Settings().spark) as spark:
    rows = spark.range(10).repartition(1).mapInArrow(slowly, "id bigint")
    rows.write.parquet(sys.argv[1])
"""

TOO_MUCH = """
from jobs.session import job_session
from settings import Settings

with job_session(Settings(), "a job", "embedded") as spark:
    names = spark.range(60_000_000).selectExpr("id % 3 k", "sha2(cast(id as string), 512) name")
    listed = names.groupBy("k").agg({"name": "collect_list"})
    listed.selectExpr("size(`collect_list(name)`)").collect()
"""


@pytest.fixture
def shared(tmp_path):
    """An engine of its own process, as several jobs may share it: its URL and the process."""
    port = free_port()
    with (tmp_path / "engine.log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "sail", "spark", "server", "--port", str(port)],
            env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT), "RUST_LOG": "error"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for(port, process)
        yield f"sc://127.0.0.1:{port}", process
    finally:
        process.kill()
        process.wait()


def start(program: str, url: str, root: Path, *arguments: Path) -> subprocess.Popen:
    ours = {"PYTHONPATH": str(PROJECT_ROOT), "SCORING_SPARK": url, "SCORING_DATA_ROOT": str(root)}
    job = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | ours,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if arguments:
        deadline = time.monotonic() + 120
        while not arguments[0].with_name("at_work").exists():
            assert job.poll() is None, job.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.1)
    return job


@pytest.mark.parametrize("word", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_dead_job_left_on_a_shared_engine_is_cancelled(shared, tmp_path, word):
    url, _ = shared
    job = start(JOB, url, tmp_path, tmp_path / "rows")
    job.send_signal(word)
    job.communicate()
    assert (tmp_path / "sessions").exists()
    # The next try of the job, which begins with what is left.
    with session(Settings(data_root=tmp_path), "a job", url) as spark:
        assert spark.range(3).count() == 3
    (tmp_path / "may_write").touch()
    time.sleep(3)
    assert list(tmp_path.glob("rows/*.parquet")) == []
    assert list((tmp_path / "sessions").iterdir()) == []


@pytest.mark.parametrize("engine", ["embedded", "local[1]"])
def test_nothing_of_a_killed_job_goes_on_where_the_engine_is_its_own(tmp_path, engine):
    job = start(JOB, engine, tmp_path, tmp_path / "rows")
    family = [job.pid, *descendants(job.pid)]
    assert any("java" in command(pid) for pid in family) == (engine != "embedded")
    job.kill()
    job.communicate()
    deadline = time.monotonic() + 30
    while any(command(pid) for pid in family):
        assert time.monotonic() < deadline, [command(pid) for pid in family]
        time.sleep(0.1)
    assert list(tmp_path.glob("rows/*.parquet")) == []


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [one for child in map(int, children) for one in (child, *descendants(child))]


def command(pid: int) -> str:
    """The command line of a process; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_without_that_it_would_have_gone_on_and_written(shared, tmp_path):
    url, _ = shared
    job = start(JOB, url, tmp_path, tmp_path / "rows")
    job.kill()
    job.communicate()
    (tmp_path / "may_write").touch()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("rows/*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_an_engine_that_dies_is_a_sentence(shared, tmp_path):
    url, engine = shared
    job = start(JOB, url, tmp_path, tmp_path / "rows")
    engine.kill()
    _, said = job.communicate(timeout=120)
    assert job.returncode == 1
    assert (
        f"EngineFailed: nobody answers at {url} (SCORING_SPARK), or the engine there died" in said
    )


def test_an_engine_that_is_not_there_is_a_sentence(tmp_path):
    url, active = f"sc://127.0.0.1:{free_port()}", SparkSession.getActiveSession()
    with (
        pytest.raises(EngineFailed, match=rf"nobody answers at {url}.*See that it runs"),
        session(Settings(data_root=tmp_path), "a job", url),
    ):
        pass
    # Else PySpark would ask the dead one for settings at the expressions of later sessions.
    assert SparkSession.getActiveSession() is active


def test_a_query_beyond_the_memory_ends_the_job_and_not_the_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("SCORING_SPARK_EMBEDDED_MEMORY", "1g")
    job = start(TOO_MUCH, "embedded", tmp_path)
    _, said = job.communicate(timeout=120)
    assert job.returncode != 0
    assert "SCORING_SPARK_EMBEDDED_MEMORY" in said or "memory allocation of" in said


@pytest.mark.parametrize(
    ("variable", "value", "why"),
    [
        ("SCORING_SPARK", "mesos://there", "pattern"),
        ("SCORING_SPARK_EMBEDDED_MEMORY", "300m", "at least 1g"),
        ("SCORING_SPARK_MASTER", "local[2]", "is now SCORING_SPARK"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_at_start(monkeypatch, variable, value, why):
    monkeypatch.setenv(variable, value)
    with pytest.raises(WrongInput, match=why):
        Settings()
