"""Ids, numbers and times as sources write them, a column at a time: usable, or what is wrong.

No engine has to interpret them: numbers are plain decimal text, and a time is an instant, a time of
the source's zone, or text with its distance from UTC.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import ROUND_HALF_UP, ROUND_UP, Context, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from params import Source, Text


def by_value(texts: pa.Array, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """``function`` of each text, computed once for each distinct one."""
    encoded = texts.dictionary_encode()
    return function(encoded.dictionary).take(encoded.indices)


def given_texts(texts: pa.Array, source: Source) -> pa.Array:
    """The texts without blanks around them; null where nothing is left, or a marker for null."""
    trimmed = pc.utf8_trim_whitespace(texts)
    nothing = pc.is_in(trimmed, value_set=pa.array(["", *source.null_markers]))
    return pc.if_else(nothing, pa.scalar(None, pa.string()), trimmed)


# ---------------------------------------------------------------------------------------------- ids

# Control characters, formats (zero width, writing direction), private use, other line ends, what
# was no text before (U+FFFD), and the code points that are no characters.
STRANGE = (
    r"[\p{Cc}\p{Cf}\p{Co}\p{Zl}\p{Zp}\x{FFFD}\x{FDD0}-\x{FDEF}\x{FFFE}\x{FFFF}"
    + "".join(rf"\x{{{plane:X}FFFE}}\x{{{plane:X}FFFF}}" for plane in range(1, 17))
    + "]"
)
# Whole numbers beyond which a float of this width has no neighbour one apart.
EXACT_IN = {"float": 2**24, "double": 2**53}

WHOLE_NUMBER = r"^\+?(-?)0*([0-9]+)(?:\.0*)?$"


def read_ids(
    values: pa.Array, texts: pa.Array, kind: str, source: Source, dialect: Text
) -> tuple[pa.Array, pa.Array]:
    """Ids, in the form NFC, and what is wrong with those that are not usable, which are null."""
    encoded = texts.dictionary_encode()
    given = given_texts(encoded.dictionary, source)
    ids = pc.utf8_normalize(given, form="NFC")
    if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        ids = _plain_numbers(ids)
        # Writers make floats of whole numbers with gaps: 17850.0 is 17850.
        ids = pc.replace_substring_regex(ids, r"^(-?[0-9]+)\.0*$", r"\1")
    if kind == "number":
        ids = read_numbers(ids, dialect)
        is_whole = pc.match_substring_regex(ids, WHOLE_NUMBER)
        ids = pc.if_else(is_whole, pc.replace_substring_regex(ids, WHOLE_NUMBER, r"\1\2"), None)
        ids = pc.if_else(pc.equal(ids, "-0"), "0", ids)

    limit = source.limits.id_characters
    problems = pa.nulls(len(given), pa.string())
    for is_wrong, problem in (
        (pc.and_(pc.is_valid(given), pc.is_null(ids)), "it is no whole number"),
        (pc.greater(pc.utf8_length(ids), limit), f"it has more than {limit} characters"),
        (pc.match_substring_regex(given, STRANGE), "it holds a character that no id has"),
    ):
        problems = pc.if_else(pc.fill_null(is_wrong, False), problem, problems)
    ids, problems = ids.take(encoded.indices), problems.take(encoded.indices)

    if (most := EXACT_IN.get(str(values.type))) is not None:
        ids = pc.if_else(pc.is_nan(values), None, ids)
        problems = pc.if_else(pc.is_nan(values), None, problems)
        is_vague = pc.greater(pc.abs(values), pa.scalar(float(most), values.type))
        vague = f"beyond {most:,} a {values.type} does not hold every whole number"
        problems = pc.if_else(pc.and_not(is_vague, pc.is_nan(values)), vague, problems)
    return pc.if_else(pc.is_valid(problems), pa.scalar(None, pa.string()), ids), problems


# ------------------------------------------------------------------------------------------ numbers

# What engines read differently: a power of ten behind the digits, as some writers shorten numbers,
# and more decimals than any of our types holds.
DECIMALS = 30
UNUSUAL_NUMBER = rf"[eE]|\.[0-9]{{{DECIMALS + 1},}}$"
# A number beyond it is no amount, and writing it out would take pages.
LARGEST_EXPONENT = 40
DIGITS = Context(prec=100)

# What lies behind the decimals that are kept would be dropped, so it must be nothing, or no larger
# than the distance between two doubles, as in 0.30000000000000004.
PRICE_DECIMALS = 6
NOISE_OF_A_DOUBLE = Decimal(2) ** -51


def read_numbers(texts: pa.Array, dialect: Text) -> pa.Array:
    """Numbers as plain decimal text; null where a text is no number of this dialect."""
    mark, thousands = re.escape(dialect.decimal_mark), dialect.thousands_mark
    digits = r"[0-9]+"
    if thousands:
        digits = rf"(?:[0-9]+|[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+)"
    shape = rf"(?:{digits}(?:{mark}[0-9]*)?|{mark}[0-9]+)(?:[eE][+-]?[0-9]{{1,4}})?"
    is_number = pc.match_substring_regex(texts, rf"^[+-]?{shape}$")
    if dialect.trailing_minus:
        is_behind = pc.match_substring_regex(texts, rf"^{shape} ?-$")
        moved = pc.replace_substring_regex(texts, r"^(.*?) ?-$", r"-\1")
        texts = pc.if_else(is_behind, moved, texts)
        is_number = pc.or_(is_number, is_behind)
    numbers = pc.if_else(is_number, texts, pa.scalar(None, pa.string()))
    if thousands:
        numbers = pc.replace_substring(numbers, thousands, "")
    if dialect.decimal_mark != ".":
        numbers = pc.replace_substring(numbers, dialect.decimal_mark, ".")
    return _plain_numbers(numbers)


def _plain_numbers(numbers: pa.Array) -> pa.Array:
    """Numbers with an exponent, or very many decimals, written out; others as they are."""
    unusual = pc.fill_null(pc.match_substring_regex(numbers, UNUSUAL_NUMBER), False)
    if not pc.any(unusual).as_py():
        return numbers
    written = [_written_out(text) for text in pc.filter(numbers, unusual).to_pylist()]
    return pc.replace_with_mask(numbers, unusual, pa.array(written, pa.string()))


def _written_out(text: str) -> str | None:
    """The number without an exponent, with at most ``DECIMALS`` decimals; null if it is too large.

    The last decimal is rounded up, so that a fraction too small to be shown is still one.

    >>> _written_out("1e2"), _written_out("-2.5E-7"), _written_out("1e300"), _written_out("1e-99")
    ('100', '-0.00000025', None, '0.000000000000000000000000000001')
    """
    number = Decimal(text)
    if number.adjusted() > LARGEST_EXPONENT:
        return None
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and -exponent > DECIMALS:
        number = number.quantize(Decimal(1).scaleb(-DECIMALS), ROUND_UP, DIGITS)
    return f"{number:f}"


def exact_numbers(numbers: pa.Array, decimals: int) -> tuple[pa.Array, pa.Array]:
    """Numbers of so many decimals, and those that have more, which are null among the first."""
    encoded = numbers.dictionary_encode()
    has_more = rf"\.[0-9]{{{decimals}}}[0-9]*[1-9]"
    inexact = pc.fill_null(pc.match_substring_regex(encoded.dictionary, has_more), False)
    nothing = pa.nulls(len(numbers), pa.string())
    if not pc.any(inexact).as_py():
        return numbers, nothing
    long = pc.filter(encoded.dictionary, inexact).to_pylist()
    kept = pa.array([_without_noise(text, decimals) for text in long], pa.string())
    exact = pc.replace_with_mask(encoded.dictionary, inexact, kept)
    dropped = pc.if_else(pc.and_(inexact, pc.is_null(exact)), encoded.dictionary, None)
    return exact.take(encoded.indices), dropped.take(encoded.indices)


def _without_noise(text: str, decimals: int) -> str | None:
    """The number in so many decimals, if nothing but the noise of a double lies behind them.

    >>> _without_noise("0.30000000000000004", 6), _without_noise("0.000000001", 6)
    ('0.300000', None)
    """
    number = Decimal(text)
    rounded = number.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP, DIGITS)
    is_noise = abs(number - rounded) <= abs(number) * NOISE_OF_A_DOUBLE
    return f"{rounded:f}" if is_noise else None


def read_sums(texts: pa.Array, source: Source, dialect: Text) -> tuple[pa.Array, pa.Array]:
    """Numbers that are added up, and what is wrong with those that cannot be, which are null."""
    given = by_value(texts, lambda some: given_texts(some, source))
    numbers, inexact = exact_numbers(
        by_value(given, lambda some: read_numbers(some, dialect)), PRICE_DECIMALS
    )
    most = source.largest_carried
    is_large = pc.greater(pc.abs(numbers.cast(pa.float64())), most)
    problems = pa.nulls(len(texts), pa.string())
    for is_wrong, problem in (
        (is_large, f"it is beyond {most:,}, so that a sum could overflow"),
        (pc.is_valid(inexact), f"it has more than {PRICE_DECIMALS} decimals"),
        (
            pc.and_(pc.is_valid(given), pc.and_(pc.is_null(numbers), pc.is_null(inexact))),
            "it is no number",
        ),
    ):
        problems = pc.if_else(pc.fill_null(is_wrong, False), problem, problems)
    return pc.if_else(pc.is_valid(problems), pa.scalar(None, pa.string()), numbers), problems


# -------------------------------------------------------------------------------------------- times

TIMES = (
    ("invoiced_at_text", pa.string()),
    ("invoiced_at_offset", pa.int64()),
    ("invoiced_at_instant", pa.timestamp("us", "UTC")),
    ("invoiced_at_local", pa.timestamp("us")),
)
"""One of the three is given: as text with its distance from UTC in minutes, if it has one; as an
instant; or as a time of the source's zone."""

