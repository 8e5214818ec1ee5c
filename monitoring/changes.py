"""Changes that a monitor should hear: made in quiet nights, to see whether it does."""

from collections.abc import Callable

import numpy as np
import pandas as pd

# Beyond this weight only the largest values are drawn: the column cannot be moved farther.
STEEPEST = 50.0

# The farthest that log-odds are moved; who is surer than that stays.
FARTHEST = 50.0


def shifted(by: float) -> Callable[[pd.Series, np.random.Generator], pd.Series | None]:
    """A function that moves a column's mean up by ``by`` standard deviations, without new values.

    Values are drawn again, the larger ones more often; a sum would empty the bin of the zeros and
    be seen by anybody. It returns None if the column has no such mean: nearly all are alike.
    """

    def change(column: pd.Series, random: np.random.Generator) -> pd.Series | None:
        from scipy.optimize import brentq

        known = column.dropna().to_numpy(dtype=float)
        if not len(known):
            return None
        # Ranks, so that one huge amount is not all that is ever drawn.
        place = (np.argsort(np.argsort(known, kind="stable")) + 0.5) / len(known)
        wanted = known.mean() + by * known.std()

        def excess(weight: float) -> float:
            shares = np.exp(weight * (place - 1))
            return shares @ known / shares.sum() - wanted

        if excess(STEEPEST) <= 0 or excess(0.0) >= 0:
            return None
        shares = np.exp(brentq(excess, 0.0, STEEPEST) * (place - 1))
        values = column.to_numpy(dtype=float, copy=True)
        values[column.notna()] = random.choice(known, len(known), p=shares / shares.sum())
        return pd.Series(values, column.index)

    return change


def dead(column: pd.Series, random: np.random.Generator) -> pd.Series | None:
    """Ninety-nine of a hundred hold the commonest value, as when a source dries up.

    With all of them the column is constant, which is a finding without any threshold. It returns
    None where more than nine of ten hold it anyway.
    """
    common = column.mode(dropna=True)
    if common.empty or (column == common.iloc[0]).mean() > 0.9:
        return None
    return column.where(random.random(len(column)) < 0.01, common.iloc[0])


def half_missing(column: pd.Series, random: np.random.Generator) -> pd.Series:
    """Half of the values are gone."""
    return column.where(random.random(len(column)) < 0.5)


def scaled(column: pd.Series, _random: np.random.Generator) -> pd.Series:
    """Three quarters of every value, as when a unit changes a little."""
    return column * 0.75


CHANGES = {
    "shift_0.5": (shifted(0.5), False),
    "constant": (dead, True),
    "missing": (half_missing, True),
    "shift_0.2": (shifted(0.2), False),
    "scaled": (scaled, False),
}
"""By name, what makes the change, and whether it can be made in text."""


def raised(by: float) -> Callable[[pd.Series], pd.Series | None]:
    """A function that raises the mean of probabilities by the factor 1 + ``by``: all log-odds move
    alike, so the order of the customers stays.

    It returns None where no such move gives that mean: it would be above 1, or all are sure.
    """

    def change(probability: pd.Series) -> pd.Series | None:
        from scipy.optimize import brentq

        wanted = probability.mean() * (1 + by)

        def moved(step: float) -> pd.Series:
            odds = probability * np.exp(step)
            return odds / (odds + 1 - probability)

        def missing(step: float) -> float:
            return wanted - moved(step).mean()

        if missing(0.0) <= 0 or missing(FARTHEST) >= 0:
            return None
        return moved(brentq(missing, 0.0, FARTHEST))

    return change


MEAN_CHANGES = {"raised_0.1": raised(0.1), "raised_0.25": raised(0.25)}

LARGE_CHANGES = ("shift_0.5", "constant", "missing", "raised_0.25")
"""Those that nobody may miss: a column that misses one is deaf."""
