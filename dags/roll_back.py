"""The two ways back, each with a form of its own: the model, and the predictions of a night."""

from inspect import cleandoc

from airflow.sdk import DAG, Param

from dags.forms import REASON, SHARED
from dags.run_job import run_job

MODEL_FORM = {
    "version": Param(
        None,
        type=["null", "string"],
        pattern=r"^v\d+\.\d+\.\d+$",
        title="Version",
        description="The version to go back to. Empty: the champion before this one.",
    ),
    "reason": REASON,
}
PREDICTIONS_FORM = {
    "score_date": Param(
        None,
        type="string",
        format="date",
        title="Score date",
        description="The night whose predictions are to be taken back.",
    ),
    "run_id": Param(
        None,
        type=["null", "string"],
        pattern="^[0-9a-f]{16}$",
        title="Run",
        description="The run to go back to. Empty: the one that was current before.",
    ),
    "reason": REASON,
}
WHY = (
    "--reason={{ params.reason }}",
    "--actor={{ dag_run.triggering_user_name or 'airflow' }}",
    # Clearing a roll-back that is done must not go back a second step.
    "--token={{ run_id }}",
)

with DAG(
    dag_id="roll_back_model",
    doc_md=cleandoc("""### Let the champion before this one score again

    From the next night on; a challenger that is being tried is withdrawn with it. Scores that are
    published stay: `roll_back_predictions` takes those back.

    - `roll_back_model`: nothing has changed; the log says why. Clear it.
    """),
    params=MODEL_FORM,
    **SHARED,
):
    run_job(
        "roll_back_model", "{{ '--version=' ~ params.version if params.version else '' }}", *WHY
    )

with DAG(
    dag_id="roll_back_predictions",
    doc_md=cleandoc("""### Show readers an earlier run of a night again

    One short transaction, whatever the number of customers. Nothing is deleted.

    - `roll_back_predictions`: nothing has changed; the log says why. Clear it.
    """),
    params=PREDICTIONS_FORM,
    **SHARED,
):
    run_job(
        "roll_back_predictions",
        "--score-date={{ params.score_date }}",
        "{{ '--run-id=' ~ params.run_id if params.run_id else '' }}",
        *WHY,
    )
