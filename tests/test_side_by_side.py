"""`make test` runs three processes; it is red if one is, and leaves none behind."""

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


def start(folder: Path, *codes: str) -> subprocess.Popen:
    parts = []
    for number, code in enumerate(codes):
        file = folder / f"test_part_{number}.py"
        file.write_text(code)
        parts.append(repr([str(file), "-p", "no:cacheprovider"]))
    return subprocess.Popen(
        [sys.executable, "-c", f"from tests.side_by_side import main; main({', '.join(parts)})"],
        cwd=PROJECT_ROOT,
        # They need no plugin, and loading all there are takes a second.
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("red", [None, 0, 1, 2])
def test_is_red_if_one_is_and_shows_all(tmp_path, red):
    process = start(tmp_path, *(RED if number == red else GREEN for number in range(3)))
    shown, _ = process.communicate()
    assert process.returncode == (red is not None)
    assert shown.count("1 passed") == 3 - process.returncode
    assert shown.count("\nE       AssertionError: assert 'this' == 'that'") == process.returncode
    assert (f"red: {tmp_path / f'test_part_{red}.py'}" in shown) == (red is not None)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM])
def test_ended_by_a_signal_it_leaves_no_process_behind(tmp_path, word):
    process = start(tmp_path, *[WITH_A_SERVER] * 3)
    pids = [tmp_path / f"test_part_{number}.pid" for number in range(3)]
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
