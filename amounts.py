"""What a line is worth: quantity times price, the one product of the project."""

from pyspark.sql import Column
from pyspark.sql import functions as F


def line_amount(quantity_micros: str, unit_price_micros: str) -> Column:
    """The amount of a line in millionths of the currency unit, ``decimal(32,0)``.

    Exact for a whole quantity. Of weighed goods it is rounded once, half away from zero, to a
    millionth; so sums of lines are exact, however they are grouped. No two values of 64 bits
    overflow it.
    """
    # A product of bigint that overflows is an error on one engine and another number on the next.
    quantity, price = (
        F.col(name).cast("decimal(19,0)") for name in (quantity_micros, unit_price_micros)
    )
    millionth = F.lit("0.000001").cast("decimal(6,6)")
    return (quantity * price * millionth).cast("decimal(32,0)")
