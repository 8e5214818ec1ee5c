"""What a contact brings, and what the scores are worth where nobody was contacted.

The control holds some customers back from every contact, likely buyers among them. What these do,
beside what the contacted do, is the effect; the model's own doing is in all other outcomes.
"""

import math

from intervals import rounded
from monitoring.performance import NORMAL_REACH, Measured
from params import Performance

CONTROL = "control"
"""The slice of all customers of the control, by what would have been decided of them."""
CONTACTED = "contact: made"
WITHHELD = "contact: withheld"
"""The slices of those whom the model would contact: who was, and who is in the control."""

Interval = dict[str, float | None]


def contact_metrics(
    contacted: Measured, withheld: Measured, customers: int, rules: Performance
) -> dict[str, Interval]:
    """What the contacts of a cohort brought; the interval is Newcombe's, which few customers do not
    make too narrow.

    Args:
        contacted: Those who were.
        withheld: Those of the control who would have been.
        customers: All of the cohort.
        rules: Value and cost of a contact.

    Returns:
        ``contact_effect``, how much likelier a contact makes a purchase, and ``contact_value``,
        what the contacts earned per customer of the cohort beyond what they cost. Unlike
        ``value_per_customer`` it counts no purchase that would have come anyway.
    """
    made, anyway = (each.buyers / each.customers for each in (contacted, withheld))
    low_made, high_made = _wilson(contacted)
    low_anyway, high_anyway = _wilson(withheld)
    effect = made - anyway
    ends = {
        "value": effect,
        "low": effect - math.hypot(made - low_made, high_anyway - anyway),
        "high": effect + math.hypot(high_made - made, anyway - low_anyway),
    }
    share = contacted.customers / customers
    worth = {
        end: share * (of * rules.contacted_buyer_value - rules.contact_cost)
        for end, of in ends.items()
    }
    return rounded({"contact_effect": ends, "contact_value": worth})


def _wilson(measured: Measured) -> tuple[float, float]:
    """The 95 % interval of the share of buyers."""
    n, square = measured.customers, NORMAL_REACH**2
    share = measured.buyers / n
    middle = share + square / (2 * n)
    reach = NORMAL_REACH * math.sqrt(share * (1 - share) / n + square / (4 * n**2))
    return (middle - reach) / (1 + square / n), (middle + reach) / (1 + square / n)
