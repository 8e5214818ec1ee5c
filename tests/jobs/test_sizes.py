"""Which engine a job of the night gets."""

import os
import subprocess
import sys

import pytest

from records import RunRecord, StageRecord
from tests.jobs.small_shop import NIGHTS


@pytest.mark.parametrize("job", ["validate_delivery", "summarise_activity", "measure_quality"])
def test_a_job_of_few_rows_needs_no_java_where_the_nights_activity_is_long(shop, job):
    root, night = shop.data_root, NIGHTS[0]
    [path] = (root / f"lake/runs/score_date={night}").glob("*.json")
    record = RunRecord.read(root, night, path.stem).model_copy(update={"engine": "local[*]"})
    record.write(root)
    subprocess.run(
        [sys.executable, "-m", f"jobs.{job}", f"--score-date={night}", f"--run-id={path.stem}"],
        env=os.environ | {"SCORING_DATA_ROOT": str(root), "SCORING_SPARK": "auto"},
        check=True,
        capture_output=True,
    )
    assert StageRecord.read(root, record, job).engine.startswith("Sail")
