"""Ending `make run` ends the step that is under way, with all it has started."""

import os
import signal
import subprocess
import sys

import psutil
import pytest

from settings import PROJECT_ROOT

# A step that never ends, and whose own child does not either.
STEPS = """
from local.run import step
from local.signals import leave_when_told

leave_when_told()
step("Wait", "Never ends.", "tests.local.endless")
"""


@pytest.mark.parametrize("word", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_process_behind(word):
    run = subprocess.Popen(
        [sys.executable, "-c", STEPS],
        cwd=PROJECT_ROOT,
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT), "SCORING_SOURCE": "generated"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while "begun" not in run.stderr.readline():
        assert run.poll() is None
    started = psutil.Process(run.pid).children(recursive=True)
    assert len(started) == 2

    run.send_signal(word)

    assert run.wait(timeout=30) == 128 + word
    _, left = psutil.wait_procs(started, timeout=10)
    assert left == []
