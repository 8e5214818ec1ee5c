"""What ``make run`` does for a source: history, a first model, some nights through Airflow.

Each step says what it is about to do and shows its command, which can be run by hand. A step whose
result is there already finds nothing to do, so a second run is quick and changes nothing.
"""

import argparse
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import date, timedelta

from rich.console import Console

import catalog
from errors import WrongInput
from jobs.describe_source import too_short
from jobs.intake import delivered_days
from jobs.registry import open_registry
from local.signals import leave_when_told, undisturbed
from params import Params, read_params
from settings import PROJECT_ROOT, Settings
from warehouse import connect, current_run

GENERATED = "generated"
"""The source whose deliveries are made here, not laid down by somebody."""

HISTORY_DAYS = 547
"""How far back the generated history goes: a year of behaviour before the first as-of dates."""

console = Console(stderr=True, highlight=False)


def step(title: str, does: str, *command: str) -> str:
    """Say what a command of ours does, and run it with its log shown; end all if it fails.

    Returns:
        What it printed to standard output.

    Raises:
        SystemExit: With the command's exit code, after a line that says how to try it again.
    """
    console.rule(f"[bold]{title}", align="left")
    console.print(does)
    source = os.environ["SCORING_SOURCE"]
    setting = "" if source == GENERATED else f"SCORING_SOURCE={shlex.quote(source)} "
    shown = f"$ {setting}python -m {shlex.join(command)}"
    console.print(shown, style="dim", markup=False, soft_wrap=True)
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C is for us; we stop the step with all that it has started.
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            with undisturbed():
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
            raise
    print(output, end="", flush=True)
    if process.returncode:
        console.print(
            f"[bold red]{title}: failed[/] (exit code {process.returncode}). Its last lines above "
            "say why; docs/runbook.md says what to do. Then run the same make command again: "
            "what is done stays done."
        )
        sys.exit(process.returncode)
    console.print(f"done in {time.monotonic() - started:.0f} s", style="dim")
    return output


def nights_to_run(settings: Settings, params: Params, count: int) -> list[date]:
    """The first days after the training's last one, at most so many; of a source that is not
    generated, the first ones in a row that have a delivery.

    Raises:
        WrongInput: If ``params.yaml`` lacks the source; or a source lacks deliveries before or
            after that day, or has too few.
    """
    trained_until = params.source(settings.source).training_until
    if settings.source == GENERATED:
        return [trained_until + timedelta(days=n + 1) for n in range(count)]

    delivered = sorted(delivered_days(settings.data_root, date.max))
    incoming = catalog.incoming_folder(settings.data_root, trained_until).parent
    if not delivered:
        raise WrongInput(
            f"there are no deliveries in {incoming}. Lay your table out there: python -m "
            f"jobs.describe_source FILE --name {settings.source} --into {incoming.parent}"
        )
    after = [day for day in delivered if day > trained_until]
    if len(after) == len(delivered) or not after:
        raise WrongInput(
            f"the deliveries in {incoming} are of {delivered[0]} to {delivered[-1]}; training "
            f"wants some up to {trained_until}, and nights some after it. Set training_until of "
            f"{settings.source} in params.yaml."
        )
    if why := too_short(params, params.source(settings.source), delivered[0]):
        raise WrongInput(why)
    source = params.source(settings.source)
    every = (after[0] + timedelta(days=n) for n in itertools.count())
    expected = (day for day in every if source.trades_on(day) or day in after)
    return list(itertools.takewhile(after.__contains__, itertools.islice(expected, count)))


def run(settings: Settings, params: Params, *, nights: int, customers: int) -> None:
    """Do the steps."""
    scored = nights_to_run(settings, params, nights)
    trained_until = params.source(settings.source).training_until
    console.print(
        f"Source {settings.source}: history until {trained_until}, then {len(scored)} nights, "
        f"{scored[0]} to {scored[-1]}. Everything is kept below {settings.data_root}",
        soft_wrap=True,
    )

    step("Warehouse", "Creates or updates its tables.", "jobs.migrate_warehouse")
    if settings.source == GENERATED:
        step(
            "Input",
            "Generates daily deliveries of a shop that never was.",
            "jobs.generate_deliveries",
            *("--from", str(trained_until - timedelta(days=HISTORY_DAYS))),
            # A day more, for the first night by hand.
            *("--until", str(scored[-1] + timedelta(days=1))),
            *("--customers", str(customers)),
        )
    step(
        "History",
        "Checks every delivery up to that day and summarises what each customer did.",
        *("jobs.load_history", "--until", str(trained_until)),
    )
    registry = open_registry(settings, params)
    registry.create()
    if not registry.read().promotions:
        why = ("--reason", "first model")
        trained = step(
            "Model",
            "Trains with dvc repro in a clean clone of the code, and registers what comes out.",
            *("jobs.retrain_model", "--until", str(trained_until), "--token", "first-model", *why),
        )
        version = json.loads(trained.splitlines()[-1])["version"]
        step(
            "Champion",
            "Makes that version the one that scores.",
            *("jobs.promote_model", "--version", version, *why),
        )
    engine = connect(settings.warehouse_url)
    awaited = [night for night in scored if current_run(engine, night) is None]
    engine.dispose()
    if awaited:
        step(
            "Nights",
            "Starts Airflow and runs nightly_scoring for each night, one after the other.",
            *("local.airflow", "nights"),
            *("--from", str(awaited[0]), "--until", str(awaited[-1])),
        )
    step("Summary", "Shows what came out.", "jobs.show_nights")


def main() -> None:
    """Parse the command line and do the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--customers", type=int, default=4000, help="of the generated source")
    arguments = parser.parse_args()
    leave_when_told()
    try:
        settings = Settings()
        os.environ["SCORING_SOURCE"] = settings.source
        run(settings, read_params(), nights=arguments.nights, customers=arguments.customers)
    except WrongInput as error:
        console.print(str(error), style="red", markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
