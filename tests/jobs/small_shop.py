"""A shop of a few customers, whose nights are run by the real jobs."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

import catalog
from features.activity import ON_TIME, read_activity
from features.build import FEATURE_NAMES
from features.golden import write_golden
from jobs import (
    build_features,
    load_history,
    open_run,
    publish_predictions,
    score_customers,
    summarise_activity,
    validate_delivery,
)
from jobs.registry import open_registry
from ledger import intake_rules, known_by, pin_rules
from params import Params, read_params
from records import ActivityRecord, RunRecord
from settings import Settings
from tests.jobs.conftest import register, run_dvc, write_model

PARAMS = read_params()

FIRST = date(2026, 2, 20)
EVE = date(2026, 3, 31)
NIGHTS = [EVE + timedelta(days=n) for n in (1, 2, 3)]

OTHERS = [f"c{number:02}" for number in range(40)]
"""Customers who buy something every day, so that a test's own line is a small part of a day."""

LINE = {
    "product": "tea",
    "quantity": 1,
    "unit_price": 2.5,
    "country": "Norway",
}


@dataclass(frozen=True, slots=True)
class Bought:
    """A line of a delivery; a test names only what it is about. ``on`` defaults to its day."""

    customer: str
    values: dict
    on: date | None = None


def bought(customer: str, on: date | None = None, **values) -> Bought:
    """A line; ``values`` are columns of the source."""
    return Bought(customer, values, on)


def deliver(root: Path, day: date, *lines: Bought, others: Iterable[str] = OTHERS) -> None:
    """Put down the delivery of a day: a line of each of ``others``, and these."""
    folder = catalog.incoming_folder(root, day)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "invoice": f"{day:%m%d}-{each.customer}",
            "customer": each.customer,
            "invoiced_at": datetime.combine(each.on or day, time(12)),
            **LINE,
            **each.values,
        }
        for each in [*map(bought, others), *lines]
    ]
    columns = ["invoice", "product", "customer", "quantity", "unit_price", "invoiced_at", "country"]
    pq.write_table(pa.Table.from_pylist(rows).select(columns), folder / "part-0.parquet")


HISTORY = {
    FIRST: [
        # Late: a line counts for its own day.
        bought("finn", on=date(2025, 3, 1)),
        bought("ada", invoice="a1", product="tea", quantity=4, unit_price=3.25),
    ],
    date(2026, 3, 10): [bought("cleo", quantity=-2), bought("ben", unit_price=20.0)],
    date(2026, 3, 14): [
        bought("ada", invoice="a2", product="tea", quantity=2, unit_price=3.5),
        bought("ada", invoice="a2", product="cup", quantity=1, unit_price=12.0),
        bought("dora", product="POST"),
    ],
    date(2026, 3, 20): [bought("eve", quantity=0), bought("ada", invoice="a3", product="POST")],
}
"""What else was bought, and by whom."""


def build_shop(
    spark: SparkSession, settings: Settings, folder: Path, nights: Iterable[date] = NIGHTS
) -> None:
    """History up to 31 March, a champion that reads its features, and published nights."""
    root = settings.data_root
    for day in (FIRST + timedelta(days=n) for n in range((EVE - FIRST).days + 1)):
        deliver(root, day, *HISTORY.get(day, ()))
    load_history.run(spark, settings, PARAMS, EVE)
    make_champion(spark, settings, folder)
    deliver(root, NIGHTS[0], bought("ada", invoice="a4", quantity=-1, unit_price=3.5))
    deliver(root, NIGHTS[1])
    deliver(root, NIGHTS[2], bought("ada", invoice="a5", quantity=3, unit_price=1.5))
    for night in nights:
        run_night(spark, settings, night)


def make_champion(spark: SparkSession, settings: Settings, folder: Path) -> None:
    """Register and promote a small model whose recorded customers are of this lake."""
    root = settings.data_root
    write_model(folder / "fitting", FEATURE_NAMES)
    rules = pin_rules(root, intake_rules(PARAMS, settings.source))
    pieces = [
        (ActivityRecord.read(root, day, name).activity, ON_TIME)
        for day, name in known_by(root, rules, night=EVE, until=EVE).items()
    ]
    write_golden(
        read_activity(spark, root, pieces),
        folder / "fitting",
        as_of=EVE,
        active_days=PARAMS.population.active_days,
    )
    run_dvc(folder, "init", "--no-scm")
    run_dvc(folder, "remote", "add", "--default", "store", settings.model_store_url)
    register(folder, Path(settings.registry_url), "fitting")
    open_registry(settings, PARAMS).promote("v1.0.0", actor="ada", reason="first model")


def run_night(
    spark: SparkSession, settings: Settings, night: date, params: Params = PARAMS, **options
) -> RunRecord:
    """The jobs of a night up to its publishing; the run."""
    record = score_night(spark, settings, open_night(settings, night, params, **options))
    publish_predictions.run(settings, record)
    return record


def open_night(settings: Settings, night: date, params: Params = PARAMS, **options) -> RunRecord:
    """Open a run of the night."""
    facts = open_run.run(settings, params, night, **options)
    return RunRecord.read(settings.data_root, night, facts["run_id"])


def score_night(spark: SparkSession, settings: Settings, record: RunRecord) -> RunRecord:
    """The jobs of an opened run up to its scores; the run."""
    for job in (validate_delivery, summarise_activity, build_features, score_customers):
        job.run(spark, settings, record.pinned_params, record)
    return record
