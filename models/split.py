"""Which as-of dates there are, and which of them fit, calibrate and judge.

The parts never share a date and never overlap in time.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from params import Training


def as_of_dates(training_until: date, training: Training) -> list[date]:
    """The days to describe, ascending; the last one has just had all its horizon.

    >>> from types import SimpleNamespace
    >>> training = SimpleNamespace(horizon_days=30, as_of_count=3, as_of_step_days=7)
    >>> [str(day) for day in as_of_dates(date(2026, 3, 31), training)]
    ['2026-02-15', '2026-02-22', '2026-03-01']
    """
    last = training_until - timedelta(training.horizon_days)
    steps = reversed(range(training.as_of_count))
    return [last - timedelta(step * training.as_of_step_days) for step in steps]


@dataclass(frozen=True, slots=True)
class Split:
    """As-of dates by what they are used for, each part ascending.

    ``stopping`` is the newest date of the fitting part: it says after how many rounds to stop,
    when only the dates of ``early`` have been seen. The model is then fitted on ``fit``, all of
    the fitting part.
    """

    early: tuple[date, ...]
    stopping: tuple[date, ...]
    fit: tuple[date, ...]
    calibration: tuple[date, ...]
    holdout: tuple[date, ...]


class TooFewDates(ValueError):
    """The training window is too short to be split by time."""


def split_by_time(
    dates: Iterable[date], horizon_days: int, calibration_count: int, holdout_count: int
) -> Split:
    """The newest dates judge, those before calibrate, the others fit.

    Between two parts lies a gap of one horizon: every label of the earlier part was known on the
    first date of the later one. Dates inside a gap are not used.

    >>> days = [date(2026, month, 1) for month in range(1, 8)]
    >>> split = split_by_time(days, horizon_days=31, calibration_count=1, holdout_count=2)
    >>> [day.month for day in split.holdout], [day.month for day in split.calibration]
    ([6, 7], [5])
    >>> [day.month for day in split.fit], [day.month for day in split.stopping]
    ([1, 2, 3], [3])

    Raises:
        TooFewDates: If a part would be empty.
    """
    dates = sorted(set(dates))
    holdout = dates[-holdout_count:]
    calibration = _known_before(holdout, dates, horizon_days)[-calibration_count:]
    fit = _known_before(calibration, dates, horizon_days)
    stopping = fit[-1:]
    early = _known_before(stopping, fit, horizon_days)
    if not early:
        raise TooFewDates(
            f"{len(dates)} as-of dates ({', '.join(map(str, dates))}) are too few for "
            f"{holdout_count} to judge, {calibration_count} to calibrate and 2 to fit, with "
            f"{horizon_days} days between the parts. Raise training.as_of_count in params.yaml, "
            "or deliver more history."
        )
    return Split(tuple(early), tuple(stopping), tuple(fit), tuple(calibration), tuple(holdout))


def _known_before(later: list[date], dates: list[date], horizon_days: int) -> list[date]:
    """Those dates whose labels were known on the first date of ``later``."""
    horizon = timedelta(days=horizon_days)
    return [day for day in dates if later and day + horizon <= later[0]]
