"""The engine of a job: which one computes, and a session on it.

Jobs speak PySpark as far as Spark Connect goes, so that any engine which speaks it will do, and all
give the same bits. This module is the only place that knows which one it is.
"""

import importlib.metadata
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import uuid
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession

from jobs.engine import AUTO, EMBEDDED, THIS_MACHINE, choose_engine
from jobs.java import FEW_ROWS, FEW_ROWS_OPTIONS, JAVA_HOME, JAVA_OPTIONS, JAVA_RECORD, java_home
from lake import read_json, write_json
from params import Params
from records import RunRecord
from settings import PROJECT_ROOT, Settings

ENGINE = "spark.scoring.engine"
"""The session's setting that holds the name and version of its engine."""

# What changes a value is set for every engine. Days are cut and instants are shown in UTC whatever
# the machine's zone; partition values stay text, so that a hash made of digits is no number.
SAME_VALUES = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    # Apache Spark's own default is a type from before Parquet had one, which has no zone.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}

# Apache Spark would else put rows that are in the order of their groups into a hash table, twice.
IN_ORDER = {"spark.sql.execution.replaceHashWithSortAgg": "true"}

# Else each expression looks up the line of code that wrote it, in case an error wants to name it.
WITHOUT_CALL_SITES = {"spark.python.sql.dataFrameDebugging.enabled": "false"}

LOGGING = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties').as_uri()}"

log = logging.getLogger("jobs.session")


class EngineFailed(RuntimeError):
    """The engine died, cannot be reached, or had too little memory; a retry may help."""


def engine_of(spark: SparkSession) -> str:
    """The name and version of the engine behind a session, e.g. ``Sail 0.7.2, embedded``."""
    return spark.conf.get(ENGINE) or "unknown"


@contextmanager
def session(
    settings: Settings, name: str, engine: str, rows: int | None = None
) -> Iterator[SparkSession]:
    """A session of this process alone, which ends with the block.

    Args:
        settings: How much memory an engine may take.
        name: What the session is for; shown on the engine's pages.
        engine: As ``choose_engine`` gives it.
        rows: How many it looks at; a session of Apache Spark that is told of few is started for a
            short job.

    Raises:
        EngineFailed: If the engine dies, is not there, or lacks memory; says what to do.
    """
    # Threads that spin while they wait starve others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if engine == EMBEDDED:
        opened = _embedded(settings)
    elif engine.startswith("sc://"):
        opened = _connected(settings, name, engine)
    else:
        has_few = rows is not None and rows <= FEW_ROWS
        java_options = FEW_ROWS_OPTIONS if has_few else JAVA_OPTIONS
        opened = _apache(settings, name, engine, java_options)
    with _explained(engine), opened as spark:
        log.info("%s computes", engine_of(spark))
        yield spark


@contextmanager
def job_session(
    settings: Settings, name: str, engine: str, rows: int | None = None
) -> Iterator[SparkSession]:
    """The session of a job that is a process of its own, whose memory is bounded as a whole.

    The embedded engine counts what its sorts, joins and aggregates hold, which is about half of
    what it takes. For the rest the process gets a limit: of what it may reserve, which is up to
    three times of what it takes (threads, and buffers for each file that is written).
    """
    if engine == EMBEDDED:
        most = 3 * bytes_of(settings.spark_embedded_memory)
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    with session(settings, name, engine, rows) as spark:
        yield spark


def on_spark(
    name: str,
    run: Callable[[SparkSession, Settings, Params, RunRecord], dict],
    rows: Callable[[Settings, RunRecord], int] | None = None,
) -> Callable[[Namespace], dict]:
    """What a job of the night does with its command line: ``run``, with what was pinned for it.

    With ``SCORING_SPARK=auto`` the engine is the one that the run was opened with. A job that looks
    at fewer ``rows`` than the widest query of the night gets the engine for those.
    """

    def main(arguments: Namespace) -> dict:
        settings = Settings()
        record = RunRecord.read(settings.data_root, arguments.score_date, arguments.run_id)
        engine = record.engine if settings.spark == AUTO else settings.spark
        found = None if rows is None else rows(settings, record)
        if found is not None and settings.spark == AUTO and engine == THIS_MACHINE:
            engine = choose_engine(AUTO, found)
        with job_session(settings, f"{name} {record.run_id}", engine, found) as spark:
            return run(spark, settings, record.pinned_params, record)

    return main


