"""Compute published nights again as known now, show what would change, and switch them on request.

For nights whose deliveries came late or were corrected after they were published. Each gets a run
beside the old one, with its own models and parameters, that nobody sees; what differs is printed
and written as a page. The same command with --apply lets readers see all of them in one step; to
undo that, roll the nights back. Nothing of it alarms or trains: the nights go on being judged by
what readers had in their time.
"""

import argparse
import getpass
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

import catalog
import warehouse
from errors import BadData
from jobs.entry import BAD_DATA_EXIT, add_days, job_parser, start
from jobs.publishing import checked_files, describe, keep_published, published_facts
from lake import check_pieces, read_batches, replacing
from ledger import intake_rules, learnt_since, pin_rules, rules_of, standing
from models.sections import Points, Section, Table, sections_page, sections_text
from params import read_params
from records import Pointer, RunRecord, StageRecord
from sealed import Sealed
from settings import PROJECT_ROOT, Settings

PARSER = job_parser(
    __doc__, '--from 2026-04-01 --until 2026-04-03 --reason "2 April was corrected"'
)
add_days(PARSER, required=True, of="night")
PARSER.add_argument("--reason", required=True, help="why; kept with the runs and in the audit log")
PARSER.add_argument("--actor", help="who asks for it; default the user of this machine")
PARSER.add_argument(
    "--todays-rules",
    action="store_true",
    help="also where only rules or parameters changed: with today's params.yaml, not the night's",
)
PARSER.add_argument(
    "--apply", action="store_true", help="let readers see what the same command computed before"
)

NIGHT_JOBS = ("validate_delivery", "summarise_activity", "build_features", "score_customers")

DAYS_SHOWN = 3


class NothingToRestate(BadData):
    """No night in the range is published, or no restatement of it was computed."""


class JobFailed(RuntimeError):
    """A job of a night could not be done; its own words are above in the log."""


class RestatedRun(BaseModel):
    """A run that is to take the place of another, and why: days by what became of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    score_date: date
    run_id: str
    replaces: Pointer
    learnt: dict[date, str]


class Restatement(Sealed):
    """Nights that were computed again, and what that changes, night by night; no customers."""

    first: date
    last: date
    reason: str
    nights: list[RestatedRun]
    unchanged: list[date]


@dataclass(frozen=True, slots=True)
class Difference:
    """Customers of two runs of a night, and their scores; means are null without customers."""

    customers: tuple[int, int]
    new: int
    gone: int
    rescored: int
    newly_contacted: int
    no_longer_contacted: int
    mean: tuple[float, float]
    largest: float


class RunNight(Protocol):
    """Computes one night as known now, up to its scores; the run's id."""

    def __call__(self, night: date, reason: str, *, todays_rules: bool) -> str: ...


def compute(
    settings: Settings,
    first: date,
    last: date,
    reason: str,
    *,
    todays_rules: bool = False,
    run_night: RunNight | None = None,
) -> tuple[Restatement, list[Section]]:
    """Compute the nights whose pinned days have changed, beside what readers see.

    Args:
        settings: Where the lake and the warehouse are.
        first: The first night.
        last: The last one, inclusive.
        reason: Why; kept with the runs.
        todays_rules: Also the nights that today's rules and parameters make others.
        run_night: How a night is run; null: as in a night, each job in a process of its own.

    Raises:
        NothingToRestate: If no night of the range is published.
        JobFailed: If a job of a night fails.
        BadData: If one finds that it cannot be done; its sentence.
    """
    root = settings.data_root
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    published = {
        night: pointer
        for night in warehouse.current_runs(engine, first, last)
        if (pointer := warehouse.pointer_of(engine, night)) is not None
    }
    if not published:
        raise NothingToRestate(f"no night from {first} to {last} is published; nothing to restate.")
    learnt = changed_nights(settings, published, todays_rules=todays_rules)
    nights = [
        RestatedRun(
            score_date=night,
            run_id=(run_night or run_in_processes)(night, reason, todays_rules=todays_rules),
            replaces=published[night],
            learnt=days,
        )
        for night, days in sorted(learnt.items())
    ]
    restatement = Restatement(
        first=first,
        last=last,
        reason=reason,
        # Another run of the same inputs is the run that readers see.
        nights=[each for each in nights if each.run_id != each.replaces.run_id],
        unchanged=sorted(set(published) - set(learnt)),
    )
    sections = sections_of(root, restatement)
    path = root / catalog.RESTATEMENT.format(first=first, last=last)
    restatement.put(path)
    write_page(root, restatement, sections)
    return restatement, sections


def changed_nights(
    settings: Settings, published: Mapping[date, Pointer], *, todays_rules: bool
) -> dict[date, dict[date, str]]:
    """The nights that would come out otherwise today, with the days that changed."""
    root = settings.data_root
    now = standing(root)
    if todays_rules:
        params = read_params()
        rules = pin_rules(root, intake_rules(params, settings.source))
    found = {}
    for night, pointer in published.items():
        record = RunRecord.read(root, night, pointer.run_id)
        used = {day: record.named_intakes(day) for day in record.intakes}
        days = learnt_since(used, now, night)
        is_under_others = todays_rules and (
            rules_of(record.intake) != rules or record.params != params.model_dump(mode="json")
        )
        if days or is_under_others:
            found[night] = days
    return found


