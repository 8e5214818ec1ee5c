"""How often the customer buys."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from features.needs import needs
from features.windows import distinct, purchase_days, ratio


def purchase_days_7d() -> Column:
    """Days with a purchase in the last 7 days. 0 if there were none."""
    return purchase_days(7)


def purchase_days_30d() -> Column:
    """Days with a purchase in the last 30 days. 0 if there were none."""
    return purchase_days(30)


def purchase_days_90d() -> Column:
    """Days with a purchase in the last 90 days. 0 if there were none."""
    return purchase_days(90)


def purchase_days_365d() -> Column:
    """Days with a purchase in the last 365 days. 0 if there were none."""
    return purchase_days(365)


def purchase_days_year_ago_30d() -> Column:
    """Days with a purchase in the 30 days that came after this day a year (52 weeks) ago.

    0 if there were none, which is also so for a customer who was not yet one.
    """
    return purchase_days(364) - purchase_days(364 - 30)


@needs("invoice_id")
def invoices_7d() -> Column:
    """Different invoices with a purchase in the last 7 days. 0 if there were none."""
    return distinct("purchase_invoice_ids", 7)


@needs("invoice_id")
def invoices_30d() -> Column:
    """Different invoices with a purchase in the last 30 days. 0 if there were none."""
    return distinct("purchase_invoice_ids", 30)


@needs("invoice_id")
def invoices_90d() -> Column:
    """Different invoices with a purchase in the last 90 days. 0 if there were none."""
    return distinct("purchase_invoice_ids", 90)


@needs("invoice_id")
def invoices_365d() -> Column:
    """Different invoices with a purchase in the last 365 days. 0 if there were none."""
    return distinct("purchase_invoice_ids", 365)


def weekend_share_365d() -> Column:
    """Share of the purchase days of the last 365 days that are a Saturday or a Sunday, 0 to 1.

    Null if there were no purchase days.
    """
    return ratio(F.col("weekend_purchase_days_365d"), purchase_days(365))


FREQUENCY_FEATURES = (
    purchase_days_7d,
    purchase_days_30d,
    purchase_days_90d,
    purchase_days_365d,
    purchase_days_year_ago_30d,
    invoices_7d,
    invoices_30d,
    invoices_90d,
    invoices_365d,
    weekend_share_365d,
)
