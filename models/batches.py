"""Scoring inside Spark's Python workers."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from models.apply import score
from models.bundle import Bundle, read_bundle

REASON_COLUMNS = 3

SCORES_SCHEMA = "customer_id string, probability double, " + ", ".join(
    f"reason_{rank} string" for rank in range(1, REASON_COLUMNS + 1)
)
"""Spark DDL of what ``batch_scorer`` makes."""


@lru_cache(maxsize=1)
def loaded_bundle(folder: Path, sha256: str) -> Bundle:
    """The bundle, read and checked once in the life of a worker process."""
    return read_bundle(folder, sha256)


def batch_scorer(
    folder: Path, sha256: str, reasons: int
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """A function for ``DataFrame.mapInArrow``; the workers read the bundle from ``folder``.

    It takes ``customer_id``, ``is_scorable`` and the features, and gives the columns of
    ``SCORES_SCHEMA`` for every row: all null but the customer where the row is not scorable.
    """

    def score_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        bundle = loaded_bundle(folder, sha256)
        for batch in batches:
            yield _score_batch(batch, bundle, reasons)

    return score_batches


def _score_batch(batch: pa.RecordBatch, bundle: Bundle, reasons: int) -> pa.RecordBatch:
    scores = score(batch, bundle, reasons)
    is_scorable = batch["is_scorable"].to_numpy(zero_copy_only=False)
    rows = pa.array(np.arange(batch.num_rows), mask=~is_scorable)
    nothing = pa.nulls(batch.num_rows, pa.string())

    columns = {"customer_id": batch["customer_id"], "probability": scores["probability"].take(rows)}
    for rank in range(1, REASON_COLUMNS + 1):
        name = f"reason_{rank}"
        columns[name] = scores[name].take(rows) if rank <= reasons else nothing
    return pa.RecordBatch.from_pydict(columns)
