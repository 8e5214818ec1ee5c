"""A small training set with a known truth, made once; what a test is about it makes itself."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest

AS_OF = [date(2026, 1, 5) + timedelta(days=30 * i) for i in range(7)]


def training_set(customers: int = 1500, seed: int = 0) -> pa.Table:
    """Customers on seven as-of dates. Buying falls with recency, but only for small spenders,
    and rises with the number of purchases up to a point: more than a line can say."""
    random = np.random.default_rng(seed)
    parts = []
    for as_of in AS_OF:
        recency = random.integers(0, 300, customers).astype(float)
        count = random.poisson(3, customers).astype(float)
        spend = np.round(random.lognormal(4, 1, customers), 2)
        gap = np.where(count > 1, random.exponential(40, customers), np.nan)
        country = random.choice(["Norway", "Spain", "France"], customers, p=[0.7, 0.2, 0.1])
        drive = np.where(spend < 80, 2.5 - recency / 40, 1.5 * np.sin(count * 1.5))
        drive = drive + np.where(country == "Spain", 1.5, 0) - np.where(np.isnan(gap), 1, 0)
        parts.append(
            pa.table(
                {
                    "as_of": pa.array([as_of] * customers, pa.date32()),
                    "customer_id": [f"c{i:05}" for i in range(customers)],
                    "recency_days": recency,
                    "purchase_count_365d": count,
                    "spend_365d": spend,
                    "gap_mean_days": pa.array(gap, from_pandas=True),
                    "country": pa.array(country),
                    "label": (random.random(customers) < 1 / (1 + np.exp(-drive))).astype("int32"),
                }
            )
        )
    return pa.concat_tables(parts)


@pytest.fixture(scope="session")
def small_training_set() -> pa.Table:
    """1,500 customers on seven as-of dates."""
    return training_set()
