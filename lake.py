"""How files are put down: whole or not at all, so that a killed job leaves nothing half-written.

The lake is a POSIX folder (local disk, NFS, a mounted volume) that every Spark worker sees.
"""

import errno
import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from catalog import Dataset

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession

ROW_GROUP_BYTES = 16 * 1024**2

TAKE_IN_AGAIN = (
    "Take in again what the lake lacks: python -m jobs.load_history --until <the last day in it>."
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well.

    If the block raises, ``path`` keeps what it held. Several processes may do this at once; the
    last one wins whole. A folder cannot take another's place in one step: for a moment there is
    none, and a process killed in that moment leaves none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The leading dot hides the folder from Spark's partition discovery.
    workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    fresh = workspace / "new"
    try:
        yield fresh
        for attempt in itertools.count():
            with suppress(FileNotFoundError):
                path.rename(workspace / f"old-{attempt}")
            try:
                fresh.rename(path)
                break
            except OSError as error:
                # Another process was quicker; its folder is moved away like the old one.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


class PieceMissing(FileNotFoundError):
    """A piece of the lake that a job needs is not there."""


class PieceOutdated(Exception):
    """A piece of the lake was written by code that knew fewer columns."""


def read_parquet(
    spark: "SparkSession", paths: Iterable[Path], dataset: Dataset | None = None
) -> "DataFrame":
    """All rows of these folders (or files) of the lake.

    Args:
        dataset: Whose columns are read; by default those of the files.

    Raises:
        PieceMissing: If one of them is not there, or holds no file; names the first. Left to
            itself an engine may take a folder that is gone for one without rows.
        PieceOutdated: If a file lacks a column of ``dataset``, which an engine would take for
            nulls; names it.
    """
    paths = list(paths)
    missing = [path for path in paths if not _files(path)]
    if missing or not paths:
        raise PieceMissing(
            f"{len(missing)} of {len(paths)} pieces are not in the lake, the first is "
            f"{missing[0] if missing else 'none at all'}. {TAKE_IN_AGAIN}"
        )
    if dataset is None:
        return spark.read.parquet(*map(str, paths))
    for path in paths:
        if lacking := _lacking(path, dataset):
            raise PieceOutdated(
                f"{path} lacks the columns {lacking} of {dataset.name}: it was written by older "
                f"code. {TAKE_IN_AGAIN}"
            )
    return spark.read.schema(dataset.schema).parquet(*map(str, paths))


@contextmanager
def kept(frame: "DataFrame", root: Path) -> Iterator["DataFrame"]:
    """The rows of ``frame``, computed once and read from a file after, while the block lasts.

    For what is looked at several times; not every engine keeps what it is asked to keep.
    """
    (root / "lake").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".kept.", dir=root / "lake") as folder:
        frame.write.parquet(f"{folder}/rows")
        yield frame.sparkSession.read.schema(frame.schema).parquet(f"{folder}/rows")


def is_whole(folder: Path, dataset: Dataset) -> bool:
    """Whether a partition is there with all columns of its dataset."""
    return bool(_files(folder)) and not _lacking(folder, dataset)


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.glob("*.parquet"))


def _lacking(path: Path, dataset: Dataset) -> list[str]:
    for file in _files(path):
        names = set(pq.read_schema(file).names)
        if lacking := [column for column in dataset.columns if column not in names]:
            return lacking
    return []


def write_sorted(frame: "DataFrame", folder: Path, order: Sequence[str]) -> int:
    """Write rows into ``folder``, which must not exist, sorted over all its files; count them.

    The files are ``part-00000.parquet`` and so on, and a file without rows if there are none.
    """
    from pyspark.sql import functions as F

    # Only what is written by partition is written in the order of the rows, on every engine.
    ordered = frame.withColumn("part", F.lit(0)).orderBy("part", *order)
    with _written(ordered, folder.parent, "part") as written:
        files = _take_files(written / "part=0", folder)
    if not files:
        files = [folder / "part-00000.parquet"]
        pq.write_table(frame.limit(0).toArrow(), files[0])
    return sum(pq.read_metadata(file).num_rows for file in files)


