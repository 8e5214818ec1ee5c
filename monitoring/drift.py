"""Whether tonight's customers look like those the model was judged on, column by column.

The method of a column depends on its kind alone, never on the number of rows or of values, so
two nights can be compared. Bins are cut on the reference, and a null is a value like any other.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date

import numpy as np
import pandas as pd

from params import Drift

PROBABILITY = "probability"
MEAN_PROBABILITY = "mean_probability"
IS_CONTACTED = "is_contacted"
PREDICTION_COLUMNS = (PROBABILITY, IS_CONTACTED)

NUMBER_METHOD = "population stability index"
CATEGORY_METHOD = "Jensen-Shannon distance"
DIFFERENCE_METHOD = "difference of means"
SCORE_METHOD = "largest value, in times its threshold for the night"

NIGHT = "night"

# What a bin without rows counts as. It bounds the index where one side has none, and a handful
# of rows in a bin that the reference lacks stays a handful.
SMALLEST_SHARE = 1e-4

# Categories rarer than this in the reference are one bin: many tiny bins add up to a distance
# between two samples of the same customers.
RARE_SHARE = 0.01

# How far from a date, in days of the year, its season is known: as weekly dates lie apart.
SEASON_REACH_DAYS = 7
YEAR_DAYS = 365

DRIFT_THRESHOLDS = "drift.json"
"""The file of a bundle with the thresholds that its nights are held to."""

NULL_LABEL = "null"
RARE_LABEL = "all other"


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """What was found in one column.

    ``kind`` is ``night``, ``number``, ``category`` or ``prediction``. ``verdict`` is one of:
    ``steady``, ``drift`` (at or beyond the threshold), ``empty`` or ``constant`` (tonight, but not
    in the reference), ``new``, ``missing``, ``too_few_rows``. ``value`` is null where nothing was
    computed; ``threshold`` too where the value only informs: then the verdict is that of the
    distribution of the same prediction. ``detail`` is a sentence for people.
    """

    column: str
    kind: str
    method: str
    value: float | None
    threshold: float | None
    verdict: str
    detail: str

    @property
    def times(self) -> float | None:
        """The value in times its threshold, null where either is."""
        if self.value is None or not self.threshold:
            return None
        return abs(self.value) / self.threshold


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When to call a column, and a night, drifted; made by ``placebo_thresholds``.

    ``columns`` maps each column to the threshold of its own distance from the reference, ``night``
    to the higher one from which on it makes the whole night one that has drifted. Both come from
    ``nights`` quiet nights between ``pairs`` pairs of dates. ``same_weekday`` has both for the
    comparison with the weeks before; null if the training set could not tell them.

    ``missing`` is, by feature, the largest share of customers without a value on any date,
    ``least_missing`` the smallest. ``power`` is, by column and change, the share of nights that
    such a change makes drifted when it is new, null where it cannot be made. ``deaf`` names the
    columns that could lose their meaning unnoticed; ``fading`` those of which a change is heard
    only while the weeks before were without it. ``seasonal`` are columns that tell the season,
    ``seen_on`` the dates that quiet nights of all comparisons were of, as text.
    """

    columns: Mapping[str, float]
    night: Mapping[str, float]
    nights: int
    pairs: int
    missing: Mapping[str, float]
    least_missing: Mapping[str, float] = field(default_factory=dict)
    power: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    deaf: Sequence[str] = ()
    same_weekday: Mapping[str, Mapping[str, float]] | None = None
    fading: Sequence[str] = ()
    seasonal: Sequence[str] = ()
    seen_on: Sequence[str] = ()

    def on(self, night: date) -> "Thresholds":
        """As they judge that night: seasonal columns only inform, and count as deaf, in a season
        that no quiet night was of."""
        if any(_days_of_year_apart(night, day) <= SEASON_REACH_DAYS for day in self.seen_on):
            return self

        def without(limits: Mapping[str, float]) -> dict[str, float]:
            return {name: limit for name, limit in limits.items() if name not in self.seasonal}

        lately = self.same_weekday and {
            which: without(limits) for which, limits in self.same_weekday.items()
        }
        return replace(
            self,
            columns=without(self.columns),
            night=without(self.night),
            same_weekday=lately,
            deaf=[*self.deaf, *(name for name in self.seasonal if name not in self.deaf)],
        )

    @property
    def of_weeks_before(self) -> "Thresholds":
        """Those to compare a night by with the same weekday before; those of the reference, which
        are wider, where there are none."""
        if self.same_weekday is None:
            return self
        columns, night = self.same_weekday["columns"], self.same_weekday["night"]
        return replace(self, columns=columns, night=night)

    def as_dict(self) -> dict:
        """All of it, for JSON; ``Thresholds(**...)`` takes it back."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DriftResult:
    """The verdict of a night (``drift``, ``steady`` or ``too_few_rows``) and what it rests on.

    ``score`` is the largest value in times its threshold for the night, null if nothing could be
    compared; from 1 on the night has drifted. ``drifted_share`` is that of drifted columns among
    those that were compared; a column that came empty or constant is an incident of the data, not
    a change of customers. ``deaf`` are the columns whose changes these thresholds miss.
    """

    verdict: str
    score: float | None
    drifted_share: float
    reference_rows: int
    current_rows: int
    findings: list[DriftFinding]
    deaf: Sequence[str] = ()

    @property
    def drifted(self) -> list[str]:
        """The columns with the verdict ``drift``."""
        return [
            finding.column
            for finding in self.findings
            if finding.verdict == "drift" and finding.kind != "night"
        ]

    @property
    def compared(self) -> dict[str, DriftFinding]:
        """By column, the distributions that were held against a threshold."""
        return _compared(self.findings)

    def as_dict(self) -> dict:
        """All of it, for JSON."""
        return asdict(self)


def find_drift(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    thresholds: Thresholds,
    drift: Drift,
    categories: Collection[str],
) -> DriftResult:
    """Compare tonight's sample with the reference.

    A column has drifted beyond its own threshold. The night has drifted when a column is beyond its
    higher one for the night: one of many columns is always beyond what is rare for it alone.

    Args:
        reference: Features, ``probability`` and ``is_contacted`` of the rows that judged the
            model; any order.
        current: The same of tonight.
        thresholds: Of the model's bundle. A column without one only informs.
        drift: The least rows.
        categories: Names of the columns that hold text; all others hold numbers.

    Returns:
        A finding for the night (kind ``night``), then one per column of either side, the prediction
        first, the others sorted by name.
    """
    enough = min(len(reference), len(current)) >= drift.min_rows
    columns = sorted({*reference, *current} - set(PREDICTION_COLUMNS))

    features = [
        _feature_finding(name, reference, current, thresholds, drift, categories, enough)
        for name in columns
    ]
    predictions = _prediction_findings(reference, current, thresholds, drift, enough)

    compared = _compared([*predictions, *features])
    drifted = sum(finding.verdict == "drift" for finding in compared.values())
    share = drifted / len(compared) if compared else 0.0
    night = _night_finding([*predictions, *features], thresholds, enough)
    findings = [night, *predictions, *features]
    rows = (len(reference), len(current))
    return DriftResult(night.verdict, night.value, share, *rows, findings, thresholds.deaf)


def find_drift_of_both(
    reference: pd.DataFrame,
    weeks_before: pd.DataFrame | None,
    current: pd.DataFrame,
    thresholds: Thresholds,
    drift: Drift,
    categories: Collection[str],
) -> tuple[DriftResult, DriftResult | None]:
    """What ``find_drift`` finds against the reference, and against the weeks before if known."""
    lately = None
    if weeks_before is not None:
        limits = thresholds.of_weeks_before
        lately = find_drift(weeks_before, current, limits, drift, categories)
    return find_drift(reference, current, thresholds, drift, categories), lately


def verdict_of_both(result: DriftResult, lately: DriftResult | None) -> str:
    """The verdict on a night by what it found against the reference and the weeks before.

    The reference hears a change that has come slowly, or long ago, beside all that seasons do; the
    weeks before hear a new one that is smaller.
    """
    if lately is not None and lately.verdict == "drift":
        return "drift"
    return result.verdict


def binned(
    reference: pd.Series, current: pd.Series, is_category: bool
) -> tuple[pd.Series, pd.Series]:
    """Both columns as labels of the bins that the reference defines; no nulls.

    Numbers fall into tenths of the reference. A value that fills a tenth or more by itself (the
    zero of most counts) gets a bin of its own.

    >>> both = binned(pd.Series([0.0] * 6 + [1, 2, 3, 4]), pd.Series([0.0, 2.5, None]), False)
    >>> both[1].tolist()
    ['02 · 0', '05 · 2 to 3', 'null']
    """
    return _category_bins(reference, current) if is_category else _number_bins(reference, current)


def bin_numbers(
    reference: pd.Series, current: pd.Series, is_category: bool
) -> tuple[np.ndarray, np.ndarray, int]:
    """The same bins as whole numbers from 0 on, and how many there are.

    >>> bin_numbers(pd.Series([0.0] * 6 + [1, 2, 3, 4]), pd.Series([0.0, 2.5, None]), False)[1]
    array([1, 4, 6])
    """
    if is_category:
        labels = _category_bins(reference, current)
        numbers, names = pd.factorize(pd.concat(labels), sort=True)
        return numbers[: len(reference)], numbers[len(reference) :], len(names)
    edges, _ = _edges(reference)

    def numbered(column: pd.Series) -> np.ndarray:
        values = column.to_numpy(dtype=float)
        return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values))

    return numbered(reference), numbered(current), len(edges) + 2


def distance(reference: pd.Series, current: pd.Series, is_category: bool) -> float:
    """By the method of its kind, how far the column is from the reference."""
    before, now, count = bin_numbers(reference, current, is_category)
    shares = (np.bincount(side, minlength=count) / len(side) for side in (before, now))
    return (distance_of_shares if is_category else index_of_shares)(*shares)


def population_stability_index(reference: pd.Series, current: pd.Series) -> float:
    """Sum over bins of (current - reference share) times the logarithm of their ratio; 0 or more.

    >>> population_stability_index(pd.Series(["a", "b"]), pd.Series(["a", "a", "b", "b"]))
    0.0
    """
    return index_of_shares(*_shares(reference, current))


def index_of_shares(expected: np.ndarray, actual: np.ndarray) -> float:
    """The population stability index of two lists of shares, bin by bin."""
    expected, actual = (np.maximum(shares, SMALLEST_SHARE) for shares in (expected, actual))
    return math.fsum((actual - expected) * np.log(actual / expected))


def jensen_shannon_distance(reference: pd.Series, current: pd.Series) -> float:
    """Distance of two distributions over categories: 0 equal, 1 nothing in common.

    >>> jensen_shannon_distance(pd.Series(["a", "b"]), pd.Series(["c"]))
    1.0
    """
    return distance_of_shares(*_shares(reference, current))


def distance_of_shares(expected: np.ndarray, actual: np.ndarray) -> float:
    """The Jensen-Shannon distance of two lists of shares, category by category."""
    from scipy.spatial.distance import jensenshannon

    return float(jensenshannon(expected, actual, base=2))


def method_of(is_category: bool) -> tuple[str, Callable[[pd.Series, pd.Series], float]]:
    """Name and function of the method that a column of that kind is compared by."""
    if is_category:
        return CATEGORY_METHOD, jensen_shannon_distance
    return NUMBER_METHOD, population_stability_index


def _days_of_year_apart(night: date, day: str) -> int:
    apart = (night - date.fromisoformat(day)).days % YEAR_DAYS
    return min(apart, YEAR_DAYS - apart)


def _night_finding(
    findings: Sequence[DriftFinding], thresholds: Thresholds, enough: bool
) -> DriftFinding:
    far = {
        finding.column: abs(finding.value) / thresholds.night[finding.column]
        for finding in findings
        if finding.value is not None and finding.column in thresholds.night
    }
    compared = _compared(findings)
    beyond = sum(finding.verdict == "drift" for finding in compared.values())
    farthest = max(far, key=lambda name: (far[name], name), default=None)
    if not enough:
        verdict = "too_few_rows"
    elif farthest is None or far[farthest] < 1:
        verdict = "steady"
    else:
        verdict = "drift"
    return DriftFinding(
        NIGHT,
        NIGHT,
        SCORE_METHOD,
        None if farthest is None else far[farthest],
        1.0,
        verdict,
        f"{beyond} of {len(compared)} columns are beyond their own thresholds; the farthest from "
        f"the night's is {farthest}"
        if far
        else "no column could be compared",
    )


def _compared(findings: Iterable[DriftFinding]) -> dict[str, DriftFinding]:
    return {
        finding.column: finding
        for finding in findings
        if finding.verdict in ("steady", "drift")
        and finding.threshold is not None
        and finding.method in (NUMBER_METHOD, CATEGORY_METHOD)
    }


def _feature_finding(
    name: str,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    thresholds: Thresholds,
    drift: Drift,
    categories: Collection[str],
    enough: bool,
) -> DriftFinding:
    is_category = name in categories
    kind = "category" if is_category else "number"
    threshold = thresholds.columns.get(name)
    finding: tuple[float | None, str, str]
    if name not in reference:
        finding = None, "new", "the model was judged without this column"
    elif name not in current:
        finding = None, "missing", "the reference has this column, tonight has not"
    elif not enough:
        finding = None, "too_few_rows", _too_few(reference, current, drift)
    else:
        finding = _compare(reference[name], current[name], is_category, threshold)
    value, verdict, detail = finding
    return DriftFinding(name, kind, method_of(is_category)[0], value, threshold, verdict, detail)


def _prediction_findings(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    thresholds: Thresholds,
    drift: Drift,
    enough: bool,
) -> list[DriftFinding]:
    threshold = thresholds.columns.get(PROBABILITY)
    if enough:
        before, now = reference[PROBABILITY], current[PROBABILITY]
        value, verdict, detail = _compare(before, now, False, threshold)
    else:
        value, verdict, detail = None, "too_few_rows", _too_few(reference, current, drift)
    findings = [
        DriftFinding(PROBABILITY, "prediction", NUMBER_METHOD, value, threshold, verdict, detail)
    ]
    for column, name in ((PROBABILITY, MEAN_PROBABILITY), (IS_CONTACTED, "contacted_share")):
        before, now = _mean(reference[column]), _mean(current[column])
        allowed = thresholds.columns.get(name)
        if before is None or now is None:
            value, shown = None, "one side has no predictions"
        else:
            value, shown = now - before, f"{before:.4f}, tonight {now:.4f}"
        if value is not None and allowed is not None and enough:
            judged = "drift" if abs(value) >= allowed else "steady"
        else:
            judged = verdict
        findings.append(
            DriftFinding(
                name,
                "prediction",
                DIFFERENCE_METHOD,
                value,
                allowed,
                judged,
                shown,
            )
        )
    return findings


def _compare(
    reference: pd.Series, current: pd.Series, is_category: bool, threshold: float | None
) -> tuple[float | None, str, str]:
    """Value, verdict and detail of a column that both sides have."""
    if current.isna().all() and not reference.isna().all():
        return None, "empty", "no value tonight, the reference has some"
    if current.nunique(dropna=False) == 1 and reference.nunique(dropna=False) > 1:
        only = _label(current.iloc[0])
        return None, "constant", f"every row holds {only}, the reference holds several values"

    value = distance(reference, current, is_category)
    verdict = "drift" if threshold is not None and value >= threshold else "steady"
    return value, verdict, _difference(reference, current, is_category)


def _difference(reference: pd.Series, current: pd.Series, is_category: bool) -> str:
    """How a person would put the difference of the two columns."""
    if is_category:
        counts = _category_bins(reference, current)
        before, now = _shares(*counts)
        labels = sorted({*counts[0], *counts[1]})
        at = int(np.argmax(np.abs(now - before)))
        return f"{labels[at]}: {before[at]:.1%} of rows, tonight {now[at]:.1%}"

    medians = [
        "none" if side.isna().all() else f"{side.median():.4g}" for side in (reference, current)
    ]
    return (
        f"median {medians[0]}, tonight {medians[1]}; "
        f"null {reference.isna().mean():.1%}, tonight {current.isna().mean():.1%}"
    )


def _number_bins(reference: pd.Series, current: pd.Series) -> tuple[pd.Series, pd.Series]:
    edges, just_below = _edges(reference)
    labels = _edge_labels(edges, just_below) if len(edges) else ["all"]

    def bins(column: pd.Series) -> pd.Series:
        at = np.searchsorted(edges, column.to_numpy(dtype=float), side="left")
        # Null sorts behind every edge; it is taken out again by name.
        return pd.Series(np.array(labels, dtype=object)[at]).mask(
            column.isna().to_numpy(), NULL_LABEL
        )

    return bins(reference), bins(current)


def _edges(reference: pd.Series) -> tuple[np.ndarray, dict[float, float]]:
    """The tenths of the reference; and by edge, the value just beneath which it lies."""
    known = reference.dropna().to_numpy(dtype=float)
    if not known.size:
        return np.array([]), {}
    points = np.quantile(known, np.arange(1, 10) / 10, method="inverted_cdf")
    repeated = np.unique(points[1:][points[1:] == points[:-1]])
    below = np.nextafter(repeated, -np.inf)
    return np.unique(np.concatenate([points, below])), dict(zip(below, repeated, strict=True))


def _edge_labels(edges: np.ndarray, just_below: dict[float, float]) -> list[str]:
    """A name for each bin; numbered, so that they sort as the numbers do.

    ``just_below`` maps an edge to the value beneath which it lies, which has the bin after it.
    """
    shown = [f"{just_below.get(edge, edge):.4g}" for edge in edges]
    names = [f"{'below' if edges[0] in just_below else 'up to'} {shown[0]}"]
    for low, high, edge in zip(shown[:-1], shown[1:], edges[:-1], strict=True):
        names.append(high if edge in just_below else f"{low} to {high}")
    names.append(f"above {shown[-1]}")
    return [f"{number:02} · {name}" for number, name in enumerate(names, start=1)]


def _category_bins(reference: pd.Series, current: pd.Series) -> tuple[pd.Series, pd.Series]:
    reference, current = (column.map(_label) for column in (reference, current))
    shares = reference.value_counts(normalize=True)
    common = set(shares[shares >= RARE_SHARE].index)
    return tuple(column.where(column.isin(common), RARE_LABEL) for column in (reference, current))


def _label(value: object) -> str:
    return NULL_LABEL if pd.isna(value) else str(value)


def _shares(reference: pd.Series, current: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Share of rows per bin, in the order of the bins' names."""
    labels = sorted({*reference, *current})
    return tuple(
        column.value_counts().reindex(labels, fill_value=0).to_numpy() / len(column)
        for column in (reference, current)
    )


def _mean(column: pd.Series) -> float | None:
    """The mean, the same whatever the order of rows; null if there is no value."""
    known = column.dropna()
    return math.fsum(known) / len(known) if len(known) else None


def _too_few(reference: pd.DataFrame, current: pd.DataFrame, drift: Drift) -> str:
    return (
        f"{len(reference)} rows in the reference and {len(current)} tonight; "
        f"from {drift.min_rows} on each side on, columns are compared"
    )
