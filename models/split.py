"""Which as-of dates fit, and which judge."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from errors import BadData


@dataclass(frozen=True, slots=True)
class Split:
    """As-of dates by what they are used for, each part ascending.

    ``fit`` teaches the judged model and ``holdout`` judges it. ``live`` is both and what lies
    between them: it teaches the model that scores.
    """

    fit: tuple[date, ...]
    holdout: tuple[date, ...]
    live: tuple[date, ...]


class TooFewDates(BadData):
    """The as-of dates are too few to be split by time."""


def split_by_time(
    dates: Iterable[date],
    horizon_days: int,
    holdout_count: int,
    left_out: Mapping[date, str] | None = None,
) -> Split:
    """The newest dates judge, those fit whose labels were all known on the first of them.

    Args:
        dates: The dates that may be used.
        horizon_days: The gap between the two parts.
        holdout_count: How many dates judge.
        left_out: Dates that may not be used, for the message.

    >>> days = [date(2026, month, 1) for month in range(1, 8)]
    >>> split = split_by_time(days, horizon_days=31, holdout_count=2)
    >>> [day.month for day in split.holdout], [day.month for day in split.fit]
    ([6, 7], [1, 2, 3, 4, 5])

    Raises:
        TooFewDates: If a part would be empty; says why dates were left out.
    """
    dates = sorted(set(dates))
    holdout = dates[-holdout_count:]
    horizon = timedelta(days=horizon_days)
    fit = [day for day in dates if holdout and day + horizon <= holdout[0]]
    if not fit:
        raise TooFewDates(_too_few(dates, horizon_days, holdout_count, left_out or {}))
    return Split(tuple(fit), tuple(holdout), tuple(dates))


def _too_few(
    dates: Collection[date], horizon_days: int, holdout_count: int, left_out: Mapping[date, str]
) -> str:
    usable = ", ".join(map(str, dates)) or "none"
    why = ""
    if left_out:
        first = min(left_out)
        why = (
            f" {len(left_out)} dates were left out, the first is {first} ({left_out[first]})."
            " Deliver more history; or lower training.history_days in params.yaml, at the price of"
            " windows that are cut short."
        )
    return (
        f"{len(dates)} as-of dates ({usable}) are too few for {holdout_count} to judge and one or "
        f"more to learn from, with {horizon_days} days between them.{why} Or set "
        "training.as_of_count higher or training.holdout_count lower."
    )
