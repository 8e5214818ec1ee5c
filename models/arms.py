"""Which customers are in a challenger's share: the same ones every night, and more as it grows."""

import hashlib

from pyspark.sql import Column
from pyspark.sql import functions as F

BUCKETS = 100

# 32 bits: divided by a hundred, no bucket is fuller than another by more than 3 in 10^8.
HEX_DIGITS = 8


def bucket(customer_id: str, version: str) -> int:
    """The customer's place, 0 to 99, in the line of those who are to get that version's score.

    At 5 % those at 0 to 4 are in, at 20 % those and more: nobody leaves while the share grows.
    Another version orders the customers otherwise, so it is not tried on the same ones.

    >>> [bucket(name, "v1.1.0") for name in ("ada", "bob")]
    [95, 58]
    """
    digest = hashlib.sha256(f"{version}:{customer_id}".encode()).hexdigest()
    return int(digest[:HEX_DIGITS], 16) % BUCKETS


def bucket_column(version: str) -> Column:
    """The same as a Spark expression over ``customer_id``; a bigint, null for a null customer."""
    named = F.concat(F.lit(f"{version}:"), F.col("customer_id"))
    digits = F.substring(F.sha2(named, 256), 1, HEX_DIGITS)
    return F.conv(digits, 16, 10).cast("bigint") % BUCKETS
