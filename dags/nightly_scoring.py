"""### Score every active customer once a night, publish the scores, watch the model

Runs in the early hours for the business day before. A run has one **score date**, found by
`await_delivery`: the one in the form, else the business day that had ended by the run's logical
date (by the moment it was triggered, when it has none). When a day ends, and in which time zone,
`params.yaml` says of the source; the run starts two hours later, and for its `closed_weekdays`
there is none. Nothing after it looks at a clock.

**Clearing is safe.** Every task replaces its own output whole, and the same inputs give the same
run, so a night that is run again changes nothing. If in doubt: clear the red task, *downstream
included*. If a delivery was replaced or a model promoted meanwhile, clear from `open_run`: it is
there that delivery and models are pinned.

**When a task is red**, readers still have the last night that was published.

- `await_delivery`: the deadline has passed; the log names the folder awaited. Ask upstream, and
  clear it when the delivery is there.
- `open_run`: no such model, or a day of history is missing; the log says which. Clear it when that
  is mended, or trigger again with *accept missing days*.
- `validate_delivery`: the delivery is bad, not the code, so it was not retried. Send the log and
  the Data Docs tab to the owners of the data; clear from `open_run` once they redeliver.
- `summarise_activity`, `build_features`: a fault, or features that break their promises; the end
  of the log says which. If the engine was killed, it lacked memory: *engines* in the runbook.
- `score_customers`: the model's bundle was refused, or predictions break their promises. Promote
  the version before and clear from `open_run`.
- `publish_predictions`: the warehouse is away, or refuses numbers that do not add up. Clear it when
  the warehouse is back: the predictions wait in the lake.

After `publish_predictions` **the scores are out**, and no task can take them back:

- `measure_quality`, `report_drift`, `measure_performance`: a finding is missing. Clear it in
  daylight. People are told, and the decision is made, with the findings there are; without
  `measure_quality` there is none.
- `advance_rollout`: a challenger could not be moved. It keeps its share of customers; clear it.
- `decide_retraining`, `retraining_wanted`, `retrain`: retraining could not be asked for. Clear it,
  or trigger `retraining` by hand.
- `tell`: a channel did not take an alarm; its log has the alarm.
- `audit_night`: something the night rests on is not what was recorded, or training would see other
  values than were scored. The log names the first thing; see the runbook before anything is
  cleared.
- `sweep_lake`: what dead jobs have left was not removed. Clear it.
- `night_complete`: never by itself: a task before it was red.

Skipped is not red: all that follows on publishing is skipped in a dry run, `retrain` when the night
did not ask for it, or has asked for it before.

**Paused:** the DAG begins paused, so that no night runs by itself. A run that is triggered
meanwhile waits, *queued*, until the DAG is unpaused.

**Past nights:** `airflow backfill create --dag-id nightly_scoring --from-date 2026-04-02 --to-date
2026-04-08T23:59:59 --max-active-runs 1` runs the nights of 1 to 7 April (dates are those of the
runs, a day after their nights). They give the tables that nightly runs gave, or would have given,
and decide nothing about the model.
"""

from datetime import timedelta

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, CronTriggerTimetable, Param, chain, task

from dags.alert import Alert, tell
from dags.macros import NIGHTLY
from dags.run_job import JobSensor, duration, run_job
from dags.score_date import SOURCE
from schedule import cron

FORM = {
    "score_date": Param(
        None,
        type=["null", "string"],
        format="date",
        title="Score date",
        description="The business day to score. Empty: the business day before the run.",
    ),
    "model": Param(
        "champion",
        type="string",
        pattern=r"^(champion|v\d+\.\d+\.\d+)$",
        title="Model",
        description="champion, or a version such as v1.2.0, which needs a reason.",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Do everything but publish.",
    ),
    "may_retrain": Param(
        True,
        type="boolean",
        title="May retrain",
        description="Let this night ask for a retraining. A backfill never does.",
    ),
    "accept_missing_days": Param(
        False,
        type="boolean",
        title="Accept missing days",
        description="Score although deliveries of earlier days are missing.",
    ),
    "reason": Param(
        None,
        type=["null", "string"],
        maxLength=500,
        title="Reason",
        description="Why this run; kept with it in the warehouse. Empty: the id of the run.",
    ),
}

SCORE_DATE = "{{ params.score_date or day_before(dag_run) }}"
AWAITED = "--score-date={{ ti.xcom_pull('await_delivery')['score_date'] }}"
OPENED = (
    "--score-date={{ ti.xcom_pull('open_run')['score_date'] }}",
    "--run-id={{ ti.xcom_pull('open_run')['run_id'] }}",
)
SPARK = {"pool": "spark", "execution_timeout": timedelta(hours=3)}

