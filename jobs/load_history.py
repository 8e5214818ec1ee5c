"""Take in all deliveries up to a day that the lake lacks, before the first night or after a gap.

Does for many days at once, in one session, what validate_delivery and summarise_activity do for
one; a long history is taken in portion by portion. Reads incoming/transactions, and what was
received before; writes lines, quarantine, activity and records, and for each portion a page of the
verdict. What was lost, altered, or taken in under other rules is taken in again from the copy in
the lake. Deliveries that must be refused are left out and named at the end, and so are those that
were refused before.
"""

import argparse
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import SparkSession

import catalog
from deliveries.cells import DeliveredCells
from deliveries.lines import read_lines
from deliveries.receive import DeliveryMissing
from errors import BadData
from expectations.intake import judged_by, refuse, take_deliveries
from expectations.refusal import DeliveryRefused
from features.activity import summarise_intakes
from jobs.engine import choose_engine
from jobs.entry import add_day, job_parser, start
from jobs.intake import (
    check_copy,
    check_not_repeated,
    contents_taken,
    delivered_days,
    is_taken,
    receive_delivery,
    say_what_is_absent,
)
from jobs.repairs import NothingToRepair, take_repair
from jobs.session import job_session
from jobs.sizes import lines_of, rows_of
from lake import PieceAltered, PieceMissing, is_whole
from ledger import (
    Entry,
    days,
    entries,
    intake_id,
    intake_rules,
    known_by,
    pin_rules,
    records_of,
    was_taken,
)
from params import Params, Source, read_params
from records import ActivityRecord, Delivery, IntakeRecord, RefusalRecord
from settings import Settings

PARSER = job_parser(__doc__, "--until 2026-03-31")
add_day(PARSER, "--until", required=True, help="the last day to take in")
add_day(
    PARSER,
    "--accept-refused",
    action="append",
    default=[],
    help="take this day's delivery although it was refused; asks for --reason",
)
PARSER.add_argument("--reason", help="why a refused delivery is accepted; kept with it")

PORTION_ROWS = 500_000
"""Rows that are taken in at once, and summarised, before the next deliveries are."""

MOST_PORTIONS = 8
"""However long a history is: each of them takes an engine some seconds of its own."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to do: entries of the ledger to take in, by day in their order; the reasons for
    which deliveries are not taken, and those for which persons took them all the same; and entries
    of repaired rows to take in again."""

    rules: str
    pending: dict[date, list[Entry]] = field(default_factory=dict)
    refusals: dict[date, list[str]] = field(default_factory=dict)
    accepted: dict[date, str] = field(default_factory=dict)
    repairs: list[Entry] = field(default_factory=list)


def run(
    spark: SparkSession,
    settings: Settings,
    params: Params,
    until: date,
    found: Found | None = None,
    accepted: Mapping[date, str] | None = None,
) -> dict:
    """Take in what is lacking and let later nights use it; totals of all history up to ``until``.

    Args:
        found: What ``find_lacking`` has found, if it was asked before.
        accepted: Days whose delivery is taken although it is refused, each with the reason.

    Raises:
        DeliveryRefused: If deliveries must not be used; all others are taken in.
    """
    found = find_lacking(settings, params, until, accepted) if found is None else found
    accepted = {**found.accepted, **(accepted or {})}
    refusals = dict(found.refusals)
    if found.pending:
        say_what_is_absent(params.source(settings.source))
    # Two deliveries of one day are taken one after the other.
    for position in range(max(map(len, found.pending.values()), default=0)):
        every = [pending[position] for pending in found.pending.values() if len(pending) > position]
        for some in portions(every):
            page = until if some[-1] is every[-1] else some[-1].known_on
            refused = take_in(spark, settings, params, found.rules, some, until, accepted, page)
            refusals |= refused
            taken = [entry for entry in some if entry.known_on not in refused]
            intakes = {one.known_on: intake_id(one.delivery_id, found.rules) for one in taken}
            summarise_intakes(spark, settings.data_root, params, settings.source, intakes)
    for entry in found.repairs:
        # Of a day that another delivery stands for by now, nothing is to be repaired.
        with suppress(NothingToRepair):
            take_repair(spark, settings.data_root, params, settings.source, found.rules, entry)
    if refusals:
        raise DeliveryRefused(refusals)

    return totals(settings.data_root, found.rules, until)


