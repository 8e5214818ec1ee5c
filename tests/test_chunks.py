"""Work by chunks: every row once and in order, whatever the files, and nothing left behind."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from chunks import Chunk, cut, kept_chunks

SCHEMA = "number bigint, batch_rows bigint"


@pytest.fixture
def paths(tmp_path) -> list[Path]:
    """Numbers 0 to 99 in two files, in row groups of 20."""
    found = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for first, path in zip((0, 70), found, strict=True):
        last = 70 if first == 0 else 100
        pq.write_table(pa.table({"number": range(first, last)}), path, row_group_size=20)
    return found


def count_batches(batches):
    """The numbers, each with the size of its batch."""
    for batch in batches:
        size = pa.array([batch.num_rows] * batch.num_rows, pa.int64())
        yield pa.RecordBatch.from_pydict({"number": batch["number"], "batch_rows": size})


def test_chunks_end_with_row_groups_and_keep_the_order_of_rows(paths):
    a, b = paths
    assert cut(paths, rows=40) == [Chunk(a, 0, 2), Chunk(a, 2, 4), Chunk(b, 0, 2)]
    assert cut(paths, rows=1)[-1] == Chunk(b, 1, 2)
    numbers = [one for each in cut(paths, rows=50) for batch in each.read(7) for one in batch[0]]
    assert [number.as_py() for number in numbers] == list(range(100))


def test_every_row_is_worked_on_once(spark, tmp_path, paths):
    chunks = cut(paths, rows=30)
    with kept_chunks(spark, tmp_path, chunks, count_batches, SCHEMA, batch_rows=15) as rows:
        found = rows.orderBy("number").toArrow()
        [folder] = (tmp_path / "lake").glob(".kept.*")
        assert [path.name for path in sorted(folder.iterdir())] == [
            f"chunk-{number:05}.parquet" for number in range(len(chunks))
        ]
    assert found["number"].to_pylist() == list(range(100))
    assert max(found["batch_rows"].to_pylist()) == 15
    assert not folder.exists()


def test_a_night_of_nobody_is_an_empty_frame(spark, tmp_path):
    empty = tmp_path / "empty.parquet"
    pq.write_table(pa.table({"number": pa.array([], pa.int64())}), empty)
    chunks = cut([empty])
    with kept_chunks(spark, tmp_path, chunks, count_batches, SCHEMA, batch_rows=15) as rows:
        assert rows.count() == 0
        assert rows.columns == ["number", "batch_rows"]


def note_times(batches):
    """When the work on the chunk began and ended."""
    began = time.monotonic()
    for _ in batches:
        time.sleep(0.02)
    yield pa.RecordBatch.from_pydict({"began": [began], "ended": [time.monotonic()]})


def test_memory_does_not_grow_with_chunks(spark, tmp_path):
    path = tmp_path / "numbers.parquet"
    pq.write_table(pa.table({"number": range(200)}), path, row_group_size=10)
    chunks, schema = cut([path], rows=10), "began double, ended double"
    with kept_chunks(spark, tmp_path, chunks, note_times, schema, batch_rows=5) as rows:
        times = rows.toArrow().to_pylist()
    assert len(times) == 20
    at_once = [
        sum(other["began"] <= one["began"] < other["ended"] for other in times) for one in times
    ]
    assert max(at_once) <= (os.cpu_count() or 1)


def test_a_worker_that_fails_leaves_no_file_that_anybody_reads(spark, tmp_path, paths):
    def fail_late(batches):
        for batch in count_batches(batches):
            if batch["number"][-1].as_py() > 80:
                raise ValueError("no such number")
            yield batch

    with (
        pytest.raises(Exception, match="no such number"),
        kept_chunks(spark, tmp_path, cut(paths, rows=30), fail_late, SCHEMA, batch_rows=15),
    ):
        pytest.fail("the block must not begin")
    assert list((tmp_path / "lake").iterdir()) == []
