"""Which customers are never contacted, so that it is known what they do by themselves.

Where a contact helps, those whom the champion had contacted buy because of it: labels then say that
it was right, whoever was. The customers of the control are chosen by a hash of their id alone, so
they are the same every night and for every model; as the share grows others join them.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import pandas as pd
from pyspark.sql import Column
from pyspark.sql import functions as F

HEX_DIGITS = 8
LINE_ENDS = 16**HEX_DIGITS


def is_control(customers: Iterable[str], share: float) -> np.ndarray:
    """For each customer, whether the control has it.

    >>> is_control(["ada", "bob", "cyd"], 0.5).tolist()
    [False, False, True]
    """
    numbers, names = pd.factorize(np.asarray(list(customers), dtype=object))
    digests = (hashlib.sha256(f"control:{name}".encode()).hexdigest() for name in names)
    places = np.array([int(digest[:HEX_DIGITS], 16) for digest in digests], dtype=np.int64)
    return (places < share * LINE_ENDS)[numbers]


def control_column(share: float) -> Column:
    """The same as a Spark expression over ``customer_id``."""
    named = F.concat(F.lit("control:"), F.col("customer_id"))
    place = F.conv(F.substring(F.sha2(named, 256), 1, HEX_DIGITS), 16, 10).cast("bigint")
    return place < F.lit(share * LINE_ENDS)
