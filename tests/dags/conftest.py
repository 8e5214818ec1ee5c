"""Fixtures for tests of dags/."""

import textwrap

import pytest

from dags import run_job
from settings import PROJECT_ROOT


@pytest.fixture(scope="session")
def bag():
    """What Airflow finds in dags/."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(PROJECT_ROOT / "dags"))


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Makes a job out of a few lines of Python, for tests of how jobs are started."""
    (tmp_path / "jobs").mkdir()
    monkeypatch.setattr(run_job, "PROJECT_ROOT", tmp_path)

    def write(name: str, code: str) -> None:
        (tmp_path / f"jobs/{name}.py").write_text(textwrap.dedent(code))

    return write
