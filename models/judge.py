"""Judging models on the holdout: metrics with intervals, and which of them is chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from intervals import DIGITS, rounded, with_intervals
from models.control import is_control
from models.metrics import JUDGED, KINDS, LIVE, METRICS, PAIRS, choose

CALIBRATION_BINS = 10


class GroupUnknown(ValueError):
    """The parameters ask for the quality by a column that is no feature."""


def judge(predictions: pd.DataFrame, rounds: int, seed: int, control_share: float = 0.0) -> dict:
    """Everything worth knowing about the predictions of the holdout.

    Args:
        predictions: ``as_of``, ``customer_id``, ``label`` (0 or 1), ``country`` if the source has
            it and, by each kind of model, ``p_recency``, ``p_logistic``, ``p_xgboost`` of the
            judged fits and ``live_...`` of the live fits for customers that they have not seen;
            one row per customer and date.
        rounds: Of the bootstrap. Customers are drawn, not rows: the rows of one customer are
            alike, and counting them as independent would make intervals too narrow.
        seed: Of the bootstrap.
        control_share: Of the customers that are never contacted.

    Returns:
        ``holdout`` (its size), one entry per kind, one for each of ``PAIRS`` (the more complex
        kind minus the simpler), all of the judged fits; ``live`` (the same of the live fits),
        ``alike`` (the kinds that give everybody the same score), ``chosen`` (a kind, by ``live``),
        ``model`` (that kind's entry once more), ``control`` (``customers``, ``buyers``, ``model``
        and ``live``, of the control alone; null where it shows one outcome only), and ``slices``
        (by country group and as-of date; of the judged fits, the same below each). A metric is
        ``{"value", "low", "high"}`` with the ends of its 95 % interval, null where one outcome is
        absent. Rounded to six digits. ``expected_calibration_error`` has no interval: its
        bootstrap is biased upwards.
    """
    # Float sums depend on their order, the result must not.
    predictions = predictions.sort_values(["as_of", "customer_id"], ignore_index=True)
    overall, live = (_judge_rows(predictions, fit, rounds, seed) for fit in (JUDGED, LIVE))
    alike = [
        kind
        for kind in KINDS
        if any(predictions[f"{fit}{kind}"].nunique() == 1 for fit in (JUDGED, LIVE))
    ]
    chosen = choose(live, alike)
    slices = {
        name: _judge_rows(predictions[rows], JUDGED, rounds, seed)
        for name, rows in country_and_date_slices(predictions).items()
    }
    for each in (overall, live, *slices.values()):
        each["model"] = each[chosen]
    control = predictions[is_control(predictions["customer_id"], control_share)]
    of_control = _judge_control(control, chosen, rounds, seed)
    verdict = {"live": live, "alike": alike, "chosen": chosen, "control": of_control}
    return rounded(overall | {"slices": slices} | verdict)


def _judge_control(rows: pd.DataFrame, kind: str, rounds: int, seed: int) -> dict | None:
    if rows["label"].nunique() < 2:
        return None
    fits = {"model": JUDGED, "live": LIVE}
    judged = judge_rows(
        rows["label"].to_numpy(dtype=np.float64),
        rows["customer_id"].to_numpy(),
        {name: rows[f"{fit}{kind}"].to_numpy(dtype=np.float64) for name, fit in fits.items()},
        {},
        rounds,
        seed,
    )
    buyers = rows.loc[rows["label"] == 1, "customer_id"].nunique()
    customers = rows["customer_id"].nunique()
    return {"customers": customers, "buyers": buyers} | {name: judged[name] for name in fits}


def country_and_date_slices(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which rows are of the most frequent country, of all others, and of each as-of date.

    Of a source without countries there are the dates alone.

    Returns:
        A boolean mask for each part that has rows, by its name.
    """
    masks = {}
    if "country" in rows:
        country = rows["country"]
        home = country.value_counts().sort_index().idxmax()
        masks = {f"country: {home}": country == home, "country: all others": country != home}
    for day in sorted(rows["as_of"].unique()):
        masks[f"as of {day}"] = rows["as_of"] == day
    return {name: mask.to_numpy() for name, mask in masks.items() if mask.any()}


