"""Fix what a night is made of: deliveries, models, code and parameters.

Reads the night's delivery, the lake's list of deliveries, the model registry and the warehouse;
writes the run's record. Every later job of the night reads that record and asks nobody again.
"""

import logging
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import catalog
from errors import BadData
from features.build import features_sha256
from jobs.engine import choose_engine
from jobs.entry import night_parser, start
from jobs.intake import receive_delivery
from jobs.pinned import NotPublished, night_code_sha256, scoring_params_sha256
from jobs.registry import check_question, check_usable, open_registry
from ledger import (
    Entry,
    days,
    delivery_of,
    entries,
    intake_id,
    intake_rules,
    known_by,
    pin_rules,
    repairs_by,
    standing,
)
from models.registry import CHAMPION, RegistryState
from params import Params, Question, Source, read_params
from records import ActivityRecord, Challenger, RunRecord, code_version, run_id
from schedule import has_night
from sealed import RecordOutdated
from settings import Settings
from warehouse import (
    audit_head,
    check_migrated,
    connect,
    current_run,
    newest_night,
    pointer_of,
    run_before,
)

PARSER = night_parser(__doc__)
PARSER.add_argument("--model", default=CHAMPION, help="champion, or a version such as v1.2.0")
PARSER.add_argument(
    "--reason", help="why this run; kept with it. A version that is not the champion needs one"
)
PARSER.add_argument(
    "--accept-missing-days",
    action="store_true",
    help="score although days before this one have no accepted delivery",
)

PARSER.add_argument(
    "--restate",
    action="store_true",
    help="a published night: compute it again with today's code, rules and parameters",
)
PARSER.add_argument(
    "--as-known-now",
    action="store_true",
    help="a published night: compute it again with all deliveries that stand today, its own models "
    "and parameters (with --restate: today's parameters)",
)

# Further ahead, a score date is a slip of the pen; the warehouse holds the same bound.
FURTHEST_DAYS = 366

# A message that lists a year of days is read by nobody.
DAYS_SHOWN = 10

log = logging.getLogger("jobs.open_run")


class NightTooFar(BadData):
    """The score date is far after everything that is known, and would hide the nights before it."""


class ReasonMissing(BadData):
    """A version that is not the champion is to score a night, and nobody says why."""


class DaysMissing(BadData):
    """The lake has no accepted delivery of some day before the night, or of none at all."""


