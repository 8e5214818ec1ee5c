"""Pieces of the lake: how files are put down, named by a record, checked and read.

A piece is written under a name of its own and counts once a record names it, so a killed job leaves
only files that nobody reads, and no reader ever finds half a piece. The record holds the rows and
the hash of each file, and whoever reads a piece checks it first.

The lake is a POSIX folder (local disk, NFS, a mounted volume) that every Spark worker sees. No
folder is renamed into the place of another, so an object store could hold it.
"""

import errno
import hashlib
import itertools
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from catalog import Dataset
from errors import BadData

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import Column, DataFrame, SparkSession

ROW_GROUP_BYTES = 16 * 1024**2

TAKE_IN_AGAIN = (
    "Take in again what the lake lacks: python -m jobs.load_history --until <the last day in it>."
)

RESTORE = "Restore it from a backup."


class PieceMissing(FileNotFoundError):
    """A piece of the lake that a job needs is not there."""


class PieceAltered(Exception):
    """A file of the lake is not what was written: other bytes, or other columns."""


class RecordDamaged(BadData):
    """A JSON file is not what was written."""


class PieceFile(BaseModel):
    """One file of a piece; ``path`` is relative to ``Settings.data_root``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    rows: int
    bytes: int
    sha256: str


class Piece(BaseModel):
    """One partition of one dataset, as it was written: its files in the order of their rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: tuple[PieceFile, ...]

    @property
    def rows(self) -> int:
        """The rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def sha256(self) -> str:
        """The identity of the content: the hash of the files' hashes, in their order."""
        return value_sha256([file.sha256 for file in self.files])


def describe_piece(root: Path, paths: Iterable[Path]) -> Piece:
    """What a record says of files that were just written, in this order."""
    return Piece(
        files=tuple(
            PieceFile(
                path=str(path.relative_to(root)),
                rows=pq.read_metadata(path).num_rows,
                bytes=path.stat().st_size,
                sha256=file_sha256(path),
            )
            for path in paths
        )
    )


def check_pieces(root: Path, pieces: Iterable[Piece], remedy: str = TAKE_IN_AGAIN) -> list[Path]:
    """The files of pieces, each held against its record: its size and its hash.

    Args:
        remedy: What to do about a piece that is lost or altered.

    Raises:
        PieceMissing: If a file is not there; counts them and names the first.
        PieceAltered: If a file holds other bytes than were written; counts them and names the
            first.
    """
    files = [file for piece in pieces for file in piece.files]
    # Hashing lets other threads run.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        states = list(threads.map(lambda file: _state(root, file), files))
    for error, state in ((PieceMissing, "gone"), (PieceAltered, "not what was written")):
        found = [file for file, each in zip(files, states, strict=True) if each == state]
        if found:
            raise error(
                f"{len(found)} of {len(files)} files of the lake are {state}, the first is "
                f"{root / found[0].path}. {remedy}"
            )
    return [root / file.path for file in files]


def is_whole(root: Path, piece: Piece, dataset: Dataset) -> bool:
    """Whether a piece is there as it was written, with all columns that its dataset has today."""
    return all(_state(root, file) == "whole" for file in piece.files) and not any(
        _lacking(root / file.path, dataset) for file in piece.files
    )


def _state(root: Path, file: PieceFile) -> str:
    path = root / file.path
    try:
        is_whole = path.stat().st_size == file.bytes and file_sha256(path) == file.sha256
    except FileNotFoundError:
        return "gone"
    return "whole" if is_whole else "not what was written"


def read_pieces(
    spark: "SparkSession",
    root: Path,
    pieces: Iterable[Piece],
    dataset: Dataset | None = None,
    remedy: str = TAKE_IN_AGAIN,
) -> "DataFrame":
    """All rows of these pieces, after each file was held against its record.

    Args:
        dataset: Whose columns are read; by default those of the files.

    Raises:
        PieceMissing, PieceAltered: See ``check_pieces``. Also if there are no pieces, or if a file
            lacks a column of ``dataset``, which an engine would take for nulls.
    """
    paths = check_pieces(root, pieces, remedy)
    if not paths:
        raise PieceMissing(f"there is no piece of the lake to read. {remedy}")
    if dataset is None:
        return spark.read.parquet(*map(str, paths))
    for path in paths:
        if lacking := _lacking(path, dataset):
            raise PieceAltered(
                f"{path} lacks the columns {lacking} of {dataset.name}: it was written by older "
                f"code. {remedy}"
            )
    return spark.read.schema(dataset.schema).parquet(*map(str, paths))


