"""Decide whether to retrain the model, and what people should hear of tonight.

Reads what the night's jobs and those of the nights before have recorded, writes one row of
`retraining_decisions`. Deciding again after the same run gives the decision that was made.
"""

import argparse
from datetime import date, timedelta
from pathlib import Path

import sqlalchemy as sa

import warehouse
from jobs.entry import run_parser, start
from monitoring.decision import Alarm, Evidence, decide
from monitoring.performance import is_spoilt
from params import Params
from records import RunRecord, StageRecord
from settings import Settings

PARSER = run_parser(__doc__)
PARSER.add_argument("--past", action="store_true", help="decide nothing: a backfill, or told so")
PARSER.add_argument("--in-flight", default="", help="what is under way already, in words")

# A row of n nights is looked for among so many times n: nights that say nothing lie between.
REACH = 2


def run(
    settings: Settings,
    params: Params,
    record: RunRecord,
    past: bool = False,
    in_flight: str = "",
) -> dict:
    """Decide; the facts are the decision, its reasons, and the alarms for people.

    Raises:
        FileNotFoundError: If a job that the decision rests on has not finished; names it.
    """
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    evidence = gather(engine, settings.data_root, params, record, past, in_flight)

    decision = decide(evidence, params.retraining)

    recorded = warehouse.record_decision(
        engine,
        warehouse.RecordedDecision(
            run_id=record.run_id,
            score_date=record.score_date,
            decision=decision.decision,
            trigger=decision.trigger,
            reasons=list(decision.reasons),
            evidence=evidence.as_dict(),
            child_run=f"{decision.trigger}__{record.score_date}"
            if decision.decision == "retrain"
            else None,
        ),
    )
    alarms = (*decision.alarms, *withdrawn(settings, record))
    return {
        "decision": recorded.decision,
        "trigger": recorded.trigger,
        "reasons": recorded.reasons,
        "child_run": recorded.child_run,
        "alarms": [
            {"name": alarm.name, "severity": alarm.severity, "sentence": alarm.sentence}
            for alarm in alarms
        ],
    }


def gather(
    engine: sa.Engine, root: Path, params: Params, record: RunRecord, past: bool, in_flight: str
) -> Evidence:
    """What was recorded about this night and those before it, up to this night and no further."""
    rules = params.retraining
    night, horizon = record.score_date, timedelta(days=record.question.horizon_days)
    trained_until = warehouse.training_until(engine, record.model_name, record.model_version)
    asked = warehouse.retrainings_asked(engine, night)
    asked_by = warehouse.asked_for_by(engine, record.model_name, record.model_version)
    longest = timedelta(days=REACH * max(rules.drift_nights, rules.loss_cohorts))
    caught_up = timedelta(days=params.performance.catch_up_nights)
    oldest_cohort = night - longest - caught_up - horizon
    incidents = warehouse.incident_nights(engine, oldest_cohort, night)
    runs = warehouse.judged_runs(engine, night - longest, night) | {night: record.run_id}

    def finding(day: date, stage: str, read) -> str:
        """What ``read`` makes of the facts of that night's stage."""
        facts = stage_facts(root, day, runs.get(day), stage)
        return "unknown" if facts is None else read(facts)

    def realised(facts: dict) -> str:
        mature = facts["mature"]
        if mature is None:
            return "unknown"
        try:
            score_date = date.fromisoformat(mature["score_date"])
            cohort = RunRecord.read(root, score_date, mature["run_id"])
        except FileNotFoundError:
            return "unknown"
        if cohort.model_version != record.model_version:
            return "unknown"
        is_wrong = is_spoilt(cohort.score_date, horizon.days, incidents, params.performance)
        return "incident" if is_wrong else mature["finding"]

    def newest_nights(count: int) -> list[date]:
        return [night - timedelta(days=back) for back in range(REACH * count)]

    performance = stage_facts(root, night, record.run_id, "measure_performance")
    return Evidence(
        score_date=night,
        trained_until=trained_until,
        is_past=past or not warehouse.is_newest(engine, night, record.run_id),
        incidents=tuple(StageRecord.read(root, record, "measure_quality").facts["incidents"]),
        drift=tuple(
            finding(day, "report_drift", lambda facts: facts["verdict"])
            if day not in incidents
            else "incident"
            for day in newest_nights(rules.drift_nights)
        ),
        estimated=tuple(
            finding(day, "measure_performance", lambda facts: facts["estimated"]["finding"])
            if day not in incidents
            else "incident"
            for day in newest_nights(rules.drift_nights)
        ),
        realised=tuple(
            finding(day, "measure_performance", realised)
            for day in newest_nights(rules.loss_cohorts)
        ),
        performance=performance["sentence"] if performance else None,
        new_labels=warehouse.customers_scored(engine, fresh_cohorts(night, horizon, trained_until)),
        last_asked=asked[0] if asked else None,
        learnt_for=asked_by[1] if asked_by and asked[:1] == [asked_by[0]] else None,
        asked_this_month=sum((day.year, day.month) == (night.year, night.month) for day in asked),
        in_flight=in_flight
        or (
            f"challenger {record.challenger.version} is being tried" if record.challenger else None
        ),
    )


def fresh_cohorts(night: date, horizon: timedelta, trained_until: date) -> list[date]:
    """Mature cohorts one horizon apart whose labels the training has not seen whole."""
    cohorts = []
    cohort = night - horizon
    while cohort + horizon > trained_until:
        cohorts.append(cohort)
        cohort -= horizon
    return cohorts


def stage_facts(root: Path, score_date: date, run_id: str | None, stage: str) -> dict | None:
    """What that job found after that run; None where there is no such run or it did not finish."""
    if run_id is None:
        return None
    try:
        return StageRecord.read(root, RunRecord.read(root, score_date, run_id), stage).facts
    except FileNotFoundError:
        return None


def withdrawn(settings: Settings, record: RunRecord) -> list[Alarm]:
    """The alarm that tonight's challenger was withdrawn; none if it was not."""
    facts = stage_facts(settings.data_root, record.score_date, record.run_id, "advance_rollout")
    if facts is None or facts["action"] != "withdraw":
        return []
    reasons = "; ".join(facts["reasons"])
    sentence = f"challenger {facts['version']} was withdrawn: {reasons}"
    return [Alarm("challenger_withdrawn", "warning", sentence)]


def main(arguments: argparse.Namespace) -> dict:
    """Decide after the run that the command line names."""
    settings = Settings()
    record = RunRecord.read(settings.data_root, arguments.score_date, arguments.run_id)
    return run(settings, record.pinned_params, record, arguments.past, arguments.in_flight)


if __name__ == "__main__":
    start(PARSER, main)
