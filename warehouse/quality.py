"""What was found about the quality of a night's data."""

from collections.abc import Iterable
from typing import Protocol

import sqlalchemy as sa

from warehouse.connection import writing
from warehouse.tables import QUALITY


class Finding(Protocol):
    """One measure of one column."""

    @property
    def dataset(self) -> str: ...

    @property
    def column(self) -> str: ...

    @property
    def measure(self) -> str: ...

    @property
    def value(self) -> float | None: ...

    @property
    def low(self) -> float | None: ...

    @property
    def high(self) -> float | None: ...

    @property
    def detail(self) -> str: ...

    @property
    def verdict(self) -> str:
        """``usual``, ``incident`` or ``informs``."""


def replace_quality(engine: sa.Engine, run_id: str, findings: Iterable[Finding]) -> None:
    """Make ``findings`` the whole of what is known about the data of a published run.

    Raises:
        sqlalchemy.exc.IntegrityError: If no such run was published.
    """
    same = ("dataset", "measure", "value", "low", "high", "verdict", "detail")
    rows = [
        {"run_id": run_id, "column_name": finding.column}
        | {name: getattr(finding, name) for name in same}
        for finding in findings
    ]
    with writing(engine) as connection:
        connection.execute(QUALITY.delete().where(QUALITY.c.run_id == run_id))
        if rows:
            connection.execute(QUALITY.insert(), rows)


def missing_shares(engine: sa.Engine, run_id: str) -> dict[str, float]:
    """The share of rows without a value, by ``dataset.column``; empty if it was not measured."""
    c = QUALITY.c
    query = (
        sa.select(c.dataset, c.column_name, c.value)
        .where(c.run_id == run_id, c.measure == "missing_share")
        .order_by(c.dataset.desc(), c.column_name)
    )
    with engine.connect() as connection:
        return {f"{row.dataset}.{row.column_name}": row.value for row in connection.execute(query)}