# Once the scores are out, nobody has to get up.
PUBLISHED = {
    "only_if": "{{ not params.dry_run }}",
    "on_failure_callback": Alert("warning"),
}

with DAG(
    dag_id="nightly_scoring",
    doc_md=__doc__,
    # No start date and no catching up: an unpaused DAG waits for its next night. (`False` would
    # mean: unless it should have started less than a tenth of a day ago.)
    schedule=CronTriggerTimetable(
        cron(SOURCE), timezone=SOURCE.timezone, run_immediately=timedelta()
    ),
    catchup=False,
    max_active_runs=1,
    params=FORM,
    user_defined_macros=NIGHTLY,
    default_args={
        "retries": 3,
        "retry_delay": duration("SCORING_RETRY_SECONDS", 60),
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=15),
        "execution_timeout": timedelta(hours=1),
        "on_failure_callback": Alert("critical"),
        "owner": "scoring",
    },
    tags=["scoring"],
) as dag:
    await_delivery = JobSensor(
        job="await_delivery",
        arguments=[f"--score-date={SCORE_DATE}"],
        poke_interval=duration("SCORING_POLL_SECONDS", 300),
        timeout=duration("SCORING_DEADLINE_SECONDS", 6 * 3600),
        owner="data",
    )

    decide_retraining = run_job(
        "decide_retraining",
        *OPENED,
        "{{ '' if decides(params, dag_run) else '--past' }}",
        "--in-flight={{ in_flight(ti) }}",
        # Wrong data are reported and the night is decided, whatever else was not measured.
        trigger_rule="all_done_min_one_success",
        **PUBLISHED,
    )

    @task(task_id="tell", on_failure_callback=None)
    def tell_people(decision: dict, opened: dict, **context) -> None:
        """Send the alarms of the night."""
        alarms = list(decision["alarms"])
        if opened["challenger_refused"]:
            why = opened["challenger_refused"]
            alarms.append({"name": "challenger_refused", "severity": "warning", "sentence": why})
        tell(alarms, context, night=opened["score_date"])

    @task.short_circuit
    def retraining_wanted(decision: dict) -> bool:
        """Whether the night has decided to retrain."""
        return decision["decision"] == "retrain"

    open_run = run_job(
        "open_run",
        AWAITED,
        "--model={{ params.model }}",
        "--reason={{ reason_of_run(params, run_id) }}",
        "{{ '--accept-missing-days' if params.accept_missing_days else '' }}",
    )

    measure_quality = run_job("measure_quality", *OPENED, **SPARK, **PUBLISHED)
    # After a night that was not measured, a challenger goes no further.
    advance_rollout = run_job("advance_rollout", *OPENED, **PUBLISHED)
    chain(
        await_delivery,
        open_run,
        run_job("validate_delivery", *OPENED, owner="data", **SPARK),
        run_job("summarise_activity", *OPENED, **SPARK),
        run_job("build_features", *OPENED, **SPARK),
        run_job("score_customers", *OPENED, **SPARK),
        run_job("publish_predictions", *OPENED, "{{ '--dry-run' if params.dry_run else '' }}"),
        measure_quality,
        run_job("report_drift", *OPENED, **PUBLISHED),
        run_job("measure_performance", *OPENED, **SPARK, **PUBLISHED),
        advance_rollout,
    )
    told = tell_people(decide_retraining.output, open_run.output)
    chain([measure_quality, advance_rollout], decide_retraining)
    # Scores that are out are audited, whatever else was not measured. What cannot be swept yet,
    # because it is not as recorded, is evidence.
    audit_night = run_job(
        "audit_night",
        *OPENED,
        trigger_rule="all_done_min_one_success",
        **SPARK,
        **(PUBLISHED | {"on_failure_callback": Alert("critical")}),
    )
    sweep_lake = run_job("sweep_lake", **PUBLISHED)
    chain([advance_rollout, told], audit_night, sweep_lake)
    # What failed before a decision that was made all the same leaves the run red.
    chain([advance_rollout, told, sweep_lake], EmptyOperator(task_id="night_complete"))
    chain(
        retraining_wanted(decide_retraining.output),
        TriggerDagRunOperator(
            task_id="retrain",
            trigger_dag_id="retraining",
            # The id is the night's, so a night that is run again asks only once.
            trigger_run_id="{{ ti.xcom_pull('decide_retraining')['child_run'] }}",
            logical_date=None,
            conf={
                "until": "{{ ti.xcom_pull('open_run')['score_date'] }}",
                "reason": "{{ ti.xcom_pull('decide_retraining')['reasons'] | join('; ') }}",
            },
            skip_when_already_exists=True,
        ),
    )
