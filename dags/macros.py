"""What the templates of the DAGs call, so that a condition is Python with cases beside it.

A macro takes what a template sees: ``params`` (the form), ``ti``, ``dag_run``.
"""

from dags.score_date import day_before


def decides(params, dag_run) -> bool:
    """Whether the night decides about the champion: only its own newest nights do.

    >>> from types import SimpleNamespace
    >>> scheduled, backfill = (SimpleNamespace(run_type=t) for t in ("scheduled", "backfill"))
    >>> decides({"may_retrain": True, "model": "champion"}, scheduled)
    True
    >>> decides({"may_retrain": True, "model": "champion"}, backfill)
    False
    >>> decides({"may_retrain": True, "model": "v1.0.0"}, scheduled)
    False
    """
    is_of_champion = params["model"] == "champion"
    return params["may_retrain"] and is_of_champion and dag_run.run_type != "backfill"


def reason_of_run(params, run_id) -> str:
    """Why the night is run; for a model asked for by name only what the form says.

    >>> reason_of_run({"reason": None, "model": "champion"}, "scheduled__2026-04-01")
    'scheduled__2026-04-01'
    >>> reason_of_run({"reason": None, "model": "v1.0.0"}, "manual__2026-04-01")
    ''
    """
    return params["reason"] or (run_id if params["model"] == "champion" else "")


def in_flight(ti) -> str:
    """What a retraining would have to wait for; empty if nothing."""
    if ti.get_dr_count("retraining", states=["queued", "running"]):
        return "a retraining is under way"
    if ti.xcom_pull("open_run")["challenger_refused"]:
        return "a challenger that cannot score is registered"
    return ""


def triggered_by(dag_run) -> str:
    """The person who asked for the run; airflow, if nobody did."""
    return dag_run.triggering_user_name or "airflow"


def asks_a_person(params, ti) -> bool:
    """Whether a person lets the version on: the form says so, else ``params.yaml``."""
    approval = params["approval"] or ti.xcom_pull("judge_challenger")["approval"]
    return approval == "person"


def answered_by(ti, dag_run) -> str:
    """Who let the version on, or rejected it."""
    person = ti.xcom_pull("approve")["responded_by_user"]
    return (person or {}).get("name") or triggered_by(dag_run)


def reason_of_answer(params, ti) -> str:
    """Why the version was let on, or rejected; empty: why it was trained."""
    return ti.xcom_pull("approve")["params_input"].get("why") or params["reason"] or ti.run_id


def way_in(params, ti) -> str:
    """How the version begins: in shadow, at once, or not at all.

    A first model has no champion to stand beside, so where others begin in shadow it begins at
    once.
    """
    if not ti.xcom_pull("record_approval")["approved"]:
        return "none"
    is_first = ti.xcom_pull("judge_challenger")["champion"] is None
    return "at once" if params["rollout"] == "shadow" and is_first else params["rollout"]


NIGHTLY = {
    "day_before": day_before,
    "decides": decides,
    "in_flight": in_flight,
    "reason_of_run": reason_of_run,
}
RETRAINING = {
    "answered_by": answered_by,
    "asks_a_person": asks_a_person,
    "day_before": day_before,
    "reason_of_answer": reason_of_answer,
    "triggered_by": triggered_by,
    "way_in": way_in,
}
