"""A shop's bad month, told by a real Airflow: ``python -m benchmarks.through_airflow --help``.

A clone of this checkout with a quicker clock (a purchase within days instead of a month) gets a
first model; then its nights run through ``nightly_scoring``, one after the other, free to ask for
a retraining. Nobody does anything else: alarms, trainings, gate, shadow, canary, promotion are the
deployment's own. Everything on the page that it writes is read from the warehouse afterwards. A
second run goes on after the last night of the first.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import sqlalchemy as sa
import yaml
from rich.console import Console

import warehouse
from settings import PROJECT_ROOT
from warehouse.tables import Json

console = Console(stderr=True, highlight=False)

# A quicker clock, so that a month of nights holds what else takes a year.
RETRAINING = {
    "drift_nights": 2,
    "loss_cohorts": 2,
    "min_new_days": 2,
    "cool_down_days": 5,
    "max_a_month": 10,
}
ROLLOUT = {"min_nights": 1}


@dataclass(frozen=True, slots=True)
class Story:
    """Nights of one source, and what is changed in params.yaml for them."""

    name: str
    title: str
    setting: str
    source: str
    first_night: date
    last_night: date
    changes: Mapping[str, Mapping[str, object]]
    shop: tuple[str, ...] = ()

    @property
    def eve(self) -> date:
        """The last day that the first training looks at."""
        return self.first_night - timedelta(days=1)


STORIES = {
    story.name: story
    for story in (
        Story(
            "generated",
            "A bad month of a generated shop, through Airflow",
            "A generated shop of 6,000 places. From 3 April on its lines are larger (three times "
            "the pieces at one and a half times the price); from 12 April on who bought often buys "
            "rarely, and the reverse.",
            "generated",
            date(2026, 4, 1),
            date(2026, 4, 30),
            {
                "training": {
                    "question": {"outcome": "purchase", "horizon_days": 2},
                    "as_of_count": 13,
                    "as_of_step_days": 1,
                    "holdout_count": 2,
                },
                "performance": {"partial_days": [1]},
                "retraining": RETRAINING,
                "rollout": ROLLOUT,
            },
            shop=(
                *(
                    "--from",
                    "2025-03-01",
                    "--until",
                    "2026-04-30",
                    "--customers",
                    "6000",
                    "--seed",
                    "7",
                ),
                *("--fault", "shifted:2026-04-03..2026-04-30"),
                *("--fault", "concept:2026-04-12..2026-04-30"),
            ),
        ),
        Story(
            "2011",
            "Nights of 2011, through Airflow",
            "Online Retail II, as it was: nothing is injected.",
            "online_retail_ii",
            date(2011, 10, 10),
            date(2011, 11, 4),
            {
                "training": {
                    "question": {"outcome": "purchase", "horizon_days": 7},
                    "as_of_count": 20,
                    "as_of_step_days": 7,
                },
                "performance": {"partial_days": [2, 4]},
                "retraining": RETRAINING,
                "rollout": ROLLOUT,
            },
        ),
    )
}

NIGHTS = sa.text("""
    select run.run_id, run.score_date, run.model_version, run.challenger_version,
           run.challenger_percent, run.population, decision.decision, decision.reasons
    from current_runs
    join scoring_runs run on run.run_id = current_runs.run_id
    join retraining_decisions decision on decision.run_id = run.run_id
    order by run.score_date
""").columns(score_date=sa.Date, reasons=Json)

DRIFT = sa.text("""
    select against, value, threshold, verdict from drift
    where run_id = :run_id and kind = 'night' order by against
""")

NEWEST_COHORT = sa.text("""
    select value, low, high from performance
    where measured_on = :night and maturity = 'mature' and slice = 'all' and metric = 'roc_auc'
          and arm = 'champion'
    order by score_date desc limit 1
""").bindparams(sa.bindparam("night", type_=sa.Date))

EVENTS = sa.text("""
    select event, details from audit_log
    where event in ('gate_passed', 'gate_failed', 'model_promoted', 'challenger_placed',
                    'challenger_withdrawn')
    order by number
