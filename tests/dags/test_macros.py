"""What a night asks for, and how a trained version begins, by the form and by what tasks found."""

from types import SimpleNamespace

import pytest

from dags import macros


def run(results: dict, in_training: int = 0):
    """A task instance that sees these results of other tasks."""
    return SimpleNamespace(
        xcom_pull=results.__getitem__, get_dr_count=lambda *_, **__: in_training, run_id="manual__1"
    )


@pytest.mark.parametrize(
    ("in_training", "refused", "said"),
    [
        (0, None, ""),
        (1, None, "a retraining is under way"),
        (0, "it reads other columns", "a challenger that cannot score is registered"),
    ],
)
def test_a_night_says_what_a_retraining_would_wait_for(in_training, refused, said):
    assert macros.in_flight(run({"open_run": {"challenger_refused": refused}}, in_training)) == said


@pytest.mark.parametrize(
    ("form", "configured", "asks"),
    [
        (None, "person", True),
        (None, "automatic", False),
        ("person", "automatic", True),
        ("automatic", "person", False),
    ],
)
def test_a_person_is_asked_if_the_form_says_so_else_by_the_parameters(form, configured, asks):
    found = run({"judge_challenger": {"approval": configured}})
    assert macros.asks_a_person({"approval": form}, found) is asks


@pytest.mark.parametrize(
    ("rollout", "champion", "approved", "way_in"),
    [
        ("shadow", "v1.0.0", True, "shadow"),
        ("shadow", None, True, "at once"),
        ("at once", "v1.0.0", True, "at once"),
        ("none", None, True, "none"),
        ("at once", "v1.0.0", False, "none"),
    ],
)
def test_a_version_begins_as_the_form_says_if_it_was_approved(rollout, champion, approved, way_in):
    found = run(
        {"judge_challenger": {"champion": champion}, "record_approval": {"approved": approved}}
    )
    assert macros.way_in({"rollout": rollout}, found) == way_in


@pytest.mark.parametrize(
    ("person", "why", "actor", "reason"),
    [
        ({"name": "ben"}, "looks right", "ben", "looks right"),
        (None, None, "ana", "drift"),
    ],
)
def test_an_answer_is_the_persons_and_without_one_it_is_that_of_who_asked(
    person, why, actor, reason
):
    found = run({"approve": {"responded_by_user": person, "params_input": {"why": why}}})
    assert macros.answered_by(found, SimpleNamespace(triggering_user_name="ana")) == actor
    assert macros.reason_of_answer({"reason": "drift"}, found) == reason
    assert macros.reason_of_answer({"reason": None}, found) == (why or "manual__1")
