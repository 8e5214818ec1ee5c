"""See whether the night's data came as they usually do: every column, all rows.

Reads the night's lines and those of the same weekday before, the run's features, predictions and
bundle; writes the warehouse's `quality` rows of the run.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, Row, SparkSession
from pyspark.sql import functions as F

import catalog
import warehouse
from jobs.entry import run_parser, start
from jobs.session import engine_of, on_spark
from jobs.sizes import population_rows
from lake import read_json, read_pieces, read_together
from models.bundle import Bundle, read_bundle
from monitoring.drift import DRIFT_THRESHOLDS, Thresholds
from monitoring.quality import (
    ColumnStats,
    QualityFinding,
    Usual,
    judge_features,
    judge_lines,
    shares,
)
from params import MICROS, Params
from records import IntakeRecord, RunRecord, StageRecord, recorded
from settings import Settings

PARSER = run_parser(__doc__)

NUMBERS = {
    "quantity": "quantity_micros",
    "unit_price": "unit_price_micros",
    "amount": "unit_price_micros",
}
"""What is in millionths, by the name under which it is judged and shown in whole units. An amount
without quantity is the price of one piece."""

CATEGORIES = ("country",)
TEXTS = ("invoice_id", "product_id", "customer_id", "invoiced_at")

TENTHS = np.arange(1, 10) / 10


def run(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Do the job; the facts are the verdict (usual, incident) and the incidents in sentences.

    Raises:
        FileNotFoundError: If the run has not been published; names the job to run.
        BundleRefused: If the bundle is damaged or does not fit what is installed.
        PieceMissing, PieceAltered: If lines or features are not as they were written.
    """
    root = settings.data_root
    StageRecord.read(root, record, "publish_predictions")
    with recorded(root, record, "measure_quality", engine_of(spark)) as stage:
        stage.facts = judge_night(spark, settings, params, record)
    return stage.facts


def judge_night(spark: SparkSession, settings: Settings, params: Params, record: RunRecord) -> dict:
    """Put what was found of tonight's lines and features into the warehouse; the verdict."""
    root = settings.data_root
    bundle = read_bundle(root / "bundles" / record.bundle_sha256, record.bundle_sha256)
    engine = warehouse.connect(settings.warehouse_url)
    earlier = warehouse.weekdays_before(record.score_date, params.drift.weekday_nights)
    days = [day for day in (record.score_date, *earlier) if day in record.intakes]
    wrong = warehouse.incidents(engine, earlier[-1], earlier[0])
    given = params.source(record.source).columns.given
    lines = describe_lines(spark, root, {day: record.intakes[day] for day in days}, given)
    described_by = StageRecord.read(root, record, "build_features")
    remedy = f"Make them again: {record.command('build_features')}"
    features = read_pieces(spark, root, [described_by.pieces["features"]], remedy=remedy)

    before = [usual_columns(lines[day], wrong.get(day, ())) for day in days[1:] if day in lines]
    usually = usual(bundle)
    described = describe_features(features, bundle, usually)
    findings = [
        *judge_lines(lines.get(record.score_date, {}), before, params.quality),
        *judge_features(described, usually, params.quality, unchanged_columns(described)),
        *informing(root, record),
    ]

    warehouse.replace_quality(engine, record.run_id, findings)
    incidents = [each.sentence for each in findings if each.verdict == "incident"]
    return {"verdict": "incident" if incidents else "usual", "incidents": incidents}


def usual_columns(
    lines: Mapping[str, ColumnStats], wrong: Collection[tuple[str, str]]
) -> dict[str, ColumnStats]:
    """The columns of a day that tonight may be held against: those that had no incident.

    Compared with wrong data, the same wrong data would count as usual a week later. A column's
    incident says nothing of the others, so those are compared as ever.
    """
    return {name: stats for name, stats in lines.items() if ("transactions", name) not in wrong}


def describe_lines(
    spark: SparkSession, root: Path, intakes: Mapping[date, str], given: Collection[str]
) -> dict[date, dict[str, ColumnStats]]:
    """Accepted and excluded lines of these deliveries, by day and column; one pass.

    A day without such lines is left out.

    Args:
        given: The columns that the source has, by our names.
    """
    records = [IntakeRecord.read(root, day, name) for day, name in intakes.items()]
    datasets = (catalog.TRANSACTIONS, catalog.EXCLUDED_TRANSACTIONS)
    both = read_together(spark, root, [one.pieces for one in records], datasets)

    measures = {"rows": F.count("*"), "invoices": F.count_distinct("invoice_id")}
    categories = [name for name in CATEGORIES if name in given]
    numbers = {name: column for name, column in NUMBERS.items() if name in given}
    columns = {name: name for name in (*TEXTS, *categories) if name in given} | numbers
    for name, column in columns.items():
        measures[f"missing {name}"] = F.count_if(F.col(column).isNull())
    for name, column in numbers.items():
        measures[f"median {name}"] = F.percentile(column, 0.5)
        measures[f"low {name}"], measures[f"high {name}"] = F.min(column), F.max(column)
    aggregated = both.groupBy("known_on").agg(*[m.alias(name) for name, m in measures.items()])
    found = {row["known_on"]: row for row in aggregated.collect()}
    counted = {name: both.groupBy("known_on", name).count().collect() for name in categories}

    types = dict(both.dtypes)
    return {
        day: {
            name: ColumnStats(
                rows=row["rows"],
                invoices=row["invoices"],
                missing=row[f"missing {name}"],
                kind=types[column],
                median=_in_units(row, f"median {name}"),
                low=_in_units(row, f"low {name}"),
                high=_in_units(row, f"high {name}"),
                categories={
                    each[name]: each["count"]
                    for each in counted.get(name, [])
                    if each["known_on"] == day and each[name] is not None
                },
            )
            for name, column in columns.items()
        }
        for day, row in found.items()
    }


