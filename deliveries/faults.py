"""What can be wrong with a generated delivery, on purpose."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Self

SHARES = {
    "nulls": 0.2,
    "anonymous": 0.5,
    "duplicates": 0.2,
    "wrong_types": 0.2,
    "missing_column": 1.0,
    "empty_day": 1.0,
    "no_delivery": 1.0,
    "late_rows": 0.1,
    "future_rows": 0.02,
    "corrupt_file": 1.0,
    "shifted": 1.0,
    "concept": 1.0,
}
"""Each kind of fault, with the share of rows (of customers for ``concept``) that it touches unless
told otherwise.

- ``nulls``: quantity and product are null in turn.
- ``anonymous``: the customer is null, as if a guest had bought.
- ``duplicates``: rows come a second time, exactly.
- ``wrong_types``: Parquet: the quantity is a text column; CSV: it is words in some rows.
- ``missing_column``: there is no unit price.
- ``empty_day``, ``no_delivery``: a file without rows; no folder at all.
- ``late_rows``: rows of that day come with the next day's delivery instead.
- ``future_rows``: rows are dated 30 days ahead.
- ``corrupt_file``: the file is cut off half-way.
- ``shifted``: three times the pieces at one and a half times the price.
- ``concept``: who bought often buys rarely and the reverse; the lines look as ever.
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault, from its first to its last day inclusive, on a share of the rows."""

    kind: str
    first: date
    last: date
    share: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """A fault from ``kind:day``, ``kind:first..last`` or ``kind:first..last:share``.

        Raises:
            ValueError: If the text is none of these; names the kinds there are.

        >>> Fault.parse("nulls:2026-04-03..2026-04-04:0.5").share
        0.5
        """
        kind, _, rest = text.partition(":")
        days, _, share = rest.partition(":")
        first, _, last = days.partition("..")
        if kind not in SHARES:
            raise ValueError(f"no fault is called {kind!r}; there are {sorted(SHARES)}")
        fault = cls(
            kind,
            date.fromisoformat(first),
            date.fromisoformat(last or first),
            float(share or SHARES[kind]),
        )
        if not 0 < fault.share <= 1 or fault.last < fault.first:
            raise ValueError(f"{text!r}: the share is above 0, up to 1, and days go forward")
        return fault

    def __contains__(self, day: date) -> bool:
        return self.first <= day <= self.last


@dataclass(frozen=True, slots=True)
class Faults:
    """All faults of a stretch of deliveries; none by default."""

    faults: Sequence[Fault] = ()

    def share(self, kind: str, day: date) -> float:
        """The share of rows that this fault touches on that day; 0 if it is not at work."""
        at_work = (fault.share for fault in self.faults if fault.kind == kind and day in fault)
        return max(at_work, default=0.0)
