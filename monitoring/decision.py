"""What to do about the model after a night: a pure function of what was recorded.

Nothing here reads a clock, a database or a scheduler, so any past decision can be computed again
from the evidence that is kept with it.
"""

from dataclasses import asdict, dataclass, field
from datetime import date
from itertools import takewhile
from typing import Literal

from params import Retraining

SAYS_NOTHING = ("unknown", "incident", "too_few", "too_few_rows")
"""Findings that are neither for nor against a change."""

Verdict = Literal["retrain", "wait", "alarm", "ignore"]
Trigger = Literal["performance", "drift", "follow_up", "schedule", "labels"]

OF_A_CHANGE = ("performance", "drift", "follow_up")
"""What asks for a retraining because customers behave otherwise than the champion has learnt."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was known about the champion when the night was over.

    Attributes:
        score_date: The night.
        is_past: The run may not decide: a form or a backfill said so, or readers see a later night,
            or another run of this night.
        incidents: What is wrong with the night's data, in sentences.
        drift: Verdicts of the newest nights, this one first: ``drift``, ``steady``,
            ``too_few_rows``, ``incident`` (its data were wrong), ``unknown`` (not measured). It
            reaches back twice as far as a row of findings has to be long, and so do the next two.
        estimated: Findings from the probabilities of the newest nights, this one first: ``loss``,
            ``holds``, ``too_few``, ``incident``, ``unknown``.
        realised: The same from the labels of the newest mature cohorts that this champion scored.
        performance: What is concluded of the newest of these cohorts, whose inputs were those of
            its own night, and what tonight's scores promise, in a sentence; null if not measured.
        trained_until: The last day that its training looked at.
        new_labels: Customers whose labels have matured since; one cohort a horizon counts, as
            cohorts of successive days hold the same purchases.
        last_asked: The night that asked for a retraining last; null if none did.
        learnt_for: What asked for the training of the champion; null if a person did, or if a
            retraining was asked for since, of which it is not known to be better.
        asked_this_month: How many nights of this calendar month asked for a retraining.
        in_flight: What is under way already (a training, a challenger), in words; null if nothing.
    """

    score_date: date
    trained_until: date
    is_past: bool = False
    incidents: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    estimated: tuple[str, ...] = ()
    realised: tuple[str, ...] = ()
    performance: str | None = None
    new_labels: int = 0
    last_asked: date | None = None
    learnt_for: str | None = None
    asked_this_month: int = 0
    in_flight: str | None = None

    def as_dict(self) -> dict:
        """All of it, for JSON."""
        return {
            name: str(value) if isinstance(value, date) else value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True, slots=True)
