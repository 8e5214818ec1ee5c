"""What is watched once a night is published."""

from monitoring.drift import DriftFinding, DriftResult, find_drift
from monitoring.performance import (
    Conclusion,
    Measured,
    conclude,
    estimate,
    judge_cohort,
    measure,
)

__all__ = [
    "Conclusion",
    "DriftFinding",
    "DriftResult",
    "Measured",
    "conclude",
    "estimate",
    "find_drift",
    "judge_cohort",
    "measure",
]
