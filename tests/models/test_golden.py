"""A bundle's golden rows in a process of their own: what it takes, and what goes wrong."""

import shutil
import sys
import time

import pytest

from models.bundle_hash import bundle_sha256
from models.golden import peak_mebibytes, run_golden_rows
from tests.models.test_bundle import write


@pytest.fixture(scope="module")
def bundle(small_training_set, tmp_path_factory):
    return write(small_training_set, tmp_path_factory.mktemp("golden") / "bundle")


def test_time_and_memory_are_those_of_the_new_process_alone(bundle):
    ballast = bytearray(2**30)
    ballast[:: 2**12] = b"x" * (len(ballast) // 2**12)
    assert peak_mebibytes() > 1024
    found = run_golden_rows(bundle, bundle_sha256(bundle), seconds=300)
    assert found.error is None
    assert 20 < found.mebibytes < 1024
    assert found.seconds > 0


def test_a_process_that_takes_too_long_is_ended(bundle):
    found = run_golden_rows(bundle, bundle_sha256(bundle), seconds=0.005)
    assert (found.mebibytes, found.error) == (None, "not finished after 0.05 seconds")


def test_waiting_for_a_busy_machine_is_not_the_models_time(bundle, tmp_path, monkeypatch):
    """A process that sleeps takes long and uses nothing."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nsleep 3\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    quick = run_golden_rows(bundle, bundle_sha256(bundle), seconds=300)
    monkeypatch.setattr("models.golden.sys.executable", str(python))
    started = time.perf_counter()
    slow = run_golden_rows(bundle, bundle_sha256(bundle), seconds=300)
    assert time.perf_counter() - started > 3
    assert slow.error is None
    assert slow.seconds < quick.seconds + 2


def test_a_bundle_that_is_refused_says_why(bundle, tmp_path):
    damaged = shutil.copytree(bundle, tmp_path / "bundle")
    (damaged / "extra").touch()
    found = run_golden_rows(damaged, bundle_sha256(bundle), seconds=300)
    assert found.mebibytes is None
    assert "lost or added" in found.error
