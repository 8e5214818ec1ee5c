"""Lines that an earlier delivery has brought already: exports that overlap, an old file again."""

from collections.abc import Sequence
from functools import reduce
from operator import and_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from expectations.split import QUARANTINED
from expectations.transactions import DELIVERED_BEFORE, DELIVERED_BEFORE_REASON

IDENTITY = (
    "customer_id",
    "invoiced_at",
    "invoice_id",
    "product_id",
    "quantity_micros",
    "unit_price_micros",
    "country",
)
"""Lines that are equal in these columns, nulls included, are the same line, unless the source tells
its lines apart by others. Columns that we do not use do not count: exports may differ in them."""

KEY = ("line_key",)


def mark_repeated(
    tagged: DataFrame,
    earlier: DataFrame | None,
    within_days: int,
    *,
    have_keys: bool = False,
    are_repaired: bool = False,
) -> DataFrame:
    """``tagged`` with the lines quarantined that were delivered on one of the days before.

    Only a line that is dated before the day of its delivery can have come before. These are few,
    and only they are looked for.

    Args:
        tagged: As ``split.split_lines`` gives it, of one or many deliveries.
        earlier: Accepted and excluded lines of days before these, ``known_on`` among their columns;
            the days of ``tagged`` need not be among them.
        within_days: How many days back a line is looked for.
        have_keys: Whether the source says which columns tell its lines apart. Then lines with the
            same key are the same, and a line without one is none that came before.
        are_repaired: Whether the lines come back from quarantine. Then the rest of their delivery
            is among ``earlier``, and each of them may be there already.

    Returns:
        The columns of ``tagged``, with ``delivered_before_on date``: the last day on which a line
        came before, null if it did not.
    """
    identity = KEY if have_keys else IDENTITY
    good = tagged.where(F.col("outcome") != QUARANTINED)
    past = good.where(F.lit(not are_repaired)).select("known_on", *identity)
    if earlier is not None:
        past = past.unionByName(earlier.select("known_on", *identity))
    youngest = 0 if are_repaired else 1
    late = good.where(F.col("days_late") >= youngest).select("known_on", *identity).distinct()
    if have_keys:
        late = late.dropna(subset=list(identity))

    age = F.date_diff(F.col("late.known_on"), F.col("past.known_on"))
    found = (
        _hashed(past, "past", identity)
        .join(
            _hashed(late, "late", identity),
            on=_is_same("past", "late", identity) & age.between(youngest, within_days),
        )
        .groupBy(*[F.col(f"late.{name}") for name in ("known_on", "_hash", *identity)])
        .agg(F.max("past.known_on").alias("_came_on"))
    )
    is_it = _is_same("line", "found", identity) & (
        F.col("line.known_on") == F.col("found.known_on")
    )
    marked = _hashed(tagged, "line", identity).join(found.alias("found"), on=is_it, how="left")

    came_on = F.when(F.col("line.outcome") != QUARANTINED, F.col("found._came_on"))
    changed = {
        "outcome": F.lit(QUARANTINED),
        "rule": F.lit(DELIVERED_BEFORE),
        "rules": F.array_compact(F.array(F.lit(DELIVERED_BEFORE), F.lit(None))),
        "reason": F.lit(DELIVERED_BEFORE_REASON),
        "delivered_before_on": came_on,
    }
    return marked.select(
        *[
            F.when(came_on.isNotNull(), changed[name]).otherwise(F.col(f"line.{name}")).alias(name)
            if name in changed
            else F.col(f"line.{name}")
            for name in tagged.columns
        ]
    )


def _hashed(lines: DataFrame, name: str, identity: Sequence[str]) -> DataFrame:
    """With a hash to join by; equality of the columns makes it exact."""
    return lines.withColumn("_hash", F.xxhash64(*identity)).alias(name)


def _is_same(left: str, right: str, identity: Sequence[str]) -> Column:
    columns = [F.col(f"{left}.{name}").eqNullSafe(F.col(f"{right}.{name}")) for name in identity]
    return reduce(and_, columns, F.col(f"{left}._hash") == F.col(f"{right}._hash"))
