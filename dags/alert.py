"""Telling people: what is wrong, how bad it is, whose it is, and where to read on.

Sent through the Airflow connection ``apprise_default`` (mail, Slack, webhook: any address that
Apprise takes). The same alert is not sent again before its cool-down is over; the next one says
how many were held back.
"""

import hashlib
import logging
import os
import re
from datetime import UTC, datetime, timedelta
from typing import Literal

import apprise
from airflow.providers.apprise.notifications.apprise import AppriseNotifier
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowNotFoundException

Severity = Literal["critical", "warning"]

RUNBOOK = os.environ.get("SCORING_RUNBOOK_URL", "docs/runbook.md")

COOL_DOWN = {"critical": timedelta(hours=6), "warning": timedelta(days=3)}
APPRISE_TYPE = {"critical": apprise.NotifyType.FAILURE, "warning": apprise.NotifyType.WARNING}

ALARMS = {
    "data_incident": "owners of the data",
    "drift": "owners of the model",
    "performance_loss": "owners of the model",
    "challenger_refused": "owners of the model",
    "challenger_withdrawn": "owners of the model",
    "gate_failed": "owners of the model",
}
"""What the jobs of a night may raise, and whose it is; each has its heading in the runbook."""

SENT = "scoring_alerts_sent"
"""The Airflow variable that remembers when each alert was sent, until its cool-down is over."""

log = logging.getLogger(__name__)


class AlertNotSent(RuntimeError):
    """A channel did not take the alert."""


class Alert(AppriseNotifier):
    """One alert; as the callback of a task it tells of the task's failure.

    Args:
        severity: ``critical`` when scores are late or wrong, else ``warning``.
        name: Its heading in the runbook; None: the task's own.
        sentence: What is wrong; None: the exception of the task.
        owner: Whose it is; None: the owner of the task.
    """

    def __init__(
        self,
        severity: Severity = "critical",
        name: str | None = None,
        sentence: str | None = None,
        owner: str | None = None,
    ) -> None:
        super().__init__(body="", notify_type=APPRISE_TYPE[severity])
        self.severity = severity
        self.name = name
        self.sentence = sentence
        self.owner = owner

    def notify(self, context) -> None:
        """Log the alert, and send it unless the same one was sent a short while ago.

        Raises:
            AlertNotSent: If there is a channel and it does not take the alert.
        """
        task = context["ti"]
        name = self.name or task.task_id
        sentence = self.sentence or f"{context.get('exception') or context.get('reason')}"
        title = f"[{self.severity}] {task.dag_id}: {name}"
        body = "\n".join(
            [
                sentence,
                f"run: {task.run_id}",
                f"owner: {self.owner or getattr(context.get('task'), 'owner', 'nobody')}",
                f"what to do: {RUNBOOK}#{name}",
                f"log: {getattr(task, 'log_url', 'none')}",
            ]
        )
        log.error("%s\n%s", title, body)
        channels = self._channels()
        if not channels:
            log.warning(
                "nobody was told: the Airflow connection %s is not set, or has no address under "
                "`config`",
                self.apprise_conn_id,
            )
            return
        memory, key, now = _read_memory(), _key(title, sentence), datetime.now(UTC)
        before = memory.get(key, {"until": now.isoformat(), "held_back": 0})
        if datetime.fromisoformat(before["until"]) > now:
            log.warning(
                "not sent: the same alert was, and its cool-down lasts until %(until)s", before
            )
            _write_memory(memory | {key: before | {"held_back": before["held_back"] + 1}})
            return
        if before["held_back"]:
            body += f"\nheld back since the last one: {before['held_back']}"
        # The hook's own `notify` does not say whether anybody took it.
        if not channels.notify(body=body, title=title, notify_type=self.notify_type):
            raise AlertNotSent(
                f"no channel of the Airflow connection {self.apprise_conn_id} took the alert "
                f"{title!r}; the lines above say why. Mend the address or the receiver."
            )
        until = now + COOL_DOWN[self.severity]
        _write_memory(memory | {key: {"until": until.isoformat(), "held_back": 0}})

    def _channels(self) -> apprise.Apprise:
        """Where alerts go; empty without a connection."""
        channels = apprise.Apprise()
        try:
            connection = self.hook.get_connection(self.apprise_conn_id)
        except AirflowNotFoundException:
            return channels
        if "config" in connection.extra_dejson:
            self.hook.set_config_from_conn(connection, channels)
        return channels


def tell(alarms: list[dict], context) -> None:
    """Send what a job found: dictionaries with ``name``, ``severity`` and ``sentence``.

    Raises:
        AlertNotSent: If a channel did not take one of them, after all were tried.
    """
    not_sent = []
    for alarm in alarms:
        try:
            Alert(**alarm, owner=ALARMS[alarm["name"]]).notify(context)
        except AlertNotSent as error:
            not_sent.append(str(error))
    if not_sent:
        raise AlertNotSent("\n".join(not_sent))


def _key(title: str, sentence: str) -> str:
    """What makes two alerts the same: all but dates, counts and ids, which always differ.

    Versions stay: that v1.3.0 lost the gate is no news of v1.2.0.
    """
    either = r"\b(v\d+\.\d+\.\d+)\b|\b[0-9a-f]*\d[0-9a-f.,:-]*"
    words = re.sub(either, lambda found: found[1] or "#", f"{title}\n{sentence}")
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _read_memory() -> dict[str, dict]:
    """When the cool-down of each alert ends, and how many were held back; of the last month."""
    try:
        memory = Variable.get(SENT, default={}, deserialize_json=True)
    except Exception:
        # Better told twice than not at all.
        log.exception("cannot read the Airflow variable %s", SENT)
        return {}
    oldest = (datetime.now(UTC) - timedelta(days=30)).isoformat()
    return {key: entry for key, entry in memory.items() if entry["until"] > oldest}


def _write_memory(memory: dict[str, dict]) -> None:
    try:
        Variable.set(SENT, memory, serialize_json=True)
    except Exception:
        log.exception("cannot write the Airflow variable %s", SENT)
