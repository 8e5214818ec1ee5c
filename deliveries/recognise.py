"""What a table of transactions that nobody has described is like, and which column is which.

A sample from all over its files is looked at. What that does not settle is a question.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from deliveries.contract import file_columns
from deliveries.dialect import NUMBER_SHARE, look_at_text, number_marks
from deliveries.files import open_parquet
from deliveries.table import TableUnfit, as_text
from deliveries.time_patterns import time_patterns
from deliveries.values import given_texts, read_numbers
from params import Columns, Source

FILES_LOOKED_AT = 5
GROUPS_LOOKED_AT = 8
GROUP_ROWS = 2_000

NULL_MARKERS = ("\\N", "NULL", "null", "NaN", "nan", "None", "<NA>", "#N/A", "NA", "N/A")

NAMES = {
    "invoiced_at": "timestamp datetime time date day at when datum zeit zeitpunkt",
    "customer_id": "customer cust client household loyalty member user shopper account buyer card "
    "kunde kunden",
    "unit_price": "price unitprice preis",
    "quantity": "quantity qty pieces units count menge",
    "amount": "amount sales value total revenue spend spent turnover paid betrag umsatz",
    "invoice_id": "invoice receipt basket order transaction ticket bill rechnung bon",
    "product_id": "product sku item article stock ean upc plu artikel",
    "country": "country land nation",
}
"""Words in the names that people give to our columns. What is looked for first is taken first."""

NUMBERS = ("unit_price", "quantity", "amount")

NO_CURRENCY = "XXX"
"""What ISO 4217 has for none."""

NO_SUBJECT = {"id", "no", "nr", "num", "number", "code", "key", "ref"}
"""Words that stand behind the one that says what a column is about."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """Fields of an entry of ``sources``; a source that can be read by them; and what is not sure
    about them, by field with dots between the keys (``columns.customer_id``). ``is_timed`` is
    false if its times only tell the day."""

    fields: dict
    source: Source
    is_timed: bool
    questions: dict[str, str] = field(default_factory=dict)


def recognise(
    format: str,
    files: Sequence[Path],
    named: Mapping[str, str],
    timezone: str | None = None,
    currency: str | None = None,
) -> Recognised:
    """What a sample of the files says.

    Args:
        format: parquet or csv.
        named: Columns that a person has named, the source's name by ours.
        timezone: Of the shop, if a person has named it.
        currency: Of all amounts, likewise.

    Raises:
        TableUnfit: If there is no table in the files, or no column for what every table must have.
        DeliveryUnreadable: If a file is damaged.
    """
    some = [files[n] for n in _spread(len(files), FILES_LOOKED_AT)]
    questions: dict[str, str] = {}
    fields: dict[str, object] = {
        "timezone": timezone or "UTC",
        "currency": currency or NO_CURRENCY,
        "format": format,
    }
    if timezone is None:
        questions["timezone"] = "where is the shop?"
    if currency is None:
        questions["currency"] = "what are amounts in?"
    text: dict[str, object] = {}
    if format == "csv":
        text, sample = look_at_text(some, questions)
        fields["text"] = text
        kinds = dict.fromkeys(sample, "text")
    else:
        sample, kinds = _look_at_parquet(some)
    if markers := _null_markers(sample):
        fields["null_markers"] = markers
    draft = _draft(fields)
    given = {name: given_texts(texts, draft).drop_null() for name, texts in sample.items()}
    if format == "csv":
        text |= number_marks(given.values(), questions)
        draft = _draft(fields)

    patterns = {name: time_patterns(texts, kinds[name], draft) for name, texts in given.items()}
    columns = _name_columns(given, patterns, draft, named, questions)
    pattern, *others = patterns[columns["invoiced_at"]] or [None]
    if others:
        questions["timestamp_format"] = f"or {' or '.join(map(str, others))}?"
    fields |= {"timestamp_format": pattern, "columns": columns}
    floats = [ours for ours in columns if ours.endswith("_id") and _is_float(given[columns[ours]])]
    if floats and format == "csv":
        fields["ids"] = dict.fromkeys(floats, "number")
    is_timed = _tells_hours(given[columns["invoiced_at"]], pattern)
    return Recognised(fields, _draft(fields), is_timed, questions)


def _tells_hours(times: pa.Array, pattern: str | None) -> bool:
    """Whether some times, as text, tell more than the day: not all are dates, or midnight."""
    if pattern is not None and "h" not in pattern.casefold():
        return False
    is_day = pc.match_substring_regex(times, r"^[^:]*$|[ T]0?0:00(:00(\.0+)?)?$")
    return not pc.all(is_day).as_py()


def _spread(count: int, most: int) -> list[int]:
    return sorted({round(n) for n in np.linspace(0, count - 1, min(count, most))})


def _draft(fields: Mapping[str, object]) -> Source:
    """A source to read with, while what is right in it is not known."""
    unknown = {
        "timezone": "UTC",
        "currency": NO_CURRENCY,
        "columns": {name: name for name in ("customer_id", "invoiced_at", "amount")},
        "training_until": date.max,
    }
    return Source.model_validate({**unknown, **fields})


def _look_at_parquet(files: Sequence[Path]) -> tuple[dict[str, pa.Array], dict[str, str]]:
    tables: list[pa.Table] = []
    kinds: dict[str, str] = {}
    for path in files:
        columns = file_columns(path, _draft({"format": "parquet"}))
        kinds |= {column.name: column.kind for column in columns}
        with open_parquet(path) as file:
            for group in _spread(file.num_row_groups, GROUPS_LOOKED_AT):
                batches = file.iter_batches(GROUP_ROWS, row_groups=[group])
                tables += [pa.Table.from_batches([batch]) for batch in [*batches][:1]]
    if not sum(table.num_rows for table in tables):
        raise TableUnfit(f"{files[0]} has no rows.")
    table = pa.concat_tables(tables, promote_options="permissive")
    return {name: as_text(table[name].combine_chunks()) for name in table.column_names}, kinds


def _null_markers(sample: Mapping[str, pa.Array]) -> list[str]:
    found = {text for texts in sample.values() for text in pc.unique(texts).to_pylist()}
    return [marker for marker in NULL_MARKERS if marker in found]


# ------------------------------------------------------------------------ which column is which


def _name_columns(
    given: Mapping[str, pa.Array],
    patterns: Mapping[str, list],
    draft: Source,
    named: Mapping[str, str],
    questions: dict[str, str],
) -> dict[str, str]:
    """The source's name of each of our columns that is found. Adds to ``questions``."""
    for theirs in named.values():
        if theirs not in given:
            raise TableUnfit(f"there is no column {theirs!r}, only {list(given)}.")
    columns = dict(named)
    for ours in NAMES:
        if ours in columns:
            continue
        scores = {
            name: _score(name, NAMES[ours].split())
            for name in given
            if name not in columns.values() and _can_be(ours, given[name], patterns[name], draft)
        }
        if ours == "invoiced_at":
            scores = {name: score or 1 for name, score in scores.items()}
        best = max(scores, key=scores.__getitem__, default=None)
        if best is None or not scores[best]:
            continue
        rivals = [name for name in scores if name != best and scores[name] == scores[best]]
        if rivals or scores[best] == 1:
            questions[f"columns.{ours}"] = " ".join(
                ["or", " or ".join(rivals)] if rivals else "is it?"
            )
        columns[ours] = best
    # What a row cost is quantity times price, or an amount; a person's word goes first.
    says_amount = "amount" in named or not {"quantity", "unit_price"} <= set(columns)
    if says_amount and "amount" not in columns and "unit_price" in columns:
        columns["amount"] = columns["unit_price"]
        questions["columns.amount"] = "of the whole row?"
    for ours in ("quantity", "unit_price") if says_amount else ("amount",):
        columns.pop(ours, None)
    lacking = [ours for ours in ("customer_id", "invoiced_at") if ours not in columns]
    if says_amount and "amount" not in columns:
        lacking.append("amount")
    if lacking:
        shown = ", ".join(
            f"{name} ({texts[0] if len(texts) else ''})" for name, texts in given.items()
        )
        raise TableUnfit(
            f"no column looks like {' or '.join(lacking)}. Name it: --column {lacking[0]}=NAME. "
            f"There are: {shown}"
        )
    return {ours: columns[ours] for ours in Columns.model_fields if ours in columns}


