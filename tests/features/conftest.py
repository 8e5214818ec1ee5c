"""Shared by the tests of features."""

import pytest

from features.build import build_features
from tests.features.visits import AS_OF, activity


@pytest.fixture
def described(spark):
    """A function: the features as of ``AS_OF`` of the customers with these visits, by customer."""

    def describe(*visits, as_of=AS_OF, active_days=365):
        rows = build_features(activity(spark, visits), [as_of], active_days).collect()
        return {row.customer_id: row for row in rows}

    return describe
