"""No row is lost: delivered = accepted + quarantined + excluded, and what is counted is written."""

from collections.abc import Mapping
from datetime import date

from expectations.split import ACCEPTED, EXCLUDED, QUARANTINED
from records import Delivery

OUTCOMES = (ACCEPTED, EXCLUDED, QUARANTINED)


class RowsUnaccounted(RuntimeError):
    """Delivered rows and their outcomes do not add up; nothing of the delivery is used."""


def account_for_rows(delivery: Delivery, found: Mapping[str, Mapping[str, int]]) -> None:
    """Raise RowsUnaccounted unless every delivered row has one outcome.

    Args:
        found: Rows by outcome and rule.

    Raises:
        RowsUnaccounted: If they do not add up; says by how much.
    """
    totals = {outcome: sum(found.get(outcome, {}).values()) for outcome in OUTCOMES}
    missing = delivery.rows - sum(totals.values())
    if missing:
        parts = " + ".join(f"{rows:,} {outcome}" for outcome, rows in totals.items())
        raise RowsUnaccounted(
            f"delivery {delivery.delivery_id} of {delivery.known_on}: {delivery.rows:,} rows "
            f"delivered, but {parts} is {sum(totals.values()):,}: "
            f"{abs(missing):,} {'lost' if missing > 0 else 'too many'}. Did a file change "
            "while it was read? Clear the task; if it stays, reading and counting disagree."
        )


def check_written(outcome: str, written: Mapping[date, int], counted: Mapping[date, int]) -> None:
    """Raise RowsUnaccounted unless as many rows of each day were written as were counted.

    Args:
        outcome: Of the rows.
        written: Rows by day, as the footers of the files say.
        counted: Rows by day, as the tagged lines say; the same days.
    """
    wrong = {
        str(day): (written[day], rows) for day, rows in counted.items() if written[day] != rows
    }
    if wrong:
        raise RowsUnaccounted(f"{outcome} rows written and counted, by day, differ: {wrong}")
