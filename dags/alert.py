"""Tell the person on call that a task has failed for good."""

import json
import logging
import os
import urllib.request

log = logging.getLogger(__name__)


def alert(context) -> None:
    """Log the failure, and post it to ``SCORING_ALERT_WEBHOOK_URL`` where that is set.

    The body is ``{"text": ...}``, which Slack, Mattermost and Teams workflows read.
    """
    task = context["ti"]
    text = (
        f"{task.dag_id} / {task.task_id} failed in run {task.run_id}: "
        f"{context.get('exception') or context.get('reason')}\n{getattr(task, 'log_url', '')}"
    )
    log.error(text)
    url = os.environ.get("SCORING_ALERT_WEBHOOK_URL")
    if url:
        body = json.dumps({"text": text}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, body, headers)  # noqa: S310 - the operator's own URL
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            pass
