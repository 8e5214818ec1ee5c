"""Builders of delivered lines; a test names only the values it is about."""

from datetime import UTC, date, datetime

import pytest
from pyspark.sql import DataFrame

import catalog
from params import Params, Source, read_params

DELIVERED = catalog.DELIVERED_LINE


@pytest.fixture(scope="session")
def params() -> Params:
    return read_params()


@pytest.fixture(scope="session")
def source(params) -> Source:
    return params.source("generated")


def good_line(**values: object) -> dict:
    """A good line. Its payload is its values, unless ``raw`` is given."""
    good = {
        "invoice_id": "536365",
        "product_id": "85123A",
        "customer_id": "17850",
        "quantity_micros": 6_000_000,
        "unit_price_micros": 2_550_000,
        "invoiced_at": datetime(2026, 4, 1, 8, 26, tzinfo=UTC),
        "country": "United Kingdom",
        "known_on": date(2026, 4, 1),
        "source_file": "part-0.parquet",
        "source_line": 1,
        "malformed": None,
        "unusable_invoice_id": None,
        "unusable_product_id": None,
        "unusable_customer_id": None,
        "unusable_country": None,
        "inexact_quantity": None,
        "inexact_unit_price": None,
        "inexact_amount": None,
        "invoice_issuer": None,
    }
    built = good | values
    payload = {
        name: None if built[name] is None else str(built[name])
        for name in list(good)[: list(good).index("known_on")]
    }
    return {"raw": payload, "row_text": str(payload)} | built


@pytest.fixture(scope="session")
def line():
    """The builder of a good line."""
    return good_line


@pytest.fixture(scope="session")
def delivered(spark):
    """Lines as ``read_lines`` gives them."""

    def build(lines: list[dict]) -> DataFrame:
        return spark.createDataFrame(lines, DELIVERED)

    return build
