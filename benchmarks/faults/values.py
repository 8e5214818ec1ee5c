"""What a deployment holds, without moments and without names that are drawn anew each time."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from lake import file_sha256
from warehouse.tables import METADATA, Instant

NOT_COMPARED = {
    *("stage_seconds", "seconds", "received_at"),
    # The commit of a checkout in which somebody may be at work; what covers it or a moment.
    *("code_version", "seal", "chain_sha256"),
    # What the last try of a job found done: published or unchanged, summarised or there before.
    *("outcome", "was_there"),
}
"""Fields of records and tables that may differ."""

TIMED_HASHES = {("audit_log", "sha256"), ("audit_log", "previous_sha256")}
"""Columns with a hash that covers a time."""

PUBLISHED = {"scoring_runs", "predictions", "arm_scores", "current_runs", "quarantine_counts"}
"""Tables that are written when a night is published, and not after."""

ATTEMPT = re.compile(r"/[0-9a-f]{12}(?=/|$)")

DATA_ROOT = re.compile(r"^/.*?/data/")

Flat = dict[str, object]


@dataclass(frozen=True, slots=True)
class Values:
    """Every value of the warehouse and of the lake, each under a name that says where it is."""

    warehouse: Flat
    lake: Flat

    def first_difference(self, other: "Values", *, is_lake_compared: bool = True) -> str | None:
        """Where two deployments differ first, in words; None if nowhere."""
        parts = [(self.warehouse, other.warehouse)]
        if is_lake_compared:
            parts.append((self.lake, other.lake))
        for ours, theirs in parts:
            for name in sorted(ours.keys() | theirs.keys()):
                if ours.get(name) != theirs.get(name):
                    return f"{name}: {ours.get(name)!r:.200} instead of {theirs.get(name)!r:.200}"
        return None

    def published_differently(self, url: str) -> str | None:
        """Where what is published now differs from what is published here; None if nowhere."""
        now = Values(dict(_warehouse(url)), {})
        ours, theirs = (
            {name: row for name, row in each.warehouse.items() if name.split()[1] in PUBLISHED}
            for each in (now, self)
        )
        return Values(ours, {}).first_difference(Values(theirs, {}))


def values_of(root: Path, url: str) -> Values:
    """The values of a deployment."""
    return Values(dict(_warehouse(url)), dict(_lake(root)))


def _warehouse(url: str) -> Iterator[tuple[str, object]]:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        for table in METADATA.sorted_tables:
            columns = [
                column
                for column in table.c
                if not isinstance(column.type, Instant)
                and column.name not in NOT_COMPARED
                and (table.name, column.name) not in TIMED_HASHES
            ]
            rows = sorted(map(tuple, connection.execute(sa.select(*columns))), key=repr)
            yield f"warehouse {table.name} rows", len(rows)
            for number, row in enumerate(rows):
                for column, value in zip(columns, row, strict=True):
                    yield f"warehouse {table.name} {number} {column.name}", value


def _lake(root: Path) -> Iterator[tuple[str, object]]:
    for path in sorted((root / "lake").rglob("*.json")):
        name = path.relative_to(root)
        # A dead job's temporary file is hidden, and no reader looks at it.
        if not any(part.startswith(".") for part in name.parts):
            yield from _flat(root, str(name), json.loads(path.read_text()))


def _flat(root: Path, name: str, value: object) -> Iterator[tuple[str, object]]:
    """Each value in a record under its own name."""
    if isinstance(value, dict) and value.keys() == {"number", "sha256"}:
        yield name, value["number"]  # The head of the audit log: its hash covers a time.
    elif isinstance(value, dict | list):
        yield f"{name} size", len(value)
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            if key not in NOT_COMPARED:
                yield from _flat(root, f"{name} {key}", each)
        if isinstance(value, dict) and value.keys() == {"path", "rows", "bytes", "sha256"}:
            path = root / value["path"]
            yield f"{name} is whole", path.is_file() and file_sha256(path) == value["sha256"]
    elif isinstance(value, str):
        yield name, ATTEMPT.sub("", DATA_ROOT.sub("", value))
    else:
        yield name, value
