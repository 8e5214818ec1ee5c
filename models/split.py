"""Which as-of dates there are, which of them may teach, and which fit, calibrate and judge."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from errors import BadData
from params import Training


def as_of_dates(training_until: date, training: Training) -> list[date]:
    """The days that training asks for, ascending; the last one has just had all its horizon.

    >>> from types import SimpleNamespace
    >>> training = SimpleNamespace(horizon_days=30, as_of_count=3, as_of_step_days=7)
    >>> [str(day) for day in as_of_dates(date(2026, 3, 31), training)]
    ['2026-02-15', '2026-02-22', '2026-03-01']
    """
    last = training_until - timedelta(training.horizon_days)
    steps = reversed(range(training.as_of_count))
    return [last - timedelta(step * training.as_of_step_days) for step in steps]


def left_out(
    as_of: Iterable[date],
    training: Training,
    first_delivery: date,
    wrong_days: Mapping[date, str],
) -> dict[date, str]:
    """The as-of dates that must not teach or judge, each with the reason.

    A date needs ``history_days`` of deliveries, or its windows would be cut short. A wrong day
    spoils the label of the dates whose horizon it lies in, and the features of those that it is
    one of the last ``wrong_day_reach`` days of; in the longer windows it is one day of many.

    Args:
        as_of: The dates asked for.
        training: Horizon, history and reach.
        first_delivery: The first day that the lake holds.
        wrong_days: Days without a delivery, or with an incident, and what was wrong.

    >>> from types import SimpleNamespace
    >>> training = SimpleNamespace(horizon_days=30, history_days=365, wrong_day_reach=7)
    >>> days = [date(2026, 3, 1), date(2026, 3, 31), date(2026, 4, 7), date(2026, 4, 8)]
    >>> spoilt = left_out(days, training, date(2024, 1, 1), {date(2026, 4, 1): "no delivery"})
    >>> [str(day) for day in spoilt]
    ['2026-03-31', '2026-04-07']
    """
    horizon, reach = timedelta(training.horizon_days), timedelta(training.wrong_day_reach)
    reasons = {}
    for day in as_of:
        history = (day - first_delivery).days + 1
        spoilt = [wrong for wrong in sorted(wrong_days) if day - reach < wrong <= day + horizon]
        if history < training.history_days:
            reasons[day] = f"{max(history, 0)} of {training.history_days} days of deliveries"
        elif spoilt:
            wrong = spoilt[0]
            more = f" and {len(spoilt) - 1} more days" if spoilt[1:] else ""
            reasons[day] = f"{wrong}{more}: {wrong_days[wrong]}"
    return reasons


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
