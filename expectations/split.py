"""Every delivered line gets one outcome: accepted, quarantined by a rule, or excluded by one.

Lines are tagged once, by one expression per rule, and the tagged lines are what is counted,
judged and written.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from amounts import line_amount
from business_day import business_day
from expectations.promise import rule_of
from expectations.transactions import (
    EXCLUSION_REASONS,
    SAID_OF,
    exclusions,
    transaction_rules,
)
from expectations.verdict import breaks
from params import LARGEST_SUM, Source

ACCEPTED, QUARANTINED, EXCLUDED = "accepted", "quarantined", "excluded"

# Some 25 MB as Parquet: sorted in memory, written in seconds, and a day of it is one file.
ROWS_OF_A_PARTITION = 250_000


@dataclass(frozen=True, slots=True)
class Layout:
    """Over how many partitions lines are spread; lines of a day lie in at most ``per_day``."""

    partitions: int = 1
    per_day: int = 1


ONE_PARTITION = Layout()


def layout_for(rows: Sequence[int]) -> Layout:
    """Partitions for deliveries of these sizes: few files, and none too large to sort.

    >>> layout_for([1_500])
    Layout(partitions=1, per_day=1)
    >>> layout_for([1_500] * 700)
    Layout(partitions=5, per_day=1)
    >>> layout_for([30_000_000])
    Layout(partitions=120, per_day=120)
    """
    return Layout(
        partitions=max(1, ceil(sum(rows) / ROWS_OF_A_PARTITION)),
        per_day=max(1, ceil(max(rows) / ROWS_OF_A_PARTITION)),
    )


def with_context(lines: DataFrame, source: Source, layout: Layout) -> DataFrame:
    """Lines with what the row rules need beside the line itself.

    Adds ``invoiced_on date``, the business day; ``days_late int``, from that day to ``known_on``,
    negative for a date still to come; ``amount_micros bigint``, quantity times price without its
    sign, or the largest there is; and ``copy_number int``, 1 for the first line with this payload
    in its delivery, 2 for any other, null for a line that is nobody's copy. The payload is what the
    source says makes two lines the same. The first copy is the one that comes first in the first
    file. ``line_key string`` is the payload where the source names its columns, else null.
    ``delivered_before_on date`` is null here (see ``repeats.mark_repeated``).

    ``invoice_id`` gets what makes it unique in front: the day, or who issued it.
    """
    has_keys = isinstance(source.duplicates, list)
    lines = (
        lines.withColumn(
            "invoiced_on", business_day("invoiced_at", source.timezone, source.day_ends_at)
        )
        .withColumn("invoice_id", _unique_invoice(source))
        .withColumn("line_key", _line_key(source))
        .withColumn("_payload", F.col("line_key" if has_keys else "row_text"))
        .withColumn("_hash", F.xxhash64("_payload"))
    )
    part = F.pmod("_hash", F.lit(layout.per_day))
    # Copies lie side by side. A window for each payload would be one for nearly every line. The
    # hash makes sorting fast; the payload behind it makes equality exact.
    in_order = Window.partitionBy("known_on", "_part").orderBy(
        "_hash", "_payload", "source_file", "source_line"
    )
    is_copy = F.lag("_payload").over(in_order) == F.col("_payload")
    number = F.when(is_copy, F.lit(2)).otherwise(F.lit(1))
    return (
        lines.withColumn("_part", part)
        .repartition(layout.partitions, "known_on", "_part")
        .withColumn("copy_number", F.when(F.col("_payload").isNotNull(), number))
        .withColumn("days_late", F.date_diff("known_on", "invoiced_on"))
        .withColumn("delivered_before_on", F.lit(None).cast("date"))
        .withColumn("amount_micros", _amount())
        .drop("row_text", "_payload", "_hash", "_part")
    )


def _framed(value: Column) -> Column:
    """The value behind its length, so that "a,b" and "c" are not "a" and "b,c"."""
    return F.coalesce(F.concat(F.length(value), F.lit(":"), value), F.lit("-"))


def _line_key(source: Source) -> Column:
    """The values of the columns that tell lines apart; null if there are none, or all are empty.

    For the invoice's number stands what makes it unique: lines of other days are other lines.
    """
    nothing = F.lit(None).cast("string")
    if not isinstance(source.duplicates, list):
        return nothing
    invoice = source.columns.invoice_id
    values = [
        F.col("invoice_id") if name == invoice else F.col("raw").getItem(name)
        for name in source.duplicates
    ]
    is_given = F.col("malformed").isNull() & F.coalesce(*values).isNotNull()
    return F.when(is_given, F.concat_ws(",", *map(_framed, values))).otherwise(nothing)


def _amount() -> Column:
    amount = F.abs(line_amount("quantity_micros", "unit_price_micros"))
    largest = F.when(amount.isNotNull(), F.lit(LARGEST_SUM))
    return F.coalesce(amount.try_cast("bigint"), largest)


def _unique_invoice(source: Source) -> Column:
    """The invoice's id, behind the day and the issuer where these have numbers of their own.

    Null if the issuer is not known. A line without a day is broken by itself.
    """
    parts = [F.col("invoice_id")]
    if source.invoices_issued_by is not None:
        parts = [F.col("invoice_issuer"), F.lit("/"), *parts]
    if source.invoices_restart_daily:
        day = F.coalesce(F.col("invoiced_on").cast("string"), F.lit(""))
        parts = [day, F.lit("/"), *parts]
    return F.concat(*parts)


def split_lines(
    spark: SparkSession,
    lines: DataFrame,
    source: Source,
    layout: Layout = ONE_PARTITION,
) -> DataFrame:
    """Tag every line.

    Args:
        lines: As read from deliveries (``catalog.DELIVERED_LINE``).
        layout: How the result is spread; it changes nothing in the rows.

    Returns:
        ``lines`` and what ``with_context`` adds, with ``outcome`` (accepted, quarantined or
        excluded), ``rule`` (the first row rule broken, else what excludes the line, else null),
        ``rules array<string>`` (every row rule broken) and ``reason`` (of ``rule``, with what
        exactly is wrong where the reader has said it).
    """
    rules = transaction_rules(source)
    reasons = {rule_of(rule): str(rule.notes) for rule in rules} | EXCLUSION_REASONS

    described = with_context(lines, source, layout)
    broken = [
        F.when(condition, F.lit(rule))
        for rule, condition in breaks(spark, described, rules).items()
    ]
    excluded_by = F.coalesce(
        *[F.when(condition, F.lit(name)) for name, condition in exclusions(source).items()]
    )
    outcome = (
        F.when(F.size("rules") > 0, F.lit(QUARANTINED))
        .when(excluded_by.isNotNull(), F.lit(EXCLUDED))
        .otherwise(F.lit(ACCEPTED))
    )
    rule = F.coalesce(F.get("rules", F.lit(0)), excluded_by)
    return (
        described.withColumn("rules", F.array_compact(F.array(*broken)))
        .withColumn("outcome", outcome)
        .withColumn("rule", rule)
        .withColumn("reason", _reason(reasons))
    )


def _reason(reasons: Mapping[str, str]) -> Column:
    said = [F.when(F.col("rule") == rule, F.col(column)) for rule, column in SAID_OF.items()]
    # Not a map, which an engine may make anew for every line.
    reason = F.coalesce(*[F.when(F.col("rule") == rule, text) for rule, text in reasons.items()])
    return F.when(reason.isNotNull(), F.concat_ws(" Here: ", reason, F.coalesce(*said)))


@dataclass(frozen=True, slots=True)
class Counts:
    """Tagged lines, by the day of their delivery.

    ``dates`` counts them by the business day they are dated, null if that is unknown:
    ``{date(2026, 4, 2): {date(2026, 4, 2): 97, date(2026, 4, 1): 3}}`` has three late lines.
    ``outcomes`` counts them by outcome and rule; the rule of an accepted line is ``""``:
    ``{date(2026, 4, 1): {"accepted": {"": 97}, "quarantined": {"quantity_not_zero": 3}}}`` is a
    day with 97 good lines and 3 that break one rule.
    """

    dates: dict[date, dict[date | None, int]]
    outcomes: dict[date, dict[str, dict[str, int]]]


def count_lines(tagged: DataFrame) -> Counts:
    """Count tagged lines, in one pass."""
    dates: dict[date, Counter[date | None]] = {}
    outcomes: dict[date, dict[str, Counter[str]]] = {}
    groups = tagged.groupBy(
        "known_on", "outcome", F.coalesce("rule", F.lit("")).alias("rule"), "invoiced_on"
    )
    for row in sorted(groups.count().collect(), key=lambda row: row[:3]):
        dates.setdefault(row.known_on, Counter())[row.invoiced_on] += row["count"]
        by_rule = outcomes.setdefault(row.known_on, {}).setdefault(row.outcome, Counter())
        by_rule[row.rule] += row["count"]
    return Counts(
        {day: dict(found) for day, found in dates.items()},
        {
            day: {outcome: dict(found) for outcome, found in by_outcome.items()}
            for day, by_outcome in outcomes.items()
        },
    )
