"""What models are judged by, what people call it, and which of several is chosen."""

import math
from collections.abc import Collection, Mapping
from itertools import combinations

RECENCY, LOGISTIC, XGBOOST = "recency", "logistic", "xgboost"

KINDS = {
    RECENCY: "recency table",
    LOGISTIC: "logistic regression",
    XGBOOST: "XGBoost",
}
"""The kinds of model that a training tries, the simplest first, and what people call them."""

JUDGED, LIVE = "p_", "live_"
"""What the predictions of the holdout are called, before the kind: those of the judged fit, and
those of the live fit's recipe for customers that it has not seen."""

PAIRS = {f"{rival}_over_{simpler}": (rival, simpler) for simpler, rival in combinations(KINDS, 2)}
"""The comparisons of a more complex kind with a simpler one, by name."""

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


def choose(differences: Mapping[str, Mapping[str, dict]], alike: Collection[str]) -> str:
    """The simplest kind that no more complex one clearly beats.

    A kind that gives everybody the same score ranks nobody, and no night would publish it.

    Args:
        differences: By the names of ``PAIRS``, each metric's difference with its interval.
        alike: The kinds that give everybody the same score.

    >>> clear, unclear = {"value": 2, "low": 1, "high": 3}, {"value": 1, "low": -1, "high": 3}
    >>> even = {"log_loss": unclear, "pr_auc": unclear}
    >>> choose(dict.fromkeys(PAIRS, even), alike=())
    'recency'
    >>> beaten = {"xgboost_over_recency": even | {"pr_auc": clear}}
    >>> choose(dict.fromkeys(PAIRS, even) | beaten, alike=())
    'logistic'
    >>> choose(dict.fromkeys(PAIRS, even), alike=["recency"])
    'logistic'
    """
    candidates = [kind for kind in KINDS if kind not in alike] or [XGBOOST]
    beaten = {
        simpler
        for name, (rival, simpler) in PAIRS.items()
        if rival in candidates and is_clearly_better(differences[name])
    }
    return next(kind for kind in candidates if kind not in beaten)


def is_clearly_better(difference: Mapping[str, dict]) -> bool:
    """Whether a model is better than another by more than chance: its interval of the difference
    lies wholly on the better side for log loss or PR AUC, and for neither on the worse."""
    return bool(clearly_better_in(difference)) and not clearly_worse_in(difference)


def clearly_better_in(difference: Mapping[str, dict]) -> list[str]:
    """The decisive metrics whose whole interval is on the better side."""
    return [m for m, sign in DECISIVE.items() if worst_gain(difference[m], sign) > 0]


def clearly_worse_in(difference: Mapping[str, dict]) -> list[str]:
    """The decisive metrics whose whole interval is on the worse side."""
    return [m for m, sign in DECISIVE.items() if worst_gain(difference[m], -sign) > 0]


def difference_text(difference: Mapping[str, dict]) -> str:
    """The decisive metrics of a difference for people."""
    return ", ".join(f"{METRICS[m]} {signed_cell(difference[m])}" for m in DECISIVE)


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


def metric_cell(metric: dict) -> str:
    """A metric with its interval, or a dash where it is undefined."""
    if metric["value"] is None:
        return "-"
    return f"{metric['value']:.4f} ({metric['low']:.4f} to {metric['high']:.4f})"


def signed_cell(difference: dict) -> str:
    """A difference with its interval, or a dash where it is undefined."""
    if difference["value"] is None:
        return "-"
    ends = f"{difference['low']:+.4f} to {difference['high']:+.4f}"
    return f"{difference['value']:+.4f} ({ends})"
