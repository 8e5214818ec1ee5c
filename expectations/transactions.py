"""What a good transaction line looks like.

Each promise about a single line is declared once. Great Expectations counts the lines that break
it, and ``split`` quarantines the very same lines under its name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import ColumnMapExpectation
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from expectations.promise import FAIL, WARN, promise
from expectations.verdict import verify
from params import MICROS, Source

EXACT_DUPLICATE = "exact_duplicate"

DELIVERED_BEFORE = "delivered_before"
DELIVERED_BEFORE_REASON = (
    "The same line came with the delivery of an earlier day: the exports overlap. It counts once."
)

NOT_IN_FUTURE = "not_in_future"

NOT_BROKEN = (EXACT_DUPLICATE, DELIVERED_BEFORE)
"""Rules that take lines out which are right in themselves; they do not count to the budget."""

SAID_OF = {
    "malformed_line": "malformed",
    "invoice_id_usable": "unusable_invoice_id",
    "product_id_usable": "unusable_product_id",
    "customer_id_usable": "unusable_customer_id",
    "country_usable": "unusable_country",
    "quantity_exact": "inexact_quantity",
    "unit_price_exact": "inexact_unit_price",
    "amount_exact": "inexact_amount",
    "carried_usable": "unusable_carried",
}
"""The rules that the reader of a delivery judges, each with the column that says what is wrong."""

REASON_OF_ID = (
    "An id is text of a bounded length without characters that nobody sees, and a number where "
    "params.yaml says so (ids); as it is, it can neither be kept nor told from others."
)

REASONS_OF_GIVEN = {
    "invoice_id": "A line without an invoice cannot be counted as a purchase.",
    "product_id": "A line without a product cannot be counted as one.",
}


def transaction_rules(source: Source) -> list[ColumnMapExpectation]:
    """The promises about single lines; a line that breaks one is quarantined.

    They speak of the canonical columns that the source has, of those that ``split.with_context``
    adds, and of nothing else. A line is filed under the first it breaks, so the more telling ones
    come first. Nulls are named separately, because null keeps every other promise.
    """
    rules = [
        promise(
            gxe.ExpectColumnValuesToBeNull,
            "malformed_line",
            "The line of the file is no row: it has too few or too many values, a quote where none "
            "belongs, or bytes that are no text.",
            column=SAID_OF["malformed_line"],
        ),
        *[
            promise(
                gxe.ExpectColumnValuesToBeNull,
                f"{name}_usable",
                REASON_OF_ID,
                column=SAID_OF[f"{name}_usable"],
            )
            for name in ("invoice_id", "product_id", "customer_id", "country")
            if name in source.columns.given
        ],
        *[
            promise(gxe.ExpectColumnValuesToNotBeNull, f"{name}_given", reason, column=name)
            for name, reason in REASONS_OF_GIVEN.items()
            if name in source.columns.given
        ],
        *(_amount_rules(source) if source.columns.amount else _price_rules(source)),
        *(_rules_of_carried() if source.carry else []),
        promise(
            gxe.ExpectColumnValuesToNotBeNull,
            "invoiced_at_given",
            "The time is absent or unreadable, or in a zone that nobody knows, so the line belongs "
            "to no day.",
            column="invoiced_at",
        ),
        promise(
            gxe.ExpectColumnValuesToBeBetween,
            NOT_IN_FUTURE,
            "The line is dated after the day it was delivered for. Late lines are welcome and "
            "count for their own day; a date still to come is an error.",
            column="days_late",
            min_value=0,
        ),
        promise(
            gxe.ExpectColumnValuesToBeBetween,
            "not_too_old",
            "No line is that old (oldest_day in params.yaml): a default date, or a wrong century.",
            column="invoiced_on",
            min_value=source.oldest_day,
        ),
    ]
    if source.columns.country is not None:
        rules.append(
            promise(
                gxe.ExpectColumnValuesToNotBeNull,
                "country_given",
                "Every sale goes somewhere; without it the row was cut short.",
                column="country",
            )
        )
    if source.countries is not None:
        rules.append(
            promise(
                gxe.ExpectColumnValuesToBeInSet,
                "country_known",
                "The country is not in the list of params.yaml: a new spelling or a wrong column.",
                column="country",
                value_set=source.countries,
            )
        )
    # Last, so that a copy of a broken line is filed under what is wrong with it.
    rules.append(
        promise(
            gxe.ExpectColumnValuesToBeBetween,
            EXACT_DUPLICATE,
            "The same line is in the delivery more than once (duplicates in params.yaml says what "
            "makes it the same); the first copy is kept.",
            column="copy_number",
            max_value=1,
        )
    )
    rules.append(
        promise(
            gxe.ExpectColumnValuesToBeNull,
            DELIVERED_BEFORE,
            DELIVERED_BEFORE_REASON,
            column="delivered_before_on",
        )
    )
    return rules


def _price_rules(source: Source) -> list[ColumnMapExpectation]:
    return [
        promise(
            gxe.ExpectColumnValuesToBeNull,
            "quantity_exact",
            "The quantity has more decimals than quantity_decimals in params.yaml allows: they "
            "would be dropped.",
            column=SAID_OF["quantity_exact"],
        ),
        promise(
            gxe.ExpectColumnValuesToNotBeNull,
            "quantity_given",
            "The quantity is absent or is not a number, so nobody knows what was sold.",
            column="quantity_micros",
        ),
        promise(
            gxe.ExpectColumnValuesToNotBeInSet,
            "quantity_not_zero",
            "A line of nothing is neither a purchase nor a return.",
            column="quantity_micros",
            value_set=[0],
        ),
        promise(
            gxe.ExpectColumnValuesToBeBetween,
            "quantity_plausible",
            "No real order or return is that large (largest_quantity in params.yaml): "
            "a keying error.",
            column="quantity_micros",
            min_value=-source.largest_quantity * MICROS,
            max_value=source.largest_quantity * MICROS,
        ),
        promise(
            gxe.ExpectColumnValuesToBeNull,
            "unit_price_exact",
            "The price has a fraction of a millionth, which would be dropped.",
            column=SAID_OF["unit_price_exact"],
        ),
        promise(
            gxe.ExpectColumnValuesToNotBeNull,
            "unit_price_given",
            "The price is absent or is not a number, so nobody knows what was spent.",
            column="unit_price_micros",
        ),
        promise(
            gxe.ExpectColumnValuesToBeBetween,
            "unit_price_not_negative",
            "Returns have a negative quantity; a negative price is a booking entry, not a sale.",
            column="unit_price_micros",
            min_value=0,
        ),
        promise(
            gxe.ExpectColumnValuesToBeBetween,
            "unit_price_plausible",
            "No product costs that much (largest_unit_price in params.yaml): a keying error, or "
            "an amount in the wrong unit.",
            column="unit_price_micros",
            max_value=round(source.largest_unit_price * MICROS),
        ),
        _amount_plausible(source),
    ]


def _rules_of_carried() -> list[ColumnMapExpectation]:
    return [
        promise(
            gxe.ExpectColumnValuesToBeNull,
            "carried_usable",
            "What the source carries (carry in params.yaml) is a number of at most six decimals "
            "where it is added up, and text like that of an id where its values are listed.",
            column=SAID_OF["carried_usable"],
        )
    ]


def _amount_rules(source: Source) -> list[ColumnMapExpectation]:
    return [
        promise(
            gxe.ExpectColumnValuesToBeNull,
            "amount_exact",
            "The amount has a fraction of a millionth, which would be dropped.",
            column=SAID_OF["amount_exact"],
        ),
        promise(
            gxe.ExpectColumnValuesToNotBeNull,
            "amount_given",
            "The amount is absent or is not a number, so nobody knows what was spent.",
            column="amount_micros",
        ),
        _amount_plausible(source),
    ]


def _amount_plausible(source: Source) -> ColumnMapExpectation:
    return promise(
        gxe.ExpectColumnValuesToBeBetween,
        "amount_plausible",
        "No line is worth that much (largest_amount in params.yaml): a keying error.",
        column="amount_micros",
        max_value=round(source.largest_amount * MICROS),
    )


def exclusions(source: Source) -> dict[str, Column]:
    """Lines that are right but not ours to score, by the name of what excludes them; not null."""
    found = {"no_customer": F.col("customer_id").isNull()}
    if source.not_merchandise is not None:
        not_merchandise = F.rlike("product_id", F.lit(source.not_merchandise))
        found["not_merchandise"] = F.coalesce(not_merchandise, F.lit(False))
    if source.columns.amount is not None:
        found["nothing_paid"] = F.coalesce(F.col("amount_micros") == 0, F.lit(False))
    return found


EXCLUSION_REASONS = {
    "no_customer": "A sale without a customer says nothing about any customer.",
    "not_merchandise": "Postage, fees and the like are not purchases of a product.",
    "nothing_paid": "An amount of nothing is neither a purchase nor a return.",
}


def verify_transactions(
    tagged: DataFrame,
    source: Source,
    budget_share: float,
    docs: Path,
    about: str,
    *,
    budget_stops: bool = True,
    notes: Sequence[str] = (),
    examples: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> list[str]:
    """Judge delivered lines, after ``split.split_lines`` has tagged them, and write the page.

    Args:
        budget_share: The share of lines that may break a row rule; lines that came twice do not
            count.
        docs: The folder for the page.
        about: Which delivery it is, for people.
        budget_stops: Whether exceeding the budget stops the night. Of many deliveries at once
            it says nothing about any of them, and is only a warning.
        notes: Sentences that the page says first.
        examples: For some rules, rows that break them, as people find them again.

    Returns:
        A sentence for each row rule that some lines break.

    Raises:
        ExpectationsBroken: If the budget is exceeded; counts the rows of every rule.
    """
    within_budget = promise(
        gxe.ExpectColumnValuesToBeNull,
        "within_budget",
        "More broken lines than quarantine_budget_share in params.yaml allows: something is "
        "wrong with the delivery as a whole, and scores made from the rest would mislead. "
        "Lines that came twice do not count. Ask for a repaired delivery.",
        FAIL if budget_stops else WARN,
        column="broken_rule",
        mostly=1 - budget_share,
    )
    broken_rule = F.when(~F.col("rule").isin(*NOT_BROKEN), F.col("rule"))
    batch = tagged.withColumn("broken_rule", F.when(F.col("outcome") == "quarantined", broken_rule))
    rules = [within_budget, *transaction_rules(source)]
    return verify(
        "transactions",
        batch,
        rules,
        docs,
        about,
        notes=notes,
        examples=examples,
        currency=source.currency,
    )
