"""`make test` runs two processes; it is red if one is, and leaves none behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from settings import PROJECT_ROOT

GREEN = "def test_green():\n    pass\n"
RED = "def test_red():\n    assert 'this' == 'that'\n"
WITH_A_SERVER = """
import pathlib, subprocess, time, pytest

@pytest.fixture(scope="session")
def server():
    server = subprocess.Popen(["sleep", "600"], start_new_session=True)
    pathlib.Path(__file__).with_suffix(".pid").write_text(str(server.pid))
    yield
    server.kill()
    server.wait()

def test_that_waits(server):
    time.sleep(600)
"""


def start(folder: Path, waiting: str, computing: str) -> subprocess.Popen:
    files = folder / "test_waiting.py", folder / "test_computing.py"
    for file, code in zip(files, (waiting, computing), strict=True):
        file.write_text(code)
    halves = ", ".join(repr([str(file), "-p", "no:cacheprovider"]) for file in files)
    return subprocess.Popen(
        [sys.executable, "-c", f"from tests.side_by_side import main; main({halves})"],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    ("waiting", "computing", "exit_code"),
    [(GREEN, GREEN, 0), (RED, GREEN, 1), (GREEN, RED, 1)],
    ids=["both are green", "the waiting are red", "the computing are red"],
)
def test_is_red_if_one_of_both_is_and_shows_both(tmp_path, waiting, computing, exit_code):
    process = start(tmp_path, waiting, computing)
    shown, _ = process.communicate()
    assert process.returncode == exit_code
    assert shown.count("1 passed") == 2 - exit_code
    assert shown.count("\nE       AssertionError: assert 'this' == 'that'") == exit_code
    red = tmp_path / f"test_{'waiting' if waiting == RED else 'computing'}.py"
    assert (f"red: {red}" in shown) == bool(exit_code)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_ended_by_a_signal_it_leaves_no_process_behind(tmp_path, word):
    process = start(tmp_path, WITH_A_SERVER, WITH_A_SERVER)
    pids = [tmp_path / f"test_{half}.pid" for half in ("waiting", "computing")]
    deadline = time.monotonic() + 60
    while not all(pid.exists() and pid.read_text() for pid in pids):
        assert time.monotonic() < deadline, "the tests did not begin"
        time.sleep(0.1)
    started = [int(pid.read_text()) for pid in pids]
    started += [int(Path(f"/proc/{pid}/stat").read_text().split()[3]) for pid in started]
    assert all(map(is_alive, started))

    os.kill(process.pid, word)

    process.communicate(timeout=60)
    assert process.returncode == 128 + word
    assert not any(map(is_alive, started))