def run(
    settings: Settings,
    params: Params,
    score_date: date,
    model: str = CHAMPION,
    reason: str | None = None,
    accept_missing_days: bool = False,
    restate: bool = False,
    as_known_now: bool = False,
) -> dict:
    """Open the run; the same inputs give the same run, whose record then stays as it is.

    The night's delivery is copied into the lake first, and everything is read from the copy.

    A challenger scores along if there is one and no model was asked for by name. If it cannot,
    the night goes on without it, and the facts say why.

    Raises:
        DeliveryMissing, DeliveryUnfit: If the night's delivery is not there whole, or must not be
            read.
        RulesChanged: If days before it were taken in under other rules.
        DaysMissing: If days before it are not in the lake and that was not accepted.
        NightTooFar: If it is more than a year after the newest day that is known.
        NotPublished: If a night that is to be as known now was never published.
        VersionUnknown: If the model is not registered, or there is no champion.
        ReasonMissing: If a version that is not the champion is asked for without a reason.
        BundleRefused, ModelDoesNotFit: If the model cannot score here.
    """
    root, source = settings.data_root, params.source(settings.source)
    warehouse = connect(settings.warehouse_url)
    check_migrated(warehouse)
    # Before the inputs are looked up: what is published from here on knew no less than this run.
    replaces = pointer_of(warehouse, score_date)
    earlier = [day for day in days(root) if day < score_date]
    check_near(score_date, max([newest_night(warehouse) or date.min, *earlier]))
    known_in, before = score_date, None
    if as_known_now:
        known_in, before = date.max, published_record(warehouse, root, score_date)
        params = params if restate else before.pinned_params
        model = before.model_version if model == CHAMPION else model
        entry = standing_entry(root, score_date)
    else:
        entry = receive_delivery(
            root, source.format, score_date, night=score_date, taken_by="open_run", is_reopened=True
        )
    registry = open_registry(settings, params).read()
    version = registry.resolve(model)
    is_champion = version.version == registry.champion
    if before is not None and version.version == before.model_version:
        is_champion = before.is_champion
    if not is_champion and not reason:
        raise ReasonMissing(
            f"{version.version} is not the champion, which is {registry.champion or 'none yet'}. "
            "If it shall score this night, say why: --reason, in the form Reason."
        )
    question = check_usable(settings, version, source).question
    challenger, refusal = None, None
    if model == CHAMPION:
        challenger, refusal = pin_challenger(settings, registry, score_date, source, question)
    elif before is not None and before.challenger and version.version == before.model_version:
        challenger = before.challenger
        check_usable(settings, registry.resolve(challenger.version), source)

    asked_for = {
        "source": settings.source,
        "bundle_sha256": version.bundle_sha256,
        "challenger": challenger,
    }
    is_new_wish = restate or as_known_now
    record = None if is_new_wish else published_run(warehouse, root, entry, asked_for)
    if record is None:
        rules = pin_rules(root, intake_rules(params, settings.source))
        eve = score_date - timedelta(days=1)
        history = known_by(root, rules, night=known_in, until=eve)
        check_history(history, score_date, root, source, accept_missing_days)
        inputs: dict[str, Any] = {
            "score_date": score_date,
            "intakes": {**history, score_date: intake_id(entry.delivery_id, rules)},
            "repairs": repairs_by(
                root, rules, night=known_in, until=score_date if as_known_now else eve
            ),
            "features_sha256": features_sha256(),
            "code_sha256": night_code_sha256(),
            "params_sha256": scoring_params_sha256(params, settings.source, challenger is not None),
            "bundle_sha256": version.bundle_sha256,
            "challenger": challenger,
        }
        record = RunRecord(
            **inputs,
            run_id=run_id(**inputs, question=question.name),
            question=question,
            source=settings.source,
            files=entry.files,
            params=params.model_dump(mode="json"),
            model_name=version.name,
            model_version=version.version,
            code_version=code_version(),
            previous_run_id=run_before(warehouse, score_date),
            replaces=replaces,
            audit=audit_head(warehouse),
            is_champion=is_champion,
            reason=reason or "by hand",
            engine=choose_engine(settings.spark, rows_of_activity(root, history)),
        )

    is_new = not (root / catalog.RUN_RECORD.format(**record.key)).exists()
    if is_new:
        record.write(root)
    else:
        record = RunRecord.read(root, score_date, record.run_id)
    served = record.challenger and record.challenger.model_dump(include={"version", "percent"})
    return {
        "score_date": str(score_date),
        "run_id": record.run_id,
        "model_version": record.model_version,
        "is_new": is_new,
        "deliveries": len(record.intakes),
        "challenger": served,
        "challenger_refused": refusal,
        "engine": record.engine,
    }


def published_record(warehouse: sa.Engine, root: Path, score_date: date) -> RunRecord:
    """The record of what readers see of a night.

    Raises:
        NotPublished: If they see nothing.
        RecordOutdated: If older code wrote it.
    """
    name = current_run(warehouse, score_date)
    if name is None:
        raise NotPublished(
            f"{score_date} is not published, so there is nothing to compute again. Run the night: "
            f"python -m jobs.open_run --score-date {score_date}"
        )
    return RunRecord.read(root, score_date, name)


def standing_entry(root: Path, score_date: date) -> Entry:
    """The delivery that stands for a published night's own day by all that is known now."""
    name = standing(root)[score_date].partition("+")[0]
    return [entry for entry in entries(root, score_date) if entry.delivery_id == name][-1]


def published_run(
    warehouse: sa.Engine, root: Path, entry: Entry, asked_for: Mapping[str, object]
) -> RunRecord | None:
    """The published run of the night, if it has this delivery and what was asked for.

    A night that is published opens as the run it is, and its jobs find their work done, whatever
    code, rules or parameters are by now. Another delivery or another model is somebody's wish, and
    gives another run.
    """
    score_date = entry.known_on
    name = current_run(warehouse, score_date)
    if name is None:
        return None
    try:
        published = RunRecord.read(root, score_date, name)
    except (FileNotFoundError, RecordOutdated) as error:
        log.warning("run %s of %s cannot be opened again: %s", name, score_date, error)
        return None
    is_same = all(getattr(published, field) == value for field, value in asked_for.items())
    if not is_same or delivery_of(published.intake) != entry.delivery_id:
        return None
    log.info("%s is published as run %s, which is opened again", score_date, name)
    return published


