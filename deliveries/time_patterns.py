"""By which pattern the times of a column are written."""

import re
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deliveries.day_of_trade import days_of_trade, translated
from params import Source

FIT_SHARE = 0.95
"""The least share of a column's values that a pattern reads, for it to be the pattern."""

FEW = 20

DATES = [
    *(f"yyyy{mark}MM{mark}dd" for mark in ("-", "/", ".", "")),
    *(f"dd{mark}MM{mark}yyyy" for mark in ("/", ".", "-")),
    *(f"MM{mark}dd{mark}yyyy" for mark in ("/", "-")),
    *(f"dd{mark}MMM{mark}yyyy" for mark in ("-", " ")),
    *(f"dd{mark}MM{mark}yy" for mark in ("/", ".")),
    "MM/dd/yy",
]
TIMES = [
    "HH:mm:ss",
    "HH:mm",
    "HH:mm:ss.SSS",
    "HH:mm:ss.SSSSSS",
    "hh:mm:ss a",
    "hh:mm a",
    "HHmmss",
]


def _with_unpadded(patterns: list[str]) -> list[str]:
    """The patterns, each also for numbers without leading zeros."""
    single = [re.sub(r"(?<![A-Za-z])([dMHh])\1(?![A-Za-z])", r"\1", one) for one in patterns]
    return list(dict.fromkeys([*patterns, *single]))


PATTERNS = [
    *_with_unpadded(DATES),
    *(
        f"{date}{between}{time}"
        for date, time, between in product(
            _with_unpadded(DATES), _with_unpadded(TIMES), (" ", "'T'")
        )
    ),
]
"""Spark's patterns that are tried, after ISO 8601, the likelier ones first."""

ZONE = r"( ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?))?"


def time_patterns(given: pa.Array, kind: str, draft: Source) -> list[str | None]:
    """The patterns that read a column and mean different days, the likeliest first.

    None stands for ISO 8601, and for timestamps and dates that are no text. Empty, if it holds no
    times.

    Args:
        given: Its values as text, without nulls.
        kind: As in ``deliveries.contract.SourceColumn``.
        draft: A source of the same format.
    """
    if kind in ("zoned", "naive", "date"):
        return [None]
    if kind != "text" or not len(given):
        return []
    # A few values show that most columns hold no times.
    few = given.slice(0, FEW)
    if _fits(given, None, draft):
        return [None]
    fitting = [one for one in PATTERNS if _shape_share(few, one) > 0.5 and _fits(given, one, draft)]
    by_order: dict[str, str | None] = {}
    for one in fitting:
        by_order.setdefault(_order(one), one)
    return list(by_order.values())


def _order(pattern: str) -> str:
    """The order of year, month and day."""
    return re.sub(r"(.)\1+", r"\1", re.sub("[^yMd]", "", pattern))


def _shape_share(texts: pa.Array, pattern: str) -> float:
    shape = f"^{translated(pattern)[0]}{ZONE}$"
    return pc.mean(pc.match_substring_regex(texts, shape)).as_py()


def _fits(texts: pa.Array, pattern: str | None, draft: Source) -> bool:
    if pattern is not None and _shape_share(texts, pattern) < FIT_SHARE:
        return False
    source = draft.model_copy(update={"timestamp_format": pattern})
    days = days_of_trade(texts, texts, "text", source)
    return bool(np.mean(~np.isnat(days)) >= FIT_SHARE)
