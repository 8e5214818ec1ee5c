"""An entry of ``sources`` in params.yaml for a table that was looked at, with a comment where it is
not sure."""

import json
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from datetime import date

import yaml

from deliveries.recognise import Recognised
from deliveries.survey import MEASURED, Survey
from params import LARGEST_SUM, MICROS, Source, Weekday

USUAL_OLDEST_DAY = date(2000, 1, 1)

COMMENTS_AT = 42
LONGEST_LINE = 100

PLAIN_TEXT = r"(?!(?i:null|true|false|yes|no|on|off|y|n)$)[A-Za-z][A-Za-z0-9_/ -]*[A-Za-z0-9_]"
"""Texts that YAML takes for themselves without quotes."""


def entry_fields(
    recognised: Recognised,
    found: Survey,
    *,
    closed_days: Sequence[date],
    closed_weekdays: Sequence[Weekday],
    training_until: date,
) -> dict:
    """The entry, as params.yaml would hold it."""
    fields = recognised.fields
    columns = fields["columns"]
    largest = {
        f"largest_{name}": _rounded_up(found.largest.get(name, 1))
        for name in MEASURED
        if name in columns or name == "amount"
    }
    usual_rows = Source.model_fields["limits"].default.delivery_rows
    most_rows = int(LARGEST_SUM // MICROS // max(largest.values()))
    oldest = found.first.replace(month=1, day=1)
    known = ("timezone", "currency", "format", "text", "timestamp_format", "columns", "ids")
    return {
        **{name: fields[name] for name in (*known, "null_markers") if name in fields},
        **({"duplicates": _duplicates(recognised)} if found.repeated else {}),
        **({"overlapping_files": True} if found.overlap and not found.conflicts else {}),
        **({"oldest_day": str(oldest)} if oldest < USUAL_OLDEST_DAY else {}),
        **({"not_merchandise": None} if "product_id" in columns else {}),
        **({"quantity_decimals": min(found.decimals, 6)} if found.decimals else {}),
        **largest,
        "closed_days": [str(day) for day in closed_days],
        **({"closed_weekdays": list(closed_weekdays)} if closed_weekdays else {}),
        "training_until": str(training_until),
        **({"limits": {"delivery_rows": most_rows}} if most_rows < usual_rows else {}),
    }


def _duplicates(recognised: Recognised) -> str:
    """Nothing tells two purchases of a day apart where a row has neither a receipt nor a time."""
    has_receipt = "invoice_id" in recognised.fields["columns"]
    return "all columns" if recognised.is_timed or has_receipt else "never"


def _rounded_up(number: float) -> int:
    """To 1, 2 or 5 and zeros.

    >>> [_rounded_up(number) for number in (0.3, 1, 12, 890)]
    [1, 1, 20, 1000]
    """
    power = 10 ** max(0, math.floor(math.log10(max(number, 1))))
    return next(step * power for step in (1, 2, 5, 10) if number <= step * power)


def entry_comments(fields: Mapping, recognised: Recognised, found: Survey) -> dict[str, str]:
    """What stands behind each line of an entry, by its keys with dots between them."""
    comments = {
        "not_merchandise": '? a pattern of ids that are services, such as "^(POSTAGE|GIFT.*)$"',
        "training_until": "of the days after it, the first are scored by make run",
    }
    for name in ("largest_quantity", "largest_unit_price", "largest_amount"):
        seen = found.largest.get(name.removeprefix("largest_"), 0)
        comments[name] = f"? the largest in the table is {seen:,.10g}"
    if found.without_customer:
        share = found.without_customer / found.rows
        comments["columns.customer_id"] = f"{share:.1%} of the rows have none"
    if found.repeated:
        comments["duplicates"] = f"? {found.repeated:,} rows repeat another: copied, or sold twice?"
    if "overlapping_files" in fields:
        comments["overlapping_files"] = f"{len(found.overlap)} days are in several files, alike"
    if fields["closed_days"]:
        comments["closed_days"] = "? without trade, or with hardly any: was the shop shut?"
    if "closed_weekdays" in fields:
        comments["closed_weekdays"] = "? never any trade: is nothing delivered for them?"
    for name, question in recognised.questions.items():
        comments[name] = f"? {question}"
    return comments


def entry_text(name: str, fields: Mapping, comments: Mapping[str, str], head: str) -> str:
    """The entry as lines of YAML, indented as below ``sources``."""
    lines = [f"  # {head}", f"  {_written(name)}:"]
    for key, value in fields.items():
        inner = value if isinstance(value, Mapping) else {}
        lines += _line(4, key, None if inner else _written(value), comments.get(key))
        for name_, one in inner.items():
            lines += _line(6, name_, _written(one), comments.get(f"{key}.{name_}"))
    return "\n".join(lines) + "\n"


def _line(indent: int, key: str, value: str | None, comment: str | None) -> list[str]:
    """A key with its value, and its comment behind it, or above it if it is too long for that."""
    margin = " " * indent
    written = f"{margin}{key}:" + ("" if value is None else f" {value}")
    with_comment = f"{written:<{COMMENTS_AT}} # {comment}" if comment else written
    if len(with_comment) <= LONGEST_LINE:
        return [with_comment]
    lines = textwrap.wrap(written, LONGEST_LINE, subsequent_indent=f"{margin}  ")
    return [f"{margin}# {comment}", *lines] if comment else lines


def _written(value: object) -> str:
    """A value as it stands behind a key; text in quotes unless it is plainly text."""
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, str) and not re.fullmatch(PLAIN_TEXT, value):
        return json.dumps(value, ensure_ascii=False)
    return json.dumps(value) if not isinstance(value, str) else value


def with_entry(text: str, name: str, entry: str) -> str:
    """The text of a params.yaml with an entry behind the last one of ``sources``; every other line
    stays as it is.

    Raises:
        ValueError: If that does not give what was asked for.
    """
    wanted = yaml.safe_load(text)
    wanted["sources"] |= yaml.safe_load(entry)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    last = {key.value: value for key, value in root.value}["sources"]
    while isinstance(last, yaml.MappingNode) and not last.flow_style:
        last = last.value[-1][1]
    lines = text.splitlines(keepends=True)
    behind = last.end_mark.line + 1
    edited = "".join([*lines[:behind], "\n", entry, *lines[behind:]])
    if yaml.safe_load(edited) != wanted:
        raise ValueError(f"cannot put {name} into params.yaml: put this there by hand:\n{entry}")
    return edited
