"""What the customer sends back. Values are positive."""

from pyspark.sql import Column

from features.windows import amount, ratio, total


def returned_7d() -> Column:
    """Value of what was returned in the last 7 days, currency units. 0 if nothing was."""
    return amount("return_micros", 7)


def returned_30d() -> Column:
    """Value of what was returned in the last 30 days, currency units. 0 if nothing was."""
    return amount("return_micros", 30)


def returned_90d() -> Column:
    """Value of what was returned in the last 90 days, currency units. 0 if nothing was."""
    return amount("return_micros", 90)


def returned_365d() -> Column:
    """Value of what was returned in the last 365 days, currency units. 0 if nothing was."""
    return amount("return_micros", 365)


def returned_share_365d() -> Column:
    """Value returned over value bought in the last 365 days.

    Above 1 if more came back than was bought in that time. Null if nothing was bought, or only for
    nothing.
    """
    return ratio(total("return_micros", 365), total("purchase_micros", 365))


RETURNS_FEATURES = (returned_7d, returned_30d, returned_90d, returned_365d, returned_share_365d)
