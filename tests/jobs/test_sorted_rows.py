"""Two sets of sorted rows side by side: what differs is found, however they are batched."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.sorted_rows import compare_sorted


def batches(rows: list[dict], size: int = 2) -> list[pa.RecordBatch]:
    schema = pa.schema(
        {"customer_id": pa.string(), "x": pa.float64(), "ids": pa.list_(pa.string())}
    )
    return pa.Table.from_pylist(rows, schema).to_batches(max_chunksize=size)


def row(customer: str, x: float | None = 1.0, ids: tuple[str, ...] = ("a",)) -> dict:
    return {"customer_id": customer, "x": x, "ids": list(ids)}


SAME = [row("a"), row("b", None), row("c"), row("d"), row("e")]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_the_same_rows_in_other_batches_do_not_differ(size):
    found = compare_sorted([batches(SAME)], [batches(SAME, size)])
    assert (found.customers, found.differ, found.examples) == (5, 0, [])


@pytest.mark.parametrize(
    ("changed", "column"),
    [
        (row("c", 2.0), "x"),
        (row("c", None), "x"),
        (row("c", -1.0), "x"),
        (row("c", 1.0 + 2**-52), "x"),
        (row("c", ids=("a", "b")), "ids"),
    ],
)
def test_one_changed_bit_is_found_with_its_column_and_customer(changed, column):
    now = [changed if each["customer_id"] == "c" else each for each in SAME]
    found = compare_sorted([batches(SAME)], [batches(now)])
    assert (found.differ, dict(found.columns)) == (1, {column: 1})
    assert f"{column} of customer c" in found.examples[0]


def test_zero_and_minus_zero_are_not_the_same():
    found = compare_sorted([batches([row("a", 0.0)])], [batches([row("a", -0.0)])])
    assert found.differ == 1


@pytest.mark.parametrize("gone", range(5))
def test_a_customer_on_one_side_only_is_found_and_hides_no_other_difference(gone):
    now = [each for position, each in enumerate(SAME) if position != gone]
    other = (gone + 1) % 5
    name = SAME[other]["customer_id"]
    now = [row(name, 7.0) if each["customer_id"] == name else each for each in now]
    for sides in (([batches(SAME)], [batches(now)]), ([batches(now)], [batches(SAME)])):
        found = compare_sorted(*sides)
        assert (found.customers, found.differ) == (5, 2)
        assert dict(found.columns) == {"rows": 1, "x": 1}


def test_a_customer_may_have_several_rows_in_several_files():
    rows = [row("a", 1.0), row("a", 2.0), row("b", 3.0), row("b", 4.0), row("b", 5.0)]
    computed = [batches([rows[1], rows[2], rows[4]], 1), batches([rows[0], rows[3]], 3)]
    found = compare_sorted([batches(rows)], computed, order=["customer_id", "x"])
    assert (found.customers, found.differ) == (2, 0)
    found = compare_sorted([batches(rows)], computed[:1], order=["customer_id", "x"])
    assert (found.differ, dict(found.columns)) == (2, {"rows": 2})


def test_a_column_that_is_gone_differs_for_everybody():
    now = [batch.drop_columns(["x"]) for batch in batches(SAME)]
    found = compare_sorted([batches(SAME)], [now])
    assert (found.differ, dict(found.columns)) == (5, {"x": 5})


ROWS = st.dictionaries(st.text("abcä", min_size=1, max_size=3), st.sampled_from([0.0, 1.0, None]))


@given(ROWS, ROWS, st.integers(1, 4), st.integers(1, 4))
def test_the_count_is_that_of_two_dictionaries(one, other, size, other_size):
    sides = [
        [batches([row(name, values[name]) for name in sorted(values)], cut)]
        for values, cut in ((one, size), (other, other_size))
    ]
    found = compare_sorted(*sides)
    names = one.keys() | other.keys()
    assert found.customers == len(names)
    differing = [
        name for name in names if (name in one, one.get(name)) != (name in other, other.get(name))
    ]
    assert found.differ == len(differing)
