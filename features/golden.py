"""Some customers whose features were recorded at training and must come out the same every night.

It is what says that training and scoring have not drifted apart: another Spark, another machine or
another line of code that changes one bit of one feature is found before anything is scored.
"""

from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from features.activity import is_known
from features.build import CATEGORICAL, build_features
from params import Source

GOLDEN_CUSTOMERS = 200
GOLDEN_ORDER = ("customer_id", "activity_on", "known_on", "known_from")

_DAY, _IDS, _COUNT = pa.date32(), pa.list_(pa.string()), pa.int64()

GOLDEN_ACTIVITY = pa.schema(
    [
        ("customer_id", pa.string()),
        ("activity_on", _DAY),
        ("country", pa.string()),
        ("purchase_invoice_ids", _IDS),
        ("purchase_product_ids", _IDS),
        ("purchase_lines", _COUNT),
        ("purchase_quantity_micros", _COUNT),
        ("purchase_micros", _COUNT),
        ("return_lines", _COUNT),
        ("return_quantity_micros", _COUNT),
        ("return_micros", _COUNT),
        ("known_on", _DAY),
        ("known_from", _DAY),
        ("known_until", _DAY),
    ]
)


def golden_activity(source: Source | None) -> pa.Schema:
    """The columns of the recorded activity, with those that the source carries."""
    carried = {} if source is None else source.carry
    types = {name: _COUNT if one.keep == "sum" else _IDS for name, one in carried.items()}
    return pa.schema([*GOLDEN_ACTIVITY, *types.items()])


ACTIVITY_FILE = "golden_activity.parquet"
FEATURES_FILE = "golden_features.parquet"


class FeaturesDiffer(Exception):
    """This code, here and now, does not compute what the model was trained on."""

    def __init__(self, difference: str) -> None:
        super().__init__(
            f"{difference} The model was trained on other features than this checkout makes. "
            "Score with the commit that the model version names, or train again (dvc repro); if "
            "the code is the same, look for another Spark or Java than requirements.txt locks."
        )


def write_golden(
    activity: DataFrame,
    folder: Path,
    as_of: date,
    active_days: int,
    source: Source | None = None,
) -> None:
    """Record the activity and the features of some active customers in ``folder``.

    All that ``activity`` has on them goes along, also what came after ``as_of``, so that the check
    shows that the future is still not looked at.

    Args:
        source: Whose activity it is, as for ``build_features``.

    Raises:
        ValueError: If no customer is active.
    """
    first_active_on = as_of - timedelta(days=active_days - 1)
    active = activity.where(
        (F.col("purchase_lines") > 0)
        & F.col("activity_on").between(first_active_on, as_of)
        & is_known(F.lit(as_of))
    )
    # By hash, so that they are of all kinds; by identifier they might all be of the first day.
    chosen = (
        active.select("customer_id")
        .distinct()
        .orderBy(F.sha2("customer_id", 256))
        .limit(GOLDEN_CUSTOMERS)
    )
    rows = activity.join(F.broadcast(chosen), on="customer_id", how="left_semi")
    schema = golden_activity(source)
    # In types and in an order of our own, so that the bytes are the same whichever engine gave the
    # rows. Sail cannot sort by columns that are one value in each part of a union.
    golden = (
        rows.select(*schema.names)
        .toArrow()
        .cast(schema)
        .sort_by([(name, "ascending") for name in GOLDEN_ORDER])
        .combine_chunks()
    )
    if not golden.num_rows:
        raise ValueError(f"no customer was active as of {as_of}; nothing to record")

    pq.write_table(golden, folder / ACTIVITY_FILE, compression="zstd")
    features = _features(activity.sparkSession, golden, as_of, active_days, source)
    settings = {"as_of": str(as_of), "active_days": str(active_days)}
    pq.write_table(
        features.replace_schema_metadata(settings), folder / FEATURES_FILE, compression="zstd"
    )


def check_golden(spark: SparkSession, folder: Path, source: Source | None = None) -> int:
    """Compute the recorded customers again, and return how many came out the same, bit for bit.

    Args:
        source: As it is today.

    Raises:
        FeaturesDiffer: If not all did; names the feature, the customer and both values.
    """
    recorded = pq.read_table(folder / FEATURES_FILE)
    settings = {key.decode(): value.decode() for key, value in recorded.schema.metadata.items()}
    activity = pq.read_table(folder / ACTIVITY_FILE)
    as_of, active_days = date.fromisoformat(settings["as_of"]), int(settings["active_days"])
    computed = _features(spark, activity, as_of, active_days, source)

    if recorded.column_names != computed.column_names:
        gone = sorted(set(recorded.column_names) - set(computed.column_names))
        new = sorted(set(computed.column_names) - set(recorded.column_names))
        raise FeaturesDiffer(f"Features differ: gone {gone}, new {new}, or their order changed.")
    if recorded["customer_id"] != computed["customer_id"]:
        raise FeaturesDiffer(
            f"Of {recorded.num_rows} recorded customers, other ones ({computed.num_rows}) come "
            f"out as active as of {settings['as_of']}."
        )
    differences = [
        f"{name} of customer {customer} is {got!r}, recorded as {expected!r}"
        for name in recorded.column_names
        for customer, expected, got in zip(
            *(
                table[column].to_pylist()
                for table, column in ((recorded, "customer_id"), (recorded, name), (computed, name))
            ),
            strict=True,
        )
        # As text, which tells -0.0 from 0.0 and keeps every bit of a number.
        if repr(expected) != repr(got)
    ]
    if differences:
        raise FeaturesDiffer(f"{differences[0]} ({len(differences)} values differ).")
    return recorded.num_rows


def _features(
    spark: SparkSession, activity: pa.Table, as_of: date, active_days: int, source: Source | None
) -> pa.Table:
    rows = spark.createDataFrame(activity)
    described = build_features(rows, [as_of], active_days, source).orderBy("customer_id").toArrow()
    types = {"as_of": _DAY} | dict.fromkeys(("customer_id", *CATEGORICAL), pa.string())
    schema = pa.schema([(name, types.get(name, pa.float64())) for name in described.column_names])
    return described.cast(schema).combine_chunks()