def write_deliveries(
    frame: "DataFrame",
    dataset: Dataset,
    root: Path,
    deliveries: Mapping[date, str],
    order: Sequence["str | Column"],
) -> dict[date, int]:
    """Write one partition of ``dataset`` per delivery, all from one Spark job.

    Args:
        frame: The columns of ``dataset`` in any order, ``known_on date`` among them. Its
            distribution decides the number of files: rows of a day that lie together become one
            file.
        deliveries: The delivery of each day; a day without rows gets an empty file.
        order: The columns by which rows are sorted within a file.

    Returns:
        Rows written for each day, as the footers of the files say.

    Raises:
        TypeError: If a column of ``dataset`` is absent or of another type.
        ValueError: If there are rows of a day that is not among ``deliveries``.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    promised = StructType.fromDDL(dataset.schema)
    types = dict(frame.dtypes)
    wrong = [
        column.name
        for column in promised
        if types.get(column.name) != column.dataType.simpleString()
    ]
    if wrong:
        raise TypeError(f"{dataset.name} promises {dataset.schema}; wrong or absent: {wrong}")

    # The day is in the files, too: not every engine reads it from the name of a folder.
    rows = frame.select(F.col("known_on").alias("day"), *promised.fieldNames())
    by_day = rows.sortWithinPartitions("day", *order)
    with _written(by_day, root / "lake", "day") as written:
        days = {path.name.removeprefix("day=") for path in written.glob("day=*")}
        if strangers := sorted(days - {str(day) for day in deliveries}):
            raise ValueError(f"rows of {strangers}, days of which no delivery is being written")
        counts = {}
        for known_on, delivery_id in deliveries.items():
            target = dataset.partition(root, known_on=known_on, delivery_id=delivery_id)
            with replacing(target) as fresh:
                files = _take_files(written / f"day={known_on}", fresh)
                if not files:
                    empty = frame.select(*promised.fieldNames()).limit(0).toArrow()
                    pq.write_table(empty, fresh / "part-00000.parquet")
                counts[known_on] = sum(pq.read_metadata(file).num_rows for file in files)
    return counts


@contextmanager
def _written(frame: "DataFrame", beside: Path, by: str) -> Iterator[Path]:
    """A temporary folder that holds the rows of ``frame`` in a folder for each value of ``by``."""
    beside.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".written.", dir=beside) as workspace:
        written = Path(workspace) / "rows"
        (
            frame.write.partitionBy(by)
            # Nobody sees the folder before it is whole, so tasks may put their files down directly.
            .option("mapreduce.fileoutputcommitter.algorithm.version", "2")
            # Apache Spark's row groups; small enough that scoring a file is work for many hands.
            .option("parquet.block.size", ROW_GROUP_BYTES)
            .parquet(str(written))
        )
        yield written


def _take_files(written: Path, folder: Path) -> list[Path]:
    """Move files to ``folder``, numbered in the order of their names, which hold a random part."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(written.glob("*.parquet"))
    return [file.rename(folder / f"part-{number:05}.parquet") for number, file in enumerate(files)]


def sorted_files(folder: Path) -> list[Path]:
    """The files that `write_sorted` has put into ``folder``, in the order of their rows.

    None if there is no such folder.
    """
    return sorted(folder.glob("part-*.parquet"))


def read_batches(files: Iterable[Path]) -> "Iterator[pa.RecordBatch]":
    """The rows of these files, a batch at a time, so that memory does not grow with the rows."""
    for path in files:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches()


def write_json(path: Path, value: object, mode: int = 0o644) -> None:
    """Write ``value`` as sorted, indented JSON; readers see the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, mode)
    os.replace(name, path)


def read_json(path: Path) -> dict:
    """The object in the JSON file at ``path``.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_sha256(value: object) -> str:
    """SHA-256 of a JSON-able value in canonical form (sorted keys, no blanks), in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
