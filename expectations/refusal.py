"""What people are told of a refused delivery: what and how many, an example, what to do."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from errors import BadData
from expectations.promise import rule_of
from expectations.transactions import transaction_rules
from params import Source

EXAMPLES = 3
LONGEST_VALUE = 40

DELIVER_AGAIN = "have the day delivered again, or "
WHAT_TO_DO = (
    "see the rows at fault (python -m jobs.show_quarantine --from {day} --until {day}); if it is "
    "right as it is, take it by name: python -m jobs.load_history "
    "--until {day} --accept-refused {day} --reason <why>"
)

# What the columns of rules are called by the source.
ORIGIN = {
    "quantity_micros": "quantity",
    "unit_price_micros": "unit_price",
    "amount_micros": "amount",
    "days_late": "invoiced_at",
    "invoiced_on": "invoiced_at",
}


class DeliveryRefused(BadData):
    """Deliveries that must not be used; they left their quarantine and a page, nothing else."""

    def __init__(self, refusals: Mapping[date, Sequence[str]]) -> None:
        some = len(refusals) > 1
        lines = [f"{len(refusals)} deliveries are refused:"] if some else []
        for day in sorted(refusals):
            first, *others = refusals[day]
            lines += [f"{day} refused: {first}", *(f"  {other}" for other in others)]
        what_to_do = WHAT_TO_DO.format(day="<the day>" if some else min(refusals))
        # Some reasons say better what to ask upstream for.
        if not any("Ask upstream" in line for line in lines):
            what_to_do = f"{DELIVER_AGAIN}{what_to_do}"
        super().__init__("\n".join([*lines, f"→ what to do: {what_to_do}"]))


def examples(files: Iterable[Path], source: Source, rules: Iterable[str]) -> dict[str, list[str]]:
    """Some rows of quarantine that break each of these rules, by file, line, invoice and value.

    Args:
        files: Of quarantined transactions.
    """
    columns = _columns(source)
    found: dict[str, list[str]] = {rule: [] for rule in sorted(set(rules))}
    for path in files:
        lacking = [rule for rule, texts in found.items() if len(texts) < EXAMPLES]
        if not lacking:
            break
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for rule in lacking:
                    positions = pc.indices_nonzero(pc.equal(batch["rule"], rule))
                    first = batch.take(positions[: EXAMPLES - len(found[rule])])
                    shown = [_place(row, source, columns.get(rule)) for row in first.to_pylist()]
                    found[rule].extend(shown)
    return {rule: texts for rule, texts in found.items() if texts}


def _columns(source: Source) -> dict[str, str]:
    """What the source calls the column that a rule is about."""
    theirs = source.columns.given
    found = {}
    for rule in transaction_rules(source):
        column = rule.configuration.kwargs["column"]
        column = column.removeprefix("unusable_").removeprefix("inexact_")
        name = theirs.get(ORIGIN.get(column, column))
        if name is not None:
            found[rule_of(rule)] = name
    return found


def _place(row: Mapping[str, Any], source: Source, column: str | None) -> str:
    raw = dict(row["raw"] or [])
    line = f", line {row['source_line']}" if row.get("source_line") else ""
    invoice = source.columns.invoice_id
    named = [name for name in dict.fromkeys((invoice, column)) if name in raw]
    values = [f"{name} {_shown(raw[name])}" for name in named] or [
        f"{_shown(value)}" for value in list(raw.values())[:1]
    ]
    return f"{row['source_file']}{line}: {', '.join(values)}"


def _shown(value: str | None) -> str:
    if value is None:
        return "null"
    text = value if len(value) <= LONGEST_VALUE else f"{value[:LONGEST_VALUE]}..."
    return ascii(text) if not text.isprintable() else f"'{text}'"
