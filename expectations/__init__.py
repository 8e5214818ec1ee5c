"""What good data looks like, as promises with reasons, and what happens to data that is not."""

from expectations.features import feature_rules, unscorable, verify_features
from expectations.intake import (
    Delivery,
    DeliveryRefused,
    Intake,
    RowsUnaccounted,
    take_deliveries,
)
from expectations.predictions import verify_predictions
from expectations.split import split_lines
from expectations.transactions import transaction_rules, verify_transactions
from expectations.verdict import ExpectationsBroken, SuiteNotEvaluated
from expectations.volume import Volume, judge_volume

__all__ = [
    "Delivery",
    "DeliveryRefused",
    "ExpectationsBroken",
    "Intake",
    "RowsUnaccounted",
    "SuiteNotEvaluated",
    "Volume",
    "feature_rules",
    "judge_volume",
    "split_lines",
    "take_deliveries",
    "transaction_rules",
    "unscorable",
    "verify_features",
    "verify_predictions",
    "verify_transactions",
]
