"""What was found about the columns of a run."""

from collections.abc import Iterable
from typing import Protocol

import sqlalchemy as sa

from warehouse.connection import writing
from warehouse.tables import DRIFT


class Finding(Protocol):
    """What was found in one column."""

    column: str
    kind: str
    method: str
    value: float | None
    threshold: float | None
    verdict: str
    detail: str


def replace_drift(engine: sa.Engine, run_id: str, findings: Iterable[Finding]) -> None:
    """Make ``findings`` the whole of what is known about the drift of a published run.

    Raises:
        sqlalchemy.exc.IntegrityError: If no such run was published.
    """
    rows = [
        {
            "run_id": run_id,
            "against": "reference",
            "column_name": finding.column,
            "kind": finding.kind,
            "method": finding.method,
            "value": None if finding.value is None else float(finding.value),
            "threshold": None if finding.threshold is None else float(finding.threshold),
            "verdict": finding.verdict,
            "detail": finding.detail,
        }
        for finding in findings
    ]
    with writing(engine) as connection:
        connection.execute(DRIFT.delete().where(DRIFT.c.run_id == run_id))
        if rows:
            connection.execute(DRIFT.insert(), rows)
