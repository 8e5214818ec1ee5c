"""A Spark cluster, by the very commands of docker-compose.yaml; the fault matrix, begun early."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from jobs.java import java_home
from local.airflow.processes import free_port
from settings import PROJECT_ROOT

SEED = 241
CASES = 10


@dataclass(frozen=True)
class Faults:
    """A fault matrix under way, what it says, and the page that it writes."""

    process: subprocess.Popen
    said: Path
    page: Path


@pytest.fixture(scope="session", autouse=True)
def faults(request, tmp_path_factory) -> Iterator[Faults | None]:
    """Computes while other tests wait for Airflow; None when no test asks for it."""
    if not any(item.path.stem == "test_faults" for item in request.session.items):
        yield None
        return
    folder = tmp_path_factory.mktemp("faults")
    said, page = folder / "said", folder / "faults.md"
    # Jobs are forked from a process without threads, which a test's own is not.
    command = ["benchmarks.faults", f"--seed={SEED}", f"--count={CASES}", "--database=sqlite"]
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, f"--page={page}"],
            cwd=PROJECT_ROOT,
            env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield Faults(process, said, page)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def commands_below(page: str, heading: str) -> list[str]:
    """The blocks of commands that a page shows between a heading and the next one."""
    text = (PROJECT_ROOT / page).read_text(encoding="utf-8")
    [section] = re.findall(rf"^## {heading}\n(.*?)^##", text, re.DOTALL | re.MULTILINE)
    return re.findall(r"^ *```\n(.*?)^ *```", section, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def top() -> Iterator[Path]:
    """A folder with a short path that other users reach: PostgreSQL does not run as root."""
    folder = Path(tempfile.mkdtemp(prefix="e2e-"))
    folder.chmod(0o755)
    yield folder
    # Below what jobs have made, which is closed to others, it is a link to where its data are.
    for server in folder.glob("**/postgres/server"):
        shutil.rmtree(server.resolve())
    shutil.rmtree(folder)


def ask(port: str) -> dict:
    """What a node's page says about it as JSON; empty while nobody answers.

    A node that starts has its page before it has its JSON, and answers with the page meanwhile.
    """
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/", timeout=5) as answer:
            return json.load(answer)
    except (OSError, json.JSONDecodeError):
        return {}


@dataclass(frozen=True)
class Cluster:
    """A master and two workers, which leave their files in ``work``."""

    url: str
    work: Path
    workers: dict[str, subprocess.Popen]

    def kill_a_busy_worker(self) -> None:
        """Wait until a worker has an executor of a job, and kill both; the other goes on."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            for page, worker in self.workers.items():
                if worker.poll() is None and ask(page).get("executors"):
                    os.killpg(worker.pid, signal.SIGKILL)
                    worker.wait()
                    return
            time.sleep(0.1)
        raise AssertionError("no worker got work")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """A cluster that all tests share: one of its workers may have been killed."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A master with two workers, by the very commands of docker-compose.yaml."""
    services = yaml.safe_load((PROJECT_ROOT / "docker-compose.yaml").read_text())["services"]
    work = folder / "work"
    master, master_page, *worker_pages = (str(free_port()) for _ in range(4))
    here = {
        "spark-master": "127.0.0.1",
        "7077": master,
        "8081": master_page,
        "/tmp/spark": str(work),  # noqa: S108
        "spark://spark-master:7077": f"spark://127.0.0.1:{master}",
    }
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "JAVA_HOME": java_home(),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    nodes: list[subprocess.Popen] = []

    def begin(service: str, **words: str) -> subprocess.Popen:
        command = [(here | words).get(word, word) for word in services[service]["command"]]
        with (folder / f"{service}.log").open("ab") as log:
            node = subprocess.Popen(
                command, env=environment, cwd=folder, stderr=log, start_new_session=True
            )
        nodes.append(node)
        return node

    try:
        begin("spark-master")
        workers = {page: begin("spark-worker", **{"8082": page}) for page in worker_pages}
        deadline = time.monotonic() + 120
        while ask(master_page).get("aliveworkers") != len(workers) or not all(map(ask, workers)):
            ended = [node.args for node in nodes if node.poll() is not None]
            assert not ended, f"{ended} ended: {(folder / 'spark-worker.log').read_text()}"
            assert time.monotonic() < deadline, "master and workers did not find each other"
            time.sleep(0.2)
        yield Cluster(f"spark://127.0.0.1:{master}", work, workers)
    finally:
        for node in reversed(nodes):
            with suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGTERM)
            node.wait(timeout=60)
