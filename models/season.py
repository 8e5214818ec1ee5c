"""A prior that follows the season: how the level of a night is known to differ from the one that a
model was calibrated on.

A model learns from a few weeks what level its probabilities have, and a row does not know its date.
How the share for whom the outcome came true moved a year ago, between the same weeks, is known when
the model is trained; by that much the log-odds of everybody are moved. The order of the customers
stays, and so does who is contacted (0010).
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from lake import read_json
from models.schema import of_each

YEAR = timedelta(weeks=52)
"""As many whole weeks as come nearest to a year."""

YEARS_BACK = 3
"""How far back a level is looked for: the year before, else the one before that."""

SEASON = "season.json"
"""By date, how many customers were active and for how many of them the outcome came true."""

LEAST_CUSTOMERS = 500
"""Of fewer, chance moves the level by a tenth of the log-odds and more, as a season does."""

DIGITS = 6
"""Of a step: the logarithm may differ in its last bit between processors."""


@dataclass(frozen=True, slots=True)
class Season:
    """The steps of one model.

    ``levels`` are log-odds of the share for whom the outcome came true, by date, ascending;
    ``calibrated_on`` the dates that the model was calibrated on.
    """

    levels: Mapping[date, float] = field(default_factory=dict)
    calibrated_on: tuple[date, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether the level of its calibration is known a year before; else there are no steps."""
        return any(self.level(day) is not None for day in self.calibrated_on)

    def level(self, day: date) -> float | None:
        """The level 52 weeks before ``day``, else 104 or 156; None where that was not counted.

        Between two dates it goes straight.
        """
        days = list(self.levels)
        for back in range(1, YEARS_BACK + 1):
            before = day - back * YEAR
            if not days or not days[0] <= before <= days[-1]:
                continue
            after = bisect_right(days, before)
            left, right = days[after - 1], days[min(after, len(days) - 1)]
            share = (before - left) / (right - left) if right > left else 0.0
            return self.levels[left] + share * (self.levels[right] - self.levels[left])
        return None

    def step(self, day: date) -> float:
        """What is added to the log-odds of everybody on the night of ``day``; 0 if it is not known.

        >>> season = Season({date(2025, 6, 1): -1.0, date(2025, 12, 1): -0.5}, (date(2026, 5, 31),))
        >>> season.step(date(2026, 5, 31)), season.step(date(2026, 11, 30))
        (0.0, 0.5)
        """
        here = self.level(day)
        usual = [level for one in self.calibrated_on if (level := self.level(one)) is not None]
        if here is None or not usual:
            return 0.0
        return round(here - math.fsum(usual) / len(usual), DIGITS)

    def move(self, probability: np.ndarray, as_of: pa.ChunkedArray) -> np.ndarray:
        """Probabilities as on the nights of their rows' dates; NaN stays NaN."""
        return moved(probability, of_each(as_of, self.step, np.float64))


def moved(probability: np.ndarray, step: float | np.ndarray) -> np.ndarray:
    """Probabilities whose log-odds are moved by ``step``.

    >>> moved(np.array([0.5, 0.75]), math.log(3.0)).round(6).tolist()
    [0.75, 0.9]
    """
    weighed = probability * np.exp(step)
    return weighed / (1.0 - probability + weighed)


def read_levels(path: Path) -> dict[date, float]:
    """The levels in a file of counts, ascending, of dates with enough customers; none without the
    file, as in bundles of older code."""
    if not path.exists():
        return {}
    return {
        date.fromisoformat(day): _log_odds(counts["came_true"], counts["customers"])
        for day, counts in sorted(read_json(path).items())
        if counts["customers"] >= LEAST_CUSTOMERS
    }


def _log_odds(came_true: int, customers: int) -> float:
    # Half a customer more on either side, so that nobody and everybody have odds as well.
    return math.log((came_true + 0.5) / (customers - came_true + 0.5))
