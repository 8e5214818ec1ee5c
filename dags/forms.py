"""What DAGs share that a person starts with a form: the reason, and how they run."""

from airflow.sdk import Param

from dags.alert import Alert

REASON = Param(
    None,
    type="string",
    minLength=1,
    maxLength=500,
    title="Reason",
    description="Why; kept in the audit log.",
)
SHARED = {
    "schedule": None,
    # Nothing runs by itself, so that a form which is sent runs at once.
    "is_paused_upon_creation": False,
    "max_active_runs": 1,
    "tags": ["scoring"],
    "default_args": {"owner": "scoring", "on_failure_callback": Alert("critical")},
}
