"""What was found about the columns of a run."""

from collections.abc import Iterable, Mapping
from typing import Protocol

import sqlalchemy as sa

from warehouse.connection import writing
from warehouse.tables import DRIFT


class Finding(Protocol):
    """What was found in one column."""

    @property
    def column(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def method(self) -> str: ...

    @property
    def value(self) -> float | None: ...

    @property
    def threshold(self) -> float | None: ...

    @property
    def verdict(self) -> str: ...

    @property
    def detail(self) -> str: ...


def replace_drift(
    engine: sa.Engine, run_id: str, findings: Mapping[str, Iterable[Finding]]
) -> None:
    """Make ``findings`` the whole of what is known about the drift of a published run.

    Args:
        engine: Of the warehouse.
        run_id: A published run.
        findings: By what the night was compared with: ``reference``, ``same_weekday``.

    Raises:
        sqlalchemy.exc.IntegrityError: If no such run was published.
    """
    rows = [
        {
            "run_id": run_id,
            "against": against,
            "column_name": finding.column,
            "kind": finding.kind,
            "method": finding.method,
            "value": None if finding.value is None else float(finding.value),
            "threshold": None if finding.threshold is None else float(finding.threshold),
            "verdict": finding.verdict,
            "detail": finding.detail,
        }
        for against, found in findings.items()
        for finding in found
    ]
    with writing(engine) as connection:
        connection.execute(DRIFT.delete().where(DRIFT.c.run_id == run_id))
        if rows:
            connection.execute(DRIFT.insert(), rows)