def read_together(
    spark: "SparkSession",
    root: Path,
    pieces: Sequence[Mapping[str, Piece]],
    datasets: Sequence[Dataset],
) -> "DataFrame":
    """All rows of several datasets, in the columns of the first one.

    Args:
        pieces: As records keep them, by the name of their dataset.

    Raises:
        PieceMissing, PieceAltered: See ``read_pieces``.
    """
    frames = [
        read_pieces(spark, root, [each[dataset.name] for each in pieces], dataset)
        for dataset in datasets
    ]
    columns = datasets[0].columns
    return reduce(lambda both, more: both.unionByName(more.select(*columns)), frames[1:], frames[0])


def rows_where(
    root: Path, pieces: Iterable[Piece], column: str, value: str, remedy: str = TAKE_IN_AGAIN
) -> "pa.Table":
    """The rows of these pieces that have ``value`` in ``column``, read without an engine.

    Raises:
        PieceMissing, PieceAltered: See ``check_pieces``. Also if there are no pieces.
    """
    import pyarrow.dataset as ds

    paths = check_pieces(root, pieces, remedy)
    if not paths:
        raise PieceMissing(f"there is no piece of the lake to read. {remedy}")
    return ds.dataset(list(map(str, paths)), format="parquet").to_table(
        filter=ds.field(column) == value
    )


def may_hold(root: Path, piece: Piece, column: str, first: object, last: object) -> bool:
    """Whether a column can have a value from ``first`` to ``last``, by what its files say.

    Nothing is read but their footers, and nothing is checked; who reads a piece that may hold it
    does that. A file that does not say, or is not there, may hold anything.
    """
    for file in piece.files:
        try:
            metadata = pq.read_metadata(root / file.path)
        except (OSError, ValueError):
            return True
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        for group in (group for group in groups if group.num_rows):
            chunks = [group.column(number) for number in range(group.num_columns)]
            [chunk] = [chunk for chunk in chunks if chunk.path_in_schema == column]
            said = chunk.statistics
            if not (said and said.has_min_max) or (said.min <= last and first <= said.max):
                return True
    return False


def _lacking(path: Path, dataset: Dataset) -> list[str]:
    names = set(pq.read_schema(path).names)
    return [column for column in dataset.columns if column not in names]


@contextmanager
def kept(frame: "DataFrame", root: Path) -> Iterator["DataFrame"]:
    """The rows of ``frame``, computed once and read from a file after, while the block lasts.

    For what is looked at several times; not every engine keeps what it is asked to keep.
    """
    with workspace(root) as folder:
        rows = str(folder / "rows")
        frame.write.parquet(rows)
        yield frame.sparkSession.read.schema(frame.schema).parquet(rows)


@contextmanager
def workspace(root: Path) -> Iterator[Path]:
    """A folder in the lake that every worker sees and no reader looks into, while the block lasts.

    The sweep removes what a killed job leaves of it.
    """
    (root / "lake").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".kept.", dir=root / "lake") as folder:
        yield Path(folder)


def write_sorted(frame: "DataFrame", folder: Path, root: Path, order: Sequence[str]) -> Piece:
    """Write rows below ``folder``, sorted over all files of the new piece.

    The files are ``part-00000.parquet`` and so on, and one without rows if there are none.
    """
    from pyspark.sql import functions as F

    # Only what is written by partition is written in the order of the rows, on every engine.
    ordered = frame.withColumn("part", F.lit(0)).orderBy("part", *order)
    with _written(ordered, root / "lake", "part") as written:
        files = _take_files(written / "part=0", folder / attempt(), lambda: _no_rows(frame))
    return describe_piece(root, files)


