"""Whether the night's data came as they usually do, column by column, over all rows.

What a column usually looks like is taken from the same weekday of the weeks before (lines) or from
the rows the model was made from (features). Outside of that a value is an incident: something
upstream, not customers who changed.
"""

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from params import Quality

# A number that is off by this factor was given in another unit.
UNIT_FACTOR = 5.0

# By chance a share is this many standard deviations away once in a lifetime of nights and columns.
FAR = 4.0

ONCE_IN_A_MILLION = 1e-6

# With this few invoices only counts are judged, not medians or ranges.
FEW = 5

# A category with at least this share of the rows does not vanish in a week.
COMMON_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """One column of one day, counted exactly.

    ``median``, ``low`` and ``high`` are of numbers, ``categories`` (rows by value) of text with few
    values; null and empty where they do not apply. ``histogram`` counts the rows up to each of
    ``edges``, cumulatively. ``invoices`` is the number of invoices the rows belong to; 0 where rows
    are customers.
    """

    rows: int
    missing: int
    kind: str
    median: float | None = None
    low: float | None = None
    high: float | None = None
    beyond: int = 0
    categories: Mapping[str, int] = field(default_factory=dict)
    edges: Sequence[float] = ()
    histogram: Sequence[int] = ()
    invoices: int = 0

    @property
    def independent(self) -> int:
        """How many rows have a fate of their own: the lines of an invoice share theirs."""
        return max(1, self.invoices or self.rows)

    @property
    def missing_share(self) -> float:
        """0 without rows."""
        return self.missing / self.rows if self.rows else 0.0

    @property
    def varies(self) -> bool:
        """Whether numbers of it differ."""
        return self.low is not None and self.high is not None and self.low < self.high


