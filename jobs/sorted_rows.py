"""What differs between two sets of rows that are sorted by customer, in memory that does not grow
with them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

KEY = "customer_id"
EXAMPLES = 3

Batches = Iterable[pa.RecordBatch]


@dataclass(slots=True)
class Comparison:
    """How many ``customers`` there are on either side, and how many of them differ.

    ``columns`` counts the customers that differ in each column; one who is on one side only, or
    has more rows there, counts under ``rows``. ``examples`` are sentences about the first ones.
    """

    customers: int = 0
    differ: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


def compare_sorted(
    recorded: Sequence[Batches], computed: Sequence[Batches], order: Sequence[str] = ()
) -> Comparison:
    """Compare two sets of rows, bit for bit, customer by customer.

    Args:
        recorded: What there was, and whose columns are looked at: one iterable or several, each
            sorted by customer.
        computed: The same of what there is now.
        order: By what the rows of a customer are sorted, if they may have several.
    """
    sides = [[_Sorted(each) for each in side] for side in (recorded, computed)]
    found = Comparison()
    while True:
        heads = [one.last for side in sides for one in side if one.last is not None]
        if not heads:
            return found
        # Of whom all rows are there on both sides.
        until = min(heads)
        was, now = (_block([one.take(until) for one in side], order) for side in sides)
        _compare(was, now, found)


class _Sorted:
    """Rows that come in batches, taken off in the order of their customers."""

    def __init__(self, batches: Batches) -> None:
        self._batches = iter(batches)
        self._rows: pa.Table | None = None
        self._read()

    @property
    def last(self) -> str | None:
        """The last customer of what was read and not yet taken; None at the end."""
        return self._rows[KEY][-1].as_py() if self._rows is not None else None

    def take(self, until: str) -> pa.Table | None:
        """All rows of customers up to and with ``until``; None if there are none."""
        while self.last is not None and self.last <= until and self._read():
            pass
        if self._rows is None:
            return None
        count = pc.sum(pc.less_equal(self._rows[KEY], until)).as_py()
        taken, rest = self._rows.slice(0, count), self._rows.slice(count)
        self._rows = rest if rest.num_rows else None
        return taken if taken.num_rows else None

    def _read(self) -> bool:
        for batch in self._batches:
            if batch.num_rows:
                rows = pa.Table.from_batches([batch])
                self._rows = rows if self._rows is None else pa.concat_tables([self._rows, rows])
                return True
        return False


def _block(tables: list[pa.Table | None], order: Sequence[str]) -> pa.Table | None:
    found = [table for table in tables if table is not None]
    if not found:
        return None
    rows = pa.concat_tables(found)
    return rows.sort_by([(name, "ascending") for name in order]) if order else rows


def _compare(was: pa.Table | None, now: pa.Table | None, found: Comparison) -> None:
    """Add what differs between all rows of some customers."""
    if was is not None and now is not None and was[KEY].equals(now[KEY]):
        before = after = dict.fromkeys(was[KEY].unique().to_pylist(), 0)
    else:
        before, after = _counts(was), _counts(now)
    customers = before | after
    uneven = {name for name in customers if before.get(name) != after.get(name)}
    for name in sorted(uneven):
        _example(found, f"customer {name}: {before.get(name, 0)} rows, now {after.get(name, 0)}")
    different = set(uneven)
    found.columns.update({"rows": len(uneven)} if uneven else {})
    if was is not None and now is not None:
        if uneven:
            was, now = _without(was, uneven), _without(now, uneven)
        for column in was.column_names:
            different |= _compare_column(was, now, column, found)
    found.customers += len(customers)
    found.differ += len(different)


def _compare_column(was: pa.Table, now: pa.Table, column: str, found: Comparison) -> set[str]:
    if column not in now.column_names:
        wrong = pa.chunked_array([[True] * was.num_rows], pa.bool_())
    else:
        wrong = _unequal(was[column], now[column].cast(was[column].type))
    if not pc.any(wrong).as_py():
        return set()
    names = was[KEY].filter(wrong)
    customers = set(names.to_pylist())
    found.columns[column] += len(customers)
    row = pc.index(wrong, True).as_py()
    after = now[column][row].as_py() if column in now.column_names else "not there"
    _example(found, f"{column} of customer {names[0]}: {was[column][row].as_py()!r}, now {after!r}")
    return customers


def _unequal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where two columns differ: a null from a value, and -0.0 from 0.0."""
    if pa.types.is_list(one.type):
        one, other = pc.binary_join(one, "\0"), pc.binary_join(other, "\0")
    elif pa.types.is_float64(one.type):
        one, other = (each.combine_chunks().view(pa.int64()) for each in (one, other))
    differs = pc.fill_null(pc.not_equal(one, other), False)
    return pc.or_(differs, pc.xor(pc.is_null(one), pc.is_null(other)))


def _counts(rows: pa.Table | None) -> dict[str, int]:
    if rows is None:
        return {}
    return {pair["values"]: pair["counts"] for pair in rows[KEY].value_counts().to_pylist()}


def _without(rows: pa.Table, customers: set[str]) -> pa.Table:
    return rows.filter(pc.invert(pc.is_in(rows[KEY], pa.array(sorted(customers), pa.string()))))


def _example(found: Comparison, sentence: str) -> None:
    if len(found.examples) < EXAMPLES:
        found.examples.append(sentence)