def rows_of_activity(root: Path, intakes: dict[date, str]) -> int:
    """The rows that the night's features are made from, tonight's own delivery left out."""
    return sum(ActivityRecord.read(root, day, name).activity.rows for day, name in intakes.items())


def pin_challenger(
    settings: Settings,
    registry: RegistryState,
    score_date: date,
    source: Source,
    question: Question,
) -> tuple[Challenger | None, str | None]:
    """The challenger of the night, and why the one there is cannot score along; both may be None.

    Only a new night gets the challenger's present percent. A night that is published keeps what it
    was published with, so that opening it again gives the same run; a past one gets none.
    """
    if registry.challenger is None:
        return None, None
    version, percent = registry.challenger
    warehouse = connect(settings.warehouse_url)
    published, newest = current_run(warehouse, score_date), newest_night(warehouse)
    if published is None and newest is not None and score_date < newest:
        return None, None
    try:
        if published is not None:
            before = RunRecord.read(settings.data_root, score_date, published).challenger
            if before is None or before.version != version.version:
                return None, None
            percent = before.percent
        check_question(check_usable(settings, version, source), question, version.version)
    # Whatever is wrong with it: it is the champion's night.
    except Exception as error:
        log.exception("the night goes on without challenger %s", version.version)
        return None, f"challenger {version.version} cannot score: {error}"
    pinned = Challenger(
        version=version.version, bundle_sha256=version.bundle_sha256, percent=percent
    )
    return pinned, None


def check_history(
    history: dict[date, str],
    score_date: date,
    root: Path,
    source: Source,
    accept_missing_days: bool,
) -> None:
    """Raise DaysMissing unless the lake has every day from its first one to the night.

    A closed weekday is missed only if it was delivered all the same.

    With ``accept_missing_days`` only a lake without any day is refused.

    Raises:
        DaysMissing: Names the days and what to run.
    """
    eve = score_date - timedelta(days=1)
    if not history:
        raise DaysMissing(
            f"the lake in {root} has no day before {score_date}, so nobody has a past to be "
            f"scored by. Take in the history first: python -m jobs.load_history --until {eve}"
        )
    first = min(history)
    every = (first + timedelta(days=n) for n in range((score_date - first).days))
    lacking = [day for day in every if day not in history]
    # Also what was received, and refused.
    received = set(days(root))
    missing = [str(day) for day in lacking if has_night(source, root, day) or day in received]
    if missing and not accept_missing_days:
        more = f" and {len(missing) - DAYS_SHOWN} more" if len(missing) > DAYS_SHOWN else ""
        raise DaysMissing(
            f"days without an accepted delivery between {first} and {score_date} ({len(missing)}): "
            f"{', '.join(missing[:DAYS_SHOWN])}{more}. Have them delivered and take them in "
            f"(python -m jobs.load_history --until {eve}), or score without them: "
            "--accept-missing-days."
        )


def check_near(score_date: date, newest: date) -> None:
    """Raise NightTooFar if the night is more than a year after the newest day that is known.

    Raises:
        NightTooFar: Names both.
    """
    if newest > date.min and score_date - newest > timedelta(days=FURTHEST_DAYS):
        raise NightTooFar(
            f"{score_date} is more than {FURTHEST_DAYS} days after {newest}, the newest day in the "
            "lake or the warehouse. Readers of latest_predictions would see no other night until "
            "then. If the date is right, take in a delivery of a day between them first."
        )


def main(arguments) -> dict:
    """Start the job from the command line."""
    return run(
        Settings(),
        read_params(),
        arguments.score_date,
        arguments.model,
        arguments.reason,
        arguments.accept_missing_days,
        arguments.restate,
        arguments.as_known_now,
    )


if __name__ == "__main__":
    start(PARSER, main)
