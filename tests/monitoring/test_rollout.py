"""Whether a challenger is fit to be served, and its next step: cases as tables."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.rollout import (
    Interval,
    Realised,
    RolloutEvidence,
    RolloutStep,
    TwoModels,
    decide_rollout,
    rank_correlation,
    unfit,
)
from params import Rollout

ROLLOUT = Rollout(
    percents=[0, 5, 20, 50], min_nights=3, min_rank_correlation=0.5, max_contacted_factor=2.0
)


def diagonal(customers: int = 10) -> list[list[int]]:
    """Both models put everybody into the same decile."""
    return [[customers * (i == j) for j in range(10)] for i in range(10)]


def seen(table=None, **changes) -> TwoModels:
    values = {
        "deciles": tuple(map(tuple, table or diagonal())),
        "champion_contacted": 20,
        "challenger_contacted": 25,
        "distinct_scores": 80,
        "unscored": 0,
    }
    return TwoModels(**values | changes)


@pytest.mark.parametrize(
    ("challenger", "said"),
    [
        (seen(), []),
        (seen(champion_contacted=20, challenger_contacted=40), []),
        (seen(champion_contacted=40, challenger_contacted=20), []),
        (seen(diagonal()[::-1]), ["rank correlation of -1.00, allowed is 0.5"]),
        (seen([[1] * 10] * 10), ["rank correlation of 0.00"]),
        (seen([[100, *[0] * 9]] * 10, distinct_scores=1), ["all 1000 customers the same score"]),
        (seen([[100, *[0] * 9]] * 10, distinct_scores=2), ["all customers are in one decile"]),
        (seen(challenger_contacted=41), ["contact 41 customers where the champion contacts 20"]),
        (seen(challenger_contacted=9), ["contact 9 customers"]),
        (seen(champion_contacted=0), ["contact 25 customers where the champion contacts 0"]),
        (seen(unscored=1), ["could not score 1 customers"]),
        (seen([[0] * 10] * 10, unscored=7), ["could not score 7", "scored nobody"]),
        (seen(diagonal()[::-1], challenger_contacted=100), ["rank correlation", "contact 100"]),
    ],
)
def test_a_challenger_is_unfit_for_named_reasons_only(challenger, said):
    reasons = unfit(challenger, ROLLOUT)
    assert len(reasons) == len(said)
    for reason, part in zip(reasons, said, strict=True):
        assert part in reason


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=60))
def test_the_rank_correlation_of_a_table_is_that_of_its_customers(pairs):
    table = np.zeros((10, 10), dtype=int)
    for i, j in pairs:
        table[i, j] += 1
    ranks = pd.DataFrame(pairs).rank()
    found = rank_correlation(table.tolist())
    if ranks[0].nunique() == 1 or ranks[1].nunique() == 1:
        assert found is None
    else:
        assert math.isclose(found, ranks[0].corr(ranks[1]), abs_tol=1e-12)


def realised(metric="roc_auc", difference=(-0.01, 0.01)) -> Realised:
    return Realised("2026-03-01", {metric: Interval(*difference)})


def night(percent=5, nights=3, **changes) -> RolloutEvidence:
    return RolloutEvidence(percent=percent, nights=nights, **changes)


@pytest.mark.parametrize(
    ("evidence", "action", "percent"),
    [
        # Steps are taken after enough nights, each to the next percent, then to champion.
        (night(0, nights=1), "stay", 0),
        (night(0, nights=2), "stay", 0),
        (night(0, nights=3), "advance", 5),
        (night(0, nights=9), "advance", 5),
        (night(5, nights=2), "stay", 5),
        (night(5), "advance", 20),
        (night(20), "advance", 50),
        (night(50, nights=2), "stay", 50),
        (night(50), "promote", 100),
        # A percent that params.yaml does not name any more goes on to the next one above.
        (night(10), "advance", 20),
        (night(75), "promote", 100),
        # Unfit: at once, whatever the step and however many nights went well.
        (night(0, nights=1, unfit=("constant",)), "withdraw", 0),
        (night(5, nights=1, unfit=("constant",)), "withdraw", 0),
        (night(50, nights=9, unfit=("constant",)), "withdraw", 0),
        # A night with wrong data takes no step, neither on nor back.
        (night(5, unfit=("constant",), incidents=("prices",)), "stay", 5),
        (night(5, incidents=("prices",), realised=realised(difference=(-0.05, -0.01))), "stay", 5),
        (night(5, incidents=("prices",)), "stay", 5),
        (night(50, incidents=("prices",)), "stay", 50),
        # Outcomes: only a clear loss counts, on the side that is worse.
        (night(realised=realised()), "advance", 20),
        (night(realised=realised(difference=(-0.02, 0.0))), "advance", 20),
        (night(realised=realised(difference=(-0.02, -0.001))), "withdraw", 0),
        (night(realised=realised(difference=(0.01, 0.02))), "advance", 20),
        (night(nights=1, realised=realised(difference=(-0.02, -0.001))), "withdraw", 0),
        (night(realised=realised("log_loss", (0.001, 0.02))), "withdraw", 0),
        (night(realised=realised("log_loss", (-0.02, -0.001))), "advance", 20),
        (night(realised=realised("precision", (-0.3, -0.2))), "advance", 20),
        (night(realised=Realised("2026-03-01", {})), "advance", 20),
    ],
)
def test_the_next_step(evidence, action, percent):
    step = decide_rollout(evidence, ROLLOUT)
    assert (step.action, step.percent) == (action, percent)
    assert step.reasons


def test_the_reasons_say_what_decided():
    lost = night(unfit=("it is constant",), realised=realised(difference=(-0.05, -0.01)))
    first, second = decide_rollout(lost, ROLLOUT).reasons
    assert first == "it is constant"
    assert second == (
        "on the cohort of 2026-03-01 its roc_auc differs from the champion's by -0.0500 to -0.0100"
    )
    waiting = decide_rollout(night(nights=1), ROLLOUT)
    assert waiting == RolloutStep(
        "stay", 5, ("at 5 % of the customers: night 1 of the 3 that are needed",)
    )


def test_without_shadow_and_with_one_step_it_still_ends():
    rollout = ROLLOUT.model_copy(update={"percents": [20], "min_nights": 1})
    assert decide_rollout(night(20, nights=1), rollout).action == "promote"


@pytest.mark.parametrize("percents", [[], [5, 0], [0, 0], [-1], [0, 100]], ids=str)
def test_steps_that_do_not_rise_below_a_hundred_are_refused(percents):
    with pytest.raises(ValueError, match="percents"):
        Rollout(**ROLLOUT.model_dump() | {"percents": percents})
