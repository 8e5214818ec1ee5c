"""What is decided after a night, case by case, and the rules that hold for all of them."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.decision import Evidence, decide
from params import Retraining

RULES = Retraining(
    drift_nights=3,
    loss_cohorts=3,
    min_new_days=30,
    cool_down_days=30,
    max_a_month=2,
    max_age_days=180,
    max_new_labels=50_000,
    follow_up_days=60,
)
NIGHT = date(2026, 6, 15)
QUIET = Evidence(
    score_date=NIGHT,
    trained_until=NIGHT - timedelta(days=60),
    drift=("steady",) * 3,
    estimated=("holds",) * 3,
    realised=("holds",) * 3,
    performance="the cohort of 2026-05-16 did worse while its inputs were steady",
)
DRIFT, LOSS = ("drift",) * 3, ("loss",) * 3


def days_ago(days: int) -> date:
    return NIGHT - timedelta(days=days)


CASES = {
    "a quiet night": ({}, "ignore", None, "inputs steady"),
    "nothing is known yet": (
        {"drift": (), "estimated": (), "realised": ()},
        *("ignore", None, "performance by the labels unknown"),
    ),
    "the first drifted night": ({"drift": ("drift", "steady", "steady")}, "ignore", None, "drift"),
    "a third drifted night": ({"drift": DRIFT}, "alarm", None, "no loss of performance is known"),
    "drift that stopped": ({"drift": ("steady", *DRIFT)}, "ignore", None, "inputs steady"),
    "drift, and the scores promise less": (
        {"drift": DRIFT, "estimated": LOSS},
        *("retrain", "drift", "promise less"),
    ),
    "the scores promise less without drift": ({"estimated": LOSS}, "ignore", None, "scores loss"),
    "the relation has changed": (
        {"realised": LOSS},
        *("retrain", "performance", "2026-05-16 did worse while its inputs were steady"),
    ),
    "loss under drift: the cause is in the inputs of the cohort, not of tonight": (
        {"realised": LOSS, "drift": DRIFT},
        *("retrain", "performance", "2026-05-16 did worse while its inputs were steady"),
    ),
    "two cohorts lost, the one before held": (
        {"realised": ("loss", "loss", "holds")},
        *("ignore", None, "labels loss"),
    ),
    "wrong data": ({"incidents": ("country is missing",)}, "alarm", None, "wrong data never"),
    "wrong data under loss and drift": (
        {"incidents": ("country is missing",), "realised": LOSS, "drift": DRIFT},
        *("alarm", None, "wrong data never"),
    ),
    "nights of wrong data are no drift": (
        {"drift": ("drift", "incident", "drift")},
        *("ignore", None, "inputs drift"),
    ),
    "a row goes on over a night that was not run, and over one of wrong data": (
        {"drift": ("drift", "unknown", "drift", "incident", "drift", "steady")},
        *("alarm", None, "no loss of performance is known"),
    ),
    "cohorts lost in a row but for one of wrong data": (
        {"realised": ("loss", "incident", "loss", "loss", "holds", "holds")},
        *("retrain", "performance", "lost performance"),
    ),
    "a cohort that held ends the row, whatever lies between": (
        {"realised": ("loss", "unknown", "holds", "loss", "loss", "loss")},
        *("ignore", None, "labels loss"),
    ),
    "a past night": (
        {"is_past": True, "realised": LOSS, "incidents": ("country is missing",)},
        *("ignore", None, "decides nothing"),
    ),
    "a training is under way": (
        {"realised": LOSS, "in_flight": "a retraining is running"},
        *("wait", "performance", "is running already"),
    ),
    "the cool-down is not over": (
        {"realised": LOSS, "last_asked": days_ago(29), "asked_this_month": 0},
        *("wait", "performance", "29 of 30 days of cool-down"),
    ),
    "the cool-down is over": (
        {"realised": LOSS, "last_asked": days_ago(30)},
        *("retrain", "performance", "lost performance"),
    ),
    "the budget is used up": (
        {"realised": LOSS, "asked_this_month": 2},
        *("wait", "performance", "budget of 2"),
    ),
    "too few new labels": (
        {"realised": LOSS, "trained_until": days_ago(29)},
        *("wait", "performance", "only 29 days"),
    ),
    "an old champion": ({"trained_until": days_ago(180)}, "retrain", "schedule", "180 days ago"),
    "many new labels": ({"new_labels": 50_000}, "retrain", "labels", "50,000 labels"),
    "a champion that knows the first of a change": (
        {"learnt_for": "performance"},
        *("retrain", "follow_up", "knows only the first of the change"),
    ),
    "and one that was trained to follow it": (
        {"learnt_for": "follow_up"},
        *("retrain", "follow_up", "on data until 60 days ago"),
    ),
    "a champion that knows the first of a change, a day early": (
        {"learnt_for": "drift", "trained_until": days_ago(59)},
        *("ignore", None, "inputs steady"),
    ),
    "a champion that was trained for its age": (
        {"learnt_for": "schedule"},
        *("ignore", None, "inputs steady"),
    ),
    "an old champion in the cool-down": (
        {"trained_until": days_ago(200), "last_asked": days_ago(3)},
        *("wait", "schedule", "cool-down"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_decision_is(case):
    changes, decision, trigger, words = CASES[case]

    found = decide(replace(QUIET, **changes), RULES)

    assert (found.decision, found.trigger) == (decision, trigger)
    assert words in "; ".join(found.reasons)


def test_age_and_labels_ask_for_nothing_where_they_are_switched_off():
    off = dict.fromkeys(["follow_up_days", "max_age_days", "max_new_labels"])
    rules = RULES.model_copy(update=off)
    old = replace(QUIET, trained_until=days_ago(2000), new_labels=10**9, learnt_for="performance")
    assert decide(old, rules).decision == "ignore"


def test_people_hear_of_a_loss_while_the_retraining_waits():
    waiting = replace(QUIET, realised=LOSS, in_flight="a retraining is running")
    [alarm] = decide(waiting, RULES).alarms
    assert (alarm.name, alarm.severity) == ("performance_loss", "critical")


findings = st.lists(
    st.sampled_from(["drift", "loss", "holds", "steady", "incident", "unknown"]), max_size=6
).map(tuple)
evidence = st.builds(
    Evidence,
    score_date=st.just(NIGHT),
    trained_until=st.integers(0, 400).map(days_ago),
    is_past=st.booleans(),
    incidents=st.sampled_from([(), ("country is missing",)]),
    drift=findings,
    estimated=findings,
    realised=findings,
    new_labels=st.integers(0, 100_000),
    last_asked=st.none() | st.integers(0, 90).map(days_ago),
    learnt_for=st.sampled_from([None, "performance", "follow_up", "labels"]),
    asked_this_month=st.integers(0, 3),
    in_flight=st.sampled_from([None, "a retraining is running"]),
)


@given(evidence)
def test_whatever_is_known_a_retraining_never_starts_against_the_rules(known):
    found = decide(known, RULES)

    assert found.reasons
    if found.decision == "retrain":
        assert found.trigger
        assert not known.is_past
        assert not known.incidents
        assert not known.in_flight
        assert known.asked_this_month < RULES.max_a_month
        assert known.last_asked is None or (NIGHT - known.last_asked).days >= RULES.cool_down_days
        assert (NIGHT - known.trained_until).days >= RULES.min_new_days


@given(evidence)
def test_whatever_is_known_an_alarm_has_something_to_tell(known):
    found = decide(known, RULES)

    assert bool(found.alarms) or found.decision != "alarm"
    assert not (known.is_past and found.alarms)
