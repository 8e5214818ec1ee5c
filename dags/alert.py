"""Telling people: what is wrong, what readers see now, whose it is, what to do, where to look.

The subject has the night and the cause: who reads it on a telephone knows whether to get up. All of
it is plain text, because it quotes what was delivered.

Sent through the Airflow connection ``apprise_default`` (mail, Slack, webhook: any address that
Apprise takes). The same alert is not sent again before its cool-down is over; the next one says
how many were held back.
"""

import hashlib
import logging
import os
import re
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import apprise
from airflow.providers.apprise.notifications.apprise import AppriseNotifier
from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException

Severity = Literal["critical", "warning"]

RUNBOOK = Path(__file__).resolve().parents[1] / "docs/runbook.md"
RUNBOOK_URL = os.environ.get("SCORING_RUNBOOK_URL", "")
"""Where a browser finds the runbook; empty: nowhere."""

SUBJECT_LENGTH = 120
SENTENCE_LENGTH = 2000

AFTER_PUBLISHING = {
    *("measure_quality", "report_drift", "measure_performance", "advance_rollout"),
    *("decide_retraining", "retraining_wanted", "retrain", "tell", "night_complete"),
}

COOL_DOWN = {"critical": timedelta(hours=6), "warning": timedelta(days=3)}
APPRISE_TYPE = {"critical": apprise.NotifyType.FAILURE, "warning": apprise.NotifyType.WARNING}

ALARMS = {
    "data_incident": "owners of the data",
    "drift": "owners of the model",
    "performance_loss": "owners of the model",
    "challenger_refused": "owners of the model",
    "challenger_withdrawn": "owners of the model",
    "gate_failed": "owners of the model",
    "approval_wanted": "owners of the model",
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
        night: The score date it is about; None: that of the task.
    """

    def __init__(
        self,
        severity: Severity = "critical",
        name: str | None = None,
        sentence: str | None = None,
        owner: str | None = None,
        night: str | None = None,
    ) -> None:
        super().__init__(body="", notify_type=APPRISE_TYPE[severity])
        self.severity = severity
        self.name = name
        self.sentence = sentence
        self.owner = owner
        self.night = night

    def notify(self, context) -> None:
        """Log the alert, and send it unless the same one was sent a short while ago.

        Raises:
            AlertNotSent: If there is a channel and it does not take the alert.
        """
        task = context["ti"]
        name = self.name or task.task_id
        night = self.night or _night_of(context)
        error = context.get("exception")
        sentence = self.sentence or f"{error or context.get('reason')}"
        if self.name:
            what = name.replace("_", " ")
        else:
            what = "refused" if isinstance(error, AirflowFailException) else f"{name} failed"
        title = subject(night or task.dag_id, what, sentence)
        body = "\n\n".join(
            [
                textwrap.shorten(sentence, SENTENCE_LENGTH, placeholder=" ..."),
                readers_see(task.dag_id, name, night, is_alarm=bool(self.name)),
                f"Whose it is: {self.owner or getattr(context.get('task'), 'owner', 'nobody')} "
                f"({self.severity}; run {task.run_id})",
                f"What to do: {advice(getattr(error, 'heading', name))}",
                *links(name, task.dag_id, getattr(task, "log_url", "")),
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
        source = f"[{self.severity}] {task.dag_id}: {name}"
        memory, key, now = _read_memory(), _key(source, sentence), datetime.now(UTC)
        before = memory.get(key, {"until": now.isoformat(), "held_back": 0})
        if datetime.fromisoformat(before["until"]) > now:
            log.warning(
                "not sent: the same alert was, and its cool-down lasts until %(until)s", before
            )
            _write_memory(memory | {key: before | {"held_back": before["held_back"] + 1}})
            return
        if before["held_back"]:
            body += f"\n\nHeld back since the last one: {before['held_back']}"
        # The hook's own `notify` does not say whether anybody took it. Without a format a channel
        # that sends HTML, as mail does, would send what was delivered as HTML.
        text = apprise.NotifyFormat.TEXT
        if not channels.notify(
            body=body, title=title, notify_type=self.notify_type, body_format=text
        ):
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


def tell(alarms: list[dict], context, night: str | None = None) -> None:
    """Send what a job found: dictionaries with ``name``, ``severity`` and ``sentence``.

    Args:
        alarms: What was found.
        context: Of the task.
        night: The score date they are about, if they are about one.

    Raises:
        AlertNotSent: If a channel did not take one of them, after all were tried.
    """
    not_sent = []
    for alarm in alarms:
        try:
            Alert(**alarm, owner=ALARMS[alarm["name"]], night=night).notify(context)
        except AlertNotSent as error:
            not_sent.append(str(error))
    if not_sent:
        raise AlertNotSent("\n".join(not_sent))


def subject(night: str, what: str, sentence: str) -> str:
    """The night and the cause in one line; ``what`` says whether it was refused or failed.

    >>> subject("2026-04-04", "refused", "validate_delivery: 84 of 500 rows broken, limit 5 %: {}")
    '2026-04-04 refused: 84 of 500 rows broken, limit 5 %'
    >>> subject("2026-04-04", "open_run failed", "open_run failed (exit code 1): Away: no answer.")
    '2026-04-04 open_run failed: no answer'
    """
    # What run_job and entry.py put before the words of the job.
    cause = re.sub(r"^\w+( failed \([^)]*\))?: ", "", sentence)
    cause = re.sub(r"^[A-Z]\w+: ", "", cause)
    cause = re.split(r"\.(?:\s|$)|[;\n]|: [{\[]", cause, maxsplit=1)[0]
    return textwrap.shorten(f"{night} {what}: {cause}", SUBJECT_LENGTH, placeholder=" ...")


def readers_see(dag_id: str, name: str, night: str | None, *, is_alarm: bool) -> str:
    """What those who use the scores have now."""
    if dag_id.startswith("roll_back"):
        return "Readers see what they saw before: nothing was rolled back."
    if dag_id != "nightly_scoring":
        return "Readers notice nothing: the present champion scores on."
    if is_alarm or name in AFTER_PUBLISHING:
        return f"Readers see the scores of {night or 'the night'}: they are published."
    return f"Readers see the last night published before; nothing of {night or 'this one'} is."


def advice(name: str) -> str:
    """The first paragraph of the runbook about that task or alarm, as plain text."""
    found = re.search(
        rf"^### {re.escape(name)}\n(?:### .+\n)*(.+?)(?:\n\n|\n#|\Z)",
        RUNBOOK.read_text(),
        re.M | re.S,
    )
    if found is None:
        return "read the log of the task."
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(found[1].split()))
    return re.sub(r"[*`]", "", plain)


def links(name: str, dag_id: str, log_url: str) -> list[str]:
    """What a browser can open: the log, the page of the DAG, the runbook where it is served."""
    found = []
    if log_url.startswith("http"):
        base = log_url.split("/dags/")[0]
        found = [f"Log: {log_url}", f"What each red task means: {base}/dags/{dag_id}"]
    if RUNBOOK_URL.startswith("http"):
        found.append(f"Runbook: {RUNBOOK_URL}#{name}")
    return found


def _night_of(context) -> str | None:
    """The score date in the task's own command line, once that was rendered."""
    for argument in getattr(context.get("task"), "arguments", None) or []:
        if found := re.fullmatch(r"--score-date=(\d{4}-\d\d-\d\d)", str(argument)):
            return found[1]
    return None


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
