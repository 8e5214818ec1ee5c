"""Whether a delivery has about as many rows as its weekday usually has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import median
from typing import Literal

from params import Validation

# Fewer deliveries than this are an anecdote: a median of one or two says little.
LEAST_HISTORY = 3


@dataclass(frozen=True, slots=True)
class Volume:
    """The outcome and, unless the volume is usual, a sentence about it.

    ``thin`` and ``empty`` refuse the delivery; ``huge`` and ``unknown`` (too little history to
    tell) are only recorded.
    """

    outcome: Literal["usual", "thin", "empty", "huge", "unknown"]
    finding: str | None = None

    @property
    def is_refused(self) -> bool:
        """Whether the night must stop."""
        return self.outcome in ("thin", "empty")


def same_weekday_rows(known_on: date, rows: Mapping[date, int], weeks: int) -> list[int]:
    """Rows delivered on the same weekday in each of the weeks before, where there are any.

    >>> same_weekday_rows(date(2026, 4, 15), {date(2026, 4, 8): 5, date(2026, 4, 14): 9}, 8)
    [5]
    """
    days = [known_on - timedelta(weeks=week) for week in range(1, weeks + 1)]
    return [rows[day] for day in days if day in rows]


def judge_volume(
    rows: int, trailing: Sequence[int], is_closed_day: bool, validation: Validation
) -> Volume:
    """Compare a delivery with the trailing ones of its weekday; their order does not matter.

    >>> limits = Validation(
    ...     quarantine_budget_share=0.05, volume_weeks=8, volume_min_share=0.25, volume_max_share=4
    ... )
    >>> judge_volume(24, [100, 90, 110], False, limits).outcome
    'thin'
    >>> judge_volume(0, [100, 90, 110], True, limits).outcome  # the shop was shut
    'usual'
    """
    if is_closed_day and rows <= median(trailing or [0]):
        return Volume("usual")
    if not trailing:
        return Volume("unknown", f"{rows:,} rows; no earlier delivery of this weekday to compare.")

    usual = median(trailing)
    compared = (
        f"{rows:,} rows where the median of the last {len(trailing)} deliveries of this weekday "
        f"is {usual:,.0f}"
    )
    if rows == 0 and usual > 0:
        return Volume(
            "empty",
            f"empty delivery: {compared}. If the shop was shut, add the day to closed_days in "
            "params.yaml; else ask for the delivery again.",
        )
    if len(trailing) < LEAST_HISTORY:
        return Volume("unknown", f"{compared}; too few to judge by.")
    if rows < validation.volume_min_share * usual:
        return Volume(
            "thin",
            f"thin delivery: {compared}, below {validation.volume_min_share:.0%} of it. Part of "
            "it is probably missing; ask for the delivery again.",
        )
    if rows > validation.volume_max_share * usual:
        return Volume(
            "huge",
            f"huge delivery: {compared}, above {validation.volume_max_share:.0%} of it. Taken; "
            "check that it is not several days in one.",
        )
    return Volume("usual")
