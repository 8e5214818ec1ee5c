"""What the warehouse holds of one published run, to be held against what the lake holds of it."""

from collections.abc import Iterator

import pyarrow as pa
import sqlalchemy as sa

from warehouse.bulk import BATCH_ROWS, SCHEMAS
from warehouse.tables import (
    ARM_SCORES,
    AUDIT_LOG,
    PREDICTIONS,
    QUARANTINE_COUNTS,
    SCORING_RUNS,
)

_TABLES = {table.name: table for table in (PREDICTIONS, ARM_SCORES)}


def published_run(engine: sa.Engine, run_id: str) -> dict | None:
    """The row of ``scoring_runs``; None if no such run was published."""
    query = sa.select(SCORING_RUNS).where(SCORING_RUNS.c.run_id == run_id)
    with engine.connect() as connection:
        row = connection.execute(query).mappings().one_or_none()
    return None if row is None else dict(row)


def published_rules(engine: sa.Engine, run_id: str) -> dict[str, dict[str, int]]:
    """The rows that each rule took out of the run's delivery, by kind and rule."""
    c = QUARANTINE_COUNTS.c
    query = sa.select(c.kind, c.rule, c.rows).where(c.run_id == run_id)
    found: dict[str, dict[str, int]] = {"quarantined": {}, "excluded": {}}
    with engine.connect() as connection:
        for kind, rule, rows in connection.execute(query):
            found[kind][rule] = rows
    return found


def published_rows(
    engine: sa.Engine, run_id: str, table: str = "predictions", customer_id: str | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a run without ``run_id``, in the order of the customers, a batch at a time.

    Args:
        table: ``predictions`` or ``arm_scores``.
        customer_id: Only this customer's row; None: all.
    """
    c = _TABLES[table].c
    schema = pa.schema([field for field in SCHEMAS[table] if field.name != "run_id"])
    # By bytes, as files are sorted, whatever the database's language is.
    is_postgresql = engine.dialect.name == "postgresql"
    order = sa.collate(c.customer_id, "C") if is_postgresql else c.customer_id
    query = sa.select(*[c[name] for name in schema.names]).where(c.run_id == run_id).order_by(order)
    if customer_id is not None:
        query = query.where(c.customer_id == customer_id)
    with engine.connect() as connection:
        answer = connection.execution_options(yield_per=BATCH_ROWS).execute(query)
        for rows in answer.partitions():
            columns = zip(*rows, strict=True)
            arrays = [pa.array(*pair) for pair in zip(columns, schema.types, strict=True)]
            yield pa.record_batch(arrays, schema=schema)


def logged_sha256(engine: sa.Engine, run_id: str) -> str | None:
    """The hash of the run's rows by the audit log, as it was when it was published."""
    query = (
        sa.select(AUDIT_LOG.c.details)
        .where(AUDIT_LOG.c.event == "run_published", AUDIT_LOG.c.details.contains(run_id))
        .order_by(AUDIT_LOG.c.number)
    )
    with engine.connect() as connection:
        for details in connection.scalars(query):
            if details["run_id"] == run_id:
                return details["predictions_sha256"]
    return None
