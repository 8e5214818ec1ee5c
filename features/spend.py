"""How much the customer buys for, returns not taken off."""

from pyspark.sql import Column

from features.needs import needs
from features.windows import MICROS, amount, distinct, ratio, total


def spend_7d() -> Column:
    """Value of what was bought in the last 7 days, currency units. 0 if nothing was."""
    return amount("purchase_micros", 7)


def spend_30d() -> Column:
    """Value of what was bought in the last 30 days, currency units. 0 if nothing was."""
    return amount("purchase_micros", 30)


def spend_90d() -> Column:
    """Value of what was bought in the last 90 days, currency units. 0 if nothing was."""
    return amount("purchase_micros", 90)


def spend_365d() -> Column:
    """Value of what was bought in the last 365 days, currency units. 0 if nothing was."""
    return amount("purchase_micros", 365)


@needs("invoice_id")
def basket_mean_365d() -> Column:
    """Mean value of an invoice of the last 365 days, currency units. Null if there were none."""
    invoices = distinct("purchase_invoice_ids", 365).cast("bigint")
    return ratio(total("purchase_micros", 365), invoices * MICROS)


SPEND_FEATURES = (spend_7d, spend_30d, spend_90d, spend_365d, basket_mean_365d)
