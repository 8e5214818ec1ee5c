"""Show the newest nights: what was delivered, what became of it, and what was published.

With --sql, the answer to a query of yours instead; it runs as a reader, for a limited time, and
cannot change anything. With --value, what its :names stand for.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

import catalog
import warehouse
from jobs.entry import job_parser, positive, start
from lake import read_json
from ledger import learnt_since, standing
from records import RunRecord
from sealed import RecordOutdated
from settings import Settings


def named_value(text: str) -> tuple[str, str]:
    """The name and the value in ``customer_id=12347``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as customer_id=12347")
    return name, value


PARSER = job_parser(__doc__, '--sql "select * from latest_predictions limit 5"')
PARSER.add_argument("--nights", type=positive, default=10, help="how many (default: %(default)s)")
PARSER.add_argument("--sql", help="a query; its answer is shown")
PARSER.add_argument(
    "--value",
    type=named_value,
    action="append",
    default=[],
    metavar="NAME=VALUE",
    help="what :NAME stands for in --sql; for each name once",
)
PARSER.add_argument(
    "--seconds",
    type=positive,
    default=60,
    help="after which --sql is stopped (default: %(default)s)",
)
PARSER.add_argument(
    "--limit", type=positive, default=1000, help="rows of --sql to show (default: %(default)s)"
)

BARS = " ▁▂▃▄▅▆▇█"
# Tables take what they need; a terminal that is narrower wraps lines instead of cutting cells.
WIDEST = 1000
TOP_RULES = 5
BEST_CUSTOMERS = (
    "select customer_id, probability, decile, reason_1 from latest_predictions "
    "order by probability desc limit 10"
)


def show_nights(console: Console, settings: Settings, limit: int, python: str = "python") -> int:
    """Print the summary of the ``limit`` newest nights; the number of nights there were."""
    engine = warehouse.connect(settings.warehouse_url)
    warehouse.check_migrated(engine)
    nights = warehouse.newest_nights(engine, limit)
    rules = warehouse.top_rules(engine, nights, TOP_RULES)

    if not nights:
        console.print("No night is published yet. Begin with: make run")
        return 0
    console.print(deliveries_table(nights))
    if rules:
        console.print(rules_table(rules))
    console.print(scores_table(nights, settings.data_root))
    console.print(findings_table(nights, settings.data_root))
    print_what_came_later(console, nights, settings.data_root)
    print_whether_it_works(console, nights[-1])
    print_where(console, settings, nights[-1], python)
    return len(nights)


def deliveries_table(nights: list[warehouse.Night]) -> Table:
    """One line per night: rows delivered and what became of them."""
    table = _table("Rows delivered = accepted + quarantined + excluded")
    table.add_column("Night")
    for name in ("Delivered", "Accepted", "Quarantined", "Excluded"):
        table.add_column(name, justify="right")
    for night in nights:
        table.add_row(
            str(night.score_date),
            f"{night.delivered:,}",
            f"{night.accepted:,}",
            f"{night.quarantined:,}",
            f"{night.excluded:,}",
        )
    return table


def rules_table(rules: list[warehouse.RuleCount]) -> Table:
    """The rules that took most rows out, over all nights shown."""
    table = _table("Rows not used, by rule")
    table.add_column("Rule")
    table.add_column("Outcome")
    table.add_column("Rows", justify="right")
    for rule in rules:
        table.add_row(rule.rule, rule.kind, f"{rule.rows:,}")
    return table


def scores_table(nights: list[warehouse.Night], root: Path) -> Table:
    """One line per night: customers scored, by which model, how their scores are distributed."""
    questions = ", ".join(sorted({night.question for night in nights}))
    table = _table(f"Customers = scored + fallback; scores are probabilities of {questions}")
    marks = ["" if is_champions(night, root) else "*" for night in nights]
    if any(marks):
        table.caption = "* asked for by name: it was not the champion"
    table.add_column("Night")
    table.add_column("Model")
    for name in ("Customers", "Scored", "Fallback", "Mean", "Contacted"):
        table.add_column(name, justify="right")
    table.add_column("0 ... 1")
    for night, mark in zip(nights, marks, strict=True):
        table.add_row(
            str(night.score_date),
            night.model_version + mark,
            f"{night.population:,}",
            f"{night.scored:,}",
            f"{night.fallback:,}",
            f"{night.mean_probability:.3f}",
            f"{night.contacted_share:.1%}",
            sparkline(night.histogram),
        )
    return table


def is_champions(night: warehouse.Night, root: Path) -> bool:
    """Whether its model was the champion, as far as the lake still knows."""
    try:
        return RunRecord.read(root, night.score_date, night.run_id).is_champion
    except (FileNotFoundError, RecordOutdated):
        return True


def findings_table(nights: list[warehouse.Night], root: Path) -> Table:
    """One line per night: the run that readers see, and what was found and decided after it."""
    table = _table("What was published, and what was found after it")
    for name in ("Night", "Run", "Published (UTC)", "Drift, in columns", "Decided"):
        table.add_column(name)
    for night in nights:
        table.add_row(
            str(night.score_date),
            night.run_id,
            f"{night.published_at:%Y-%m-%d %H:%M}",
            drift_verdict(night, root),
            night.decision or "not yet",
        )
    return table


