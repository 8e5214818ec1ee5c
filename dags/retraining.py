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
- `tell`: a channel did not take the news (a lost gate, an answer wanted); its log has them.

A gate that is lost, or a rejection, is not red: what follows is skipped. Of a lost gate people are
told, and its page says why; they are told, too, when an answer is wanted.
A night that is running keeps the models it was opened with.
"""

from datetime import timedelta

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, Param, chain, task

from dags.alert import Alert, tell
from dags.macros import RETRAINING
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
VERSION = "--version={{ ti.xcom_pull('retrain_model')['version'] }}"


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
    # A night that asks for it is answered at once, and so is a form.
    is_paused_upon_creation=False,
    max_active_runs=1,
    params=FORM,
    user_defined_macros=RETRAINING,
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
    def tell_people(verdict: dict, asks: str, **context) -> None:
        """Say that the gate was lost, or that a person has to answer."""
        version = verdict["version"]
        if verdict["verdict"] == "fail":
            sentence = f"{version} lost the gate: {'; '.join(verdict['reasons'])}"
            tell([{"name": "gate_failed", "severity": "warning", "sentence": sentence}], context)
        elif asks == "True":
            sentence = f"{version} has passed the gate: a person has to let it on, or reject it"
            alarm = {"name": "approval_wanted", "severity": "warning", "sentence": sentence}
            tell([alarm], context)

    @task.short_circuit
    def passed(verdict: dict) -> bool:
        """Whether the version has passed the gate."""
        return verdict["verdict"] == "pass"

    approve = Approval(
        task_id="approve",
        asks="{{ asks_a_person(params, ti) }}",
        subject="{% set verdict = ti.xcom_pull('judge_challenger') %}"
        "Let {{ verdict.version }} score customers"
        "{{ ' beside ' ~ verdict.champion if verdict.champion }}?",
        body="{% set verdict = ti.xcom_pull('judge_challenger') %}"
        "It has passed the gate: {{ verdict.reasons | join('; ') }}\n\n"
        "The page with all numbers: {{ verdict.page }}",
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
            "--actor={{ triggered_by(dag_run) }}",
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
            "--answer={{ ti.xcom_pull('approve')['chosen_options'][0] }}",
            "--approval={{ 'person' if asks_a_person(params, ti) else 'automatic' }}",
            "--actor={{ answered_by(ti, dag_run) }}",
            "--reason={{ reason_of_answer(params, ti) }}",
        ),
        [
            run_job(
                job,
                VERSION,
                "--reason={{ ti.xcom_pull('record_approval')['reason'] }}",
                "--actor={{ ti.xcom_pull('record_approval')['actor'] }}",
                only_if=f"{{{{ way_in(params, ti) == '{way_in}' }}}}",
                execution_timeout=timedelta(minutes=30),
            )
            for job, way_in in (("start_rollout", "shadow"), ("promote_model", "at once"))
        ],
    )
    tell_people(judge_challenger.output, "{{ asks_a_person(params, ti) }}")
