"""Java for a job that looks at few rows."""

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
from jobs.session import session
from settings import Settings

with session(Settings(), "a job", "local[1]", int(sys.argv[1])) as spark:
    print(json.dumps(spark.conf.get("spark.driver.extraJavaOptions").split()))
"""


@pytest.mark.parametrize(("rows", "compiles_once"), [(1_000_000, True), (10_000_000, False)])
def test_java_compiles_once_where_compiling_better_would_not_pay(tmp_path, rows, compiles_once):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(rows)],
        env=os.environ | {"SCORING_DATA_ROOT": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    options = json.loads(done.stdout.splitlines()[-1])
    assert ("-XX:TieredStopAtLevel=1" in options) == compiles_once
    assert "-XX:+UseParallelGC" in options
