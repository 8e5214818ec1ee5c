"""Two engines that are asked the same: the embedded one, and Apache Spark behind Spark Connect."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from jobs.java import FEW_ROWS_OPTIONS, java_home
from jobs.session import session
from local.airflow.processes import free_port
from settings import PROJECT_ROOT, Settings


def start_connect_server(log: Path, port: int) -> subprocess.Popen:
    """Apache Spark's own Connect server on this machine, as the runbook starts it."""
    command = [
        Path(sys.executable).parent / "spark-submit",
        *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer"),
        *("--master", "local[2]", "--driver-memory", "2g"),
        *("--driver-java-options", FEW_ROWS_OPTIONS),
        *("--conf", f"spark.connect.grpc.binding.port={port}"),
        *("--conf", "spark.connect.grpc.binding.address=127.0.0.1"),
        *("--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=3"),
        "spark-internal",
    ]
    ours = {
        "JAVA_HOME": java_home(),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(PROJECT_ROOT),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    others = {key: value for key, value in os.environ.items() if not key.startswith("SPARK_")}
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            env=others | ours,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def wait_for(port: int, process: subprocess.Popen, seconds: float = 120) -> None:
    """Return once somebody listens there; a busy machine takes its time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"nobody listens on port {port}")


@pytest.fixture(scope="session")
def apache_url(tmp_path_factory):
    """The address of a Connect server of Apache Spark."""
    port = free_port()
    process = start_connect_server(tmp_path_factory.mktemp("connect") / "log", port)
    try:
        wait_for(port, process)
        yield f"sc://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="session")
def apache(apache_url, tmp_path_factory):
    """A session on it."""
    settings = Settings(data_root=tmp_path_factory.mktemp("apache"))
    with session(settings, "tests", apache_url) as spark:
        yield spark


@pytest.fixture
def same(spark, apache) -> Callable:
    """``same(ask)``: what ``ask(session)`` answers on both engines, which must be the same bits."""

    def check(ask: Callable[[SparkSession], object]) -> object:
        embedded, reference = ask(spark), ask(apache)
        # As text, which tells -0.0 from 0.0 and keeps every bit of a number.
        assert repr(embedded) == repr(reference)
        return embedded

    return check


def rows(frame) -> list:
    """All rows, in an order of their own."""
    return sorted(frame.toArrow().to_pylist(), key=repr)
