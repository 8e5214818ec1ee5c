"""The audit log: what happened to the warehouse, each row hashed over the one before.

Whoever owns the database can write the whole log again, hashes and all. So its newest line is
copied to where the database cannot reach (`AuditAnchor`): into the record of each run and into each
tag of the registry. `check_audit` holds the log against such copies.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

import sqlalchemy as sa

from lake import value_sha256
from records import AuditAnchor
from warehouse.tables import AUDIT_LOG, MICROSECONDS

# Any number that no other lock of the warehouse uses.
AUDIT_LOCK = 7_236_119_004
BEGINNING = "0" * 64


class AuditBroken(Exception):
    """The audit log is not the one that was written."""


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
    number = before.number + 1 if before else 1
    row = {
        "number": number,
        "at": datetime.now(UTC),
        "event": event,
        "details": details,
        "previous_sha256": before.sha256 if before else BEGINNING,
    }
    connection.execute(AUDIT_LOG.insert().values(**row, sha256=row_sha256(row)))
    return number


def audit_head(engine: sa.Engine) -> AuditAnchor:
    """The newest row of the log, to be kept outside the warehouse."""
    newest = sa.select(AUDIT_LOG.c.number, AUDIT_LOG.c.sha256).order_by(AUDIT_LOG.c.number.desc())
    with engine.connect() as connection:
        row = connection.execute(newest.limit(1)).one_or_none()
    return AuditAnchor(number=row.number if row else 0, sha256=row.sha256 if row else BEGINNING)


def check_audit(engine: sa.Engine, anchors: Mapping[str, AuditAnchor] | None = None) -> int:
    """Recompute the chain and hold it against copies; the number of rows when it holds.

    Args:
        engine: Of the warehouse.
        anchors: What runs and tags remember of the log, by where that is kept
            (``run 0123 of 2026-04-01``). Without any, a log that was written again as a whole,
            or lost its newest rows, is taken for the right one.

    Raises:
        AuditBroken: Names the first row that was changed, or follows one that was removed; or
            the anchors that the log does not hold.
    """
    number, sha256 = 0, BEGINNING
    hashes = {0: BEGINNING}
    anchors = anchors or {}
    wanted = {anchor.number for anchor in anchors.values()}
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
            if number in wanted:
                hashes[number] = sha256
    lost = {
        where: anchor
        for where, anchor in anchors.items()
        if hashes.get(anchor.number) != anchor.sha256
    }
    if lost:
        where, anchor = min(lost.items(), key=lambda item: item[1].number)
        raise AuditBroken(
            f"audit_log: {len(lost)} of {len(anchors)} copies of its newest row do not fit, first "
            f"that of row {anchor.number} ({anchor.sha256[:12]}) in {where}: the log, which has "
            f"{number} rows, was written again or cut off, or this is another warehouse. Compare "
            "with a backup."
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
