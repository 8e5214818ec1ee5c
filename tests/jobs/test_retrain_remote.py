"""Training where everything is elsewhere: bare repositories and an S3 server, both real."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import boto3
import pytest
import sqlalchemy as sa

from jobs import promote_model
from local.airflow.processes import free_port
from models.git import git
from models.store import StoreUnavailable, fetch_bundle
from params import read_params
from settings import PROJECT_ROOT, Settings
from tests.jobs.test_retrain_model import (
    DVC_YAML,
    PARAMS,
    commit,
    finish,
    registry_of,
    start_training,
    versions,
)
from warehouse import connect

# A bundle that was made before takes the place of an hour of Spark; all around it is real.
TRAIN = """\
import os, pathlib, shutil

shutil.copytree(pathlib.Path(os.environ["SCORING_DATA_ROOT"]) / "prepared", "artifacts/bundle")
pathlib.Path("artifacts/window.json").write_text("{}")
"""

BUCKET = "models"
SERVER_BYTES = 2 * 2**30
# It bounds itself: done between fork and exec, the bound is that of a copy of the tests' own
# process, which may take more and then cannot do anything any more.
SERVER = """
import resource, runpy, sys

most = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_AS, (most, most))
runpy.run_module("moto.server", run_name="__main__")
"""


class Line:
    """The line to the S3 server, which a test may cut: while it is cut, nobody answers."""

    def __init__(self, server: int) -> None:
        self._server, self._uploads_left = server, None
        self._open: set[socket.socket] = set()
        self.port = free_port()
        self.mend()

    def cut_after(self, uploads: int) -> None:
        """Let this many uploads through and then cut the line."""
        self._uploads_left = uploads

    def cut(self) -> None:
        """Cut it now."""
        for side in [self._listener, *self._open]:
            # Closing alone would leave those asleep who wait for it.
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def mend(self) -> None:
        """Answer again, at the same address."""
        self._uploads_left = None
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._answer, args=(self._listener,), daemon=True).start()

    def _answer(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return  # cut
            server = socket.create_connection(("127.0.0.1", self._server))
            self._open |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while chunk := source.recv(65536):
                if chunk.startswith(b"PUT ") and self._uploads_left is not None:
                    if self._uploads_left == 0:
                        self.cut()
                        return
                    self._uploads_left -= 1
                target.sendall(chunk)
        except OSError:
            return  # cut
        finally:
            with suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[int]:
    """The port of an S3 server of our own, with bounded memory and an empty bucket."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(SERVER_BYTES), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None, "the S3 server did not start"
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def line(s3_server, monkeypatch) -> Iterator[Line]:
    """The way to the S3 server, found by everybody as an operator would say it."""
    line = Line(s3_server)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{line.port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        # An operator would wait longer for a server that is away.
        "AWS_MAX_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    yield line
    line.cut()


@pytest.fixture
def remote(tmp_path, line, empty_warehouse, model_shop, monkeypatch) -> Settings:  # noqa: ARG001
    """A deployment that has the code by ssh, the registry by URL and the models in S3."""
    code = tmp_path / "code"
    code.mkdir()
    for name, text in {"train.py": TRAIN, "dvc.yaml": DVC_YAML, "params.yaml": PARAMS}.items():
        (code / name).write_text(text)
    (code / ".dvc").mkdir()
    (code / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (code / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    git("init", "--quiet", folder=code)
    commit(code)
    git("clone", "--quiet", "--bare", str(code), str(tmp_path / "code.git"))
    git("init", "--quiet", "--bare", str(tmp_path / "registry.git"))
    shutil.rmtree(code)

    # What ssh does at the other end: run the command that git asks for.
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nfor command; do :; done\nexec sh -c "$command"\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))

    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(empty_warehouse, data)
    shutil.copytree(model_shop / "fitting", data / "prepared")
    prefix = f"{BUCKET}/{tmp_path.name}"
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    return Settings(
        data_root=data,
        code_url=f"git@elsewhere:{tmp_path}/code.git",
        registry_url=f"file://{tmp_path}/registry.git",
        model_store_url=f"s3://{prefix}",
    )


def objects(settings: Settings) -> list[str]:
    """The names in the deployment's part of the bucket."""
    prefix = settings.model_store_url.removeprefix(f"s3://{BUCKET}/")
    found = boto3.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/")
    return [entry["Key"] for entry in found.get("Contents", [])]


def test_a_model_trained_from_a_bare_remote_into_s3_becomes_champion(remote, model_shop):
    assert finish(start_training(remote))["version"] == "v1.0.0"
    version = registry_of(remote).resolve("v1.0.0")
    files = list((model_shop / "fitting").iterdir())
    # Each content once, and the list of them.
    assert len(objects(remote)) == len({path.read_bytes() for path in files}) + 1

    promote_model.run(remote, read_params(), version="v1.0.0", reason="first", actor="ada")
    assert registry_of(remote).resolve("champion") == version
    bundle = remote.data_root / "bundles" / version.bundle_sha256
    assert sorted(p.name for p in bundle.iterdir()) == sorted(p.name for p in files)
    with connect(remote.warehouse_url).connect() as connection:
        moved = connection.execute(sa.text("select version, actor from promotions")).all()
    assert moved == [("v1.0.0", "ada")]


def test_when_s3_goes_away_in_the_middle_there_is_no_version_and_the_retry_makes_one(remote, line):
    line.cut_after(uploads=2)
    training = start_training(remote)
    out, _ = training.communicate()
    assert training.returncode == 1
    assert "dvc push ended with" in json.loads(out)["error"]
    assert versions(remote) == []

    line.mend()
    arrived = objects(remote)
    assert 0 < len(arrived) < len(list((remote.data_root / "prepared").iterdir()))
    assert finish(start_training(remote))["version"] == "v1.0.0"
    assert set(arrived) < set(objects(remote))
    version = registry_of(remote).resolve("v1.0.0")
    assert fetch_bundle(version, remote.model_store_url, remote.data_root / "bundles").is_dir()


def test_a_store_that_is_away_is_named(remote, line, tmp_path):
    finish(start_training(remote))
    version = registry_of(remote).resolve("v1.0.0")
    line.cut()
    with pytest.raises(StoreUnavailable, match=r"s3://.*Is SCORING_MODEL_STORE_URL right"):
        fetch_bundle(version, remote.model_store_url, tmp_path / "elsewhere")


def test_code_may_come_from_a_bare_folder_and_a_version_remembers_when_it_was_asked_for(
    remote, tmp_path
):
    ours = remote.model_copy(update={"code_url": str(tmp_path / "code.git")})
    command = [sys.executable, "-m", "jobs.retrain_model", "--until", "2026-04-30"]
    command += ["--reason", "drift", "--asked-at", "2026-05-01T05:10:00+02:00"]
    subprocess.run(
        command,
        cwd=PROJECT_ROOT,
        env=os.environ | {f"SCORING_{name.upper()}": str(value) for name, value in ours},
        check=True,
        capture_output=True,
    )
    version = registry_of(remote).resolve("v1.0.0")
    assert version.asked_at == datetime(2026, 5, 1, 3, 10, tzinfo=UTC)