def write_deliveries(
    frame: "DataFrame",
    dataset: Dataset,
    root: Path,
    intakes: Mapping[date, str],
    order: Sequence["str | Column"],
) -> dict[date, Piece]:
    """Write a piece of ``dataset`` for each intake, all from one Spark job.

    Args:
        frame: The columns of ``dataset`` in any order, and ``known_on date``. Its distribution
            decides the number of files: rows of a day that lie together become one file.
        intakes: The id of each day's intake; a day without rows gets an empty file.
        order: The columns by which rows are sorted within a file.

    Raises:
        TypeError: If a column of ``dataset`` is absent or of another type.
        ValueError: If there are rows of a day that is not among ``intakes``.
    """
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    promised = cast(StructType, StructType.fromDDL(dataset.schema))
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
    name = attempt()
    with _written(by_day, root / "lake", "day") as written:
        days = {path.name.removeprefix("day=") for path in written.glob("day=*")}
        if strangers := sorted(days - {str(day) for day in intakes}):
            raise ValueError(f"rows of {strangers}, days of which no delivery is being written")
        files = {}
        for day, intake in intakes.items():
            folder = dataset.partition(root, known_on=day, intake=intake) / name
            files[day] = _take_files(
                written / f"day={day}", folder, lambda: _no_rows(frame, promised.fieldNames())
            )
    return {day: describe_piece(root, paths) for day, paths in files.items()}


def attempt() -> str:
    """A folder name that no other attempt at writing has."""
    return uuid.uuid4().hex[:12]


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


def _take_files(written: Path, folder: Path, no_rows: "Callable[[], pa.Table]") -> list[Path]:
    """Move files to ``folder``, numbered in the order of their names, which hold a random part."""
    folder.mkdir(parents=True)
    files = sorted(written.glob("*.parquet"))
    if not files:
        empty = folder / "part-00000.parquet"
        pq.write_table(no_rows(), empty)
        return [empty]
    return [file.rename(folder / f"part-{number:05}.parquet") for number, file in enumerate(files)]


def _no_rows(frame: "DataFrame", columns: Sequence[str] | None = None) -> "pa.Table":
    return frame.select(*(columns or frame.columns)).limit(0).toArrow()


def read_batches(files: Iterable[Path]) -> "Iterator[pa.RecordBatch]":
    """The rows of these files, a batch at a time, so that memory does not grow with the rows."""
    for path in files:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches()


# --------------------------------------------------------------------------- records and reports


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its place when the block ends well.

    For pages and artifacts, which people and DVC look for under one name. If the block raises,
    ``path`` keeps what it held. Several processes may do this at once; the last one wins whole. A
    folder cannot take another's place in one step: for a moment there is none, and a process killed
    in that moment leaves none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The leading dot hides the folder from Spark's partition discovery.
    workspace = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    fresh = workspace / "new"
    try:
        yield fresh
        for number in itertools.count():
            with suppress(FileNotFoundError):
                path.rename(workspace / f"old-{number}")
            try:
                fresh.rename(path)
                break
            except OSError as error:
                # Another process was quicker; its folder is moved away like the old one.
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def write_json(path: Path, value: object, mode: int = 0o644, *, is_new: bool = False) -> None:
    """Write ``value`` as sorted, indented JSON; readers see the old file or the whole new one.

    Raises:
        FileExistsError: With ``is_new``, if the file is there; it keeps what it holds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        if is_new:
            os.link(name, path)
        else:
            os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def read_json(path: Path, remedy: str = RESTORE) -> dict:
    """The object in the JSON file at ``path``.

    Args:
        remedy: What to do about a file that is damaged.

    Raises:
        FileNotFoundError: If there is no such file.
        RecordDamaged: If it is not whole.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordDamaged(
            f"{path} is not whole, so it cannot be read ({error}). {remedy}"
        ) from None
    if not isinstance(found, dict):
        raise RecordDamaged(f"{path} is not what was written: it holds no object. {remedy}")
    return found


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def value_sha256(value: object) -> str:
    """SHA-256 of a JSON-able value in canonical form (sorted keys, no blanks), in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
