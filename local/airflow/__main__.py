"""Airflow on one machine: its PostgreSQL, its processes, and nights run through it.

    python -m local.airflow ui
    python -m local.airflow nights --from 2026-04-01 --until 2026-04-03 [--may-retrain]
    python -m local.airflow cli dags list

Everything it keeps is below ``<data_root>/airflow`` (closed to other users: it holds generated
secrets) and ``<data_root>/postgres``. It listens on the loopback address only.
"""

import argparse
import sys
import time

from errors import WrongInput
from jobs.entry import add_days
from local.airflow.client import USER, AirflowFailed, insist_on_health
from local.airflow.console import console
from local.airflow.nights import RunFailed, nights_between, run_nights
from local.airflow.paused import unpause_what_runs_by_hand, what_waits
from local.airflow.processes import dashboard, free_port, run_cli, running
from local.postgres import ServerFailed
from local.signals import leave_when_told
from params import read_params
from settings import Settings

DASHBOARD_PORT = 8085


def main() -> None:
    """Parse the command line; show the UI, or run nights."""
    parser = argparse.ArgumentParser(
        prog="python -m local.airflow",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    ui = commands.add_parser("ui", help="run in the foreground until Ctrl-C")
    ui.add_argument("--port", type=int)
    past = commands.add_parser("nights", help="run past nights through nightly_scoring")
    add_days(past, required=True, of="night")
    past.add_argument(
        "--may-retrain",
        action="store_true",
        help="let them ask for retraining, as nights on the schedule do, and wait for it",
    )
    cli = commands.add_parser("cli", help="Airflow's own command line, on this Airflow")
    cli.add_argument("words", nargs=argparse.REMAINDER, help="as after `airflow`")
    arguments = parser.parse_args()

    leave_when_told()
    try:
        if arguments.command == "ui":
            _show_ui(arguments.port)
        elif arguments.command == "cli":
            sys.exit(_run_cli(arguments.words))
        else:
            if arguments.until < arguments.first:
                past.error(f"--until {arguments.until} comes before --from {arguments.first}")
            settings = Settings()
            nights = nights_between(settings, read_params(), arguments.first, arguments.until)
            with running(settings) as client:
                run_nights(client, nights, {"may_retrain": arguments.may_retrain})
    except (AirflowFailed, RunFailed, ServerFailed, WrongInput) as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(1)


def _run_cli(words: list[str]) -> int:
    exit_code, client = run_cli(Settings(), words)
    if exit_code == 0:
        for sentence in what_waits(client, words) if client else ():
            console.print(sentence, markup=False, soft_wrap=True)
    return exit_code


def _show_ui(port: int | None) -> None:
    settings = Settings()
    dashboard_url = f"http://127.0.0.1:{free_port(DASHBOARD_PORT)}"
    with (
        running(settings, port, {"SCORING_EVIDENTLY_URL": dashboard_url}) as client,
        dashboard(settings, dashboard_url),
    ):
        console.print(f"Airflow    {client.url}\nuser       {USER}\npassword   {client.password}")
        console.print(f"Dashboard  {dashboard_url} (also in Airflow's side bar)")
        for sentence in unpause_what_runs_by_hand(client):
            console.print(sentence, markup=False, soft_wrap=True)
        console.print("Ctrl-C stops both.", style="dim")
        while True:
            time.sleep(5)
            insist_on_health(client)


if __name__ == "__main__":
    main()
