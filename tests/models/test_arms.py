"""A challenger's share: sticky, even, and growing without losing anybody."""

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from models.arms import BUCKETS, bucket


def share(percent: int, version="v1.1.0", customers=20_000) -> set[int]:
    return {c for c in range(customers) if bucket(f"c{c}", version) < percent}


def test_a_growing_share_keeps_those_it_had():
    steps = [share(percent) for percent in (0, 5, 20, 50, 100)]
    assert all(smaller < larger for smaller, larger in pairwise(steps))
    assert (len(steps[0]), len(steps[-1])) == (0, 20_000)


def test_every_place_in_the_line_is_taken_as_often():
    counts = Counter(bucket(f"c{c}", "v1.1.0") for c in range(200_000))
    assert len(counts) == BUCKETS
    # Six standard deviations of a fair draw.
    assert all(abs(count - 2000) < 6 * 2000**0.5 for count in counts.values())


def test_another_version_is_tried_on_others():
    first, second = share(10), share(10, "v1.2.0")
    # Of two independent tenths a hundredth is in both.
    assert 100 < len(first & second) < 300


@given(st.text(), st.text())
def test_anything_has_a_place(customer_id, version):
    assert bucket(customer_id, version) in range(BUCKETS)