def _can_be(ours: str, given: pa.Array, patterns: list, draft: Source) -> bool:
    """Whether what a column holds can be what ours holds."""
    if ours == "invoiced_at":
        return bool(patterns)
    # A number such as 20260331 can be a day, but also an id.
    if patterns and patterns != ["yyyyMMdd"]:
        return False
    numbers = read_numbers(given, draft.dialect).drop_null()
    is_number = len(given) > 0 and len(numbers) >= NUMBER_SHARE * len(given)
    if ours in NUMBERS:
        return is_number
    if ours == "country":
        return not is_number
    has_fractions = pc.any(pc.match_substring_regex(numbers, r"\.[0-9]*[1-9]")).as_py()
    return not (is_number and has_fractions)


def _is_float(texts: pa.Array) -> bool:
    """Whether all are whole numbers that were written as floats, such as 17850.0."""
    return bool(len(texts) and pc.all(pc.match_substring_regex(texts, r"^[0-9]+\.0$")).as_py())


def _score(name: str, words: Sequence[str]) -> int:
    """2 if one of ``words`` says what a column is about, 1 if it is in its name, else 0.

    >>> [_score(name, ["customer"]) for name in ("Customer ID", "customerNo", "customer_country")]
    [2, 2, 1]
    """
    tokens = re.findall(r"[^\W_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).casefold())
    subjects = [token for token in tokens if token not in NO_SUBJECT] or tokens
    if subjects and subjects[-1] in words:
        return 2
    return int(any(token in words for token in tokens))