@dataclass(frozen=True, slots=True)
class Usual:
    """What a feature looked like in the rows the model was made from.

    ``missing_share`` is the largest of any date of the training set and ``least_missing_share`` the
    smallest: some features come and go with the seasons. ``categories`` are those the model knows,
    each with its share of the reference. The rest is of the rows it was fitted on.
    """

    missing_share: float
    low: float | None
    high: float | None
    categories: Mapping[str, float] = field(default_factory=dict)
    least_missing_share: float = 0.0

    @property
    def range(self) -> tuple[float, float] | None:
        """The lowest and the highest value; null if there is none."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def reach(self) -> tuple[float, float] | None:
        """The range, widened by itself on both sides: everybody grows older, but not by that."""
        return _widened(*self.range) if self.range else None


def _widened(low: float, high: float) -> tuple[float, float]:
    span = high - low
    return low - span, high + span


@dataclass(frozen=True, slots=True)
class QualityFinding:
    """One measure of one column; outside ``low`` to ``high`` it is an ``incident``.

    With neither it ``informs`` only. ``detail`` is a sentence for people, or JSON for a histogram.
    """

    dataset: str
    column: str
    measure: str
    value: float | None
    detail: str
    low: float | None = None
    high: float | None = None

    @property
    def verdict(self) -> Literal["usual", "incident", "informs"]:
        if self.low is None and self.high is None:
            return "informs"
        if self.value is None:
            return "incident"
        is_low = self.low is not None and self.value < self.low
        is_high = self.high is not None and self.value > self.high
        return "incident" if is_low or is_high else "usual"

    @property
    def sentence(self) -> str:
        """The incident, as an operator should hear of it."""
        return f"{self.dataset}.{self.column}: {self.detail}"


def judge_lines(
    tonight: Mapping[str, ColumnStats],
    before: Sequence[Mapping[str, ColumnStats]],
    rules: Quality,
) -> list[QualityFinding]:
    """The lines of a delivery against those of the same weekday before.

    Args:
        tonight: Stats by column.
        before: The same of each earlier day, any order; none of them, and nothing is an incident.
        rules: Margins.
    """
    findings = []
    for name, now in sorted(tonight.items()):
        past = [day[name] for day in before if name in day and day[name].rows]
        findings.append(_missing("transactions", name, now, past, rules))
        findings.append(_kind("transactions", name, now))
        if now.median is not None:
            findings.append(_median(name, now, past))
        if now.low is not None or now.categories:
            findings.append(_differs(name, now, past))
        if now.categories:
            findings += _categories(
                "transactions", name, now, _shares_of(past), _newness(past), rules
            )
    return findings


def judge_features(
    tonight: Mapping[str, ColumnStats],
    usual: Mapping[str, Usual],
    rules: Quality,
    unchanged_columns: Collection[str] = (),
) -> list[QualityFinding]:
    """The features of the population against the rows the model was made from.

    Args:
        tonight: Stats by feature.
        usual: What the model was made from, by feature.
        rules: Margins.
        unchanged_columns: Features that may be the same for everybody tonight, as the shop was
            closed.
    """
    findings = []
    for name, now in sorted(tonight.items()):
        reference = usual[name]
        findings.append(_missing_feature(name, now, reference, rules))
        findings.append(_kind("features", name, now))
        if (learnt := reference.range) and now.rows:
            findings.append(_out_of_range(name, now, learnt, rules))
            findings.append(_varies(name, now, learnt, name in unchanged_columns))
        if reference.categories:
            findings += _categories("features", name, now, reference.categories, 0.0, rules)
        if now.histogram:
            bins = json.dumps({"up_to": list(now.edges), "customers": list(now.histogram)})
            findings.append(QualityFinding("features", name, "histogram", None, bins))
    return findings


def shares(dataset: str, rows: int, counts: Mapping[str, int]) -> list[QualityFinding]:
    """Shares of rows that only inform, such as those quarantined: other jobs judge them."""
    return [
        QualityFinding(
            dataset, "*", f"{name}_share", count / rows if rows else 0.0, f"{count} of {rows} rows"
        )
        for name, count in sorted(counts.items())
    ]


def _missing(
    dataset: str, name: str, now: ColumnStats, past: Sequence[ColumnStats], rules: Quality
) -> QualityFinding:
    shares = [day.missing_share for day in past]
    usually = f"{min(shares):.1%} to {max(shares):.1%}" if shares else "nothing is known"
    margin, rows = rules.missing_margin, now.independent
    return QualityFinding(
        dataset,
        name,
        "missing_share",
        now.missing_share,
        f"{now.missing} of {now.rows} rows ({now.missing_share:.1%}) have no value; on this "
        f"weekday before: {usually}. {_why_missing(now.missing_share, shares)}, and have the day "
        "delivered again",
        low=1 - _beyond_chance(1 - min(shares), rows, margin) if shares else None,
        high=_beyond_chance(max(shares), rows, margin) if shares else None,
    )


def _why_missing(share: float, usually: Sequence[float]) -> str:
    if usually and share < min(usually):
        return "Does upstream write something new for nothing (null_markers in params.yaml)? Ask"
    return "Ask upstream"


def _beyond_chance(share: float, independent: int, margin: float) -> float:
    """The share from which on it is more than ``margin`` above ``share``, chance set aside.

    On a day of few invoices one makes a visible share; on a day of many chance is nothing.

    >>> round(_beyond_chance(0.1, 70, 0.05), 2), round(_beyond_chance(0.1, 700_000, 0.05), 2)
    (0.32, 0.15)
    """
    wanted = min(1.0, share + margin)
    return min(1.0, wanted + FAR * math.sqrt(wanted * (1 - wanted) / independent))


def _missing_feature(
    name: str, now: ColumnStats, reference: Usual, rules: Quality
) -> QualityFinding:
    # Who has bought only once has no gap between purchases, and the longer a shop is known the
    # fewer they are: a share that fell within the training set may fall as far again.
    least, _ = _widened(reference.least_missing_share, reference.missing_share)
    return QualityFinding(
        "features",
        name,
        "missing_share",
        now.missing_share,
        f"{now.missing_share:.1%} of the customers have no value; on the dates the model learnt "
        f"from {reference.least_missing_share:.1%} to {reference.missing_share:.1%} had none. Look "
        "for missing deliveries, or for what is there and should not be",
        low=max(0.0, least - rules.missing_margin),
        high=min(1.0, reference.missing_share + rules.missing_margin),
    )


def _out_of_range(
    name: str, now: ColumnStats, learnt: tuple[float, float], rules: Quality
) -> QualityFinding:
    low, high = _widened(*learnt)
    return QualityFinding(
        "features",
        name,
        "out_of_range_share",
        now.beyond / now.rows,
        f"{now.beyond} of {now.rows} values lie far outside what the model learnt from (below "
        f"{low:g} or above {high:g}): in another unit? Look at the lines of the last days",
        high=rules.out_of_range_share,
    )


def _differs(name: str, now: ColumnStats, past: Sequence[ColumnStats]) -> QualityFinding:
    """Whether the values of a day differ, where chance alone would have let them.

    By chance all invoices of a day hold the commonest earlier value once in a million days.
    """
    values = _counted(past)
    others = 1 - max(values.values()) / values.total() if values else 0.0
    by_chance = (1 - others) ** now.independent
    if now.categories:
        differs, wanted = len(now.categories) > 1, bool(past) and by_chance < ONCE_IN_A_MILLION
        only = next(iter(now.categories))
    else:
        differs = now.varies
        wanted = now.independent > FEW and any(day.varies for day in past)
        only = f"{now.low:g}"
    return QualityFinding(
        "transactions",
        name,
        "varies",
        float(differs),
        "values differ"
        if differs
        else f"every line holds {only}; before, on this weekday, they "
        "differed. Ask upstream, and have the day delivered again",
        low=1.0 if wanted else None,
    )


def _varies(
    name: str, now: ColumnStats, learnt: tuple[float, float], may_be_constant: bool
) -> QualityFinding:
    """Whether the values differ at all, where they did before."""
    differs = now.varies
    only = "there is no value at all" if now.low is None else f"every value is {now.low:g}"
    return QualityFinding(
        "features",
        name,
        "varies",
        float(differs),
        "values differ" if differs else f"{only}; in the rows the model learnt from they differ",
        low=1.0 if learnt[0] < learnt[1] and not may_be_constant else None,
    )


def _kind(dataset: str, name: str, now: ColumnStats) -> QualityFinding:
    return QualityFinding(dataset, name, "type", None, now.kind)


def _median(name: str, now: ColumnStats, past: Sequence[ColumnStats]) -> QualityFinding:
    medians = [day.median for day in past if day.median is not None and day.median > 0]
    usually = f"{min(medians):g} to {max(medians):g}" if medians else "not known"
    is_judged = medians and now.independent > FEW
    return QualityFinding(
        "transactions",
        name,
        "median",
        now.median,
        f"the median is {now.median:g}; before, on this weekday: {usually}. In another unit? Ask "
        "upstream",
        low=min(medians) / UNIT_FACTOR if is_judged else None,
        high=max(medians) * UNIT_FACTOR if is_judged else None,
    )


def _counted(past: Sequence[ColumnStats]) -> Counter[str]:
    """The rows of each category on those days together."""
    counts: Counter[str] = Counter()
    for day in past:
        counts.update(day.categories)
    return counts


def _shares_of(past: Sequence[ColumnStats]) -> dict[str, float]:
    """The same as shares of all rows."""
    rows = sum(day.rows for day in past)
    return {value: count / rows for value, count in _counted(past).items()}


def _newness(past: Sequence[ColumnStats]) -> float:
    """The largest share that a day held of what none of the others did; of one day nothing."""
    found = [0.0]
    for position, day in enumerate(past):
        if others := _counted([*past[:position], *past[position + 1 :]]):
            found.append(_share_not_in(day, others))
    return max(found)


def _share_not_in(day: ColumnStats, known: Collection[str]) -> float:
    rows = sum(day.categories.values())
    return sum(n for value, n in day.categories.items() if value not in known) / max(rows, 1)


def _categories(
    dataset: str,
    name: str,
    now: ColumnStats,
    known: Mapping[str, float],
    newness: float,
    rules: Quality,
) -> list[QualityFinding]:
    """New categories, by their share of the rows, and common ones that are gone, by number.

    Args:
        dataset: Of the column.
        name: Of the column.
        now: Tonight's stats.
        known: The share of the rows that each category had before; empty, and nothing is judged.
        newness: Days before held such a share of what was new then; tonight may, too.
        rules: Margins.
    """
    new = {value: rows for value, rows in now.categories.items() if value not in known}
    share = _share_not_in(now, known)
    shown = ", ".join(sorted(new, key=lambda value: (-new[value], value))[:5]) or "none"
    gone = sorted(
        value
        for value, had in known.items()
        if had >= COMMON_SHARE
        and value not in now.categories
        and (1 - had) ** now.independent < ONCE_IN_A_MILLION
    )
    return [
        QualityFinding(
            dataset,
            name,
            "new_category_share",
            share,
            f"{share:.1%} of the rows hold values that were not there before: {shown}",
            high=_beyond_chance(newness, now.independent, rules.missing_margin) if known else None,
        ),
        QualityFinding(
            dataset,
            name,
            "vanished_categories",
            float(len(gone)),
            f"common values that are gone: {', '.join(gone) or 'none'}",
            high=0.0 if known else None,
        ),
    ]