""").columns(details=Json)


def prepare(story: Story, folder: Path, source_files: Path | None) -> dict[str, str]:
    """A clone with the quick clock, its input and a first champion; its environment."""
    code = folder / "code"
    if not code.exists():
        _run("git", "clone", "--quiet", "--no-hardlinks", str(PROJECT_ROOT), str(code))
        _quicken(code / "params.yaml", story)
        _run("git", "-C", str(code), "commit", "--quiet", "-am", "A quicker clock")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(code),
        "SCORING_SOURCE": story.source,
        "SCORING_DATA_ROOT": str(folder / "data"),
        "SCORING_CODE_URL": str(code),
    }
    deliveries = (
        ("jobs.generate_deliveries", *story.shop)
        if story.shop
        else (
            *("jobs.describe_source", str(source_files), "--name", story.source),
            *("--into", str(folder / "data/incoming")),
        )
    )
    first = ("--token", "first-model", "--reason", "first model", "--promote-first")
    for module, *arguments in (
        ("jobs.migrate_warehouse",),
        deliveries,
        ("jobs.load_history", "--until", str(story.eve)),
        ("jobs.retrain_model", "--until", str(story.eve), *first),
    ):
        _job(environment, module, *arguments)
    return environment


def _quicken(path: Path, story: Story) -> None:
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, changes in story.changes.items():
        params[section] |= changes
    params["sources"][story.source]["training_until"] = str(story.eve)
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def _job(environment: Mapping[str, str], module: str, *arguments: str) -> None:
    """Run a module of the clone; its log is shown."""
    console.rule(f"{module} {' '.join(arguments)}", align="left")
    _run(
        *(sys.executable, "-m", module, *arguments),
        env=environment,
        cwd=environment["PYTHONPATH"],
        stdout=subprocess.DEVNULL,
    )


def _run(*command: str, **options) -> None:
    subprocess.run(command, check=True, **options)


def write_page(story: Story, engine: sa.Engine, path: Path) -> None:
    """What the warehouse remembers of the nights, as a page of the docs."""
    with engine.connect() as connection:
        nights = [
            (
                row,
                connection.execute(DRIFT, {"run_id": row.run_id}).all(),
                connection.execute(NEWEST_COHORT, {"night": row.score_date}).one_or_none(),
            )
            for row in connection.execute(NIGHTS).all()
        ]
        events = connection.execute(EVENTS).all()
    changed = [
        f"`{section}.{name}` {value}"
        for section, changes in story.changes.items()
        for name, value in changes.items()
    ]
    lines = [
        f"# {story.title}",
        "",
        f"Made by `python -m benchmarks.through_airflow {story.name}`; nothing on this page was "
        "written by hand. Each night went through `nightly_scoring` on a real Airflow, free to ask "
        "for a retraining; nobody approved, promoted or stepped in. All of it is read from the "
        "warehouse.",
        "",
        f"{story.setting} The clock is quicker than that of `params.yaml`: {', '.join(changed)}.",
        "",
        "| night | customers | scored by | drift (by threshold) | ROC AUC of the newest mature "
        "cohort | decided | because |",
        "|---|---|---|---|---|---|---|",
        *(_night_line(*night) for night in nights),
        "",
        "What became of the models, in order:",
        "",
        *(f"{number}. {_told(event)}" for number, event in enumerate(events, start=1)),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _night_line(row: sa.Row, drift: list[sa.Row], cohort: sa.Row | None) -> str:
    scored_by = row.model_version
    if row.challenger_version:
        scored_by += f", {row.challenger_version} at {row.challenger_percent} %"
    compared = ", ".join(
        f"{against}: {verdict}" + (f" ({value / threshold:.1f})" if value and threshold else "")
        for against, value, threshold, verdict in drift
    )
    auc = "-" if cohort is None or cohort.value is None else _interval(cohort)
    because = "; ".join(row.reasons)
    cells = (row.score_date, f"{row.population:,}", scored_by, compared, auc, row.decision, because)
    return f"| {' | '.join(map(str, cells))} |"


def _interval(metric: sa.Row) -> str:
    return f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def _told(event: sa.Row) -> str:
    details = event.details
    match event.event:
        case "gate_passed" | "gate_failed":
            end = "passed the gate" if event.event == "gate_passed" else "lost the gate"
            return f"{details['version']} {end}: {'; '.join(details['reasons'])}"
        case "challenger_placed":
            return f"{details['version']} scores {details['percent']} % of the customers"
        case "challenger_withdrawn":
            return f"{details['previous']} was withdrawn: {details['reason']}"
        case _:
            return f"{details['version']} became champion: {details['reason']}"


def main() -> None:
    """Live a story and write its page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("story", choices=STORIES)
    parser.add_argument("--source-files", type=Path, help="folder of Online Retail II, for 2011")
    parser.add_argument("--folder", type=Path, help="default: data/benchmark-<story>")
    parser.add_argument("--until", type=date.fromisoformat, help="stop after an earlier night")
    arguments = parser.parse_args()
    story = STORIES[arguments.story]
    folder = arguments.folder or PROJECT_ROOT / "data" / f"benchmark-{arguments.story}"
    folder = folder.resolve()
    environment = prepare(story, folder, arguments.source_files)
    engine = warehouse.connect(f"sqlite:///{folder / 'data/warehouse.db'}")
    newest = warehouse.newest_night(engine) or story.eve
    last = arguments.until or story.last_night
    if newest < last:
        span = ("--from", str(newest + timedelta(days=1)), "--until", str(last))
        _job(environment, "local.airflow", "nights", *span, "--may-retrain")
    page = PROJECT_ROOT / "docs" / f"through_airflow_{story.name}.md"
    write_page(story, engine, page)
    console.print(page.read_text(encoding="utf-8"), markup=False)


if __name__ == "__main__":
    main()
