"""A real master and a real worker, started by the very commands of docker-compose.yaml."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from jobs.session import java_home
from settings import PROJECT_ROOT

pytestmark = pytest.mark.e2e

# What a job does on a cluster: aggregate, shuffle, write Parquet, and run our Python on workers.
JOB = """
import sys
from settings import Settings
from jobs.session import spark_session

def where(batches):
    import os, sys
    import pyarrow as pa
    import catalog
    for batch in batches:
        here = [f"{sys.executable} {catalog.__file__} {os.environ['OMP_WAIT_POLICY']}"] * len(batch)
        yield pa.RecordBatch.from_arrays([batch["id"], pa.array(here)], ["id", "here"])

spark = spark_session(Settings(), "cluster")
rows = spark.range(1000).repartition(4).mapInArrow(where, "id long, here string")
rows.write.parquet(sys.argv[1])
spark.read.parquet(sys.argv[1]).groupBy("here").count().write.json(sys.argv[2])
print(spark.sparkContext.master)
spark.stop()
"""


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def ask(port: str) -> dict:
    """What a node's page says about it as JSON; empty while nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/", timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return {}


@pytest.fixture
def cluster(tmp_path):
    """The URL of a master with one worker."""
    services = yaml.safe_load((PROJECT_ROOT / "docker-compose.yaml").read_text())["services"]
    master, master_page, worker_page = free_port(), free_port(), free_port()
    here = {
        "spark-master": "127.0.0.1",
        "7077": master,
        "8081": master_page,
        "8082": worker_page,
        "/tmp/spark": str(tmp_path / "work"),  # noqa: S108
        "spark://spark-master:7077": f"spark://127.0.0.1:{master}",
    }
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "JAVA_HOME": java_home(),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    nodes = []
    try:
        for service in ("spark-master", "spark-worker"):
            command = [here.get(word, word) for word in services[service]["command"]]
            with (tmp_path / f"{service}.log").open("wb") as log:
                nodes.append(
                    subprocess.Popen(
                        command, env=environment, cwd=tmp_path, stderr=log, start_new_session=True
                    )
                )
        deadline = time.monotonic() + 120
        while not ask(master_page).get("aliveworkers") or not ask(worker_page):
            ended = [node.args for node in nodes if node.poll() is not None]
            assert not ended, f"{ended} ended: {(tmp_path / 'spark-worker.log').read_text()}"
            assert time.monotonic() < deadline, "master and worker did not find each other"
            time.sleep(0.2)
        yield f"spark://127.0.0.1:{master}"
    finally:
        for node in reversed(nodes):
            os.killpg(node.pid, signal.SIGTERM)
            node.wait(timeout=60)


def test_a_job_runs_on_the_cluster_with_our_python_and_our_modules(cluster, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT_ROOT),
        "SCORING_SPARK_MASTER": cluster,
        "SCORING_SPARK_EXECUTOR_MEMORY": "512m",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path / "rows"), str(tmp_path / "counts")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == cluster
    [counted] = [
        json.loads(line)
        for file in (tmp_path / "counts").glob("*.json")
        for line in file.read_text().splitlines()
    ]
    assert counted == {
        "here": f"{sys.executable} {PROJECT_ROOT / 'catalog.py'} PASSIVE",
        "count": 1000,
    }
    assert list((tmp_path / "work").glob("app-*/0"))