class Alarm:
    """What a person must be told; ``name`` is its heading in the runbook."""

    name: str
    severity: Literal["warning", "critical"]
    sentence: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision, what asked for a retraining (also where it has to wait), and why in sentences.

    ``alarms`` is what people should hear of, whatever the decision.
    """

    decision: Verdict
    trigger: Trigger | None
    reasons: tuple[str, ...]
    alarms: tuple[Alarm, ...] = field(default=())


def decide(evidence: Evidence, rules: Retraining) -> Decision:
    """Whether to retrain, to wait with it, to call a person, or to leave things as they are.

    In this order: a past night decides nothing; wrong data call a person and never retrain,
    because a model must not learn them; a loss of performance, measured or estimated under drift,
    asks for a retraining, and so does a champion that knows only the first of a change, and so do
    age and new labels; a retraining that is asked for waits while another is under way, for labels,
    for the cool-down and for the month's budget. Drift alone calls a person: inputs move with every
    season, and a model that still ranks well is not mended by learning again.
    """
    if evidence.is_past:
        why = (
            "this run decides nothing: it was told not to, it is a backfill, or readers see a "
            "newer night or another run"
        )
        return Decision("ignore", None, (why,))
    alarms = find_alarms(evidence, rules)
    if evidence.incidents:
        reasons = (*evidence.incidents, "wrong data never retrain a model")
        return Decision("alarm", None, reasons, alarms)

    trigger, reasons = find_trigger(evidence, rules)
    if trigger is None:
        return Decision("alarm" if alarms else "ignore", None, reasons or _quiet(evidence), alarms)
    obstacles = find_obstacles(evidence, rules)
    if obstacles:
        return Decision("wait", trigger, (*reasons, *obstacles), alarms)
    return Decision("retrain", trigger, reasons, alarms)


def find_trigger(evidence: Evidence, rules: Retraining) -> tuple[Trigger | None, tuple[str, ...]]:
    """What asks for a retraining, the gravest first, and why; none, and what speaks against it."""
    drifted = _in_a_row(evidence.drift, "drift")
    if _in_a_row(evidence.realised, "loss") >= rules.loss_cohorts:
        return "performance", (_loss(evidence, rules),)
    estimated = _in_a_row(evidence.estimated, "loss")
    if drifted >= rules.drift_nights and estimated >= rules.drift_nights:
        return "drift", (
            f"{rules.drift_nights} nights in a row drifted, and the scores themselves promise less "
            "than the model was accepted with",
        )

    age = (evidence.score_date - evidence.trained_until).days
    is_of_a_change = evidence.learnt_for in OF_A_CHANGE
    if is_of_a_change and rules.follow_up_days is not None and age >= rules.follow_up_days:
        return "follow_up", (
            "the champion was trained because customers had changed, on data until "
            f"{age} days ago: it knows only the first of the change",
        )
    if rules.max_age_days is not None and age >= rules.max_age_days:
        return "schedule", (f"the champion was trained on data until {age} days ago",)
    if rules.max_new_labels is not None and evidence.new_labels >= rules.max_new_labels:
        return "labels", (f"{evidence.new_labels:,} labels have matured since the training",)
    if drifted >= rules.drift_nights:
        return None, (
            f"the inputs have drifted for {drifted} nights or more, but no loss of performance is "
            "known: a person should look at the drift page",
        )
    return None, ()


def find_obstacles(evidence: Evidence, rules: Retraining) -> tuple[str, ...]:
    """Why a retraining that is asked for has to wait; none if it can start."""
    obstacles = []
    if evidence.in_flight:
        obstacles.append(f"{evidence.in_flight} already")
    new_days = (evidence.score_date - evidence.trained_until).days
    if new_days < rules.min_new_days:
        obstacles.append(
            f"only {new_days} days of labels are new to the champion, of {rules.min_new_days} that "
            "a training should add"
        )
    if evidence.last_asked is not None:
        since = (evidence.score_date - evidence.last_asked).days
        if since < rules.cool_down_days:
            obstacles.append(
                f"the last retraining was asked for on {evidence.last_asked}, and {since} of "
                f"{rules.cool_down_days} days of cool-down are over"
            )
    if evidence.asked_this_month >= rules.max_a_month:
        obstacles.append(f"the month's budget of {rules.max_a_month} retrainings is used up")
    return tuple(obstacles)


def find_alarms(evidence: Evidence, rules: Retraining) -> tuple[Alarm, ...]:
    """What people should hear of tonight."""
    alarms = [Alarm("data_incident", "critical", each) for each in evidence.incidents]
    if _in_a_row(evidence.realised, "loss") >= rules.loss_cohorts:
        alarms.append(Alarm("performance_loss", "critical", _loss(evidence, rules)))
    drifted = _in_a_row(evidence.drift, "drift")
    if drifted >= rules.drift_nights:
        alarms.append(
            Alarm("drift", "warning", f"the inputs have drifted for {drifted} nights in a row")
        )
    return tuple(alarms)


def _loss(evidence: Evidence, rules: Retraining) -> str:
    return (
        f"the newest {rules.loss_cohorts} cohorts whose labels are all there lost performance; "
        f"{evidence.performance}"
    )


def _in_a_row(findings: tuple[str, ...], wanted: str) -> int:
    """How many of the newest findings say so without a break.

    A night that was not run, or whose data were wrong, says nothing and breaks nothing.

    >>> _in_a_row(("drift", "drift", "steady", "drift"), "drift")
    2
    >>> _in_a_row(("drift", "unknown", "drift", "incident", "drift"), "drift")
    3
    """
    told = [finding for finding in findings if finding not in SAYS_NOTHING]
    return len(list(takewhile(lambda finding: finding == wanted, told)))


def _quiet(evidence: Evidence) -> tuple[str, ...]:
    def newest(findings: tuple[str, ...]) -> str:
        return findings[0].replace("_", " ") if findings else "unknown"

    return (
        f"inputs {newest(evidence.drift)}; performance by the labels "
        f"{newest(evidence.realised)}, by the scores {newest(evidence.estimated)}",
    )
