"""Scoring inside the workers of an engine."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.apply import score
from models.arms import bucket
from models.bundle import Bundle, read_bundle
from records import Challenger

REASON_COLUMNS = 3

SCORES_SCHEMA = "customer_id string, probability double, " + ", ".join(
    f"reason_{rank} string" for rank in range(1, REASON_COLUMNS + 1)
)
"""Spark DDL of what ``batch_scorer`` makes."""


CHALLENGER_PREFIX = "challenger_"

PAIRS_SCHEMA = f"{SCORES_SCHEMA}, " + ", ".join(
    f"{CHALLENGER_PREFIX}{column}" for column in SCORES_SCHEMA.split(", ")[1:]
)
"""Spark DDL of what ``pair_scorer`` makes: the champion's columns, then the challenger's."""

Scorer = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]

log = logging.getLogger("models.batches")


# Workers may be threads of one process, which would each read the same bundle at the same time.
_READING = threading.Lock()


def loaded_bundle(folder: Path, sha256: str) -> Bundle:
    """The bundle, read and checked once in the life of a worker process."""
    with _READING:
        return _bundle(folder, sha256)


@lru_cache(maxsize=1)
def _bundle(folder: Path, sha256: str) -> Bundle:
    return read_bundle(folder, sha256)


@lru_cache(maxsize=1)
def _challenger_bundle(folder: Path, sha256: str) -> Bundle | None:
    """The same; None, for the life of the process, if it cannot be read."""
    try:
        return read_bundle(folder, sha256)
    except Exception:
        log.exception("the challenger in %s cannot be loaded; it scores nobody here", folder)
        return None


def marked(
    scorer: Scorer, rejected: Sequence[Path], challenger: Challenger | None = None
) -> Scorer:
    """``scorer`` for batches of features alone; it gets the columns that it asks for beside them.

    Args:
        rejected: Parquet files that name the customers who are not scorable.
        challenger: Whose share ``in_share`` tells.
    """

    def score_marked(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names: list[str] = []
        for path in rejected:
            names += pq.ParquetFile(path).read()["customer_id"].to_pylist()
        return scorer(_mark(batch, pa.array(names, pa.string()), challenger) for batch in batches)

    return score_marked


def _mark(
    batch: pa.RecordBatch, rejected: pa.Array, challenger: Challenger | None
) -> pa.RecordBatch:
    customers = batch["customer_id"]
    batch = batch.append_column("is_scorable", pc.invert(pc.is_in(customers, rejected)))
    if challenger is None:
        return batch
    version, percent = challenger.version, challenger.percent
    in_share = [bucket(name, version) < percent for name in customers.to_pylist()]
    return batch.append_column("in_share", pa.array(in_share, pa.bool_()))


def batch_scorer(folder: Path, sha256: str, night: date, reasons: int) -> Scorer:
    """A function of the batches of a chunk; the workers read the bundle from ``folder``, and score
    as it does on that night.

    It takes ``customer_id``, ``is_scorable`` and the features, and gives the columns of
    ``SCORES_SCHEMA`` for every row: all null but the customer where the row is not scorable.
    """

    def score_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        bundle = loaded_bundle(folder, sha256).on(night)
        for batch in batches:
            yield _score_batch(batch, bundle, reasons)

    return score_batches


def pair_scorer(
    champion: tuple[Path, str], challenger: tuple[Path, str], night: date, reasons: int
) -> Scorer:
    """As :func:`batch_scorer`, for two models given by folder and hash, in the same pass.

    It takes also ``in_share``: only these customers get reasons from the challenger. Where the
    challenger fails its columns are null: it may be anything, and must not stop the night.
    """

    def score_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        champion_bundle = loaded_bundle(*champion).on(night)
        for batch in batches:
            columns = _columns(_score_batch(batch, champion_bundle, reasons))
            columns |= {
                f"{CHALLENGER_PREFIX}{name}": values
                for name, values in _score_challenger(batch, challenger, night, reasons).items()
            }
            yield pa.RecordBatch.from_pydict(columns)

    return score_batches


def _score_challenger(
    batch: pa.RecordBatch, challenger: tuple[Path, str], night: date, reasons: int
) -> dict[str, pa.Array]:
    nothing = pa.nulls(batch.num_rows, pa.string())
    columns = {"probability": pa.nulls(batch.num_rows, pa.float64())}
    columns |= {f"reason_{rank}": nothing for rank in range(1, REASON_COLUMNS + 1)}
    with _READING:
        bundle = _challenger_bundle(*challenger)
    if bundle is None:
        return columns
    bundle = bundle.on(night)
    in_share = batch["in_share"].to_numpy(zero_copy_only=False)
    try:
        probability = _score_batch(batch, bundle, reasons=0)["probability"]
        if reasons and in_share.any():
            explained = _score_batch(batch.filter(batch["in_share"]), bundle, reasons)
            rows = pa.array(np.cumsum(in_share) - 1, mask=~in_share)
            columns |= {name: explained[name].take(rows) for name in columns}
        return columns | {"probability": probability}
    except Exception:
        log.exception("the challenger could not score %s customers", batch.num_rows)
        return columns


def _columns(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    return dict(zip(batch.schema.names, batch.columns, strict=True))


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
