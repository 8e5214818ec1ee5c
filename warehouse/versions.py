"""The model registry's versions and promotions, copied here for those who ask in SQL."""

from datetime import UTC, date, datetime
from typing import Protocol

import sqlalchemy as sa

from warehouse.audit import append_audit
from warehouse.connection import writing
from warehouse.tables import MODEL_VERSIONS, PROMOTIONS


class Version(Protocol):
    """A registered model."""

    name: str
    version: str
    commit: str
    bundle_sha256: str
    bundle_md5: str
    source: str
    training_until: date
    metrics: dict
    reason: str
    actor: str


class Move(Protocol):
    """A move of the champion."""

    name: str
    number: int
    version: str
    previous: str | None
    reason: str
    actor: str
    at: datetime


class HistoryDiffers(Exception):
    """The warehouse remembers a version or a promotion differently than the registry does."""


def record_version(engine: sa.Engine, version: Version) -> None:
    """Remember a registered model, with a line in the audit log. Doing it again adds nothing.

    Raises:
        HistoryDiffers: If that version is here with other values.
    """
    names = [column.name for column in MODEL_VERSIONS.c if column.name != "recorded_at"]
    values = {name: getattr(version, name) for name in names}
    with writing(engine) as connection:
        if _is_new(connection, MODEL_VERSIONS, values):
            row = {**values, "recorded_at": datetime.now(UTC)}
            connection.execute(MODEL_VERSIONS.insert().values(row))
            append_audit(connection, "model_registered", _shown(values))


def record_promotion(engine: sa.Engine, promotion: Move) -> None:
    """Remember a move of the champion, with a line in the audit log. Again adds nothing.

    Raises:
        HistoryDiffers: If that promotion is here with other values.
    """
    moved = {"stage": "champion", "percent": 100}
    names = [column.name for column in PROMOTIONS.c if column.name not in moved]
    values = moved | {name: getattr(promotion, name) for name in names}
    with writing(engine) as connection:
        if _is_new(connection, PROMOTIONS, values):
            connection.execute(PROMOTIONS.insert().values(values))
            append_audit(connection, "model_promoted", _shown(values))


def _is_new(connection: sa.Connection, table: sa.Table, values: dict) -> bool:
    key = [column.name for column in table.primary_key]
    here = connection.execute(
        sa.select(table).where(*(table.c[name] == values[name] for name in key))
    ).mappings()
    row = here.one_or_none()
    if row is None:
        return True
    different = sorted(name for name in values if row[name] != values[name])
    if different:
        raise HistoryDiffers(
            f"{table.name} holds {[values[name] for name in key]} with other {different}: the "
            "registry was rewritten, or this warehouse belongs to another one."
        )
    return False


def _shown(values: dict) -> dict:
    """The values that fit an audit line: not the metrics, and dates as text."""
    return {
        name: value if isinstance(value, str | int | None) else str(value)
        for name, value in values.items()
        if name != "metrics"
    }
