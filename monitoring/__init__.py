"""What is watched once a night is published."""

from monitoring.drift import DriftFinding, DriftResult, find_drift

__all__ = ["DriftFinding", "DriftResult", "find_drift"]
