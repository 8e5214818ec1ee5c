"""Deliveries into the lake: tagged, counted, judged, written, and every row accounted for.

One delivery of tonight and hundreds of a history take the same way, in the same number of passes.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

import catalog
from expectations.accounting import account_for_rows, check_written
from expectations.future import hours_ahead, zone_doubt
from expectations.refusal import examples
from expectations.repeats import mark_repeated
from expectations.split import (
    ACCEPTED,
    EXCLUDED,
    QUARANTINED,
    count_lines,
    layout_for,
    split_lines,
)
from expectations.transactions import (
    DELIVERED_BEFORE,
    EXACT_DUPLICATE,
    NOT_BROKEN,
    NOT_IN_FUTURE,
    verify_transactions,
)
from expectations.verdict import ExpectationsBroken
from expectations.volume import Dated, Volume, dated, judge_volume, same_weekday
from lake import Piece, kept, read_together, value_sha256, write_deliveries
from ledger import delivery_of
from params import Params, Source, Validation
from records import Delivery, IntakeRecord, RefusalRecord

log = logging.getLogger(__name__)

DATASETS = {
    ACCEPTED: catalog.TRANSACTIONS,
    EXCLUDED: catalog.EXCLUDED_TRANSACTIONS,
    QUARANTINED: catalog.QUARANTINED_TRANSACTIONS,
}

# All columns, so that the order of rows in a file is theirs and not Spark's.
LINE_ORDER = (
    "customer_id",
    "invoiced_at",
    "invoice_id",
    "product_id",
    "quantity_micros",
    "unit_price_micros",
    "country",
    "line_key",
)


@dataclass(frozen=True, slots=True)
class Intake:
    """What became of deliveries: a record of each one taken, the reasons of each one refused, and
    sentences about promises that some rows break."""

    records: list[IntakeRecord]
    refusals: dict[date, list[str]]
    warnings: list[str]


def take_deliveries(
    spark: SparkSession,
    lines: DataFrame,
    deliveries: Sequence[Delivery],
    root: Path,
    source_name: str,
    params: Params,
    docs: Path,
    before: Mapping[date, IntakeRecord],
    is_history: bool,
    accepted: Mapping[date, str] | None = None,
    repaired: IntakeRecord | None = None,
) -> Intake:
    """Split delivered lines, write every piece, and record each delivery last.

    The lines are read once and tagged once; the tagged lines are kept in a file for the counts, the
    verdict and one write per outcome. One write for all outcomes would have to put the same columns
    into every file; tagging costs more than writing, so three writes of what is tagged already are
    as good, and every file holds what the catalog promises.

    Args:
        lines: All rows of ``deliveries``, as read from them.
        docs: The folder for the page of the verdict.
        before: Deliveries of other days, to compare with.
        is_history: Days taken in together, long after: their volume is only recorded, and each
            is held to the budget by itself. A delivery of tonight is refused when it is thin.
        accepted: Days that are taken in although they would be refused, each with the reason that
            a person gave.
        repaired: The intake from whose quarantine the lines come back. Each of them must be right,
            and there may not be more of them than are in quarantine.

    Raises:
        RowsUnaccounted: If delivered = accepted + quarantined + excluded does not hold.
    """
    source, limits = params.source(source_name), params.validation
    intakes = {delivery.known_on: delivery.intake for delivery in deliveries}
    layout = layout_for([delivery.rows for delivery in deliveries])
    accepted = accepted or {}

    split = split_lines(spark, lines, source, layout)
    # Nobody needs the payload of a good line again, unless it turns out to have come before.
    earliest = 0 if repaired else 1
    needed = (F.col("outcome") == QUARANTINED) | (F.col("days_late") >= earliest)
    log.info("reading %s", about(deliveries))
    with ExitStack() as files:
        tagged = files.enter_context(
            kept(split.withColumn("raw", F.when(needed, F.col("raw"))), root)
        )
        counted = count_lines(tagged)
        overlap = limits.overlap_days
        dates = counted.dates
        if repaired or (overlap and any(has_late(day, rows) for day, rows in dates.items())):
            earlier = lines_before(spark, root, before, intakes, overlap, repaired)
            marked = mark_repeated(
                tagged,
                earlier,
                overlap,
                have_keys=isinstance(source.duplicates, list),
                are_repaired=repaired is not None,
            )
            tagged = files.enter_context(kept(marked, root))
            counted = count_lines(tagged)
        counts = counted.outcomes
        for delivery in deliveries:
            account_for_rows(delivery, counts.get(delivery.known_on, {}))
        log.info("tagged and counted %d rows", sum(delivery.rows for delivery in deliveries))

        quarantined = _write(tagged, QUARANTINED, root, intakes, counts, source)
        volumes = _volumes(deliveries, dates, before, limits, source)
        against: dict[date, list[str]] = {}
        ahead: dict[date, dict[int, int]] = {}
        if any(NOT_IN_FUTURE in found.get(QUARANTINED, {}) for found in counts.values()):
            ahead = hours_ahead(tagged, source)
        for delivery in deliveries:
            day, found = delivery.known_on, counts.get(delivery.known_on, {})
            paths = [root / file.path for file in quarantined[day].files]
            budget_share = 0.0 if repaired else limits.quarantine_budget_share
            against[day] = _over_budget(delivery, found, budget_share, paths, source)
            if against[day] and (doubt := zone_doubt(ahead.get(day, {}), delivery.rows)):
                against[day].insert(1, doubt)
            if repaired:
                against[day] += _too_many(delivery, repaired)
                continue
            against[day] += _overlapping(delivery, found, limits.overlap_max_share)
            against[day] += _copied(delivery, found, limits.copies_max_share)
            stops = not is_history or volumes[day].outcome == "misdated"
            if (refusal := volumes[day].refusal) and stops:
                against[day].append(refusal)

        warnings, broken = [], None
        try:
            warnings = verify_transactions(
                tagged,
                source,
                limits.quarantine_budget_share,
                docs,
                about(deliveries),
                budget_stops=not is_history,
                notes=_notes(counts, against),
                examples=examples(
                    [root / file.path for piece in quarantined.values() for file in piece.files],
                    source,
                    {rule for found in counts.values() for rule in found.get(QUARANTINED, {})},
                ),
            )
        except ExpectationsBroken as error:
            broken = str(error)
        log.info("judged; the page: %s", docs / "index.html")
        if broken:
            against = {day: reasons or [broken] for day, reasons in against.items()}
        refusals = {
            day: reasons for day, reasons in against.items() if reasons and day not in accepted
        }
        for delivery in deliveries:
            if (day := delivery.known_on) in refusals:
                at_fault = quarantined[day]
                refuse(root, day, delivery.intake, refusals[day], params, source, at_fault)

        taken = {day: name for day, name in intakes.items() if day not in refusals}
        if taken:
            rows = tagged.where(F.col("known_on").isin(list(taken))) if refusals else tagged
            excluded = _write(rows, EXCLUDED, root, taken, counts, source)
            good = _write(rows, ACCEPTED, root, taken, counts, source)
        log.info("wrote %d deliveries, refused %d", len(taken), len(refusals))

    records = []
    for delivery in deliveries:
        day = delivery.known_on
        if day not in taken:
            continue
        found, lines_of = counts.get(day, {}), dated(day, dates.get(day, {}))
        finding = None if repaired else volumes[day].finding
        records.append(
            IntakeRecord(
                known_on=day,
                intake=delivery.intake,
                delivery_id=delivery.delivery_id,
                source=source_name,
                delivered=delivery.rows,
                accepted=sum(found.get(ACCEPTED, {}).values()),
                quarantined=found.get(QUARANTINED, {}),
                excluded=found.get(EXCLUDED, {}),
                of_the_day=lines_of.of_the_day,
                late=lines_of.late,
                findings=[*delivery.findings, *([finding] if finding else [])],
                pieces={
                    catalog.TRANSACTIONS.name: good[day],
                    catalog.EXCLUDED_TRANSACTIONS.name: excluded[day],
                    catalog.QUARANTINED_TRANSACTIONS.name: quarantined[day],
                },
                repairs=repaired.intake if repaired else None,
                accepted_despite=against[day],
                accepted_because=accepted.get(day) if against[day] else None,
            )
        )
    for record in records:
        record.write(root)
    return Intake(records, refusals, warnings)


def has_late(day: date, rows: Mapping[date | None, int]) -> bool:
    """Whether some lines are dated before the day of their delivery."""
    return any(dated_on is not None and dated_on < day for dated_on in rows)


def lines_before(
    spark: SparkSession,
    root: Path,
    before: Mapping[date, IntakeRecord],
    now: Mapping[date, str],
    within_days: int,
    repaired: IntakeRecord | None = None,
) -> DataFrame | None:
    """Accepted and excluded lines of the days before these deliveries; None without any.

    Args:
        repaired: An intake whose lines are looked at, too.
    """
    wanted = {day - timedelta(days=age) for day in now for age in range(1, within_days + 1)}
    records = [record for day, record in before.items() if day in wanted and day not in now]
    records += [repaired] if repaired else []
    if not records:
        return None
    datasets = (catalog.TRANSACTIONS, catalog.EXCLUDED_TRANSACTIONS)
    return read_together(spark, root, [one.pieces for one in records], datasets)


def refuse(
    root: Path,
    known_on: date,
    intake: str,
    reasons: Sequence[str],
    params: Params,
    source: Source,
    quarantined: Piece | None = None,
) -> None:
    """Keep on record why a delivery must not be used."""
    RefusalRecord(
        known_on=known_on,
        intake=intake,
        delivery_id=delivery_of(intake),
        reasons=list(reasons),
        judged_by=judged_by(params, source),
        quarantined=quarantined,
    ).write(root)


def judged_by(params: Params, source: Source) -> str:
    """The hash of the limits that a delivery as a whole is held to; other limits judge it again."""
    limits = {
        "validation": params.validation.model_dump(mode="json"),
        "closed_days": [str(day) for day in source.closed_days],
        "closed_weekdays": source.closed_weekdays,
    }
    return value_sha256(limits)


def about(deliveries: Sequence[Delivery]) -> str:
    """Which deliveries, for the heading of a page: a day, or the first and last of many."""
    days = sorted(delivery.known_on for delivery in deliveries)
    if len(days) == 1:
        return f"delivery {deliveries[0].delivery_id} of {days[0]}"
    return f"{len(days)} deliveries, {days[0]} to {days[-1]}"


def _write(
    tagged: DataFrame,
    outcome: str,
    root: Path,
    ids: Mapping[date, str],
    counts: Mapping[date, Mapping[str, Mapping[str, int]]],
    source: Source,
) -> dict[date, Piece]:
    orders: dict[str, tuple[str | Column, ...]] = {
        ACCEPTED: (*LINE_ORDER, *source.carry),
        EXCLUDED: ("rule", *LINE_ORDER, *source.carry),
        # A map has no order of its own.
        QUARANTINED: ("rule", "source_file", "source_line", F.array_sort(F.map_entries("raw"))),
    }
    rows = tagged.where(F.col("outcome") == outcome)
    dataset = DATASETS[outcome]
    if outcome != QUARANTINED:
        dataset = dataset.extended(source.carried_of_line)
    pieces = write_deliveries(rows, dataset, root, ids, orders[outcome])
    counted = {day: sum(counts.get(day, {}).get(outcome, {}).values()) for day in ids}
    check_written(outcome, {day: piece.rows for day, piece in pieces.items()}, counted)
    return pieces


def _volumes(
    deliveries: Sequence[Delivery],
    dates: Mapping[date, Mapping[date | None, int]],
    before: Mapping[date, IntakeRecord],
    limits: Validation,
    source: Source,
) -> dict[date, Volume]:
    known = {day: Dated(one.of_the_day, one.late) for day, one in before.items()}
    known |= {one.known_on: dated(one.known_on, dates.get(one.known_on, {})) for one in deliveries}
    return {
        day: judge_volume(
            day,
            dates.get(day, {}),
            same_weekday(day, known, limits.volume_weeks),
            source.is_closed(day),
            limits,
        )
        for day in (delivery.known_on for delivery in deliveries)
    }


def _notes(
    counts: Mapping[date, Mapping[str, Mapping[str, int]]],
    against: Mapping[date, Sequence[str]],
) -> list[str]:
    """What the page says first: what became of all rows, and why deliveries are refused."""
    totals = {
        outcome: sum(sum(found.get(outcome, {}).values()) for found in counts.values())
        for outcome in DATASETS
    }
    split = " + ".join(f"{rows:,} {outcome}" for outcome, rows in totals.items())
    refused = [f"{day}: {reason}" for day, reasons in against.items() for reason in reasons]
    return [f"{sum(totals.values()):,} rows delivered = {split}", *refused]


def _over_budget(
    delivery: Delivery,
    found: Mapping[str, Mapping[str, int]],
    budget_share: float,
    quarantined: Sequence[Path],
    source: Source,
) -> list[str]:
    rules = {
        rule: rows for rule, rows in found.get(QUARANTINED, {}).items() if rule not in NOT_BROKEN
    }
    broken = sum(rules.values())
    if broken <= budget_share * delivery.rows:
        return []
    shown = examples(quarantined, source, rules)
    return [
        f"{broken:,} of {delivery.rows:,} rows ({broken / delivery.rows:.2%}) break row rules, "
        f"more than the budget of {budget_share:.2%}",
        *(
            f"{rule}: {rows:,} rows, such as {shown[rule][0]}"
            for rule, rows in sorted(rules.items(), key=lambda one: -one[1])
        ),
    ]


def _too_many(delivery: Delivery, repaired: IntakeRecord) -> list[str]:
    in_quarantine = sum(repaired.quarantined.values())
    if delivery.rows <= in_quarantine:
        return []
    return [
        f"{delivery.rows:,} rows come back, but only {in_quarantine:,} of that delivery are in "
        "quarantine. New rows belong into a delivery of their own day."
    ]


def _overlapping(
    delivery: Delivery, found: Mapping[str, Mapping[str, int]], max_share: float
) -> list[str]:
    repeated = found.get(QUARANTINED, {}).get(DELIVERED_BEFORE, 0)
    if repeated <= max_share * delivery.rows:
        return []
    return [
        f"{repeated:,} of {delivery.rows:,} rows ({repeated / delivery.rows:.2%}) were delivered "
        f"before, more than the {max_share:.0%} that overlap_max_share allows: it is an old file, "
        "or an export of other days. Ask for the delivery of this day."
    ]


FEW_COPIES = 10
"""So few follow from no file that is there twice; a small shop has them."""


def _copied(
    delivery: Delivery, found: Mapping[str, Mapping[str, int]], max_share: float
) -> list[str]:
    copies = found.get(QUARANTINED, {}).get(EXACT_DUPLICATE, 0)
    if copies <= max(max_share * delivery.rows, FEW_COPIES):
        return []
    return [
        f"{copies:,} of {delivery.rows:,} rows ({copies / delivery.rows:.2%}) are copies of others "
        f"in this delivery, more than the {max_share:.0%} that copies_max_share allows: a file, or "
        "part of one, is there twice. Ask for the delivery with each line once."
    ]