def judge_groups(
    rows: pd.DataFrame,
    columns: Sequence[str],
    threshold: float,
    min_rows: int,
    rounds: int,
    seed: int,
) -> dict:
    """Whether the model serves groups of customers alike.

    Args:
        rows: ``customer_id``, ``label``, ``probability`` and the columns; one row per customer and
            as-of date.
        columns: The features whose values are the groups.
        threshold: The probability from which a customer is contacted.
        min_rows: Groups with fewer rows are counted, not judged.
        rounds: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        By column, ``too_few`` (how many groups had too few rows) and ``groups``: for each value
        ``rows``, ``base_rate`` (share that bought), ``mean_probability``, ``contacted_share``,
        ``recall`` (share of the buyers that is contacted), ``precision`` (share of the contacted
        that bought), ``expected_calibration_error`` and ``roc_auc`` with its interval. Null where
        undefined. A missing value is the group ``missing``. Rounded to six digits.

    Raises:
        GroupUnknown: If a column is absent.
    """
    if unknown := sorted(set(columns) - set(rows.columns)):
        features = sorted(set(rows.columns) - {"as_of", "customer_id", "label", "probability"})
        raise GroupUnknown(
            f"gate.group_columns in params.yaml names {unknown}, which are no features. Name some "
            f"of {features}, or none."
        )
    result = {}
    for column in columns:
        names = group_names(rows[column])
        sizes = names.value_counts().sort_index()
        enough = sizes[sizes >= min_rows]
        result[column] = {
            "too_few": len(sizes) - len(enough),
            "groups": {
                name: _judge_group(rows[names == name], threshold, rounds, seed)
                for name in enough.index
            },
        }
    return rounded(result)


def group_names(values: pd.Series) -> pd.Series:
    """The name of each value's group: the value as text, ``missing`` for none."""
    return values.astype("object").where(values.notna(), "missing").map(str)


def _judge_group(rows: pd.DataFrame, threshold: float, rounds: int, seed: int) -> dict:
    label = rows["label"].to_numpy(dtype=np.float64)
    probability = rows["probability"].to_numpy(dtype=np.float64)
    contacted = probability >= threshold
    judged = judge_rows(label, rows["customer_id"], {"model": probability}, {}, rounds, seed)
    return {
        "rows": len(rows),
        "base_rate": label.mean(),
        "mean_probability": probability.mean(),
        "contacted_share": contacted.mean(),
        "recall": label[contacted].sum() / label.sum() if label.any() else None,
        "precision": label[contacted].mean() if contacted.any() else None,
        "expected_calibration_error": judged["model"]["expected_calibration_error"]["value"],
        "roc_auc": judged["model"]["roc_auc"],
    }


def calibration_curve(label: pd.Series, probability: pd.Series) -> pd.DataFrame:
    """Up to ten bins of equally many rows, by a model's probability.

    Returns:
        ``predicted`` (mean probability), ``observed`` (share of buyers) and ``rows``, ascending.
        Equal probabilities share a bin.
    """
    bins = _calibration_bins(probability.to_numpy())
    table = pd.DataFrame({"bin": bins, "predicted": probability, "observed": label})
    curve = table.groupby("bin").agg(
        predicted=("predicted", "mean"), observed=("observed", "mean"), rows=("bin", "size")
    )
    return curve.reset_index(drop=True).round(DIGITS)


def lift_curve(predictions: pd.DataFrame) -> pd.DataFrame:
    """For the best-scored 1 %, 2 %, ... 100 % of rows and each kind: the lift and the share
    of all buyers among them.

    Returns:
        ``kind``, ``contacted_share``, ``lift``, ``captured_share``.
    """
    shares = np.arange(1, 101) / 100
    label = predictions["label"].to_numpy(dtype=np.float64)
    curves = []
    for kind in KINDS:
        ranking = _Ranking.of(predictions[f"{JUDGED}{kind}"].to_numpy(), label)
        rows, buyers = ranking.cumulated(np.ones(len(label)))
        captured = _buyers_among(shares * rows[-1], rows, buyers) / buyers[-1]
        columns = {"contacted_share": shares, "lift": captured / shares, "captured_share": captured}
        curves.append(pd.DataFrame({"kind": kind, **columns}))
    return pd.concat(curves, ignore_index=True).round(DIGITS)


def _judge_rows(predictions: pd.DataFrame, fit: str, rounds: int, seed: int) -> dict:
    return judge_rows(
        predictions["label"].to_numpy(dtype=np.float64),
        predictions["customer_id"].to_numpy(),
        {kind: predictions[f"{fit}{kind}"].to_numpy(dtype=np.float64) for kind in KINDS},
        PAIRS,
        rounds,
        seed,
    )


