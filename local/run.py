"""What ``make run`` does: input, history, a first model, some nights through Airflow, a summary.

Each step is a command that can be run by hand; it is printed before it runs. A step whose result
is there already finds nothing to do, so a second run is quick and changes nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from jobs.registry import open_registry
from params import read_params
from settings import PROJECT_ROOT, Settings
from warehouse import connect, current_run

HISTORY_DAYS = 547
"""How far back the generated history goes: a year of behaviour before the first as-of dates."""

console = Console(stderr=True, highlight=False)


def step(title: str, *command: str) -> str:
    """Run a command of ours with its log shown; end the whole run if it fails.

    Returns:
        What it printed to standard output.

    Raises:
        SystemExit: With the command's exit code, after a line that says how to try it again.
    """
    console.rule(f"[bold]{title}", align="left")
    console.print(f"$ python -m {' '.join(command)}", style="dim")
    started = time.monotonic()
    outcome = subprocess.run(
        [sys.executable, "-m", *command], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )
    print(outcome.stdout, end="", flush=True)
    if outcome.returncode:
        console.print(
            f"[bold red]{title}: failed[/] (exit code {outcome.returncode}). Its last lines above "
            "say why; docs/runbook.md says what to do. Then run the same make command again: "
            "what is done stays done."
        )
        sys.exit(outcome.returncode)
    console.print(f"done in {time.monotonic() - started:.0f} s", style="dim")
    return outcome.stdout


def main() -> None:
    """Parse the command line and do the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source-files", type=Path, help="folder of Online Retail II")
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--customers", type=int, default=4000, help="of the generated input")
    arguments = parser.parse_args()

    settings, params = Settings(), read_params()
    trained_until = params.source(settings.source).training_until
    nights = [trained_until + timedelta(days=n + 1) for n in range(arguments.nights)]
    os.environ["SCORING_SOURCE"] = settings.source
    console.print(f"Everything of this deployment is below {settings.data_root}")

    step("Warehouse: create or update the tables", "jobs.migrate_warehouse")
    if arguments.source_files:
        source = ["--from-files", str(arguments.source_files)]
        step("Input: lay out daily deliveries", "jobs.split_deliveries", *source)
    else:
        step(
            "Input: generate daily deliveries",
            "jobs.generate_deliveries",
            *("--from", str(trained_until - timedelta(days=HISTORY_DAYS))),
            *("--until", str(nights[-1]), "--customers", str(arguments.customers)),
        )
    step("History: validate and summarise it", "jobs.load_history", "--until", str(trained_until))
    registry = open_registry(settings, params)
    registry.create()
    if not registry.read().promotions:
        why = ("--reason", "first model")
        trained = step(
            "Model: train with dvc repro in a clean clone, register",
            *("jobs.retrain_model", "--until", str(trained_until), "--token", "first-model", *why),
        )
        version = json.loads(trained.splitlines()[-1])["version"]
        step("Model: promote the first", "jobs.promote_model", "--version", version, *why)
    engine = connect(settings.warehouse_url)
    awaited = [night for night in nights if current_run(engine, night) is None]
    engine.dispose()
    if awaited:
        step(
            "Nights: nightly_scoring through Airflow",
            *("local.airflow", "nights"),
            *("--from", str(awaited[0]), "--until", str(awaited[-1])),
        )
    step("What came out", "jobs.show_nights")


if __name__ == "__main__":
    main()