# ------------------------------------------------------------------------------ the three kinds


@contextmanager
def _embedded(settings: Settings) -> Iterator[SparkSession]:
    """Sail inside this process: it is there in a hundredth of a second, and dies with the job."""
    # Read when the engine is loaded. Of its own words only faults are for people.
    os.environ.setdefault("RUST_LOG", "error")
    os.environ.setdefault("RUST_BACKTRACE", "0")
    os.environ.setdefault("SAIL_RUNTIME__MEMORY_POOL__TYPE", "greedy")
    os.environ["SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE"] = str(
        bytes_of(settings.spark_embedded_memory) // 2
    )
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    _, port = server.listening_address
    name = f"Sail {importlib.metadata.version('pysail')}, embedded"
    spark = _connect(f"sc://127.0.0.1:{port}", name, retries=2)
    for key, value in WITHOUT_CALL_SITES.items():
        spark.conf.set(key, value)
    try:
        yield spark
    finally:
        spark.stop()
        server.stop()


@contextmanager
def _apache(
    settings: Settings, name: str, master: str, java_options: str
) -> Iterator[SparkSession]:
    """Apache Spark with its driver in a Java process below this one."""
    # Left by a session over Connect, and inherited; with it there is no other kind.
    os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)
    os.environ["JAVA_HOME"] = java_home()
    if os.environ["JAVA_HOME"] == str(JAVA_HOME) and not JAVA_RECORD.exists():
        subprocess.run([sys.executable, "-m", "jobs.java"], stdout=sys.stderr, check=False)
    if master.startswith("local"):
        # On a cluster the workers have to reach us, so there Spark finds the address.
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    # Spark's Python workers would take `python3` from PATH.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    version = importlib.metadata.version("pyspark")
    options: dict[str, Any] = SAME_VALUES | {
        **IN_ORDER,
        **WITHOUT_CALL_SITES,
        ENGINE: f"Apache Spark {version}, {master}",
        "spark.driver.memory": settings.spark_driver_memory,
        "spark.driver.extraJavaOptions": f"{java_options} {LOGGING}",
        "spark.executor.extraJavaOptions": java_options,
        "spark.executor.memory": settings.spark_executor_memory,
        "spark.executorEnv.OMP_WAIT_POLICY": "PASSIVE",
        # Hadoop sets modes itself; as UMASK in entry.py.
        "spark.hadoop.fs.permissions.umask-mode": "027",
        # A worker starts Python in a folder of its own; our modules lie where they lie here.
        "spark.executorEnv.PYTHONPATH": str(PROJECT_ROOT),
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        "spark.sql.shuffle.partitions": "16",
        "spark.sql.sources.parallelPartitionDiscovery.threshold": "100000",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    spark = SparkSession.builder.appName(name).master(master).config(map=options).getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


@contextmanager
def _connected(settings: Settings, name: str, url: str) -> Iterator[SparkSession]:
    """A session on a Connect server that serves others too; what a dead job left there ends first.

    The id of the session is kept in a file while it lasts. A job that was killed leaves the file,
    and the next try finds by it what the engine may still be working on.
    """
    path = settings.data_root / "sessions" / f"{re.sub(r'[^0-9a-z_.-]', '_', name)}.json"
    if path.exists():
        left = read_json(path)
        log.warning("an earlier try of %s ended early; what it left at %s is cancelled", name, url)
        with suppress(Exception):
            old = SparkSession.builder.remote(f"{left['url']}/;session_id={left['id']}").create()
            old.client.set_retry_policies([])
            try:
                old.interruptAll()
            finally:
                old.stop()
    session_id = str(uuid.uuid4())
    spark = _connect(f"{url}/;session_id={session_id}", f"Spark Connect, {url}", retries=5)
    write_json(path, {"url": url, "id": session_id})
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield spark
    finally:
        signal.signal(signal.SIGTERM, before)
        with suppress(Exception):
            spark.interruptAll()
            spark.stop()
        path.unlink(missing_ok=True)


def _connect(url: str, name: str, retries: int) -> SparkSession:
    """A session over Connect. Left to itself it would ask a dead server for ten minutes.

    One that nobody answers is ended: it would stay the active one, which PySpark asks for settings
    at every expression, also those of later sessions.
    """
    from pyspark.sql.connect.client.retries import DefaultPolicy

    spark = SparkSession.builder.remote(url).create()
    spark.client.set_retry_policies([DefaultPolicy(max_retries=retries, max_backoff=3_000)])
    try:
        for key, value in (SAME_VALUES | IN_ORDER | {ENGINE: name}).items():
            spark.conf.set(key, value)
    except BaseException:
        spark.client.set_retry_policies([])
        spark.stop()
        raise
    return spark


# ------------------------------------------------------------------------------------- failures

# What the engines say when memory ran out, and when nobody is there any more.
TOO_LITTLE_MEMORY = re.compile(
    r"Resources exhausted|ResourcesExhausted|OutOfMemoryError|failed to allocate|MemoryError"
    r"|Cannot allocate memory|null pointer|Resource temporarily unavailable",
    re.I,
)
GONE = re.compile(
    r"Connection refused|Connection reset|Socket closed|failed to connect|StatusCode.UNAVAILABLE"
    r"|Answer from Java side is empty|Error while sending or receiving|SparkContext was shut down",
    re.I,
)


@contextmanager
def _explained(engine: str) -> Iterator[None]:
    """Turn what an engine's client says of a dead or exhausted engine into a sentence."""
    try:
        yield
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        if TOO_LITTLE_MEMORY.search(said):
            raise EngineFailed(f"{_exhausted(engine)} Its words: {_first_line(said)}") from error
        if GONE.search(said):
            raise EngineFailed(f"{_gone(engine)} Its words: {_first_line(said)}") from error
        raise


def _exhausted(engine: str) -> str:
    if engine == EMBEDDED:
        return (
            "the embedded engine needs more memory than SCORING_SPARK_EMBEDDED_MEMORY allows. "
            "Raise it, or let Apache Spark compute, which writes to disk what does not fit: "
            "SCORING_SPARK=local[*]."
        )
    return (
        f"Apache Spark at {engine} ran out of memory. Raise SCORING_SPARK_DRIVER_MEMORY, and on a "
        "cluster SCORING_SPARK_EXECUTOR_MEMORY."
    )


def _gone(engine: str) -> str:
    if engine == EMBEDDED:
        return "the embedded engine ended in the middle of its work. Clear the task."
    if engine.startswith("sc://"):
        return (
            f"nobody answers at {engine} (SCORING_SPARK), or the engine there died. See that it "
            "runs, and clear the task: nothing half done is used."
        )
    return (
        f"the Java process of Apache Spark ({engine}) has died; if the system's log says that it "
        "was killed for want of memory, lower SCORING_SPARK_DRIVER_MEMORY or free some. Clear the "
        "task: nothing half done is used."
    )


def _first_line(text: str) -> str:
    details = re.search(r'details = "([^"]*)"', text)
    return (details[1] if details else text.strip().splitlines()[0])[:300]


def bytes_of(size: str) -> int:
    """A size as Java writes it, in bytes.

    >>> bytes_of("512m"), bytes_of("4g")
    (536870912, 4294967296)
    """
    return int(size[:-1]) * {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[size[-1].lower()]
