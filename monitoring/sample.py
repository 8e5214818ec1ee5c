"""A bounded sample of tonight's customers, the same whoever draws it."""

import hashlib
import heapq
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from monitoring.drift import IS_CONTACTED, PROBABILITY

CUSTOMER_ID = "customer_id"


def sample_scored(
    features: Sequence[Path], predictions: Sequence[Path], rows: int, seed: int
) -> pd.DataFrame:
    """Features and predictions of at most ``rows`` customers that the model scored.

    The customers are those with the smallest keyed hashes, so the sample does not depend on how
    the rows lie in files. Memory is bounded by the sample and one batch.

    Args:
        features: Parquet files with ``customer_id`` and features.
        predictions: Parquet files with the columns of ``catalog.PREDICTIONS``.
        rows: The most customers.
        seed: Another seed, another sample.

    Returns:
        (at most ``rows``, features + 2), ordered by ``customer_id``, which is the index.
    """
    scored = pc.field("status") == "scored"
    predicted = ds.dataset(list(map(str, predictions)), format="parquet")
    key = seed.to_bytes(8, "big", signed=True)
    smallest: list[tuple[bytes, str]] = []
    for batch in predicted.to_batches(columns=[CUSTOMER_ID], filter=scored):
        hashed = (
            (hashlib.blake2b(name.encode(), digest_size=16, key=key).digest(), name)
            for name in batch[CUSTOMER_ID].to_pylist()
        )
        smallest = heapq.nsmallest(rows, chain(smallest, hashed))

    chosen = pc.field(CUSTOMER_ID).isin(pa.array([name for _, name in smallest], pa.string()))
    columns = [CUSTOMER_ID, PROBABILITY, IS_CONTACTED]
    sides = (
        ds.dataset(list(map(str, features)), format="parquet").to_table(filter=chosen),
        predicted.to_table(columns=columns, filter=chosen),
    )
    left, right = (side.to_pandas().set_index(CUSTOMER_ID, verify_integrity=True) for side in sides)
    return left.join(right, how="inner", validate="one_to_one").sort_index()
