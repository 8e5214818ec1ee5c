"""Cases of the fault matrix (`make faults`) on SQLite, of a seed whose first are of many kinds."""

import os
import subprocess
import sys

import pytest

from settings import PROJECT_ROOT

SEED = 241
CASES = 10


def faults(*arguments: str) -> subprocess.CompletedProcess:
    # Jobs are forked from a process without threads, which a test's own is not.
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", f"--seed={SEED}", *arguments],
        cwd=PROJECT_ROOT,
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        text=True,
        timeout=1200,
    )


@pytest.mark.e2e
def test_whatever_happens_to_a_night_it_ends_as_an_undisturbed_one(tmp_path):
    page = tmp_path / "faults.md"
    done = faults(f"--count={CASES}", "--database=sqlite", f"--page={page}")
    assert done.returncode == 0, done.stderr
    assert f"{CASES} cases, 0 violations" in done.stderr
    assert "**Violations: 0.**" in page.read_text()
