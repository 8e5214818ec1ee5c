"""A Spark cluster: a real master and a real worker, by the very commands of docker-compose.yaml."""

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

from jobs.java import java_home
from settings import PROJECT_ROOT


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
