"""Published nights again, as known now: a form that computes, and the same form that switches."""

from inspect import cleandoc

from airflow.sdk import DAG, Param

from dags.forms import REASON, SHARED
from dags.run_job import run_job

FORM = {
    "first": Param(
        None,
        type="string",
        format="date",
        title="From",
        description="The first night to look at.",
    ),
    "last": Param(
        None,
        type="string",
        format="date",
        title="Until",
        description="The last night to look at.",
    ),
    "reason": REASON,
    "todays_rules": Param(
        False,
        type="boolean",
        title="Today's rules",
        description="Also where only rules or parameters changed: with today's params.yaml. Off: "
        "each night with its own, and only where a delivery came late or was corrected.",
    ),
    "apply": Param(
        False,
        type="boolean",
        title="Let readers see it",
        description="Off: compute, and show what would change. On: switch the nights to what the "
        "same form computed before.",
    ),
}

with DAG(
    dag_id="restate",
    doc_md=cleandoc("""### Compute published nights again, as known now

    For deliveries that came late or were corrected after their nights were published, once they
    are taken in. First without *let readers see it*: the log and the page it names say what would
    change, and nobody sees anything else. Then the same form with it: all nights switch in one
    step. Nothing of it alarms or trains. To undo it, roll the nights back.

    - `restate`: nothing has changed for readers; the log says why. Clear it.
    """),
    params=FORM,
    **SHARED,
):
    run_job(
        "restate",
        "--from={{ params.first }}",
        "--until={{ params.last }}",
        "--reason={{ params.reason }}",
        "--actor={{ dag_run.triggering_user_name or 'airflow' }}",
        "{{ '--todays-rules' if params.todays_rules else '' }}",
        "{{ '--apply' if params.apply else '' }}",
    )
