"""The model registry's versions and promotions, copied here for those who ask in SQL."""

from datetime import UTC, date, datetime
from typing import Protocol

import sqlalchemy as sa

from warehouse.audit import append_audit
from warehouse.connection import writing
from warehouse.tables import MODEL_VERSIONS, PROMOTIONS


class Version(Protocol):
    """A registered model."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def commit(self) -> str: ...

    @property
    def bundle_sha256(self) -> str: ...

    @property
    def bundle_md5(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def training_until(self) -> date: ...

    @property
    def metrics(self) -> dict: ...

    @property
    def reason(self) -> str: ...

    @property
    def actor(self) -> str: ...

    @property
    def asked_at(self) -> datetime | None: ...

    @property
    def token(self) -> str | None: ...


class _Change(Protocol):
    """A change of who scores, as the registry numbers and signs it."""

    @property
    def name(self) -> str: ...

    @property
    def number(self) -> int: ...

    @property
    def previous(self) -> str | None: ...

    @property
    def reason(self) -> str: ...

    @property
    def actor(self) -> str: ...

    @property
    def at(self) -> datetime: ...


class Move(_Change, Protocol):
    """A move of the champion."""

    @property
    def version(self) -> str: ...


class Trial(_Change, Protocol):
    """A move of the challenger; ``version`` and ``percent`` are null when it was withdrawn.

    ``against`` is the number of the promotion that made the champion it was tried beside.
    """

    @property
    def version(self) -> str | None: ...

    @property
    def percent(self) -> int | None: ...

    @property
    def against(self) -> int: ...


# Null in the rows from before these columns were there.
ADDED_LATER = {"asked_at", "token"}


class HistoryDiffers(Exception):
    """The warehouse remembers a version or a promotion differently than the registry does."""


def record_version(engine: sa.Engine, version: Version) -> None:
    """Remember a registered model, with a line in the audit log. Doing it again adds nothing.

    Raises:
        HistoryDiffers: If that version is here with other values.
    """
    values = _values_of(version)
    with writing(engine) as connection:
        if _is_new(connection, MODEL_VERSIONS, values):
            row = {**values, "recorded_at": datetime.now(UTC)}
            connection.execute(MODEL_VERSIONS.insert().values(row))
            append_audit(connection, "model_registered", _shown(values))


def check_version(engine: sa.Engine, version: Version) -> None:
    """Raise HistoryDiffers if the warehouse remembers that version with other values.

    A tag in the registry can be moved by force; what was recorded at registration cannot.

    Raises:
        HistoryDiffers: Names what differs.
    """
    with engine.connect() as connection:
        _is_new(connection, MODEL_VERSIONS, _values_of(version))


def _values_of(version: Version) -> dict:
    names = [column.name for column in MODEL_VERSIONS.c if column.name != "recorded_at"]
    return {name: getattr(version, name) for name in names}


def record_promotion(engine: sa.Engine, promotion: Move) -> None:
    """Remember a move of the champion, with a line in the audit log. Again adds nothing.

    Raises:
        HistoryDiffers: If that promotion is here with other values.
    """
    names = ["name", "number", "version", "previous", "reason", "actor", "at"]
    values = {name: getattr(promotion, name) for name in names}
    _record_move(engine, "model_promoted", values | {"stage": "champion", "percent": 100}, {})


def record_challenge(engine: sa.Engine, move: Trial) -> None:
    """Remember a move of the challenger, with a line in the audit log. Again adds nothing.

    Raises:
        HistoryDiffers: If that move is here with other values.
    """
    names = ["name", "number", "version", "percent", "previous", "reason", "actor", "at"]
    values = {name: getattr(move, name) for name in names} | {"stage": "challenger"}
    event = "challenger_withdrawn" if move.version is None else "challenger_placed"
    _record_move(engine, event, values, {"against": move.against})


def _record_move(engine: sa.Engine, event: str, values: dict, more: dict) -> None:
    with writing(engine) as connection:
        if _is_new(connection, PROMOTIONS, values):
            connection.execute(PROMOTIONS.insert().values(values))
            append_audit(connection, event, _shown(values | more))


def _is_new(connection: sa.Connection, table: sa.Table, values: dict) -> bool:
    key = [column.name for column in table.primary_key]
    here = connection.execute(
        sa.select(table).where(*(table.c[name] == values[name] for name in key))
    ).mappings()
    row = here.one_or_none()
    if row is None:
        return True
    different = sorted(
        name
        for name in values
        if row[name] != values[name] and not (name in ADDED_LATER and row[name] is None)
    )
    if different:
        raise HistoryDiffers(
            f"{' '.join(str(values[name]) for name in key)} is in the registry with other "
            f"{', '.join(different)} than the warehouse recorded ({table.name}): its tag was "
            "moved, or this warehouse belongs to another registry. Nothing was done. Find out who "
            "moved the tag and why; use another version until then."
        )
    return False


def _shown(values: dict) -> dict:
    """The values that fit an audit line: not the metrics, and dates as text."""
    return {
        name: value if isinstance(value, str | int | None) else str(value)
        for name, value in values.items()
        if name != "metrics"
    }
