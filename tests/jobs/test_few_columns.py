"""Shops whose tables have little: no receipts, products or countries, or nothing but amounts."""

import csv
import shutil
from datetime import date, datetime, time, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

import catalog
import warehouse
from features.build import FEATURE_NAMES, names_of
from jobs import (
    audit_night,
    build_bundle,
    build_training_set,
    evaluate_model,
    explain_score,
    list_training_window,
    load_history,
    measure_performance,
    measure_quality,
    report_drift,
    train_model,
)
from jobs.registry import ModelDoesNotFit, check_features, open_registry
from models.bundle import read_bundle
from models.git import git
from params import Columns, Params, read_params
from settings import Settings
from tests.jobs.conftest import register, run_dvc
from tests.jobs.small_shop import run_night
from warehouse.tables import PREDICTIONS, QUALITY

FIRST, UNTIL = date(2026, 1, 1), date(2026, 2, 9)
NIGHT = UNTIL + timedelta(days=1)
CUSTOMERS = {f"c{number:02}": 2 + number % 12 for number in range(96)}
"""Each customer with the days from one purchase to the next, on average."""


def source_of(settings: Settings, **changes) -> Params:
    """Parameters of a source with little, and of a small training."""
    values = read_params().model_dump(mode="json")
    few = {"not_merchandise": None, "countries": None, "training_until": str(UNTIL)}
    values["sources"] = {settings.source: values["sources"][settings.source] | few | changes}
    values["population"]["active_days"] = 30
    values["training"] |= {
        "question": {"outcome": "purchase", "horizon_days": 5},
        "history_days": 20,
        "as_of_count": 4,
        "as_of_step_days": 5,
        "holdout_count": 1,
        "calibration_count": 1,
        "bootstrap_rounds": 20,
    }
    values["model"] |= {"max_rounds": 5, "min_child_weight": 1}
    values["drift"]["placebo_nights"] = 20
    return Params.model_validate(values)


AMOUNTS = {
    "format": "csv",
    "columns": {"customer_id": "who", "invoiced_at": "when", "amount": "paid"},
}


def deliver_amounts(root: Path, day: date, *others: tuple[str, str, str]) -> None:
    """Put down what the customers paid who buy on a day, and other lines."""
    folder = catalog.incoming_folder(root, day)
    folder.mkdir(parents=True)
    chance = np.random.default_rng(day.toordinal()).random(len(CUSTOMERS))
    buyers = [
        name for name, one in zip(CUSTOMERS, chance, strict=True) if one < 1 / CUSTOMERS[name]
    ]
    at = datetime.combine(day, time(12)).isoformat()
    with (folder / "payments.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("who", "when", "paid"), *((name, at, "2.55") for name in buyers), *others]
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, spark, empty_warehouse) -> tuple[Settings, Params]:
    """A shop with amounts alone, and a champion that was trained on its lake."""
    folder = tmp_path_factory.mktemp("amounts")
    root, artifacts = folder / "data", folder / "artifacts"
    root.mkdir()
    artifacts.mkdir()
    shutil.copy(empty_warehouse, root)
    settings = Settings(data_root=root)
    params = source_of(settings, **AMOUNTS)
    for number in range((NIGHT - FIRST).days + 1):
        deliver_amounts(root, FIRST + timedelta(days=number))

    load_history.run(spark, settings, params, UNTIL)
    list_training_window.run(settings, params, artifacts)
    build_training_set.run(spark, settings, params, artifacts)
    train_model.run(params, artifacts)
    evaluate_model.run(params, artifacts)
    build_bundle.run(params, artifacts)

    git("init", "--quiet", str(folder / "code"))
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    git(*identity, "commit", "--quiet", "--allow-empty", "-m", "Train", folder=folder / "code")
    shutil.copytree(artifacts / "bundle", folder / "fitted")
    run_dvc(folder, "init", "--no-scm")
    run_dvc(folder, "remote", "add", "--default", "store", settings.model_store_url)
    register(folder, Path(settings.registry_url), "fitted")
    open_registry(settings, params).promote("v1.0.0", actor="ada", reason="first model")
    return settings, params


