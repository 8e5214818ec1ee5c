"""Which as-of dates there are, and which of them may teach."""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

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
