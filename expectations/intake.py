"""Deliveries into the lake: tagged, counted, judged, written, and every row accounted for.

One delivery of tonight and hundreds of a history take the same way, in the same number of passes.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

import catalog
from errors import BadData
from expectations.accounting import account_for_rows, check_written
from expectations.split import (
    ACCEPTED,
    EXCLUDED,
    QUARANTINED,
    count_outcomes,
    layout_for,
    split_lines,
)
from expectations.transactions import EXACT_DUPLICATE, verify_transactions
from expectations.volume import Volume, judge_volume, same_weekday_rows
from lake import kept, write_deliveries
from params import Params
from records import Delivery, DeliveryRecord

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
    "quantity",
    "unit_price_micros",
    "country",
)


class DeliveryRefused(BadData):
    """Deliveries that must not be used; they left their quarantine and a page, nothing else."""

    def __init__(self, refusals: Mapping[date, Sequence[str]]) -> None:
        listed = [f"  - {day}: {reason}" for day in sorted(refusals) for reason in refusals[day]]
        super().__init__(
            f"{len(refusals)} delivery(ies) refused:\n" + "\n".join(listed) + "\nThe rows at fault "
            "are in lake/quarantine. Have the day delivered again, or remove its folder."
        )


@dataclass(frozen=True, slots=True)
class Intake:
    """What became of deliveries: a record of each one taken, the reasons of each one refused, and
    sentences about promises that some rows break."""

    records: list[DeliveryRecord]
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
    rows_before: Mapping[date, int],
    is_history: bool,
) -> Intake:
    """Split delivered lines, write every partition, and record each delivery last.

    The lines are read once and tagged once; the tagged lines are kept in a file for the counts, the
    verdict and one write per outcome. One write for all outcomes would have to put the same columns
    into every file; tagging costs more than writing, so three writes of what is tagged already are
    as good, and every file holds what the catalog promises.

    Args:
        lines: All rows of ``deliveries``, as read from them.
        docs: The folder for the page of the verdict.
        rows_before: Rows delivered on earlier days, to compare volumes with.
        is_history: Days taken in together, long after: their volume is only recorded, and each
            is held to the budget by itself. A delivery of tonight is refused when it is thin.

    Raises:
        ExpectationsBroken: If a promise about the whole batch is broken; see
            ``verify_transactions``. The quarantine and the page are there all the same.
        RowsUnaccounted: If delivered = accepted + quarantined + excluded does not hold.
    """
    source = params.source(source_name)
    budget_share = params.validation.quarantine_budget_share
    ids = {delivery.known_on: delivery.delivery_id for delivery in deliveries}
    layout = layout_for([delivery.rows for delivery in deliveries])

    split = split_lines(spark, lines, source, params.business.timezone, layout)
    # Nobody needs the payload of a good line again.
    kept_raw = F.when(F.col("outcome") == QUARANTINED, F.col("raw"))
    log.info("reading %s", about(deliveries))
    with kept(split.withColumn("raw", kept_raw), root) as tagged:
        counts = count_outcomes(tagged)
        for delivery in deliveries:
            account_for_rows(delivery, counts.get(delivery.known_on, {}))
        log.info("tagged and counted %d rows", sum(delivery.rows for delivery in deliveries))

        _write(tagged, QUARANTINED, root, ids, counts)
        warnings = verify_transactions(
            tagged, source, budget_share, docs, about(deliveries), budget_stops=not is_history
        )
        log.info("judged; the page: %s", docs / "index.html")

        volumes = _volumes(deliveries, rows_before, params, source.closed_days)
        refusals = {}
        for delivery in deliveries:
            day = delivery.known_on
            reasons = _over_budget(delivery, counts.get(day, {}), budget_share)
            if volumes[day].is_refused and not is_history:
                reasons.append(volumes[day].finding)
            if reasons:
                refusals[day] = reasons

        taken = {day: name for day, name in ids.items() if day not in refusals}
        if taken:
            rows = tagged.where(F.col("known_on").isin(list(taken))) if refusals else tagged
            _write(rows, EXCLUDED, root, taken, counts)
            _write(rows, ACCEPTED, root, taken, counts)
        log.info("wrote %d deliveries, refused %d", len(taken), len(refusals))

    records = [
        _record(
            delivery, source_name, counts.get(delivery.known_on, {}), volumes[delivery.known_on]
        )
        for delivery in deliveries
        if delivery.known_on in taken
    ]
    for record in records:
        record.write(root)
    return Intake(records, refusals, warnings)


def about(deliveries: Sequence[Delivery]) -> str:
    """Which deliveries, for the heading of a page: a day, or the first and last of many."""
    days = sorted(delivery.known_on for delivery in deliveries)
    if len(days) == 1:
        return f"delivery {deliveries[0].delivery_id} of {days[0]}"
    return f"{len(days)} deliveries, {days[0]} to {days[-1]}"


def _record(
    delivery: Delivery, source_name: str, found: Mapping[str, Mapping[str, int]], volume: Volume
) -> DeliveryRecord:
    return DeliveryRecord(
        known_on=delivery.known_on,
        delivery_id=delivery.delivery_id,
        source=source_name,
        files=delivery.files,
        delivered=delivery.rows,
        accepted=sum(found.get(ACCEPTED, {}).values()),
        quarantined=found.get(QUARANTINED, {}),
        excluded=found.get(EXCLUDED, {}),
        findings=[*delivery.findings, *([volume.finding] if volume.finding else [])],
    )


def _write(
    tagged: DataFrame,
    outcome: str,
    root: Path,
    ids: Mapping[date, str],
    counts: Mapping[date, Mapping[str, Mapping[str, int]]],
) -> None:
    orders = {
        ACCEPTED: LINE_ORDER,
        EXCLUDED: ("rule", *LINE_ORDER),
        # A map has no order of its own.
        QUARANTINED: ("rule", "source_file", "source_line", F.array_sort(F.map_entries("raw"))),
    }
    rows = tagged.where(F.col("outcome") == outcome)
    written = write_deliveries(rows, DATASETS[outcome], root, ids, orders[outcome])
    counted = {day: sum(counts.get(day, {}).get(outcome, {}).values()) for day in ids}
    check_written(outcome, written, counted)


def _volumes(
    deliveries: Sequence[Delivery],
    rows_before: Mapping[date, int],
    params: Params,
    closed_days: Sequence[date],
) -> dict[date, Volume]:
    rows = dict(rows_before) | {delivery.known_on: delivery.rows for delivery in deliveries}
    limits = params.validation
    return {
        delivery.known_on: judge_volume(
            delivery.rows,
            same_weekday_rows(delivery.known_on, rows, limits.volume_weeks),
            delivery.known_on in closed_days,
            limits,
        )
        for delivery in deliveries
    }


def _over_budget(
    delivery: Delivery, found: Mapping[str, Mapping[str, int]], budget_share: float
) -> list[str]:
    rules = {
        rule: rows for rule, rows in found.get(QUARANTINED, {}).items() if rule != EXACT_DUPLICATE
    }
    broken = sum(rules.values())
    if broken <= budget_share * delivery.rows:
        return []
    return [
        f"{broken:,} of {delivery.rows:,} rows ({broken / delivery.rows:.2%}) break row rules, "
        f"more than the budget of {budget_share:.2%}: {rules}"
    ]
