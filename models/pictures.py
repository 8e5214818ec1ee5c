"""Calibration and lift of a training as pictures: SVG, which needs nothing but itself."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from models.metrics import KINDS
from models.pages import render_page
from params import Question

LEFT, RIGHT, TOP, BOTTOM = 64, 464, 60, 320
"""Where the axes lie, in the picture's own units."""

MOST_TICKS = 6

COLOURS = {"recency": "#8a6d3b", "logistic": "#1e7a46", "xgboost": "#2457a8"}
EVEN = "#8b939e"


@dataclass(frozen=True, slots=True)
class Axis:
    """What lies along it, from 0 to ``most``; shares are shown in percent."""

    label: str
    most: float
    is_share: bool = True

    @property
    def ticks(self) -> list[float]:
        """A few round numbers; the last one is not below ``most``, or 1 where there is none.

        >>> Axis("lift", 2.9, is_share=False).ticks
        [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
        """
        most = self.most if self.most > 0 else 1.0
        power = 10 ** math.floor(math.log10(most / MOST_TICKS))
        steps = (round(factor * power, 9) for factor in (1, 2, 5, 10))
        step = next(one for one in steps if most <= MOST_TICKS * one)
        return [round(n * step, 9) for n in range(math.ceil(round(most / step, 6)) + 1)]

    def place(self, value: float, begin: float, end: float) -> float:
        """Where a value lies between the ends of the axis."""
        return round(begin + (end - begin) * value / self.ticks[-1], 1)

    def written(self, value: float) -> str:
        """A value as it stands at a tick."""
        return f"{100 * value:g} %" if self.is_share else f"{value:g}"


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, with its name for the legend; dashed, it is what to compare with."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    is_dashed: bool = False
    has_dots: bool = False


def calibration_picture(curve: pd.DataFrame, question: Question) -> str:
    """What was promised and what came: the closer to the dashed line, the better.

    Args:
        curve: As ``judge.calibration_curve`` gives it.
    """
    most = max(curve["predicted"].max(), curve["observed"].max())
    x = Axis("mean probability of a tenth of the customers", most)
    y = Axis(f"share that {question.did}", most)
    points = list(zip(curve["predicted"], curve["observed"], strict=True))
    end = x.ticks[-1]
    even = Line("as promised", [(0, 0), (end, end)], EVEN, is_dashed=True)
    came = Line("as it came", points, COLOURS["xgboost"], has_dots=True)
    return _drawn("Calibration", x, y, [even, came])


def lift_picture(lift: pd.DataFrame, question: Question) -> str:
    """How many times more of those who did than by chance are among the best-scored share.

    Args:
        lift: As ``judge.lift_curve`` gives it; null where nobody did.
    """
    lift = lift.dropna()
    x = Axis("share of the customers contacted, the likeliest first", 1.0)
    y = Axis(f"times as many {question.doers} as by chance", lift["lift"].max(), is_share=False)
    lines = [
        Line(name, list(zip(some["contacted_share"], some["lift"], strict=True)), COLOURS[kind])
        for kind, name in KINDS.items()
        for some in [lift[lift["kind"] == kind]]
    ]
    chance = Line("by chance", [(0, 1), (1, 1)], EVEN, is_dashed=True)
    return _drawn("Lift", x, y, [chance, *lines])


def _drawn(title: str, x: Axis, y: Axis, lines: Iterable[Line]) -> str:
    paths = [
        " ".join(f"{x.place(a, LEFT, RIGHT)},{y.place(b, BOTTOM, TOP)}" for a, b in line.points)
        for line in lines
    ]
    return render_page(
        "chart.svg.j2",
        title=title,
        x=x,
        y=y,
        lines=list(zip(lines, paths, strict=True)),
        across=[(x.place(tick, LEFT, RIGHT), x.written(tick)) for tick in x.ticks],
        upwards=[(y.place(tick, BOTTOM, TOP), y.written(tick)) for tick in y.ticks],
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=BOTTOM,
    )
