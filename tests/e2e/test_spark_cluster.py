"""A job on a real master and a real worker."""

import json
import os
import subprocess
import sys

import pytest

from settings import PROJECT_ROOT

pytestmark = pytest.mark.e2e

# What a job does on a cluster: aggregate, shuffle, write Parquet, and run our Python on workers.
JOB = """
import sys
from settings import Settings
from jobs.session import session

def where(batches):
    import os, sys
    import pyarrow as pa
    import catalog
    for batch in batches:
        here = [f"{sys.executable} {catalog.__file__} {os.environ['OMP_WAIT_POLICY']}"] * len(batch)
        yield pa.RecordBatch.from_arrays([batch["id"], pa.array(here)], ["id", "here"])

with session(Settings(), "cluster", Settings().spark) as spark:
    rows = spark.range(1000).repartition(4).mapInArrow(where, "id long, here string")
    rows.write.parquet(sys.argv[1])
    spark.read.parquet(sys.argv[1]).groupBy("here").count().write.json(sys.argv[2])
    print(spark.sparkContext.master)
"""


def test_a_job_runs_on_the_cluster_with_our_python_and_our_modules(cluster, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT_ROOT),
        "SCORING_SPARK": cluster.url,
        "SCORING_SPARK_EXECUTOR_MEMORY": "512m",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    before = set(cluster.work.glob("app-*/0"))
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path / "rows"), str(tmp_path / "counts")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == cluster.url
    # Of Spark's own words only faults are for people.
    assert done.stderr == ""
    [counted] = [
        json.loads(line)
        for file in (tmp_path / "counts").glob("*.json")
        for line in file.read_text().splitlines()
    ]
    assert counted == {
        "here": f"{sys.executable} {PROJECT_ROOT / 'catalog.py'} PASSIVE",
        "count": 1000,
    }
    assert set(cluster.work.glob("app-*/0")) - before
