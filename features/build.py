"""All features of all active customers, as of one day or many: the only way there is.

Training asks for many as-of dates and scoring for one, through the same function.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import business_day
from features.activity import is_known
from features.frequency import FREQUENCY_FEATURES
from features.needs import can_be_made
from features.products import PRODUCTS_FEATURES
from features.profile import PROFILE_FEATURES
from features.returns import RETURNS_FEATURES
from features.rhythm import RHYTHM_FEATURES, recency_days
from features.spend import SPEND_FEATURES
from features.trends import TRENDS_FEATURES
from features.windows import WINDOWS, counted, gathered
from meaning import code_sha256
from params import Carried, Columns, Source

FEATURES = (
    *RHYTHM_FEATURES,
    *FREQUENCY_FEATURES,
    *SPEND_FEATURES,
    *RETURNS_FEATURES,
    *PRODUCTS_FEATURES,
    *TRENDS_FEATURES,
    *PROFILE_FEATURES,
)
"""Every feature; the name of the function is the name of the column."""

CATEGORICAL = ("country",)

SEASONAL = ("purchase_days_year_ago_30d",)
"""Features that tell the season: how they move over a year is what happened a year ago, and no news
of the customers."""


def names_of(source: Source | None) -> tuple[str, ...]:
    """The features of a source: all but those over columns that it has not.

    Args:
        source: None stands for one that has every column of ours and carries no other.
    """
    has = set(Columns.model_fields) if source is None else source.has
    return tuple(one.__name__ for one in FEATURES if can_be_made(one, has))


FEATURE_NAMES = names_of(None)


def build_features(
    activity: DataFrame,
    as_of: Sequence[date],
    active_days: int,
    source: Source | None = None,
) -> DataFrame:
    """What every active customer looked like at the end of each as-of date.

    Args:
        activity: As ``read_activity`` gives it; what was not yet known, was known better, or had
            not yet happened on an as-of date is not looked at for it.
        as_of: The days to describe, each once.
        active_days: A customer with a purchase in so many days, the as-of date the last of them,
            is active.
        source: Whose activity it is, as for ``names_of``.

    Returns:
        One row per as-of date and active customer: ``as_of``, ``customer_id`` and the features,
        numbers as double and categories as string. Null means missing by the feature's own rule.
    """
    carry = {} if source is None else source.carry
    known = known_activity(activity, as_of, carry)

    # Rows of a customer one after the other: so an engine holds the arrays of one at a time.
    ordered = known.sortWithinPartitions("customer_id", "as_of")
    customers = ordered.groupBy("customer_id", "as_of").agg(*gathered(carry))
    active = customers.where(recency_days() < active_days)

    names = names_of(source)
    features = {
        feature.__name__: feature().cast("string" if feature.__name__ in CATEGORICAL else "double")
        for feature in FEATURES
        if feature.__name__ in names
    }
    columns = [feature.alias(name) for name, feature in features.items()]
    return active.select("as_of", "customer_id", *columns)


def known_activity(
    activity: DataFrame, as_of: Sequence[date], carry: Mapping[str, Carried]
) -> DataFrame:
    """For each as-of date the activity up to it that was known by then, with its ``days_ago``."""
    # What no window of any date reaches is not carried along.
    oldest = min(as_of) - timedelta(max(WINDOWS) - 1)
    needed = F.col("activity_on") >= oldest
    slim = activity.where(F.col("known_on") <= max(as_of)).withColumns(
        {name: F.when(needed, F.col(name)) for name in counted(carry)}
    )
    # Brought together by customer once, before there is a copy of each row for each as-of date.
    dated = slim.repartition("customer_id").withColumn("as_of", F.explode(F.lit(list(as_of))))
    happened = F.col("activity_on") <= F.col("as_of")
    known = dated.where(happened & is_known(F.col("as_of")))
    # An int on every engine.
    return known.withColumn("days_ago", F.date_diff("as_of", "activity_on").cast("int"))


def features_sha256() -> str:
    """The hash of what this package and the place where days are cut mean."""
    return code_sha256([*Path(__file__).parent.glob("*.py"), Path(business_day.__file__)])
