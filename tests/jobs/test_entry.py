"""What a person sees who starts a job with something wrong: a sentence, and no traceback."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import warehouse
from settings import PROJECT_ROOT


def started(settings, *words: str, code: str | None = None) -> subprocess.CompletedProcess:
    """A job as the command line starts it, in the deployment of the settings."""
    what = ["-c", code] if code else ["-m", *words]
    return subprocess.run(
        [sys.executable, *what],
        cwd=PROJECT_ROOT,
        env={**os.environ, "SCORING_DATA_ROOT": str(settings.data_root)},
        capture_output=True,
        text=True,
    )


MISTAKES = {
    "a run that nobody opened": (
        ["jobs.publish_predictions", "--score-date=2026-04-01", "--run-id=abc"],
        "no run abc of 2026-04-01 was opened",
    ),
    "a night that cannot be rolled back": (
        ["jobs.roll_back_predictions", "--score-date=2026-04-01", "--reason=typo"],
        "2026-04-01 shows run none",
    ),
    "a slip in a query": (
        ["jobs.show_nights", "--sql=selec 1"],
        "the warehouse did not answer 'selec 1'",
    ),
    "a name without a value": (
        ["jobs.show_nights", "--sql=select :a", "--value=a"],
        "'a' is not NAME=VALUE",
    ),
}


@pytest.mark.parametrize(("words", "sentence"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_answered_with_a_sentence(deployed, words, sentence):
    done = started(deployed, *words)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    if done.returncode == 1:
        assert sentence in json.loads(done.stdout.splitlines()[-1])["error"]


JOB = """
from jobs.entry import job_parser, start
def job(arguments):
    {}
start(job_parser("a job"), job)
"""


def test_a_full_disk_is_told_with_the_place_and_what_readers_see(settings):
    done = started(settings, code=JOB.format("raise OSError(28, 'No space left on device')"))
    assert f"{settings.data_root} has " in done.stderr
    assert "readers still see what was published before" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_nobody_has_foreseen_keeps_its_traceback(settings):
    done = started(settings, code=JOB.format("return 1 / 0"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert json.loads(done.stdout)["error"] == "ZeroDivisionError: division by zero"


def test_what_a_job_writes_is_not_for_everybody(settings):
    done = started(settings, "jobs.migrate_warehouse")
    assert done.returncode == 0, done.stderr
    file = Path(warehouse.connect(settings.warehouse_url).url.database)
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    done = started(
        settings, code=JOB.format(f"open({str(settings.data_root / 'x')!r}, 'w'); return {{}}")
    )
    assert stat.S_IMODE((settings.data_root / "x").stat().st_mode) == 0o640
