"""A real standalone cluster of Apache Spark on this machine, with workers of one core each."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jobs.java import java_home

CLASSES = "org.apache.spark.deploy"
SECONDS_TO_START = 120


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where its master listens, and the processes of master and workers."""

    url: str
    pids: list[int]


@contextmanager
def standalone_cluster(folder: Path, workers: int, memory: str = "3g") -> Iterator[Cluster]:
    """A cluster that lasts as long as the block; what it logs lies in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    port, page = _free_port(), _free_port()
    url = f"spark://127.0.0.1:{port}"
    worker = [f"{CLASSES}.worker.Worker", "--cores", "1", "--memory", memory, url]
    worker += ["--work-dir", str(folder / "work"), "--webui-port", "0"]
    master = [f"{CLASSES}.master.Master", "--host", "127.0.0.1"]
    master += ["--port", str(port), "--webui-port", str(page)]
    nodes: list[subprocess.Popen] = []
    try:
        for command in (master, *[worker] * workers):
            nodes.append(_begin(command, folder / "cluster.log"))
        deadline = time.monotonic() + SECONDS_TO_START
        while _alive_workers(page) != workers:
            if time.monotonic() > deadline or any(node.poll() is not None for node in nodes):
                raise RuntimeError(f"the cluster did not start, see {folder / 'cluster.log'}")
            time.sleep(0.2)
        yield Cluster(url, [node.pid for node in nodes])
    finally:
        for node in reversed(nodes):
            with suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGTERM)
            node.wait(timeout=60)


def _begin(command: list[str], log: Path) -> subprocess.Popen:
    program = Path(sys.executable).with_name("spark-class")
    here = {"JAVA_HOME": java_home(), "SPARK_LOCAL_IP": "127.0.0.1"}
    with log.open("a") as output:
        return subprocess.Popen(
            [program, *command],
            env=os.environ | here,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def _alive_workers(page: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/json/", timeout=5) as answer:
            return json.load(answer)["aliveworkers"]
    except OSError:
        return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