def sparkline(counts: tuple[int, ...]) -> str:
    """A bar per count, the largest one full; blank only where there is nothing at all.

    >>> sparkline((0, 1, 50, 100))
    ' ▁▄█'
    """
    highest = max(counts)
    steps = len(BARS) - 1
    return "".join(BARS[max(1, count * steps // highest) if count else 0] for count in counts)


def drift_verdict(night: warehouse.Night, root: Path) -> str:
    """The verdict as report_drift left it, with the number of columns that have drifted."""
    key = {"score_date": night.score_date, "run_id": night.judged_by}
    report = root / catalog.REPORTS.format(**key) / "drift/drift.json"
    if not night.compared_columns or not report.exists():
        return "not compared"
    verdict = read_json(report)["verdict"]
    return f"{verdict}, {night.drifted_columns} of {night.compared_columns}"


def print_what_came_later(console: Console, nights: list[warehouse.Night], root: Path) -> None:
    """The nights for which other deliveries stand now than they used; nothing if there are none."""
    now = standing(root)
    learnt = {
        night.score_date: learnt_since(night.deliveries, now, night.score_date) for night in nights
    }
    outdated = {score_date: days for score_date, days in learnt.items() if days}
    if not outdated:
        return
    table = _table("Published without what came later")
    table.add_column("Night")
    table.add_column("Late days", justify="right")
    table.add_column("Corrected days", justify="right")
    table.add_column("The newest")
    for score_date, days in outdated.items():
        newest = max(days)
        whats = list(days.values())
        table.add_row(
            str(score_date),
            str(whats.count("late")),
            str(whats.count("corrected")),
            f"{newest} {days[newest]}",
        )
    console.print(table)
    console.print(
        f"What they would be as known now: python -m jobs.restate --from {min(outdated)} "
        f"--until {max(outdated)} --reason '...'\n",
        soft_wrap=True,
    )


def print_whether_it_works(console: Console, newest: warehouse.Night) -> None:
    """What was decided after the newest night, and why."""
    if newest.decision is None:
        return
    console.print(f"Does the model still work? {newest.score_date}: {newest.decision}")
    for sentence in filter(None, (*newest.reasons, newest.performance)):
        console.print(f"  - {sentence}", soft_wrap=True)
    console.print()


def print_where(console: Console, settings: Settings, newest: warehouse.Night, python: str) -> None:
    """Where the reports lie, and how to look at the scores."""
    key = {"score_date": newest.score_date, "run_id": newest.run_id}
    reports = settings.data_root / catalog.REPORTS.format(**key)
    pages = [
        ("Drift report", reports / "drift/index.html"),
        *(
            (f"Data Docs, {name}", reports / f"data_docs/{name}/index.html")
            for name in ("transactions", "features", "predictions")
        ),
    ]
    console.print(f"Reports of {newest.score_date} (other nights beside it):")
    for name, page in pages:
        if page.exists():
            console.print(f"  {name:<24}{page}", soft_wrap=True)
    console.print("\nThe ten likeliest customers of the newest night:")
    console.print(f'  {python} -m jobs.show_nights --sql "{BEST_CUSTOMERS}"', soft_wrap=True)
    file = settings.warehouse_url.removeprefix("sqlite:///")
    if file != settings.warehouse_url and shutil.which("sqlite3"):
        console.print(f'  sqlite3 {file} "{BEST_CUSTOMERS}"', soft_wrap=True)


def show_answer(
    console: Console,
    settings: Settings,
    sql: str,
    values: dict[str, str] | None = None,
    *,
    seconds: int = 60,
    limit: int = 1000,
) -> int:
    """Print the rows that ``sql`` gives, with ``values`` for its ``:names``; their number."""
    engine = warehouse.connect(settings.warehouse_url)
    answer = warehouse.look_up(engine, sql, values, seconds=seconds, limit=limit)
    table = Table(*answer.names, box=box.SIMPLE_HEAD)
    for row in answer.rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)
    if answer.is_cut:
        console.print(f"There are more than these {limit:,} rows; see them with --limit.")
    return len(answer.rows)


def _table(title: str) -> Table:
    return Table(
        title=title,
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
        title_style="bold",
        caption_justify="left",
    )


def main(arguments: argparse.Namespace) -> dict:
    """Show what the command line asks for."""
    console = Console(width=WIDEST, highlight=False, markup=False)
    settings = Settings()
    if arguments.sql:
        rows = show_answer(
            *(console, settings, arguments.sql, dict(arguments.value)),
            seconds=arguments.seconds,
            limit=arguments.limit,
        )
        return {"rows": rows}
    python = os.path.relpath(sys.executable)
    return {"nights": show_nights(console, settings, arguments.nights, python)}


if __name__ == "__main__":
    start(PARSER, main)
