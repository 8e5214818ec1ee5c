"""Work on the files of a piece, a chunk at a time, by the workers of an engine.

An engine that reads rows, hands them to Python and takes the result back moves every value three
times. Here it only says which worker does which chunk: workers read and write the files themselves.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from lake import workspace

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

ROWS_OF_A_CHUNK = 250_000

# The workers of the embedded engine are threads of one process, as many as there are chunks.
AT_ONCE = threading.BoundedSemaphore(os.cpu_count() or 1)

Batches = Iterator[pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Row groups of a file that follow each other, from ``first`` until before ``end``."""

    path: Path
    first: int
    end: int

    def read(self, batch_rows: int) -> Batches:
        """Its rows, at most ``batch_rows`` at a time."""
        with pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(batch_rows, row_groups=range(self.first, self.end))


def cut(paths: Iterable[Path], rows: int = ROWS_OF_A_CHUNK) -> list[Chunk]:
    """Chunks of Parquet files, in the order of their rows.

    A chunk ends with the row group that makes it ``rows`` long, so it may be longer.
    """
    chunks = []
    for path in paths:
        groups = pq.read_metadata(path)
        first, length = 0, 0
        for group in range(groups.num_row_groups):
            length += groups.row_group(group).num_rows
            if length >= rows or group == groups.num_row_groups - 1:
                chunks.append(Chunk(path, first, group + 1))
                first, length = group + 1, 0
    return chunks


@contextmanager
def kept_chunks(
    spark: "SparkSession",
    root: Path,
    chunks: Sequence[Chunk],
    work: Callable[[Batches], Batches],
    schema: str,
    batch_rows: int,
) -> "Iterator[DataFrame]":
    """What ``work`` makes of the rows of each chunk, computed once, while the block lasts.

    Args:
        root: Below it the result is kept; every worker sees it.
        work: Gets the batches of one chunk, in their order; each one on its own.
        schema: Spark DDL of its result.
        batch_rows: How many rows it gets at a time.
    """
    with workspace(root) as folder:

        def work_on(batches: Batches) -> Batches:
            for batch in batches:
                for number in batch["id"].to_pylist():
                    path = folder / f"chunk-{number:05}.parquet"
                    _work_on(chunks[number], work, batch_rows, path)
                yield batch

        # One partition for each chunk.
        numbers = spark.range(0, len(chunks), 1, max(1, len(chunks)))
        done = numbers.mapInArrow(work_on, "id bigint").count()
        if done != len(chunks):
            raise RuntimeError(f"the engine worked on {done} of {len(chunks)} chunks")
        paths = sorted(map(str, folder.glob("chunk-*.parquet")))
        read = spark.read.schema(schema)
        yield read.parquet(*paths) if paths else spark.createDataFrame([], schema)


def _work_on(one: Chunk, work: Callable[[Batches], Batches], batch_rows: int, path: Path) -> None:
    with AT_ONCE:
        _write(work(one.read(batch_rows)), path)


def _write(batches: Batches, path: Path) -> None:
    """A file that is there as a whole, whoever else writes it."""
    handle, name = tempfile.mkstemp(prefix=".chunk.", dir=path.parent)
    writer = None
    with os.fdopen(handle, "wb") as file:
        for batch in batches:
            if writer is None:
                writer = pq.ParquetWriter(file, batch.schema, compression="lz4")
            writer.write_batch(batch)
        if writer is not None:
            writer.close()
    os.replace(name, path) if writer is not None else os.unlink(name)
