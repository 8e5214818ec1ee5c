"""Take the challenger a step further, or back to the bench, after a published night.

Reads what score_customers found out about it, its nights and its outcomes in the warehouse, and
the registry; writes the move into the registry and copies the registry's history into the
warehouse. Running it again after the same night changes nothing.
"""

import argparse
import getpass
import os
from datetime import date
from typing import Any

import sqlalchemy as sa

import warehouse
from jobs.entry import run_parser, start
from jobs.registry import copy_history, open_registry
from models.registry import Challenge, Promotion, Registry, RegistryState
from monitoring.performance import is_spoilt
from monitoring.rollout import (
    EVERYBODY,
    Action,
    Interval,
    Realised,
    RolloutEvidence,
    RolloutStep,
    decide_rollout,
)
from params import Params
from records import RunRecord, StageRecord, recorded
from settings import Settings

PARSER = run_parser(__doc__)

DIFFERENCE = "_difference"
"""The end of the names of a challenger's metrics that are differences from the champion's."""


def run(settings: Settings, params: Params, record: RunRecord) -> dict:
    """Do the job; the facts are the action, the version, its percent afterwards and the reasons.

    Raises:
        FileNotFoundError: If the run has not been published; names the job to run.
        RegistryMoved: If somebody else moved the champion or the challenger meanwhile.
        RegistryUnavailable: If the registry does not answer. Nothing was moved.
    """
    StageRecord.read(settings.data_root, record, "publish_predictions")
    with recorded(settings.data_root, record, "advance_rollout") as stage:
        stage.facts = advance(settings, params, record)
    return stage.facts


def advance(settings: Settings, params: Params, record: RunRecord) -> dict:
    """Take the next step, unless this run has taken it; what was done, and why."""
    engine = warehouse.connect(settings.warehouse_url)
    registry = open_registry(settings, params)
    state = registry.read()

    step = step_taken(state, record)
    if step is None:
        step = next_step(params, record, engine, state, evidence_of_scoring(settings, record))
        take(registry, state, record, step)
    copy_history(settings, registry)
    return {
        "action": step.action,
        "version": record.challenger and record.challenger.version,
        "percent": step.percent,
        "reasons": list(step.reasons),
    }


def evidence_of_scoring(settings: Settings, record: RunRecord) -> dict:
    """What score_customers found out about the challenger; empty without one."""
    facts = StageRecord.read(settings.data_root, record, "score_customers").facts
    return facts.get("challenger", {})


def step_taken(state: RegistryState, record: RunRecord) -> RolloutStep | None:
    """The step that this job has taken after this run before; None if it has taken none."""
    moves: tuple[Challenge | Promotion, ...] = (*state.challenges, *state.promotions)
    for move in moves:
        if move.token == record.run_id:
            return RolloutStep(action_of(move), percent_of(move), (move.reason,))
    return None


def action_of(move: Challenge | Promotion) -> Action:
    """Which action of a roll-out the move was."""
    if isinstance(move, Promotion):
        return "promote"
    return "withdraw" if move.version is None else "advance"


def percent_of(move: Challenge | Promotion) -> int:
    """What the version had after the move."""
    return EVERYBODY if isinstance(move, Promotion) else move.percent or 0


def next_step(
    params: Params, record: RunRecord, engine: sa.Engine, state: RegistryState, scoring: dict
) -> RolloutStep:
    """What to do after the run; only the newest night, as readers see it, moves anything."""
    challenger, move = record.challenger, state.challenge
    if challenger is None:
        return RolloutStep("none", None, ("no challenger scored along",))
    if not warehouse.is_newest(engine, record.score_date, record.run_id):
        newest = warehouse.newest_night(engine)
        why = f"readers see another run, or a newer night ({newest}), which decides"
        return RolloutStep("none", challenger.percent, (why,))
    if move is None or (move.version, move.percent) != (challenger.version, challenger.percent):
        present = f"{move.version} at {move.percent} %" if move else "nothing"
        why = f"the challenger was moved since the run was opened; now {present} is being tried"
        return RolloutStep("none", challenger.percent, (why,))

    night, horizon = record.score_date, record.question.horizon_days
    compared = realised(
        warehouse.newest_comparison(engine, record.model_version, challenger.version)
    )
    cohort = date.fromisoformat(compared.score_date) if compared else night
    wrong = warehouse.incidents(engine, cohort, night)
    if compared and is_spoilt(cohort, horizon, wrong, params.performance):
        compared = None
    evidence = RolloutEvidence(
        percent=challenger.percent,
        nights=warehouse.nights_tried(
            engine, night, challenger.version, challenger.percent, move.at
        ),
        unfit=tuple(scoring["unfit"]),
        incidents=tuple(f"{dataset}.{column}" for dataset, column in sorted(wrong.get(night, ()))),
        realised=compared,
    )
    return decide_rollout(evidence, params.rollout)


def realised(metrics: list[warehouse.ArmMetric]) -> Realised | None:
    """How the arms differ on the newest cohort that both have scored; None if there is none."""
    if not metrics:
        return None
    difference = {
        found.metric.removesuffix(DIFFERENCE): Interval(found.low, found.high)
        for found in metrics
        if found.arm == "challenger" and found.metric.endswith(DIFFERENCE)
    }
    return Realised(str(metrics[0].score_date), difference)


def take(registry: Registry, state: RegistryState, record: RunRecord, step: RolloutStep) -> None:
    """Write the step into the registry; ``state`` is what it was decided on."""
    decided: dict[str, Any] = {
        "seen": state,
        "token": record.run_id,
        "actor": os.environ.get("AIRFLOW_CTX_DAG_RUN_ID") or getpass.getuser(),
        "reason": f"night of {record.score_date}: {'; '.join(step.reasons)}",
    }
    if record.challenger is None:
        return
    if step.action == "withdraw":
        registry.withdraw(**decided)
    elif step.action == "advance":
        registry.challenge(record.challenger.version, step.percent or 0, **decided)
    elif step.action == "promote":
        registry.promote(record.challenger.version, **decided)


def main(arguments: argparse.Namespace) -> dict:
    """Take the step after the run that the command line names."""
    settings = Settings()
    record = RunRecord.read(settings.data_root, arguments.score_date, arguments.run_id)
    return run(settings, record.pinned_params, record)


if __name__ == "__main__":
    start(PARSER, main)