# A time of day alone would be read as today's, so the date is asked for.
ISO_TIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9]"
    r"(:[0-5][0-9](\.[0-9]{1,9})?)?$"
)
TIME_AND_ZONE = (
    r"^(?P<time>.*[0-9]:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?: ?[AaPp][Mm])?)"
    r" ?(?P<zone>Z|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)$"
)
FARTHEST_ZONE = timedelta(hours=14)
# The letters of Spark's patterns that stand for a zone, outside quoted text.
PATTERN_ZONE = re.compile(r"[VXxZ]")
QUOTED = re.compile(r"'[^']*'")
# The names that every engine knows, and nothing else that one of them takes for a zone.
NAMED_ZONE = r"(UTC|GMT|[A-Z][A-Za-z]+(/[A-Z][A-Za-z_]+)+)(\]| |$)"


def read_times(values: pa.Array, texts: pa.Array, kind: str, source: Source) -> dict[str, pa.Array]:
    """Times in the one of three columns that they belong in."""
    found = {name: pa.nulls(len(values), type_) for name, type_ in TIMES}
    if kind in ("zoned", "naive", "date"):
        name = "invoiced_at_instant" if kind == "zoned" else "invoiced_at_local"
        return found | {name: as_micros(values)}
    encoded = texts.dictionary_encode()
    given = given_texts(encoded.dictionary, source)
    if not names_zone(source.timestamp_format):
        given, offsets = _without_zone(given)
        found["invoiced_at_offset"] = offsets.take(encoded.indices)
    for is_asked, shape in (
        (source.timestamp_format is None, ISO_TIME),
        ("V" in QUOTED.sub("", source.timestamp_format or ""), NAMED_ZONE),
    ):
        if is_asked:
            is_right = pc.match_substring_regex(given, shape)
            given = pc.if_else(is_right, given, pa.scalar(None, pa.string()))
    return found | {"invoiced_at_text": given.take(encoded.indices)}