def test_a_shop_with_amounts_alone_is_trained_scored_watched_audited_and_explained(spark, trained):
    settings, params = trained
    root = settings.data_root
    record = run_night(spark, settings, NIGHT, params)
    names = names_of(params.source(settings.source))
    assert "spend_30d" in names
    assert not {"invoices_30d", "products_30d", "basket_mean_365d", "country"} & set(names)

    bundle = read_bundle(root / "bundles" / record.bundle_sha256, record.bundle_sha256)
    assert bundle.feature_names == names
    engine = warehouse.connect(settings.warehouse_url)
    with engine.connect() as connection:
        scored = connection.execute(sa.select(PREDICTIONS.c.status)).scalars().all()
    assert set(scored) == {"scored"}

    measure_quality.run(spark, settings, params, record)
    report_drift.run(settings, params, record)
    measure_performance.run(spark, settings, params, record)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(QUALITY).where(QUALITY.c.dataset == "transactions"))
        watched = {row.column_name for row in rows}
    assert watched == {"*", "amount", "customer_id", "invoiced_at"}
    certificate = audit_night.run(spark, settings, record)["certificate"]
    assert (certificate["cells"], certificate["differ"]) == (len(scored) * len(names), 0)
    shown = explain_score.explain(settings, "c00", NIGHT)
    said = str(shown.sections)
    assert "spend_" in said
    assert "invoices" not in said

    richer = params.source(settings.source).columns.model_copy(update={"country": "country"})
    source = params.source(settings.source).model_copy(update={"columns": richer})
    with pytest.raises(ModelDoesNotFit, match="does not know \\['country'\\]"):
        check_features(bundle, "v1.0.0", source)


def test_an_amount_is_a_purchase_a_return_or_nothing(spark, settings):
    at = "2026-01-01T12:00:00"
    deliver_amounts(
        settings.data_root,
        FIRST,
        *(("ada", at, paid) for paid in ("10.5", "-4.25", "0", "", "1e-9", "many", "100001")),
    )
    params = source_of(settings, **AMOUNTS)
    validation = params.validation.model_copy(update={"quarantine_budget_share": 0.2})
    totals = load_history.run(
        spark, settings, params.model_copy(update={"validation": validation}), until=FIRST
    )

    assert totals["excluded"] == {"nothing_paid": 1}
    assert totals["quarantined"] == {"amount_given": 2, "amount_exact": 1, "amount_plausible": 1}
    [ada] = [row for row in activity(settings) if row["customer_id"] == "ada"]
    assert (ada["purchase_lines"], ada["return_lines"]) == (1, 1)
    assert (ada["purchase_micros"], ada["return_micros"]) == (10_500_000, 4_250_000)
    assert (ada["country"], ada["purchase_invoice_ids"], ada["purchase_product_ids"]) == (
        None,
        [],
        [],
    )


def activity(settings: Settings) -> list[dict]:
    paths = (settings.data_root / "lake/activity").rglob("*.parquet")
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def test_without_receipts_products_and_countries_lines_are_counted_and_summed_as_ever(
    spark, settings, caplog
):
    rows = [
        {"customer": name, "quantity": sold, "unit_price": 1.5, "invoiced_at": at}
        for name, sold, at in [
            ("ada", 2, datetime.combine(FIRST, time(9))),
            ("ada", -1, datetime.combine(FIRST, time(10))),
            ("bob", 3, datetime.combine(FIRST, time(9))),
            (None, 1, datetime.combine(FIRST, time(9))),
        ]
    ]
    folder = catalog.incoming_folder(settings.data_root, FIRST)
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "part-0.parquet")
    absent = dict.fromkeys(("invoice_id", "product_id", "country"))
    theirs = read_params().source(settings.source).columns.model_dump() | absent
    with caplog.at_level("INFO"):
        params = source_of(settings, columns=theirs)
        totals = load_history.run(spark, settings, params, until=FIRST)

    assert (totals["accepted"], totals["quarantined"]) == (3, {})
    assert totals["excluded"] == {"no_customer": 1}
    said = "the source has no invoice_id and no product_id and no country: no rule and no feature"
    assert caplog.text.count(said) == 1
    sums = {
        row["customer_id"]: (row["purchase_micros"], row["return_micros"])
        for row in activity(settings)
    }
    assert sums == {"ada": (3_000_000, 1_500_000), "bob": (4_500_000, 0)}
    names = names_of(params.source(settings.source))
    assert len(FEATURE_NAMES) - len(names) == 10


@pytest.mark.parametrize(
    "columns",
    [
        {"quantity": "pieces"},
        {"unit_price": "price"},
        {"amount": "paid", "quantity": "pieces"},
        {},
    ],
    ids=", ".join,
)
def test_what_was_spent_is_said_in_one_way(columns):
    with pytest.raises(ValueError, match="either quantity and unit_price, or amount alone"):
        Columns(customer_id="who", invoiced_at="when", **columns)


@pytest.mark.parametrize(
    "about",
    [{"not_merchandise": "POST"}, {"countries": ["Norway"]}, {"invoices_restart_daily": True}],
    ids=str,
)
def test_a_setting_about_a_column_that_is_not_there_is_named(settings, about):
    with pytest.raises(ValueError, match=f"{next(iter(about))} is about"):
        source_of(settings, **AMOUNTS | about)
