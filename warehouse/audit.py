"""The audit log: what happened to the warehouse, each row hashed over the one before."""

from datetime import UTC, datetime

import sqlalchemy as sa

from lake import value_sha256
from warehouse.tables import AUDIT_LOG, MICROSECONDS

# Any number that no other lock of the warehouse uses.
AUDIT_LOCK = 7_236_119_004
BEGINNING = "0" * 64


class AuditBroken(Exception):
    """A row of the audit log is not the one that was written."""


def append_audit(connection: sa.Connection, event: str, details: dict) -> int:
    """Add an event, in the connection's transaction; others wait until that ends.

    Args:
        connection: In a transaction that writes.
        event: What happened, verb last: ``run_published``, ``model_promoted``.
        details: JSON-able facts.

    Returns:
        The number of the new row: the order of events, whatever the clocks of machines say.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(AUDIT_LOCK)))

    newest = sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.number.desc()).limit(1)
    before = connection.execute(newest).one_or_none()
    row = {
        "number": before.number + 1 if before else 1,
        "at": datetime.now(UTC),
        "event": event,
        "details": details,
        "previous_sha256": before.sha256 if before else BEGINNING,
    }
    connection.execute(AUDIT_LOG.insert().values(**row, sha256=row_sha256(row)))
    return row["number"]


def check_audit(engine: sa.Engine) -> int:
    """Recompute the chain; the number of rows when it holds.

    The chain cannot tell whether its newest rows were cut off; compare the number with a copy.

    Raises:
        AuditBroken: Names the first row that was changed, or follows one that was removed.
    """
    number, sha256 = 0, BEGINNING
    with engine.connect() as connection:
        for row in connection.execute(sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.number)).mappings():
            number += 1
            if row["number"] != number or row["previous_sha256"] != sha256:
                raise AuditBroken(
                    f"audit_log: row {row['number']} does not follow on row {number - 1}; rows "
                    "were removed or changed. Compare with a backup of the warehouse."
                )
            sha256 = row_sha256(row)
            if row["sha256"] != sha256:
                raise AuditBroken(
                    f"audit_log: row {number} ({row['event']}) is not what was written. "
                    "Compare with a backup of the warehouse."
                )
    return number


def row_sha256(row) -> str:
    """The hash of one row, which through ``previous_sha256`` covers all before it."""
    return value_sha256(
        {
            "number": row["number"],
            "at": row["at"].strftime(MICROSECONDS),
            "event": row["event"],
            "details": row["details"],
            "previous": row["previous_sha256"],
        }
    )
