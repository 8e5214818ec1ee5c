"""Who is in the control: a fair sample of the customers, always the same ones."""

import numpy as np

from models.control import is_control

NAMES = [f"c{number}" for number in range(20_000)]


def test_the_share_is_kept_and_nobody_leaves_while_it_grows():
    small, large = is_control(NAMES, 0.02), is_control(NAMES, 0.1)
    # Four standard errors of a fair draw.
    assert abs(small.mean() - 0.02) < 0.004
    assert large[small].all()
    assert not is_control(NAMES, 0.0).any()


def test_a_row_is_in_when_its_customer_is():
    twice = is_control([*NAMES, *NAMES], 0.1)
    assert np.array_equal(twice[: len(NAMES)], twice[len(NAMES) :])
