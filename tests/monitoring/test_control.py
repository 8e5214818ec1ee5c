"""What a contact brings: the difference, with an interval that few customers do not narrow."""

import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from monitoring.control import contact_metrics
from monitoring.performance import Measured
from params import read_params

RULES = read_params().performance


@pytest.mark.parametrize(("made", "withheld"), [((30, 100), (3, 20)), ((5, 5), (0, 2))])
def test_the_interval_of_the_effect_is_newcombes(made, withheld):
    sides = [Measured(customers, buyers, {}) for buyers, customers in (made, withheld)]

    effect = contact_metrics(*sides, customers=500, rules=RULES)["contact_effect"]

    low, high = confint_proportions_2indep(*made, *withheld, method="newcomb")
    assert (effect["low"], effect["high"]) == pytest.approx((low, high), abs=1e-4)


def test_contacts_earn_only_what_would_not_have_come_anyway():
    """Of 100 contacted 30 buy, of as many held back 20 would have; a contact costs 1, earns 10."""
    sides = Measured(100, 30, {}), Measured(100, 20, {})
    rules = RULES.model_copy(update={"contacted_buyer_value": 10.0, "contact_cost": 1.0})

    found = contact_metrics(*sides, customers=1000, rules=rules)

    assert found["contact_effect"]["value"] == pytest.approx(0.1)
    assert found["contact_value"]["value"] == pytest.approx(0.1 * (0.1 * 10 - 1))
