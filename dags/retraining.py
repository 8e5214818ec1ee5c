"""### Train a model on what is known by now and register it

Triggered by hand, or by `nightly_scoring` when a night has drifted. The new version is a
**challenger**: it scores nobody until it is promoted, here with the form's switch or later with
`python -m jobs.promote_model`.

**When a task is red**, the champion scores on.

- `retrain_model`: a training stage failed, or the new model lost against a baseline; the log ends
  with the stage. Clear it when the cause is gone: stages that were finished are not done again.
- `promote_model`: the version is registered but not promoted. Clear it.

`promote_model` is skipped unless the form asks for it. A night that is running keeps the model it
was opened with.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param, chain

from dags.alert import alert
from dags.business_day import day_before
from dags.run_job import duration, run_job

FORM = {
    "until": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Until",
        description="The last day training may look at. Empty: the day before the run.",
    ),
    "reason": Param(
        None,
        type=["null", "string"],
        maxLength=500,
        title="Reason",
        description="Why; kept with the version. Empty: the id of the run.",
    ),
    "promote": Param(
        False,
        type="boolean",
        title="Promote",
        description="Let the new version score from the next night on.",
    ),
}

REASON = "--reason={{ params.reason or run_id }}"
ACTOR = "--actor={{ dag_run.triggering_user_name or 'airflow' }}"

with DAG(
    dag_id="retraining",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    params=FORM,
    user_defined_macros={"day_before": day_before},
    default_args={
        "retries": 1,
        "retry_delay": duration("SCORING_RETRY_SECONDS", 60),
        "on_failure_callback": alert,
    },
    tags=["scoring"],
) as dag:
    chain(
        run_job(
            "retrain_model",
            "--until={{ params.until or day_before(dag_run) }}",
            REASON,
            ACTOR,
            "--token={{ run_id }}",
            pool="spark",
            execution_timeout=timedelta(hours=8),
        ),
        run_job(
            "promote_model",
            "--version={{ ti.xcom_pull('retrain_model')['version'] }}",
            REASON,
            ACTOR,
            only_if="{{ params.promote }}",
            execution_timeout=timedelta(minutes=30),
        ),
    )
