"""The day of trade of delivered rows, found without an engine: to lay a table out by day.

A night finds the day again by its engine, so a row in another day's delivery is noticed there.
"""

import re
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from deliveries.values import read_times
from errors import BadData
from params import Source

LETTERS = {
    "yyyy": ("[0-9]{4}", "%Y"),
    "yy": ("[0-9]{2}", "%y"),
    "MMM": ("[A-Za-z]{3}", "%b"),
    "MM": ("[0-9]{2}", "%m"),
    "M": ("[0-9]{1,2}", "%m"),
    "dd": ("[0-9]{2}", "%d"),
    "d": ("[0-9]{1,2}", "%d"),
    "HH": ("[0-9]{2}", "%H"),
    "H": ("[0-9]{1,2}", "%H"),
    "hh": ("[0-9]{2}", "%I"),
    "h": ("[0-9]{1,2}", "%I"),
    "mm": ("[0-9]{2}", "%M"),
    "ss": ("[0-9]{2}", "%S"),
    "SSS": ("[0-9]{3}", "%f"),
    "SSSSSS": ("[0-9]{6}", "%f"),
    "a": ("[AaPp][Mm]", "%p"),
}
"""Letters of Spark's patterns: as a regular expression, and as a directive of ``strptime``."""

PART = re.compile(r"'(?P<quoted>[^']*)'|(?P<letters>([A-Za-z])\3*)|(?P<other>.)")

DAY = np.dtype("datetime64[D]")


class PatternUnknown(BadData):
    """A pattern for timestamps that engines may read, but that is not translated here."""


def translated(pattern: str) -> tuple[str, str]:
    """One of Spark's patterns, as a regular expression and for ``strptime``.

    Raises:
        PatternUnknown: If it has other letters than ``LETTERS``.

    >>> translated("dd/MM/yyyy'T'HH:mm")
    ('[0-9]{2}/[0-9]{2}/[0-9]{4}T[0-9]{2}:[0-9]{2}', '%d/%m/%YT%H:%M')
    """
    shape, directives = "", ""
    for part in PART.finditer(pattern):
        letters = part["letters"]
        if letters and letters not in LETTERS:
            raise PatternUnknown(
                f"a table whose timestamp_format is {pattern!r} cannot be laid out by day here, "
                f"because of {letters!r}: put its days into folders with a program of your own."
            )
        plain = part["quoted"] or part["other"] or ""
        one, directive = LETTERS[letters] if letters else (re.escape(plain), plain)
        shape, directives = shape + one, directives + directive
    return shape, directives


def days_of_trade(values: pa.Array, texts: pa.Array, kind: str, source: Source) -> np.ndarray:
    """The day of trade of each time, as ``datetime64[D]``; NaT where none can be read.

    Args:
        values: The source's column of times; as delivered, if it holds timestamps.
        texts: The same as text.
        kind: As in ``deliveries.contract.SourceColumn``.
    """
    found = read_times(values, texts, kind, source)
    local = pd.Series(found["invoiced_at_local"].to_numpy(zero_copy_only=False))
    written = _parsed(found["invoiced_at_text"], source.timestamp_format)
    seconds = pc.multiply(found["invoiced_at_offset"], 60).cast(pa.duration("s"))
    offset = pd.Series(seconds.to_numpy(zero_copy_only=False))
    instant = pd.Series(found["invoiced_at_instant"].to_numpy(zero_copy_only=False))

    without_zone = local.fillna(written.where(offset.isna()))
    with_zone = instant.fillna(written - offset)
    clock = _on_the_clock(with_zone, "UTC", source.timezone)
    days = _on_the_clock(without_zone, source.zone_of_timestamps, source.timezone).fillna(clock)
    return (days - source.after_midnight).to_numpy().astype(DAY)


def _parsed(texts: pa.Array, pattern: str | None) -> pd.Series:
    encoded = texts.dictionary_encode()
    distinct = pd.Series(encoded.dictionary.to_pylist(), dtype=object)
    format = "ISO8601" if pattern is None else translated(pattern)[1]
    parsed = pd.to_datetime(distinct, format=format, errors="coerce").astype("datetime64[us]")
    codes = encoded.indices.fill_null(-1).to_numpy()
    return parsed.reindex(codes).reset_index(drop=True)


def _on_the_clock(times: pd.Series, zone: str, shop: str) -> pd.Series:
    """Times of one zone, without it, as the clock of the shop shows them then."""
    if zone == shop or not times.notna().any():
        return times
    # As engines do: a skipped hour is moved on, of a repeated one the first is taken.
    is_first = np.ones(len(times), dtype=bool)
    here = times.dt.tz_localize(zone, ambiguous=is_first, nonexistent=timedelta(hours=1))
    return here.dt.tz_convert(shop).dt.tz_localize(None)
