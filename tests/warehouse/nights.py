"""Builders: a test names only the values it is about."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pyarrow as pa

import catalog
from records import Pointer
from warehouse import PublishedRun, pointer_of

NIGHT = date(2026, 4, 1)

# By the type of the column in the lake.
TYPES = {"string": pa.string(), "double": pa.float64(), "int": pa.int32(), "boolean": pa.bool_()}


def schema_of(dataset: catalog.Dataset) -> pa.Schema:
    """The columns of a dataset as the files of the lake hold them."""
    pairs = (column.split() for column in dataset.schema.split(", "))
    return pa.schema([(name, TYPES[type_]) for name, type_ in pairs])


SCHEMA = schema_of(catalog.PREDICTIONS)
ARM_SCHEMA = schema_of(catalog.ARM_SCORES)


def predictions(*customers: str, **columns) -> pa.RecordBatch:
    """Predictions for these customers; a column may be one value for all, or a list."""
    values = {
        "customer_id": list(customers),
        "probability": 0.5,
        "decile": 5,
        "is_contacted": False,
        "reason_1": "bought 3 days ago",
        "reason_2": None,
        "reason_3": None,
        "status": "scored",
        "arm": "champion",
        "is_control": False,
        "question": "purchase_within_30d",
        **columns,
    }
    arrays = [
        value if isinstance(value, list) else [value] * len(customers) for value in values.values()
    ]
    return pa.record_batch(
        [pa.array(array, field.type) for array, field in zip(arrays, SCHEMA, strict=True)],
        schema=SCHEMA,
    )


def many_predictions(
    customers: int, decile: int, batch_rows: int = 500
) -> Iterator[pa.RecordBatch]:
    """Predictions of ``customers``, all with the same decile so that a mixture can be told."""
    for begin in range(0, customers, batch_rows):
        names = [f"c{number:07d}" for number in range(begin, min(begin + batch_rows, customers))]
        yield predictions(*names, decile=decile)


def a_run(run_id: str = "run-1", population: int = 2, **changes) -> PublishedRun:
    """A run of 1 April over 10 delivered rows."""
    values = {
        "run_id": run_id,
        "score_date": NIGHT,
        "source": "generated",
        "question": "purchase_within_30d",
        "model_name": "repurchase",
        "model_version": "v1.0.0",
        "threshold_version": "aa11",
        "bundle_sha256": "b" * 64,
        "features_sha256": "f" * 64,
        "params_sha256": "c" * 64,
        "code_version": "0123456789ab",
        "deliveries": {"2026-03-31": "d1", "2026-04-01": "d2"},
        "delivered": 10,
        "accepted": 7,
        "quarantined": {"price_is_positive": 2},
        "excluded": {"customer_is_known": 1},
        "population": population,
        "scored": population,
        "fallback": {"previous": 0, "default": 0},
        "reason": "nightly",
        "published_at": datetime(2026, 4, 2, 3, 15, 7, 120000, tzinfo=UTC),
        "published_by": "tests",
        "stage_seconds": {"score_customers": 1.5},
        **changes,
    }
    return PublishedRun(**values)


def arm_scores(*customers: str, **columns) -> pa.RecordBatch:
    """What two models say of these customers; a column may be one value for all, or a list."""
    values = {
        "customer_id": list(customers),
        "champion_probability": 0.5,
        "champion_is_contacted": False,
        "challenger_probability": 0.25,
        "challenger_is_contacted": False,
        **columns,
    }
    arrays = [
        value if isinstance(value, list) else [value] * len(customers) for value in values.values()
    ]
    return pa.record_batch(
        [pa.array(array, field.type) for array, field in zip(arrays, ARM_SCHEMA, strict=True)],
        schema=ARM_SCHEMA,
    )


def shown(engine, run_id: str, score_date: date = NIGHT) -> Pointer:
    """What readers see of the night now, which the test takes to be that run."""
    pointer = pointer_of(engine, score_date)
    assert pointer.run_id == run_id
    return pointer


def a_challenged_run(run_id: str = "run-1", **changes) -> PublishedRun:
    """A run in which v1.1.0 is tried on 5 % of the customers and serves one of two."""
    values = {
        "challenger_version": "v1.1.0",
        "challenger_threshold_version": "bb22",
        "challenger_bundle_sha256": "d" * 64,
        "challenger_percent": 5,
        "challenger_served": 1,
    }
    return a_run(run_id, **values | changes)
