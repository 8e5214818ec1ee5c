"""Show the rows that are in quarantine, by day and rule; with --csv, write them as delivered.

Reads the lake's records and quarantine; changes nothing. The file is for the owners of the data:
each row with its file, line, rule and reason. Corrected, it comes back through return_repaired.
"""

import argparse
import csv
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import catalog
from jobs.entry import add_days, job_parser, start, writable
from lake import Piece, check_pieces, read_batches
from ledger import (
    Entry,
    days,
    deliveries_for,
    intake_id,
    intake_rules,
    pin_rules,
    records_of,
    repairs_by,
)
from params import read_params
from records import IntakeRecord, RefusalRecord
from settings import Settings

PARSER = job_parser(__doc__, "--from 2026-04-01 --until 2026-04-03 --csv rows.csv")
add_days(PARSER, required=False)
PARSER.add_argument("--rule", help="only rows filed under this rule")
PARSER.add_argument("--csv", type=writable, help="write the rows to this new file")

ORIGIN = ("_delivered_for", "_source_file", "_source_line", "_rule", "_reason")
"""What the file says of each row before its values."""


def run(
    settings: Settings,
    first: date | None = None,
    until: date | None = None,
    rule: str | None = None,
    into: Path | None = None,
) -> dict:
    """Rows by day and rule, of deliveries that stand and of those last refused; what tests call.

    Rows that came back repaired stay in quarantine, and are counted beside.

    Raises:
        FileExistsError: If the file is there already.
        PieceMissing, PieceAltered: If quarantine is not as it was written.
    """
    root = settings.data_root
    rules = pin_rules(root, intake_rules(read_params(), settings.source))
    pieces = {
        day: piece
        for day in days(root)
        if (first is None or first <= day)
        and (until is None or day <= until)
        and (piece := last_quarantine(root, day, rules)) is not None
    }
    rows = [
        {"day": day, **row}
        for day, piece in pieces.items()
        for row in read_rows(root, piece)
        if rule in (None, row["rule"])
    ]
    counts = Counter((row["day"], row["rule"]) for row in rows)
    if into is not None:
        write_rows(into, rows)
    return {
        "rows": len(rows),
        "by_day": [
            {"day": str(day), "rule": name, "rows": count}
            for (day, name), count in sorted(counts.items())
        ],
        "returned": {str(day): rows for day, rows in returned_rows(root, rules, pieces).items()},
        "csv": into and str(into),
    }


def returned_rows(root: Path, rules: str, of: Iterable[date]) -> dict[date, int]:
    """How many rows came back repaired through return_repaired, for each day that has some."""
    repairs = repairs_by(root, rules, night=date.max, until=date.max)
    return {
        day: sum(IntakeRecord.read(root, day, name).accepted for name in repairs[day])
        for day in of
        if day in repairs
    }


def last_quarantine(root: Path, day: date, rules: str) -> Piece | None:
    """The rows at fault of the delivery that came last for a day, taken or refused."""
    for entry in reversed(deliveries_for(root, day)):
        # Under other rules the rows were others, but better these than none.
        for intake in [intake_id(entry.delivery_id, rules), *other_intakes(root, entry)]:
            record = IntakeRecord.find(root, day, intake)
            if record is not None:
                return record.pieces[catalog.QUARANTINED_TRANSACTIONS.name]
            refusal = RefusalRecord.find(root, day, intake)
            if refusal is not None and refusal.quarantined is not None:
                return refusal.quarantined
    return None


def other_intakes(root: Path, entry: Entry) -> list[str]:
    """Everything that a delivery was taken in as, or refused as, under whatever rules."""
    paths = records_of(root, catalog.INTAKE_RECORD, entry.known_on, entry.delivery_id)
    return sorted({path.name.split(".")[0] for path in paths})


def read_rows(root: Path, piece: Piece) -> Iterator[dict[str, Any]]:
    """The rows of a piece of quarantine, in their order."""
    for batch in read_batches(check_pieces(root, [piece])):
        yield from batch.to_pylist()


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, readable by their owner alone: their origin, then the source's columns."""
    raw = [dict(row["raw"]) for row in rows]
    columns = list(dict.fromkeys(name for values in raw for name in values))
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*ORIGIN, *columns])
        for row, values in zip(rows, raw, strict=True):
            origin = [row["day"], row["source_file"], row.get("source_line"), row["rule"]]
            writer.writerow([*origin, row["reason"], *(values.get(name) for name in columns)])


def main(arguments: argparse.Namespace) -> dict:
    """Print what there is, and write it where asked."""
    facts = run(Settings(), arguments.first, arguments.until, arguments.rule, arguments.csv)
    table = Table("Day", "Rule", "Rows", title="Rows in quarantine")
    for one in facts["by_day"]:
        table.add_row(one["day"], one["rule"], f"{one['rows']:,}")
    console = Console(stderr=True)
    console.print(table)
    for day, rows in facts["returned"].items():
        console.print(f"{day}: {rows:,} of them came back repaired (return_repaired)")
    return facts


if __name__ == "__main__":
    start(PARSER, main)