def names_zone(pattern: str | None) -> bool:
    """Whether one of Spark's patterns for timestamps holds the zone.

    >>> names_zone("dd.MM.yyyy 'at Oz' HH:mm"), names_zone("yyyy-MM-dd HH:mmXXX"), names_zone(None)
    (False, True, False)
    """
    return bool(pattern and PATTERN_ZONE.search(QUOTED.sub("", pattern)))


def _without_zone(texts: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The texts without a zone behind the time, and its minutes ahead of UTC, null without one."""
    parts = pc.extract_regex(texts, TIME_AND_ZONE)
    zones = pc.struct_field(parts, "zone").dictionary_encode()
    minutes = pa.array([_minutes(zone) for zone in zones.dictionary.to_pylist()], pa.int64())
    offsets = minutes.take(zones.indices)
    # Where the distance is none that a zone has, the text stays as it is, which nobody can read.
    return pc.if_else(pc.is_valid(offsets), pc.struct_field(parts, "time"), texts), offsets


def _minutes(zone: str | None) -> int | None:
    """The distance from UTC in minutes; null if no zone is that far away.

    >>> [_minutes(zone) for zone in ("Z", "+02", "-0330", "+05:45", "+15:00", "+01:75")]
    [0, 120, -210, 345, None, None]
    """
    if zone is None:
        return None
    if zone in ("Z", "UTC", "GMT"):
        return 0
    hours, minutes = int(zone[1:3]), int(zone[3:].removeprefix(":") or 0)
    distance = timedelta(hours=hours, minutes=minutes)
    if minutes > 59 or distance > FARTHEST_ZONE:
        return None
    return (hours * 60 + minutes) * (-1 if zone[0] == "-" else 1)


UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799


def as_micros(values: pa.Array) -> pa.Array:
    """Timestamps in millionths of a second, cut off downwards, in UTC if they have a zone; of a
    date its midnight.

    Null outside the years 1 to 9999.
    """
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("s" if pa.types.is_date32(values.type) else "ms"))
    target = pa.timestamp("us", "UTC") if values.type.tz else pa.timestamp("us")
    if values.type.unit == "ns":
        # Cast, it would be cut off towards 1970.
        numbers = values.cast(pa.int64())
        rest = pc.subtract(numbers, pc.multiply(pc.divide(numbers, 1000), 1000))
        floored = pc.subtract(
            pc.divide(numbers, 1000), pc.if_else(pc.less(rest, 0), 1, 0).cast(pa.int64())
        )
        return floored.cast(target)
    unit, numbers = UNITS[values.type.unit], values.cast(pa.int64())
    is_dated = pc.and_(
        pc.greater_equal(numbers, FIRST_SECOND * unit), pc.less(numbers, (LAST_SECOND + 1) * unit)
    )
    return pc.if_else(is_dated, values, pa.scalar(None, values.type)).cast(target)
