"""How well a model does: measured once the labels are there, estimated before, and what it means.

Pure functions on arrays. A row is one customer, or a cell of a histogram that stands for many
customers with the same score and decision; a row of n customers gives exactly what n rows give.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

import numpy as np

from intervals import DIGITS, rounded, with_intervals
from params import Performance

METRICS = (
    "roc_auc",
    "pr_auc",
    "log_loss",
    "brier",
    "expected_calibration_error",
    "buyer_share",
    "precision",
    "recall",
    "f1",
    "lift",
    "contacted_share",
    "value_per_customer",
)
"""The first five are of the probabilities, the last six of the published decision, whom to contact.
``buyer_share`` is what the mean probability promises."""

ESTIMATE_BIAS = "estimate.json"
"""The file of a bundle that says how far its estimates are off where the labels are known."""

SHARES = frozenset(METRICS) - {"log_loss", "lift", "value_per_customer"}
"""Those that lie between 0 and 1."""

UNDEFINED = {"value": None, "low": None, "high": None}
NORMAL_REACH = 1.959964
"""A 95 % interval of a normal distribution, in standard errors to either side."""

PR_AUC = METRICS.index("pr_auc")
CALIBRATION_ERROR = METRICS.index("expected_calibration_error")
CALIBRATION_BINS = 10

# Numbers drawn at a time, which bounds memory whatever the size of the cohort.
DRAWN_AT_ONCE = 2_000_000

Performed = Literal["holds", "loss", "too_few"]


@dataclass(frozen=True, slots=True)
class Measured:
    """The performance on one set of customers.

    ``buyers`` is a fraction when it is an estimate. ``metrics`` holds, by the names in METRICS,
    ``{"value", "low", "high"}`` with the ends of the 95 % interval, rounded to six digits; null
    where undefined (no buyer, nobody contacted).
    """

    customers: int
    buyers: float
    metrics: dict[str, dict[str, float | None]]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """``finding`` (works, works_inputs_drift, concept_drift, loss_with_drift, unknown) in words."""

    finding: str
    sentence: str


def measure(
    probabilities: np.ndarray,
    contacted: np.ndarray,
    buyers: np.ndarray,
    rules: Performance,
    seed: int | Sequence[int],
    customers: np.ndarray | None = None,
) -> Measured:
    """The performance of scores whose labels are known; any order of rows gives the same.

    Intervals come from a Poisson bootstrap: every customer counts 0, 1, 2, ... times, and a cell of
    many is drawn at once. That of the calibration error is turned around its value, because noise
    can only add to a mean of distances: the percentiles themselves would lie above the truth.

    Args:
        probabilities: Of a purchase, in [0, 1]; at least one row.
        contacted: The published decision.
        buyers: How many of the row's customers bought; 0 or 1 where a row is a customer.
        rules: Rounds of the bootstrap, value and cost of a contact.
        seed: Of the bootstrap.
        customers: Whole numbers; None means one each.
    """
    cells = _Cells.of(probabilities, contacted, customers, buyers, rules)
    bought, others = cells.buyers, cells.customers - cells.buyers
    both = np.stack([bought, others])

    def draw(random: np.random.Generator, rounds: int) -> tuple[np.ndarray, np.ndarray]:
        weights = random.poisson(both, (rounds, *both.shape)).astype(np.float64)
        return weights[:, 0], weights[:, 1]

    [point] = cells.metrics(bought[np.newaxis], others[np.newaxis])
    drawn = _draws(cells, draw, rules.bootstrap_rounds, seed)
    result = rounded(with_intervals(METRICS, point, drawn))
    error = result["expected_calibration_error"]
    if error["value"] is not None:
        value, low, high = error["value"], error["low"], error["high"]
        error["low"] = round(min(value, max(0.0, 2 * value - high)), DIGITS)
        error["high"] = round(max(value, 2 * value - low), DIGITS)
    return Measured(int(cells.customers.sum()), float(bought.sum()), result)


def estimate(
    probabilities: np.ndarray,
    contacted: np.ndarray,
    rules: Performance,
    seed: int | Sequence[int],
    customers: np.ndarray | None = None,
) -> Measured:
    """What the labels will show if the probabilities are right: no label is needed.

    Each customer counts as ``p`` of a buyer and ``1 - p`` of somebody else. The interval is where
    the measured value will lie 95 times of 100, by drawing labels from the probabilities. Whether
    they are right is taken for granted, so the calibration error is null.

    A change in how customers behave at the same inputs is invisible to it; that takes labels.

    Args:
        probabilities: As for ``measure``.
        contacted: As for ``measure``.
        rules: As for ``measure``.
        seed: Of the drawn labels.
        customers: As for ``measure``.
    """
    cells = _Cells.of(probabilities, contacted, customers, None, rules)
    expected, counts = cells.customers * cells.probability, cells.customers.astype(np.int64)

    def draw(random: np.random.Generator, rounds: int) -> tuple[np.ndarray, np.ndarray]:
        bought = random.binomial(counts, cells.probability, (rounds, len(counts)))
        return bought.astype(np.float64), (counts - bought).astype(np.float64)

    [point] = cells.metrics(expected[np.newaxis], (cells.customers - expected)[np.newaxis])
    point[CALIBRATION_ERROR] = np.nan
    drawn = _draws(cells, draw, rules.bootstrap_rounds, seed)
    # Few whole buyers give a higher average precision than as many spread over all customers.
    defined = drawn[np.isfinite(drawn[:, PR_AUC]), PR_AUC]
    point[PR_AUC] = defined.mean() if len(defined) else np.nan
    buyers = round(float(expected.sum()), DIGITS)
    return Measured(
        int(cells.customers.sum()), buyers, rounded(with_intervals(METRICS, point, drawn))
    )


def compare(
    champion: np.ndarray, challenger: np.ndarray, buyers: np.ndarray, customers: np.ndarray
) -> dict[str, dict[str, float | None]]:
    """How far the challenger is from the champion on the same customers, with 95 % intervals.

    Two models err on the same customers, so the interval of the difference is much narrower than
    those of the two. It comes from the influence of every customer (for the ROC AUC, DeLong).

    Args:
        champion: Probability of each row's customers.
        challenger: Likewise.
        buyers: How many of them bought.
        customers: How many they are.

    Returns:
        ``roc_auc_difference`` and ``log_loss_difference``, challenger minus champion; null without
        both outcomes.
    """
    bought, others = buyers.astype(float), (customers - buyers).astype(float)
    if not bought.sum() or not others.sum():
        return {f"{name}_difference": dict(UNDEFINED) for name in ("roc_auc", "log_loss")}
    beaten, beating = [], []
    for scores in (challenger, champion):
        beaten.append(_weight_below(scores, scores, others))
        beating.append(1 - _weight_below(scores, scores, bought))
    surest = np.finfo(np.float64).eps
    sure = [np.clip(scores, surest, 1 - surest) for scores in (challenger, champion)]
    of_buyers, of_others = beaten[0] - beaten[1], beating[0] - beating[1]
    loss_buyers = -np.log(sure[0]) + np.log(sure[1])
    loss_others = -np.log(1 - sure[0]) + np.log(1 - sure[1])

    auc, auc_variance = _weighted(of_buyers, bought)
    _, others_variance = _weighted(of_others, others)
    total = customers.sum()
    loss = (loss_buyers @ bought + loss_others @ others) / total
    squares = ((loss_buyers - loss) ** 2) @ bought + ((loss_others - loss) ** 2) @ others
    return {
        "roc_auc_difference": _around(auc, math.sqrt(auc_variance + others_variance)),
        "log_loss_difference": _around(float(loss), math.sqrt(squares) / total),
    }


def _weight_below(values: np.ndarray, among: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """For each value the share of the weight that lies below it; equal ones count half."""
    order = np.argsort(among, kind="stable")
    ordered, cumulated = among[order], np.append(0.0, np.cumsum(weights[order]))
    below, up_to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return (cumulated[below] + cumulated[up_to]) / (2 * cumulated[-1])


def _weighted(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """The mean, and the variance of the mean."""
    total = weights.sum()
    mean = values @ weights / total
    return float(mean), float(((values - mean) ** 2) @ weights / total**2)


def _around(value: float, error: float) -> dict[str, float | None]:
    reach = NORMAL_REACH * error
    return rounded({"value": value, "low": value - reach, "high": value + reach})


@dataclass(frozen=True, slots=True)
class Bias:
    """How far estimates are from the labels where both are known.

    ``value`` is estimate minus measured, on average over dates, by metric. ``reach`` is how far 95
    of 100 dates lie from that beyond what chance in their labels does: the season, and whatever
    else the model does not know.
    """

    value: Mapping[str, float]
    reach: Mapping[str, float]

    def as_dict(self) -> dict:
        """All of it, for JSON; ``Bias(**...)`` takes it back."""
        return {"value": dict(self.value), "reach": dict(self.reach)}


def estimate_bias(
    dates: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    rules: Performance,
    seed: int | Sequence[int],
) -> Bias:
    """What ``estimate`` says of dates whose labels are known, less what these say.

    A model that is a little too sure promises a better ranking than it has, and one that is told
    no season promises the same in each. A metric is left out that two dates do not have.

    Args:
        dates: Of each, probability, decision and 0 or 1 of its customers.
        rules: As for ``measure``.
        seed: Of the drawn labels.
    """
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in METRICS}
    without_draws = rules.model_copy(update={"bootstrap_rounds": 1})
    for probabilities, contacted, buyers in dates:
        promised = estimate(probabilities, contacted, rules, seed).metrics
        found = measure(probabilities, contacted, buyers, without_draws, seed).metrics
        for name in METRICS:
            said, low, high = (promised[name][end] for end in ("value", "low", "high"))
            true = found[name]["value"]
            if said is None or low is None or high is None or true is None:
                continue
            errors[name].append((said - true, (high - low) / 2))
    value, reach = {}, {}
    for name, known in errors.items():
        if len(known) < 2:
            continue
        error, by_chance = np.array(known).T
        value[name] = round(float(error.mean()), DIGITS)
        beyond = (NORMAL_REACH * error.std(ddof=1)) ** 2 - (by_chance**2).mean()
        reach[name] = round(math.sqrt(max(beyond, 0.0)), DIGITS)
    return Bias(value, reach)


def corrected(estimated: Measured, bias: Bias) -> Measured:
    """The estimate without the bias that the training's dates show.

    The interval becomes wider by how much the dates differ, as errors of two independent sources
    add up.
    """
    metrics = {}
    for name, found in estimated.metrics.items():
        said, low, high = found["value"], found["low"], found["high"]
        if said is None or low is None or high is None or name not in bias.value:
            metrics[name] = found
            continue
        value = said - bias.value[name]
        below, above = said - low, high - said
        reach = bias.reach[name]
        shifted = {
            "value": value,
            "low": value - math.hypot(below, reach),
            "high": value + math.hypot(above, reach),
        }
        top = 1.0 if name in SHARES else math.inf
        bottom = 0.0 if name != "value_per_customer" else -math.inf
        metrics[name] = rounded(
            {end: float(min(max(number, bottom), top)) for end, number in shifted.items()}
        )
    return replace(estimated, metrics=metrics)


def is_spoilt(
    score_date: date, horizon_days: int, wrong_days: Collection[date], rules: Performance
) -> bool:
    """Whether wrong data may have decided how a cohort did: those of its own night, or of more than
    ``wrong_label_share`` of the days on which its labels came in.

    One wrong day among thirty moves a label of few customers. To set aside every cohort that has
    it would leave a month without any.

    Args:
        score_date: Of the cohort.
        horizon_days: How long its labels came in.
        wrong_days: Days with an incident.
        rules: The share.
    """
    horizon = timedelta(days=horizon_days)
    among_labels = sum(score_date < day <= score_date + horizon for day in wrong_days)
    return score_date in wrong_days or among_labels > rules.wrong_label_share * horizon_days


def accepted(judged: Mapping[str, Mapping], live: Mapping[str, Mapping]) -> dict:
    """What a model was accepted with: the metrics of its judged fit, and of the two ROC AUCs, its
    own and the live fit's for customers not seen, the one whose interval begins higher.

    After customers have changed their ways the judged fit knows nothing of them, while the live
    fit, which scores, does: a cohort that falls back to the former has lost.

    Args:
        judged: Metrics with intervals, as the bundle has them.
        live: The same.
    """
    ranks = [found["roc_auc"] for found in (judged, live)]
    return {**judged, "roc_auc": max(ranks, key=lambda found: found["low"])}


def judge_cohort(
    measured: Measured, reference: Mapping[str, Mapping], rules: Performance
) -> Performed:
    """Whether a cohort (or the estimate for tonight) lost against what the model was accepted with.

    ``too_few`` with less than ``min_buyers`` buyers, or others. ``loss`` if the whole interval of
    the ROC AUC lies more than ``loss_margin`` below the holdout's interval, which a season in which
    everybody buys does not do; or if the whole interval of the calibration error lies more than
    ``calibration_margin`` above the holdout's value. Both ask for more than chance and for more
    than a trifle.

    Args:
        measured: Of all customers of the cohort.
        reference: What the model was ``accepted`` with.
        rules: Margins.
    """
    if min(measured.buyers, measured.customers - measured.buyers) < rules.min_buyers:
        return "too_few"
    worst_auc = reference["roc_auc"]["low"] - rules.loss_margin
    if measured.metrics["roc_auc"]["high"] < worst_auc:
        return "loss"
    error = measured.metrics["expected_calibration_error"]["low"]
    worst_error = reference["expected_calibration_error"]["value"] + rules.calibration_margin
    return "loss" if error is not None and error > worst_error else "holds"


def conclude(performed: Performed | None, drift: str | None, cohort: date | None) -> Conclusion:
    """Whether the model works, and if not, whether behaviour changed or the inputs did.

    Args:
        performed: How the cohort whose labels are all there did; None if there is none.
        drift: The drift verdict of the night on which it was scored: those were its inputs.
        cohort: Its score date.

    >>> conclude("loss", "steady", date(2026, 3, 2)).finding
    'concept_drift'
    >>> conclude("loss", "drift", date(2026, 3, 2)).finding
    'loss_with_drift'
    >>> conclude("holds", "drift", date(2026, 3, 2)).finding
    'works_inputs_drift'
    """
    if performed is None:
        return Conclusion("unknown", "no cohort's labels are all there tonight: nothing is known")
    if performed == "too_few":
        return Conclusion(
            "unknown", f"the cohort of {cohort} has too few buyers, or others, to conclude from"
        )
    if performed == "holds" and drift == "drift":
        return Conclusion(
            "works_inputs_drift",
            f"the cohort of {cohort} did as well as the model was accepted with although its "
            "inputs had drifted: nothing is lost",
        )
    if performed == "holds":
        return Conclusion(
            "works", f"the cohort of {cohort} did as well as the model was accepted with"
        )
    lost = f"the cohort of {cohort} did worse than the model was accepted with"
    if drift == "steady":
        return Conclusion(
            "concept_drift",
            f"{lost} while its inputs were steady: customers behave differently than the model "
            "has learned, so it has to be retrained",
        )
    if drift == "drift":
        return Conclusion(
            "loss_with_drift",
            f"{lost} and its inputs had drifted: see first whether the data are right, then let "
            "it learn the new inputs",
        )
    return Conclusion(
        "unknown",
        f"{lost}, but whether its inputs had drifted was not found out, so the cause is unknown",
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """Customers with the same probability and decision, the likeliest first.

    ``ends`` are the last cells of each probability: two decisions may share one. ``bins`` are the
    starts of up to ten runs of cells with about equally many customers.
    """

    probability: np.ndarray
    is_contacted: np.ndarray
    customers: np.ndarray
    buyers: np.ndarray
    ends: np.ndarray
    bins: np.ndarray
    contacted_buyer_value: float
    contact_cost: float

    @classmethod
    def of(
        cls,
        probabilities: np.ndarray,
        contacted: np.ndarray,
        customers: np.ndarray | None,
        buyers: np.ndarray | None,
        rules: Performance,
    ) -> "_Cells":
        probability = np.asarray(probabilities, dtype=np.float64)
        is_contacted = np.asarray(contacted, dtype=bool)
        counts = np.ones(len(probability)) if customers is None else np.asarray(customers)
        bought = np.zeros(len(probability)) if buyers is None else np.asarray(buyers)

        order = np.lexsort((is_contacted, -probability))
        probability, is_contacted = probability[order], is_contacted[order]
        differs = (np.diff(probability) != 0) | np.diff(is_contacted)
        starts = np.append(0, np.flatnonzero(differs) + 1)
        probability = probability[starts]
        counts, bought = (
            np.add.reduceat(values[order].astype(np.float64), starts) for values in (counts, bought)
        )
        return cls(
            probability=probability,
            is_contacted=is_contacted[starts],
            customers=counts,
            buyers=bought,
            ends=np.flatnonzero(np.diff(probability, append=-1.0)),
            bins=_bin_starts(probability, counts),
            contacted_buyer_value=rules.contacted_buyer_value,
            contact_cost=rules.contact_cost,
        )

    def metrics(self, buyers: np.ndarray, others: np.ndarray) -> np.ndarray:
        """(rounds, metrics) from the buyers and the others in each cell, each (rounds, cells).

        NaN where undefined. Means are over whole numbers or over expectations, so any weights do.
        """
        rows = buyers + others
        total, bought = rows.sum(axis=1), buyers.sum(axis=1)
        surest = np.finfo(np.float64).eps
        sure = np.clip(self.probability, surest, 1 - surest)
        contacted = rows[:, self.is_contacted].sum(axis=1)
        hits = buyers[:, self.is_contacted].sum(axis=1)
        gap = np.add.reduceat(rows * self.probability - buyers, self.bins, axis=1)
        value = hits * self.contacted_buyer_value - contacted * self.contact_cost
        # Where a draw holds no customer, no buyer or no contact, what is undefined becomes NaN.
        with np.errstate(divide="ignore", invalid="ignore"):
            roc_auc, pr_auc = self._rank(buyers, others)
            precision, buyer_share = hits / contacted, bought / total
            columns = {
                "roc_auc": roc_auc,
                "pr_auc": pr_auc,
                "log_loss": -(buyers @ np.log(sure) + others @ np.log(1 - sure)) / total,
                "brier": (buyers @ (1 - self.probability) ** 2 + others @ self.probability**2)
                / total,
                "expected_calibration_error": np.abs(gap).sum(axis=1) / total,
                "buyer_share": buyer_share,
                "precision": precision,
                "recall": hits / bought,
                "f1": 2 * hits / (contacted + bought),
                "lift": precision / buyer_share,
                "contacted_share": contacted / total,
                "value_per_customer": value / total,
            }
        return np.stack([columns[name] for name in METRICS], axis=1)

    def _rank(self, buyers: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ROC AUC (equal scores count half) and average precision."""
        buyers, others = (np.cumsum(each, axis=1)[:, self.ends] for each in (buyers, others))
        new_buyers, new_others = (np.diff(each, axis=1, prepend=0.0) for each in (buyers, others))
        before = buyers - new_buyers / 2
        rows = buyers + others
        # The first scores may have no weight in a draw: no rows, no buyers, no step.
        precision = np.divide(buyers, rows, out=np.zeros_like(rows), where=rows > 0)
        all_buyers, all_others = buyers[:, -1], others[:, -1]
        roc_auc = (before * new_others).sum(axis=1) / (all_buyers * all_others)
        pr_auc = (new_buyers * precision).sum(axis=1) / all_buyers
        return roc_auc, np.where(all_others > 0, pr_auc, np.nan)


def _bin_starts(probability: np.ndarray, customers: np.ndarray) -> np.ndarray:
    """Where each tenth of the customers begins; equal probabilities share a bin.

    The edges are the quantiles that the model was judged with.
    """
    rising, reached = probability[::-1], np.cumsum(customers[::-1])
    position = (reached[-1] - 1) * np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS
    below, above = (
        rising[np.searchsorted(reached, whole(position), side="right")]
        for whole in (np.floor, np.ceil)
    )
    edges = below + (above - below) * (position - np.floor(position))
    bins = np.searchsorted(edges, probability, side="left")
    return np.append(0, np.flatnonzero(np.diff(bins)) + 1)


def _draws(
    cells: _Cells,
    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]],
    rounds: int,
    seed: int | Sequence[int],
) -> np.ndarray:
    """(rounds, metrics); how many are drawn at a time changes nothing."""
    random = np.random.default_rng(seed)
    at_once = max(1, DRAWN_AT_ONCE // len(cells.probability))
    parts = [
        cells.metrics(*draw(random, min(at_once, rounds - done)))
        for done in range(0, rounds, at_once)
    ]
    return np.concatenate(parts)