def judge_rows(
    label: np.ndarray,
    customer: np.ndarray,
    scored: Mapping[str, np.ndarray],
    gains: Mapping[str, tuple[str, str]],
    rounds: int,
    seed: int,
) -> dict:
    """Predictors side by side on the same rows, and how far one is from another.

    Args:
        label: 0 or 1 for each row.
        customer: Whose row it is; all rows of a customer are drawn together.
        scored: Probabilities of the rows by predictor.
        gains: By name, the two predictors whose difference is wanted: the first minus the second,
            each draw of customers being the same for both.
        rounds: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        ``holdout`` (the size), one entry per predictor and one per gain, as ``judge`` describes
        them; not rounded.
    """
    customer, customers = pd.factorize(customer, sort=True)
    judges = {p: _Judge.of(probability, label) for p, probability in scored.items()}

    point = {p: judge.metrics(np.ones(len(label))) for p, judge in judges.items()}
    random = np.random.default_rng(seed)
    drawn = {p: np.empty((rounds, len(METRICS))) for p in scored}
    for i in range(rounds):
        picks = random.integers(0, len(customers), len(customers))
        weight = np.bincount(picks, minlength=len(customers)).astype(np.float64)[customer]
        for predictor, judge in judges.items():
            drawn[predictor][i] = judge.metrics(weight)

    result = {
        "holdout": {
            "rows": len(label),
            "customers": len(customers),
            "buyers": int(label.sum()),
            "base_rate": label.mean(),
        }
    }
    for predictor, probability in scored.items():
        calibration_error = _expected_calibration_error(probability, label)
        result[predictor] = with_intervals(METRICS, point[predictor], drawn[predictor])
        result[predictor]["expected_calibration_error"] = {"value": calibration_error}
    for name, (one, other) in gains.items():
        result[name] = with_intervals(METRICS, point[one] - point[other], drawn[one] - drawn[other])
    return result


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Rows from the likeliest to the least likely; equal scores cannot be told apart."""

    order: np.ndarray
    label: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, probability: np.ndarray, label: np.ndarray) -> "_Ranking":
        order = np.argsort(-probability, kind="stable")
        # The last row of every run of equal scores.
        ends = np.flatnonzero(np.diff(-probability[order], append=np.inf))
        return cls(order, label[order], ends)

    def cumulated(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows and buyers at or above each distinct score; weights are whole, so sums are exact."""
        ordered = weight[self.order]
        return np.cumsum(ordered)[self.ends], np.cumsum(ordered * self.label)[self.ends]


def _buyers_among(first: float | np.ndarray, rows: np.ndarray, buyers: np.ndarray) -> np.ndarray:
    """Expected buyers among the ``first`` rows; of a run of equal scores a random part is taken."""
    return np.interp(first, np.append(0.0, rows), np.append(0.0, buyers))


@dataclass(frozen=True, slots=True)
class _Judge:
    """One predictor's metrics, for any weights of the rows."""

    ranking: _Ranking
    log_loss: np.ndarray
    squared_error: np.ndarray

    @classmethod
    def of(cls, probability: np.ndarray, label: np.ndarray) -> "_Judge":
        tiny = np.finfo(np.float64).eps
        sure = np.clip(probability, tiny, 1 - tiny)
        return cls(
            _Ranking.of(probability, label),
            -np.log(np.where(label == 1, sure, 1 - sure)),
            (probability - label) ** 2,
        )

    def metrics(self, weight: np.ndarray) -> np.ndarray:
        """In the order of METRICS; NaN where the weighted rows lack one of the outcomes."""
        rows, buyers = self.ranking.cumulated(weight)
        others = rows - buyers
        total = rows[-1]
        log_loss = weight @ self.log_loss / total
        brier = weight @ self.squared_error / total
        if buyers[-1] == 0 or others[-1] == 0:
            return np.array([np.nan, np.nan, log_loss, brier, np.nan, np.nan])

        roc_auc = np.trapezoid(np.append(0.0, buyers), np.append(0.0, others))
        roc_auc /= buyers[-1] * others[-1]
        # The first scores may have no weight in a draw: no rows, no buyers, no step.
        precision = buyers / np.maximum(rows, 1.0)
        pr_auc = np.diff(buyers, prepend=0.0) @ precision / buyers[-1]
        top_precision = _buyers_among(total / 10, rows, buyers) / (total / 10)
        top_lift = top_precision / (buyers[-1] / total)
        return np.array([roc_auc, pr_auc, log_loss, brier, top_precision, top_lift])


def _calibration_bins(probability: np.ndarray) -> np.ndarray:
    edges = np.quantile(probability, np.arange(1, CALIBRATION_BINS) / CALIBRATION_BINS)
    return np.searchsorted(edges, probability, side="left")


def _expected_calibration_error(probability: np.ndarray, label: np.ndarray) -> float:
    """Mean distance between probability and share of buyers over the bins, weighted by rows."""
    bins = _calibration_bins(probability)
    gap = np.bincount(bins, weights=probability - label)
    return float(np.abs(gap).sum() / len(label))