def _in_units(row: Row, measure: str) -> float | None:
    """A measure in whole units instead of millionths; null where it was not taken, or is."""
    value = row.asDict().get(measure)
    return None if value is None else value / MICROS


def describe_features(
    features: DataFrame, bundle: Bundle, usually: Mapping[str, Usual]
) -> dict[str, ColumnStats]:
    """The features of the population, by column; one pass, and one for each category."""
    edges = reference_edges(bundle)
    measures: dict[str, Column] = {"rows": F.count("*")}
    for feature in bundle.schema:
        name, column = feature.name, F.col(feature.name)
        measures[f"missing {name}"] = F.count_if(column.isNull())
        if feature.kind == "category":
            continue
        measures[f"low {name}"], measures[f"high {name}"] = F.min(column), F.max(column)
        reach = usually[name].reach()
        if reach is not None:
            measures[f"beyond {name}"] = F.count_if(~column.between(*reach))
        for at, edge in enumerate(edges[name]):
            measures[f"upto {at} {name}"] = F.count_if(column <= edge)
    [row] = features.agg(*[measure.alias(name) for name, measure in measures.items()]).collect()
    found, types = row.asDict(), dict(features.dtypes)
    categories = {
        name: {each[name]: each["count"] for each in features.groupBy(name).count().collect()}
        for name in bundle.categories
    }
    return {
        feature.name: ColumnStats(
            rows=found["rows"],
            missing=found[f"missing {feature.name}"],
            kind=types[feature.name],
            low=found.get(f"low {feature.name}"),
            high=found.get(f"high {feature.name}"),
            beyond=found.get(f"beyond {feature.name}", 0),
            categories={
                value: rows
                for value, rows in categories.get(feature.name, {}).items()
                if value is not None
            },
            edges=edges.get(feature.name, ()),
            histogram=[
                found[f"upto {at} {feature.name}"] for at in range(len(edges.get(feature.name, ())))
            ],
        )
        for feature in bundle.schema
    }


def unchanged_columns(features: Mapping[str, ColumnStats]) -> set[str]:
    """Features of the last days in which nobody bought anything, such as ``spend_7d``."""
    quiet_days = features["recency_days"].low
    if quiet_days is None:
        return set()
    windows = {name: re.search(r"_(\d+)d$", name) for name in features}
    return {name for name, window in windows.items() if window and int(window[1]) <= quiet_days}


def reference_edges(bundle: Bundle) -> dict[str, Sequence[float]]:
    """The tenths of the model's reference, of each feature that is a number."""
    numbers = [feature.name for feature in bundle.schema if feature.kind == "number"]
    reference = pq.read_table(bundle.folder / "reference.parquet", columns=numbers).to_pandas()
    return {
        name: np.unique(known.quantile(TENTHS, interpolation="lower")).tolist()
        for name in numbers
        if len(known := reference[name].dropna())
    } | {name: () for name in numbers if reference[name].isna().all()}


def usual(bundle: Bundle) -> dict[str, Usual]:
    """What the bundle says of each feature."""
    thresholds = Thresholds(**read_json(bundle.folder / DRIFT_THRESHOLDS))
    names = list(bundle.categories)
    reference = pq.read_table(bundle.folder / "reference.parquet", columns=names).to_pandas()
    had = {name: reference[name].value_counts() / len(reference) for name in names}
    return {
        feature.name: Usual(
            thresholds.missing[feature.name],
            feature.low,
            feature.high,
            {value: float(had[feature.name].get(value, 0.0)) for value in feature.categories},
            # A bundle that does not say is not asked whether less is missing.
            thresholds.least_missing.get(feature.name, 0.0),
        )
        for feature in bundle.schema
    }


def informing(root: Path, record: RunRecord) -> list[QualityFinding]:
    """Shares of the delivery and of the population that other jobs have judged."""
    delivery = IntakeRecord.read(root, record.score_date, record.intake)
    outcomes = {
        "quarantined": sum(delivery.quarantined.values()),
        "excluded": sum(delivery.excluded.values()),
    }
    scoring = StageRecord.read(root, record, "score_customers").facts
    return [
        *shares("transactions", delivery.delivered, outcomes),
        *shares(
            "predictions",
            scoring["population"],
            {"contacted": scoring["contacted"], **scoring["fallback"]},
        ),
    ]


if __name__ == "__main__":
    start(PARSER, on_spark("measure_quality", run, population_rows))