def run_in_processes(night: date, reason: str, *, todays_rules: bool) -> str:
    """Open the night as known now and do its jobs up to the scores; the run's id."""
    flags = ["--as-known-now", f"--reason=restatement: {reason}"]
    opened = run_job("open_run", f"--score-date={night}", *flags, *["--restate"] * todays_rules)
    for job in NIGHT_JOBS:
        run_job(job, f"--score-date={night}", f"--run-id={opened['run_id']}")
    return opened["run_id"]


def run_job(name: str, *arguments: str) -> dict:
    """What a job printed last; each is a process of its own, as in a night.

    Raises:
        BadData: If it says that the data is wrong.
        JobFailed: If it ends in any other way.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"jobs.{name}", *arguments],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    answer = json.loads(done.stdout.splitlines()[-1]) if done.stdout.strip() else {}
    if done.returncode == BAD_DATA_EXIT:
        raise BadData(f"{name}: {answer['error']}")
    if done.returncode:
        raise JobFailed(
            f"{name} {' '.join(arguments)} failed (exit code {done.returncode}): "
            f"{answer.get('error', 'no more is known')}. Readers see what they saw before. When "
            "that is mended, give the same command again: what is computed already is kept."
        )
    return answer


# ---------------------------------------------------------------------------------- what differs


def difference(root: Path, run: RestatedRun) -> Difference:
    """What readers would see otherwise, from the predictions of both runs in the lake.

    Raises:
        PieceMissing, PieceAltered: If those are not as they were written.
    """
    old, new = (
        read_scores(root, RunRecord.read(root, run.score_date, run_id))
        for run_id in (run.replaces.run_id, run.run_id)
    )
    both = old.join(new, "customer_id", join_type="inner", right_suffix="_now")
    change = pc.subtract(both["probability_now"], both["probability"])
    was, is_now = both["is_contacted"], both["is_contacted_now"]
    largest = pc.max(pc.abs(change)).as_py()
    return Difference(
        customers=(old.num_rows, new.num_rows),
        new=new.num_rows - both.num_rows,
        gone=old.num_rows - both.num_rows,
        rescored=count(pc.not_equal(change, 0.0)),
        newly_contacted=count(pc.and_(pc.invert(was), is_now)),
        no_longer_contacted=count(pc.and_(was, pc.invert(is_now))),
        mean=tuple(pc.mean(scores["probability"]).as_py() for scores in (old, new)),
        largest=largest or 0.0,
    )


def read_scores(root: Path, record: RunRecord) -> pa.Table:
    """``customer_id``, ``probability`` and ``is_contacted`` of a run."""
    piece = StageRecord.read(root, record, "score_customers").pieces[catalog.PREDICTIONS.name]
    remedy = f"Make them again: {record.command('score_customers')}"
    columns = ["customer_id", "probability", "is_contacted"]
    return pa.concat_tables(
        pq.read_table(path, columns=columns) for path in check_pieces(root, [piece], remedy)
    )


def count(condition: pa.ChunkedArray) -> int:
    """How many are true."""
    return pc.sum(condition).as_py() or 0


def sections_of(root: Path, restatement: Restatement) -> list[Section]:
    """What the restatement would change, and how to let readers see it."""
    if not restatement.nights:
        return [
            Section(
                "Nothing to restate",
                [
                    f"{len(restatement.unchanged)} published nights rest on the deliveries that "
                    "stand today. One that still lies in incoming/transactions has to be taken in "
                    "first: python -m jobs.load_history --until <day>"
                ],
            )
        ]
    found = [(each, difference(root, each)) for each in restatement.nights]
    return [
        Section(
            "What readers would see otherwise",
            [
                Table(
                    ["night", "customers", "new", "gone", "rescored", "+contact", "-contact"],
                    [count_row(run, each) for run, each in found],
                ),
                Table(
                    ["night", "mean before", "mean now", "largest change"],
                    [mean_row(run, each) for run, each in found],
                ),
                f"{len(restatement.unchanged)} published nights stay as they are.",
            ],
        ),
        Section("Why", [Points([why(root, run) for run in restatement.nights])]),
        Section(
            "What to do",
            [
                "Nobody sees this yet. To let readers see it, all nights in one step:",
                command(restatement),
            ],
        ),
    ]


def count_row(run: RestatedRun, each: Difference) -> list[str]:
    """The customers of a night, counted."""
    counts = (
        *(each.customers[1], each.new, each.gone, each.rescored),
        *(each.newly_contacted, each.no_longer_contacted),
    )
    return [str(run.score_date), *(f"{number:,}" for number in counts)]


def mean_row(run: RestatedRun, each: Difference) -> list[str]:
    """The mean score of a night before and now, and the largest change of a customer's."""
    means = (f"{mean:.6f}" for mean in each.mean)
    return [str(run.score_date), *means, f"{each.largest:.6f}"]


