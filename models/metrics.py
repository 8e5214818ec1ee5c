"""What models are judged by, what people call it, and when one is clearly better than another."""

import math

PREDICTORS = ("model", "recency", "logistic")
BASELINES = ("recency", "logistic")

METRICS = {
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
    "log_loss": "log loss",
    "brier": "Brier score",
    "top_decile_precision": "precision in the top decile",
    "top_decile_lift": "lift in the top decile",
}
"""Every metric that has an interval, and what people call it. The middle two are better low."""

DECISIVE = {"log_loss": -1, "pr_auc": 1}
"""What decides, and the sign of a gain: one for the probabilities, one for the ranking."""

TENURE_BANDS = {"under 90 days": 90, "90 to 364 days": 365, "365 days and more": math.inf}
"""The bands of ``tenure_days``, each with the first day that is beyond it."""


class ModelNotBetter(Exception):
    """The model does not clearly beat the baselines, so it must not be the first champion."""

    def __init__(self, metrics: dict) -> None:
        super().__init__(
            "the model does not clearly beat both baselines on the holdout, so it does not become "
            "the first champion.\n"
            f"{comparison_table(metrics)}\n"
            "A first model is accepted when its 95 % interval of the gain excludes zero for log "
            "loss and for PR AUC, against both. With few customers the intervals are wide: give it "
            "more history or more customers (training.as_of_count in params.yaml), or better "
            "features; or tune the `model` section on dates before the holdout."
        )


def is_better(metrics: dict) -> bool:
    """Whether the model beats both baselines in log loss and PR AUC by more than chance.

    >>> gain = {"log_loss": {"low": -0.02, "high": -0.01}, "pr_auc": {"low": 0.01, "high": 0.02}}
    >>> is_better({"gain_over_recency": gain, "gain_over_logistic": gain})
    True
    >>> unclear = gain | {"pr_auc": {"low": -0.01, "high": 0.02}}
    >>> is_better({"gain_over_recency": gain, "gain_over_logistic": unclear})
    False
    """
    return all(
        worst_gain(metrics[f"gain_over_{baseline}"][metric], sign) > 0
        for baseline in BASELINES
        for metric, sign in DECISIVE.items()
    )


def require_better(metrics: dict) -> None:
    """Refuse a first champion that does not beat both baselines.

    Raises:
        ModelNotBetter: With the table of metrics.
    """
    if not metrics["is_better"]:
        raise ModelNotBetter(metrics)


def worst_gain(gain: dict, sign: int) -> float:
    """The end of the interval that speaks least for a gain; above zero the gain is clear.

    Args:
        gain: A difference with interval.
        sign: 1 where more is better, -1 where less is.

    Returns:
        NaN where there is no interval.
    """
    ends = [gain["low"], gain["high"]]
    return float("nan") if None in ends else min(sign * end for end in ends)


def comparison_table(metrics: dict) -> str:
    """Metrics of model and baselines side by side, as a Markdown table for people."""
    lines = [
        "| metric | model | recency only | logistic regression | gain over recency "
        "| gain over logistic |",
        "|---|---|---|---|---|---|",
    ]
    for metric, title in METRICS.items():
        cells = [metric_cell(metrics[predictor][metric]) for predictor in PREDICTORS]
        cells += [metric_cell(metrics[f"gain_over_{baseline}"][metric]) for baseline in BASELINES]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def metric_cell(metric: dict) -> str:
    """A metric with its interval, or a dash where it is undefined."""
    if metric["value"] is None:
        return "-"
    return f"{metric['value']:.4f} ({metric['low']:.4f} to {metric['high']:.4f})"
