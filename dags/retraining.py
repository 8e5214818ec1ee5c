"""### Train a model on what is known by now, judge it, and let it try itself on customers

Triggered by `nightly_scoring` when a night has decided so, or by hand. What comes out is a
**challenger**. If it passes the gate (and a person, where the form or `params.yaml` asks for one),
it scores beside the champion, at first unseen, then for more and more customers: the nights move it
on, or take it back. See `advance_rollout` in `nightly_scoring`.

**When a task is red**, the champion scores on.

- `retrain_model`: a training stage failed; the log ends with the stage. Clear it when the cause is
  gone: stages that were finished are not done again.
- `judge_challenger`: a bundle could not be fetched or loaded. Clear it.
- `passed`, `approve`: nobody has answered in time. Clear it to be asked again.
- `record_approval`: the warehouse is away. Clear it.
- `start_rollout`, `promote_model`: the version is registered, but scores nobody. Clear it.
- `tell`: a channel did not take the news of a lost gate; its log has them.

A gate that is lost, or a rejection, is not red: what follows is skipped. Of a lost gate people are
told, and its page says why.
A night that is running keeps the models it was opened with.
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param, chain, task

from dags.alert import Alert, tell
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
        maxLength=1000,
        title="Reason",
        description="Why; kept with the version. Empty: the id of the run.",
    ),
    "approval": Param(
        None,
        type=["null", "string"],
        enum=[None, "automatic", "person"],
        title="Approval",
        description="Who lets a version on that has passed the gate. Empty: as params.yaml says.",
    ),
    "rollout": Param(
        "shadow",
        type="string",
        enum=["shadow", "at once", "none"],
        title="Rollout",
        description="shadow: beside the champion first. at once: champion from the next night on. "
        "none: registered only.",
    ),
}

REASON = "--reason={{ params.reason or run_id }}"
ACTOR = "dag_run.triggering_user_name or 'airflow'"
VERSION = "--version={{ ti.xcom_pull('retrain_model')['version'] }}"
VERDICT = "ti.xcom_pull('judge_challenger')"
ASKS = f"(params.approval or {VERDICT}['approval']) == 'person'"
ANSWER = "ti.xcom_pull('approve')"
RECORDED = "ti.xcom_pull('record_approval')"
# A first model has no champion to stand beside.
AT_ONCE = (
    f"params.rollout == 'at once' or (params.rollout == 'shadow' and not {VERDICT}['champion'])"
)
IN_SHADOW = f"params.rollout == 'shadow' and {VERDICT}['champion'] is not none"


class Approval(HITLOperator):
    """Asks a person in the Airflow UI, if ``asks`` renders to ``True``; else approves."""

    template_fields = (*HITLOperator.template_fields, "asks")

    def __init__(self, *, asks: str, **kwargs) -> None:
        super().__init__(**kwargs)
        self.asks = asks

    def execute(self, context):
        """Wait for the answer; it, who gave it and why go into the task's result."""
        if self.asks != "True":
            return {"chosen_options": ["Approve"], "params_input": {}, "responded_by_user": None}
        return super().execute(context)


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
        "on_failure_callback": Alert("warning"),
        "owner": "scoring",
    },
    tags=["scoring"],
) as dag:
    judge_challenger = run_job("judge_challenger", VERSION, execution_timeout=timedelta(minutes=30))

    @task(task_id="tell")
    def tell_people(verdict: dict, **context) -> None:
        """Say that the gate was lost."""
        if verdict["verdict"] == "fail":
            sentence = f"{verdict['version']} lost the gate: {'; '.join(verdict['reasons'])}"
            alarm = {"name": "gate_failed", "severity": "warning", "sentence": sentence}
            tell([alarm], context)

    @task.short_circuit
    def passed(verdict: dict) -> bool:
        """Whether the version has passed the gate."""
        return verdict["verdict"] == "pass"

    approve = Approval(
        task_id="approve",
        asks=f"{{{{ {ASKS} }}}}",
        subject=f"Let {{{{ {VERDICT}['version'] }}}} score customers"
        f"{{{{ ' beside ' ~ {VERDICT}['champion'] if {VERDICT}['champion'] }}}}?",
        body=f"It has passed the gate: {{{{ {VERDICT}['reasons'] | join('; ') }}}}\n\n"
        f"The page with all numbers: {{{{ {VERDICT}['page'] }}}}",
        options=["Approve", "Reject"],
        params={
            "why": Param(
                None,
                type=["null", "string"],
                maxLength=1000,
                title="Why",
                description="Kept with the answer. Empty: why the model was trained.",
            )
        },
        response_timeout=timedelta(days=3),
        retries=0,
    )

    chain(
        run_job(
            "retrain_model",
            "--until={{ params.until or day_before(dag_run) }}",
            REASON,
            f"--actor={{{{ {ACTOR} }}}}",
            "--token={{ run_id }}",
            "--asked-at={{ dag_run.run_after.isoformat() }}",
            pool="spark",
            execution_timeout=timedelta(hours=8),
        ),
        judge_challenger,
        passed(judge_challenger.output),
        approve,
        run_job(
            "record_approval",
            VERSION,
            f"--answer={{{{ {ANSWER}['chosen_options'][0] }}}}",
            f"--approval={{{{ 'person' if {ASKS} else 'automatic' }}}}",
            f"--actor={{{{ ({ANSWER}['responded_by_user'] or {{}}).get('name') or {ACTOR} }}}}",
            f"--reason={{{{ {ANSWER}['params_input'].get('why') or params.reason or run_id }}}}",
        ),
        [
            run_job(
                job,
                VERSION,
                f"--reason={{{{ {RECORDED}['reason'] }}}}",
                f"--actor={{{{ {RECORDED}['actor'] }}}}",
                only_if=f"{{{{ {RECORDED}['approved'] and ({only_if}) }}}}",
                execution_timeout=timedelta(minutes=30),
            )
            for job, only_if in (("start_rollout", IN_SHADOW), ("promote_model", AT_ONCE))
        ],
    )
    tell_people(judge_challenger.output)