def why(root: Path, run: RestatedRun) -> str:
    """What made a night another one: days, and whatever else its run has pinned otherwise."""
    shown = [f"{day} {what}" for day, what in list(run.learnt.items())[-DAYS_SHOWN:]]
    more = len(run.learnt) - len(shown)
    reasons = [*shown, *([f"{more} more days"] if more else [])]
    before, now = (
        RunRecord.read(root, run.score_date, run_id) for run_id in (run.replaces.run_id, run.run_id)
    )
    others = {
        "rules of intake": lambda record: rules_of(record.intake),
        "code of features/": lambda record: record.features_sha256,
        "code of the night": lambda record: record.code_sha256,
        "parameters": lambda record: record.params_sha256,
    }
    also = [name for name, value in others.items() if value(before) != value(now)]
    return f"{run.score_date}: {', '.join([*reasons, *also])}; run {run.run_id}"


def command(restatement: Restatement) -> str:
    """What switches the nights."""
    return (
        f"python -m jobs.restate --from {restatement.first} --until {restatement.last} "
        "--reason '...' --apply"
    )


def write_page(root: Path, restatement: Restatement, sections: Sequence[Section]) -> Path:
    """The page below reports."""
    folder = root / catalog.RESTATEMENT_REPORT.format(
        first=restatement.first, last=restatement.last
    )
    with replacing(folder) as fresh:
        fresh.mkdir()
        page = sections_page(title_of(restatement), sections)
        (fresh / "index.html").write_text(page, encoding="utf-8")
    return folder / "index.html"


def title_of(restatement: Restatement) -> str:
    """The heading of text and page."""
    return (
        f"Restatement of {restatement.first} to {restatement.last}: "
        f"{len(restatement.nights)} nights change ({restatement.reason})"
    )


# -------------------------------------------------------------------------------------- switching


def apply(settings: Settings, first: date, last: date, *, reason: str, actor: str) -> dict:
    """Let readers see the nights that were computed; the facts name the commands that undo it.

    Raises:
        NothingToRestate: If no restatement of exactly that range was computed.
        Overtaken: If readers see something else of one of the nights by now.
        PieceMissing, PieceAltered: If predictions are not as they were written.
    """
    root = settings.data_root
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    path = root / catalog.RESTATEMENT.format(first=first, last=last)
    if not path.exists():
        raise NothingToRestate(
            f"no restatement of {first} to {last} was computed. See first what it would change: "
            f"python -m jobs.restate --from {first} --until {last} --reason '...'"
        )
    restatement = Restatement.take(path, "Compute it again: the same command without --apply.")
    if not restatement.nights:
        raise NothingToRestate(
            f"no night from {first} to {last} had changed when they were computed; nothing to show."
        )
    started = time.perf_counter()
    nights = [restated_night(root, each, actor) for each in restatement.nights]
    switched = warehouse.publish_restated(engine, nights, actor=actor, reason=reason)
    for each, night in zip(restatement.nights, nights, strict=True):
        record = RunRecord.read(root, each.score_date, each.run_id)
        scoring = StageRecord.read(root, record, "score_customers")
        facts = published_facts(night.run, "restated", each.replaces)
        keep_published(root, record, scoring, facts, seconds=time.perf_counter() - started)
    return {
        "nights": {str(each.score_date): each.run_id for each in restatement.nights},
        "switched": switched,
        "undo": [
            f"python -m jobs.roll_back_predictions --score-date {each.score_date} "
            f"--run-id {each.replaces.run_id} --reason '...'"
            for each in restatement.nights
        ],
    }


def restated_night(root: Path, run: RestatedRun, actor: str) -> warehouse.RestatedNight:
    """A run of the lake on its way to readers."""
    record = RunRecord.read(root, run.score_date, run.run_id)
    scoring = StageRecord.read(root, record, "score_customers")
    arms = [] if record.challenger is None else checked_files(root, record, scoring, "arm_scores")
    return warehouse.RestatedNight(
        run=replace(describe(root, record), published_by=actor),
        replaces=run.replaces,
        batches=read_batches(checked_files(root, record, scoring, catalog.PREDICTIONS.name)),
        arm_scores=read_batches(arms),
    )


def main(arguments: argparse.Namespace) -> dict:
    """Do what the command line asks for."""
    settings = Settings()
    first, last, reason = arguments.first, arguments.until, arguments.reason
    if arguments.apply:
        actor = arguments.actor or getpass.getuser()
        return apply(settings, first, last, reason=reason, actor=actor)
    restatement, sections = compute(
        settings, first, last, reason, todays_rules=arguments.todays_rules
    )
    print(sections_text(title_of(restatement), sections))
    report = catalog.RESTATEMENT_REPORT.format(first=first, last=last)
    return {
        "nights": {str(each.score_date): each.run_id for each in restatement.nights},
        "unchanged": len(restatement.unchanged),
        "page": str(settings.data_root / report / "index.html"),
    }


if __name__ == "__main__":
    start(PARSER, main)
