"""A night of a shop of any size, job by job, as Airflow starts them.

The shop is a smaller one several times over: its activity is copied, each copy with customers of
its own, and the delivery of the night is as long as one of so many customers.
"""

import os
import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import catalog
from benchmarks import intake, scoring
from benchmarks.measure import measure
from features.activity import ON_TIME, read_activity
from features.golden import write_golden
from lake import describe_piece
from ledger import intake_rules, known_by, pin_rules
from models.git import git
from params import read_params
from records import ActivityRecord
from settings import Settings
from warehouse import migrate

NIGHT = intake.UNTIL + timedelta(days=1)

JOBS = (
    "open_run",
    "validate_delivery",
    "summarise_activity",
    "build_features",
    "score_customers",
    "publish_predictions",
    "measure_quality",
    "report_drift",
    "measure_performance",
    "advance_rollout",
    "decide_retraining",
    "audit_night",
    "sweep_lake",
)

LINES_OF_A_CUSTOMER = 0.15
"""Delivered in a night for each active customer of the generated shop."""


def make_shop(root: Path, history: Path, copies: int, lines: int) -> None:
    """History, the delivery of the night and a champion, unless they are there.

    Args:
        history: A deployment whose deliveries were taken in.
        copies: How many times its customers are there.
        lines: In a delivery.
    """
    if (root / "ready").exists():
        return
    shutil.rmtree(root, ignore_errors=True)
    for name in ("incoming", "lake"):
        shutil.copytree(history / name, root / name, copy_function=os.link)
    settings = Settings(data_root=root, spark_embedded_memory="8g")
    rules = pin_rules(root, intake_rules(read_params(), settings.source))
    known = known_by(root, rules, night=intake.UNTIL, until=intake.UNTIL)
    pieces = []
    for day, name in known.items():
        record = ActivityRecord.read(root, day, name)
        pieces.append((record.activity, ON_TIME))
        several = catalog.ACTIVITY.partition(root, known_on=day, intake=name) / f"{copies}-copies"
        several.mkdir()
        path = several / "part-00000.parquet"
        pq.write_table(copied(root, record, copies), path)
        record.model_copy(update={"activity": describe_piece(root, [path])}).write(root)
    intake.make_day(history, root, lines, NIGHT)
    migrate(settings.warehouse_url)
    make_champion(settings, root, pieces)
    (root / "ready").touch()


def copied(root: Path, record: ActivityRecord, copies: int) -> pa.Table:
    """The activity of a delivery for several customers in place of each one; in their order."""
    rows = pa.concat_tables(pq.read_table(root / file.path) for file in record.activity.files)
    parts = []
    for number in range(copies):
        names = rows["customer_id"]
        if number:
            names = pc.binary_join_element_wise(names, str(number), "-")
        parts.append(rows.set_column(0, "customer_id", names))
    return pa.concat_tables(parts).sort_by([("customer_id", "ascending")])


def make_champion(settings: Settings, root: Path, pieces: Sequence[tuple]) -> None:
    """Train a model of full size on generated customers; recorded are some of this lake."""
    from jobs.registry import open_registry
    from jobs.session import session
    from tests.jobs.conftest import register, run_dvc

    params, folder = read_params(), root / "training"

    def record_customers(into: Path) -> None:
        with session(settings, "champion", "embedded") as spark:
            activity = read_activity(spark, root, pieces)
            days = params.population.active_days
            write_golden(activity, into, as_of=intake.UNTIL, active_days=days)

    scoring.make_bundle(folder, record_customers)
    git("init", "--quiet", str(folder / "code"))
    identity = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")
    message = ("--quiet", "--allow-empty", "-m", "Train")
    git(*identity, "commit", *message, folder=folder / "code")
    run_dvc(folder, "init", "--no-scm")
    run_dvc(folder, "remote", "add", "--default", "store", settings.model_store_url)
    register(folder, Path(settings.registry_url), "bundle")
    open_registry(settings, params).promote("v1.0.0", actor="benchmark", reason="first model")


def run_night(folder: Path, history: Path, *, copies: int, customers: int, log: Path) -> list[dict]:
    """What each job of the night costs, with the seconds after which it began."""
    shop, root = folder / f"shop-{customers}", folder / f"night-{customers}"
    make_shop(shop, history, copies, round(LINES_OF_A_CUSTOMER * customers))
    shutil.rmtree(root, ignore_errors=True)
    # Nothing is ever changed in place but the warehouse.
    shutil.copytree(shop, root, copy_function=os.link)
    for path in root.glob("warehouse.db*"):
        path.unlink()
        shutil.copy2(shop / path.name, path)
    environment = {"SCORING_DATA_ROOT": str(root)}
    found: list[dict] = []
    began, run_id = 0.0, ""
    for job in JOBS:
        arguments = [] if job == "sweep_lake" else [f"--score-date={NIGHT}"]
        if run_id and arguments:
            arguments.append(f"--run-id={run_id}")
        cost = measure(f"jobs.{job}", arguments, environment=environment, log=log)
        run_id = cost.get("run_id", run_id)
        costs = {key: cost[key] for key in ("cpu", "wall", "peak")}
        state = {"failed": True} if "failed" in cost else {}
        found.append({"job": job, "began": began} | costs | state)
        print(f"{job}: {cost['cpu']:.1f} CPU s{', failed' if state else ''}", flush=True)
        if state:
            break
        began += cost["wall"]
    return found
