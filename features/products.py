"""How wide the customer's choice is."""

from pyspark.sql import Column

from features.needs import needs
from features.windows import distinct


@needs("product_id")
def products_7d() -> Column:
    """Different products bought in the last 7 days. 0 if there were none."""
    return distinct("purchase_product_ids", 7)


@needs("product_id")
def products_30d() -> Column:
    """Different products bought in the last 30 days. 0 if there were none."""
    return distinct("purchase_product_ids", 30)


@needs("product_id")
def products_90d() -> Column:
    """Different products bought in the last 90 days. 0 if there were none."""
    return distinct("purchase_product_ids", 90)


@needs("product_id")
def products_365d() -> Column:
    """Different products bought in the last 365 days. 0 if there were none."""
    return distinct("purchase_product_ids", 365)


PRODUCTS_FEATURES = (products_7d, products_30d, products_90d, products_365d)
