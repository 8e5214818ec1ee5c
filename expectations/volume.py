"""Whether a delivery has about as many lines of its day as its weekday has, and closed days."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import Literal

from params import Validation

# Fewer deliveries than this are an anecdote: a median of one or two says little.
LEAST_HISTORY = 3

DATES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Dated:
    """How many lines of a delivery are dated on its day, before it, and otherwise (a later day, or
    no readable date)."""

    of_the_day: int
    late: int
    other: int = 0

    @property
    def rows(self) -> int:
        """All lines."""
        return self.of_the_day + self.late + self.other

    @property
    def late_share(self) -> float:
        """0 without lines."""
        return self.late / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class Volume:
    """The outcome and, unless the volume is usual, a sentence about it.

    ``thin``, ``empty`` and ``misdated`` refuse the delivery; ``huge``, ``late`` and ``unknown``
    (too little history to tell) are only recorded.
    """

    outcome: Literal["usual", "thin", "empty", "misdated", "huge", "late", "unknown"]
    finding: str | None = None

    @property
    def refusal(self) -> str | None:
        """Why the night must stop; null if it may go on."""
        return self.finding if self.outcome in ("thin", "empty", "misdated") else None


def dated(known_on: date, rows: Mapping[date | None, int]) -> Dated:
    """Lines by business day, counted as of the day, late and other.

    >>> dated(date(2026, 4, 2), {date(2026, 4, 2): 97, date(2026, 4, 1): 3, None: 1})
    Dated(of_the_day=97, late=3, other=1)
    """
    of_the_day = rows.get(known_on, 0)
    late = sum(count for day, count in rows.items() if day is not None and day < known_on)
    return Dated(of_the_day, late, sum(rows.values()) - of_the_day - late)


def same_weekday(known_on: date, before: Mapping[date, Dated], weeks: int) -> list[Dated]:
    """What was delivered on the same weekday in each of the weeks before, where anything was."""
    days = [known_on - timedelta(weeks=week) for week in range(1, weeks + 1)]
    return [before[day] for day in days if day in before]


def judge_volume(
    known_on: date,
    rows: Mapping[date | None, int],
    trailing: Sequence[Dated],
    is_closed_day: bool,
    validation: Validation,
) -> Volume:
    """Compare a delivery with the trailing ones of its weekday; their order does not matter.

    Args:
        rows: Its lines by the business day they are dated.

    >>> limits = Validation(
    ...     quarantine_budget_share=0.05, volume_weeks=8, volume_min_share=0.25, volume_max_share=4,
    ...     late_max_share=0.5, overlap_days=7, overlap_max_share=0.5,
    ...     copies_max_share=0.25,
    ... )
    >>> day, before = date(2026, 4, 15), [Dated(100, 0), Dated(90, 0), Dated(110, 0)]
    >>> judge_volume(day, {day: 24}, before, False, limits).outcome
    'thin'
    >>> judge_volume(day, {}, before, True, limits).outcome  # the shop was shut
    'usual'
    >>> judge_volume(day, {date(2026, 4, 14): 95}, before, False, limits).outcome
    'misdated'
    """
    found = dated(known_on, rows)
    usual = median([one.of_the_day for one in trailing] or [0])
    if is_closed_day and found.of_the_day <= usual:
        return Volume("usual")
    if found.late and not found.of_the_day and (usual or not trailing):
        return Volume(
            "misdated",
            f"no line is of the day: {found.rows:,} rows, most dated {_most(rows)}. Is it another "
            "day's delivery, or are day and month swapped (timestamp_format in params.yaml)? If it "
            "is right, add the day to closed_days or accept it by name.",
        )
    if not trailing:
        return Volume(
            "unknown", f"{found.rows:,} rows; no earlier delivery of this weekday to compare."
        )

    of_the_day = "rows" if found.rows == found.of_the_day else f"of {found.rows:,} rows of the day"
    compared = (
        f"{found.of_the_day:,} {of_the_day} where the median of the last {len(trailing)} "
        f"deliveries of this weekday is {usual:,.0f}"
    )
    if not found.rows and usual > 0:
        return Volume(
            "empty",
            f"empty delivery: {compared}. If the shop was shut, add the day to closed_days in "
            "params.yaml; else ask for the delivery again.",
        )
    if len(trailing) < LEAST_HISTORY:
        return Volume("unknown", f"{compared}; too few to judge by.")
    if found.of_the_day < validation.volume_min_share * usual:
        dates = f" The others are dated {_most(rows, known_on)}." if found.late else ""
        return Volume(
            "thin",
            f"thin delivery: {compared}, below {validation.volume_min_share:.0%} of it.{dates} "
            "Part of it is probably missing; ask for the delivery again.",
        )
    if found.of_the_day > validation.volume_max_share * usual:
        return Volume(
            "huge",
            f"huge delivery: {compared}, above {validation.volume_max_share:.0%} of it. Taken; "
            "check that it is not several days in one.",
        )
    late_before = median([one.late_share for one in trailing])
    if found.late_share > max(validation.late_max_share, 2 * late_before):
        return Volume(
            "late",
            f"many late lines: {found.late:,} of {found.rows:,} rows ({found.late_share:.0%}) are "
            f"dated before the day, where {late_before:.0%} is usual; most {_most(rows, known_on)}."
            " Taken; ask upstream what was held back.",
        )
    return Volume("usual")


def _most(rows: Mapping[date | None, int], left_out: date | None = None) -> str:
    """The most frequent dates with their rows: ``2026-03-31 (476), 2026-03-30 (3)``."""
    dates = [(-count, day) for day, count in rows.items() if day not in (left_out, None)]
    return ", ".join(f"{day} ({-count:,})" for count, day in sorted(dates)[:DATES_SHOWN])