def portions(some: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Deliveries in their order, so many at a time that an engine's memory holds them."""
    most = max(PORTION_ROWS, sum(map(lines_in, some)) // MOST_PORTIONS)
    portion: list[Entry] = []
    rows = 0
    for entry in some:
        if portion and rows + lines_in(entry) > most:
            yield portion
            portion, rows = [], 0
        portion.append(entry)
        rows += lines_in(entry)
    if portion:
        yield portion


def find_lacking(
    settings: Settings, params: Params, until: date, accepted: Mapping[date, str] | None = None
) -> Found:
    """Receive what lies in incoming/transactions up to ``until``; what the lake then lacks."""
    root, source = settings.data_root, params.source(settings.source)
    accepted = accepted or {}
    found = Found(pin_rules(root, intake_rules(params, settings.source)))
    delivered = delivered_days(root, until)
    for day in sorted({*delivered, *(day for day in days(root) if day <= until)}):
        if day in delivered:
            try:
                receive_delivery(
                    root,
                    source.format,
                    day,
                    night=until + timedelta(days=1),
                    taken_by=f"load_history --until {until}",
                )
            except (BadData, DeliveryMissing) as error:
                found.refusals[day] = [str(error)]
                continue
        everything = entries(root, day)
        came = [entry for entry in everything if entry.repairs is None]
        found.repairs.extend(
            entry
            for entry in everything
            if entry.repairs is not None
            and was_taken(root, entry)
            and not is_complete(root, entry, found.rules)
        )
        # Earlier deliveries of the day stand in the nights that knew no better.
        relevant = [*(entry for entry in came[:-1] if was_taken(root, entry)), *came[-1:]]
        lacking = [entry for entry in relevant if not is_complete(root, entry, found.rules)]
        if lacking and (reason := accepted_before(root, lacking[-1])):
            found.accepted[day] = reason
        if lacking and day not in {*accepted, *found.accepted}:
            refusal = refused_before(root, params, settings, found.rules, lacking[-1])
            if refusal is not None:
                found.refusals[day] = [
                    *refusal.reasons,
                    "It was refused before, and stays refused.",
                ]
                lacking = lacking[:-1]
        if lacking:
            found.pending[day] = lacking
    log.info(
        "%d deliveries up to %s, %d days lacking, %d not usable",
        len(delivered),
        until,
        len(found.pending),
        len(found.refusals),
    )
    return found


def is_complete(root: Path, entry: Entry, rules: str) -> bool:
    """Whether the lake has all pieces of a delivery as they were written, with today's columns."""
    intake = intake_id(entry.delivery_id, rules)
    record = IntakeRecord.find(root, entry.known_on, intake)
    summary = ActivityRecord.find(root, entry.known_on, intake)
    if record is None or summary is None:
        return False
    return is_taken(root, record) and is_whole(root, summary.activity, catalog.ACTIVITY)


def accepted_before(root: Path, entry: Entry) -> str | None:
    """The reason for which a person took a refused delivery before, under whatever rules."""
    for path in records_of(root, catalog.INTAKE_RECORD, entry.known_on, entry.delivery_id):
        record = IntakeRecord.at(path)
        if record is not None and record.accepted_because:
            return record.accepted_because
    return None


def refused_before(
    root: Path, params: Params, settings: Settings, rules: str, entry: Entry
) -> RefusalRecord | None:
    """The refusal of a delivery by the limits of today, if it was refused by them."""
    intake = intake_id(entry.delivery_id, rules)
    refusal = RefusalRecord.find(root, entry.known_on, intake)
    limits = judged_by(params, params.source(settings.source))
    return refusal if refusal is not None and refusal.judged_by == limits else None


def take_in(
    spark: SparkSession,
    settings: Settings,
    params: Params,
    rules: str,
    some: Sequence[Entry],
    until: date,
    accepted: Mapping[date, str],
    page: date,
) -> dict[date, list[str]]:
    """Split deliveries, at most one a day; the reasons of those refused.

    Args:
        page: The day that the page of the verdict is kept under.
    """
    root, source = settings.data_root, params.source(settings.source)
    refusals: dict[date, list[str]] = {}
    with DeliveredCells(root) as cells:
        deliveries = _read(cells, root, rules, some, params, source, accepted, refusals)
        if not deliveries:
            return refusals
        night = until + timedelta(days=1)
        earlier = known_by(root, rules, night=night, until=until, strict=False)
        result = take_deliveries(
            spark,
            read_lines(spark, cells.finish(), source),
            deliveries,
            root,
            settings.source,
            params,
            root / catalog.HISTORY_DOCS.format(until=page),
            {day: IntakeRecord.read(root, day, name) for day, name in earlier.items()},
            is_history=True,
            accepted=accepted,
        )
    for sentence in result.warnings:
        log.warning("%s", sentence)
    return refusals | result.refusals


def _read(
    cells: DeliveredCells,
    root: Path,
    rules: str,
    some: Sequence[Entry],
    params: Params,
    source: Source,
    accepted: Mapping[date, str],
    refusals: dict[date, list[str]],
) -> list[Delivery]:
    """Read the deliveries that are not taken in yet; those that cannot be used go to
    ``refusals``."""
    deliveries = []
    contents = contents_taken(root)
    for entry in some:
        day, intake = entry.known_on, intake_id(entry.delivery_id, rules)
        record = IntakeRecord.find(root, day, intake)
        if record is not None and is_taken(root, record):
            continue
        try:
            folder = check_copy(root, entry.folder, entry.files)
        except (PieceMissing, PieceAltered) as error:
            # Nothing is wrong with the delivery, so nothing is kept against it.
            refusals[day] = [str(error)]
            continue
        try:
            if day not in accepted:
                check_not_repeated(day, entry.files, folder, contents, source)
            deliveries.append(cells.open_delivery(folder, day, intake, entry.files, source))
        except BadData as error:
            refusals[day] = [str(error)]
            refuse(root, day, intake, refusals[day], params, source)
        else:
            contents |= {file.sha256: day for file in entry.files}
    return deliveries


def totals(root: Path, rules: str, until: date) -> dict:
    """Deliveries and rows in the lake up to ``until``, by outcome and rule."""
    quarantined: Counter[str] = Counter()
    excluded: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    standing = known_by(root, rules, night=date.max, until=until)
    for day, name in standing.items():
        record = IntakeRecord.read(root, day, name)
        rows.update(delivered=record.delivered, accepted=record.accepted)
        quarantined.update(record.quarantined)
        excluded.update(record.excluded)
    return {
        "until": str(until),
        "deliveries": len(standing),
        "delivered": rows["delivered"],
        "accepted": rows["accepted"],
        "quarantined": dict(quarantined),
        "excluded": dict(excluded),
    }


def main(arguments: argparse.Namespace) -> dict:
    """Do the job in a session of its own."""
    if arguments.accept_refused and not arguments.reason:
        PARSER.error("--accept-refused asks for --reason: it is kept with the delivery")
    accepted = dict.fromkeys(arguments.accept_refused, arguments.reason)
    settings, params = Settings(), read_params()
    found = find_lacking(settings, params, arguments.until, accepted)
    if not found.pending and not found.repairs:
        if found.refusals:
            raise DeliveryRefused(found.refusals)
        return totals(settings.data_root, found.rules, arguments.until)
    pending = [entry for entries in found.pending.values() for entry in entries] + found.repairs
    rows = rows_of(sum(map(lines_in, pending)))
    engine = choose_engine(settings.spark, rows)
    with job_session(settings, f"load_history {arguments.until}", engine, rows) as spark:
        return run(spark, settings, params, arguments.until, found, accepted)


def lines_in(entry: Entry) -> int:
    """About how many lines a delivery has."""
    return lines_of(entry.files)


if __name__ == "__main__":
    start(PARSER, main)
