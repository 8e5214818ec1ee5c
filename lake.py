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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq

from catalog import Dataset

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


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
                # Somebody else was quicker; theirs goes the way of the old one.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def write_deliveries(
    frame: "DataFrame",
    dataset: Dataset,
    root: Path,
    deliveries: Mapping[date, str],
    order: Sequence["str | Column"],
) -> dict[date, int]:
    """Write one partition of ``dataset`` per delivery, all from one Spark job.

    Args:
        frame: The columns of ``dataset`` in any order, and ``known_on date``. Its distribution
            decides the number of files: rows of a day that lie together become one file.
        deliveries: The delivery of each day; a day without rows gets an empty file.
        order: The columns by which rows are sorted within a file.

    Returns:
        Rows written for each day, as the footers of the files say.

    Raises:
        TypeError: If a column of ``dataset`` is absent or of another type.
        ValueError: If there are rows of a day that is not among ``deliveries``.
    """
    from pyspark.sql.pandas.types import to_arrow_schema
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
    empty = to_arrow_schema(promised, timezone="UTC").empty_table()

    (root / "lake").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".days.", dir=root / "lake") as workspace:
        written = Path(workspace) / "written"
        (
            frame.select("known_on", *promised.fieldNames())
            .sortWithinPartitions("known_on", *order)
            .write.partitionBy("known_on")
            # Nobody sees the folder before it is whole, so tasks may put their files down directly.
            .option("mapreduce.fileoutputcommitter.algorithm.version", "2")
            .parquet(str(written))
        )
        days = {path.name.removeprefix("known_on=") for path in written.glob("known_on=*")}
        if strangers := sorted(days - {str(day) for day in deliveries}):
            raise ValueError(f"rows of {strangers}, days of which no delivery is being written")
        rows = {}
        for known_on, delivery_id in deliveries.items():
            files = sorted((written / f"known_on={known_on}").glob("*.parquet"))
            rows[known_on] = sum(pq.read_metadata(file).num_rows for file in files)
            target = dataset.partition(root, known_on=known_on, delivery_id=delivery_id)
            with replacing(target) as fresh:
                fresh.mkdir()
                # Spark's own names hold a random part; the same rows get the same names here.
                for number, file in enumerate(files):
                    file.rename(fresh / f"part-{number:05}.parquet")
                if not files:
                    pq.write_table(empty, fresh / "part-00000.parquet")
    return rows


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
