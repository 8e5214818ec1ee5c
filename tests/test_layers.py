"""What the folders promise each other: imports point one way, and no environment clashes."""

import ast
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.pinned import NIGHT_CODE
from settings import PROJECT_ROOT

FOUNDATION = {
    "amounts",
    "business_day",
    "catalog",
    "chunks",
    "errors",
    "intervals",
    "lake",
    "ledger",
    "meaning",
    "params",
    "records",
    "schedule",
    "sealed",
    "settings",
}
LIBRARIES = {"deliveries", "expectations", "features", "models", "monitoring", "warehouse"}
OURS = FOUNDATION | LIBRARIES | {"dags", "jobs", "local", "plugins"}

MAY_IMPORT = {
    # A library gets what it needs as arguments; only a job knows where we run.
    **{library: FOUNDATION - {"settings"} for library in LIBRARIES},
    "jobs": FOUNDATION | LIBRARIES,
    # A DAG starts a job by name and never imports one; its schedule is that of the source.
    "dags": {"params", "schedule", "settings"},
    "plugins": {"settings"},
    "local": FOUNDATION | {"jobs", "models", "warehouse"},
}

SHARED_BY_JOBS = {
    "engine",
    "entry",
    "intake",
    "java",
    "model_pages",
    "pinned",
    "publishing",
    "registry",
    "repairs",
    "session",
    "sizes",
    "sorted_rows",
}


def imported(file: Path) -> set[str]:
    """The first part of every absolute import in the file, wherever it stands."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_folder_imports_only_what_lies_below_it(folder):
    files = sorted((PROJECT_ROOT / folder).rglob("*.py"))
    assert files, f"{folder}/ has no modules; was it renamed?"
    for file in files:
        forbidden = imported(file) & OURS - MAY_IMPORT[folder] - {folder}
        assert not forbidden, f"{file.relative_to(PROJECT_ROOT)} must not import {forbidden}"


def test_no_job_imports_another_step():
    for file in (PROJECT_ROOT / "jobs").glob("*.py"):
        steps = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                steps |= {alias.name for alias in node.names if alias.name.startswith("jobs")}
            elif isinstance(node, ast.ImportFrom) and node.module == "jobs":
                steps |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module.startswith("jobs."):
                steps.add(node.module.removeprefix("jobs."))
        assert steps <= SHARED_BY_JOBS, f"{file.name} must not import {steps - SHARED_BY_JOBS}"


def test_all_code_that_makes_scores_counts_to_the_code_of_a_night():
    """Or a fix in it would make other scores under the same run id."""
    # A name, and the hash of a bundle.
    make_none = {"models/bundle_hash.py", "models/metrics.py"}
    found, following = set(), {"jobs/build_features.py", "jobs/score_customers.py"}
    while following:
        found |= following
        modules = {
            node.module
            for file in following
            for node in ast.walk(ast.parse((PROJECT_ROOT / file).read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom)
        }
        files = {f"{module.replace('.', '/')}.py" for module in modules}
        following = {file for file in files if (PROJECT_ROOT / file).is_file()} - found
    made_by = {file for file in found if file.startswith(("models/", "monitoring/", "chunks"))}
    assert made_by - make_none <= set(NIGHT_CODE)


def test_a_dag_file_starts_quickly_because_it_imports_no_heavy_library():
    heavy = {"pandas", "pyspark", "sqlalchemy", "xgboost", "sklearn", "evidently", "dvc"}
    for file in (PROJECT_ROOT / "dags").rglob("*.py"):
        assert not imported(file) & heavy, file.name


HEAVY = frozenset(
    {
        "alembic",
        "evidently",
        "great_expectations",
        "pandas",
        "pyspark",
        "scipy",
        "sklearn",
        "xgboost",
    }
)

LEAVES_OUT = {
    **dict.fromkeys(
        (
            "advance_rollout",
            "await_delivery",
            "decide_retraining",
            "promote_model",
            "publish_predictions",
            "record_approval",
            "register_model",
            "retrain_model",
            "roll_back_model",
            "roll_back_predictions",
            "show_nights",
            "start_rollout",
            "sweep_lake",
        ),
        HEAVY,
    ),
    "open_run": HEAVY - {"pyspark"},
    "measure_performance": HEAVY - {"pyspark"},
    "measure_quality": {"evidently", "great_expectations", "alembic"},
    "report_drift": {"evidently", "great_expectations", "pyspark", "alembic"},
}
"""What the start of a job must not import; a job that needs it later imports it then."""

OF_MODULES = {f"jobs.{name}": left_out for name, left_out in LEAVES_OUT.items()} | {
    "local.run": HEAVY - {"pandas"}
}

# A process of its own for each module, forked from one that has imported nothing.
START = """
import importlib, json, os, sys
for name in sys.argv[1:]:
    if not os.fork():
        importlib.import_module(name)
        print(json.dumps([name, sorted({module.split(".")[0] for module in sys.modules})]))
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


def test_a_job_starts_fast_because_it_imports_only_what_it_needs():
    done = subprocess.run(
        [sys.executable, "-c", START, *OF_MODULES],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    )
    started = dict(map(json.loads, done.stdout.splitlines()))
    assert set(started) == set(OF_MODULES), done.stderr
    for name, modules in started.items():
        too_much = OF_MODULES[name] & set(modules)
        assert not too_much, f"{name} must not import {too_much} to start"


AVOIDED = {
    **dict.fromkeys(("sparkContext", "rdd", "_jvm", "_jdf"), "Spark Connect has none"),
    **dict.fromkeys(("persist", "cache"), "the embedded engine keeps nothing: lake.kept"),
    **dict.fromkeys(("approxQuantile", "approx_count_distinct"), "engines estimate in other ways"),
    **dict.fromkeys(("percentile", "percentile_approx"), "engines interpolate otherwise"),
    **dict.fromkeys(("collect_union", "zip_with", "weekday", "try_divide"), "missing or different"),
    "input_file_name": "missing; the file is a column of the cells",
}
"""What one engine lacks or computes otherwise (docs/decisions/0051), and why it is not used."""

# Asked of whole numbers, whose middle two have an exact mean.
EXCEPTIONS = {("jobs/measure_quality.py", "percentile")}


def test_nothing_is_asked_of_an_engine_that_another_lacks_or_computes_otherwise():
    for folder in sorted(LIBRARIES | {"jobs"}):
        for file in sorted((PROJECT_ROOT / folder).rglob("*.py")):
            name = str(file.relative_to(PROJECT_ROOT))
            if "pyspark" not in imported(file) or name == "jobs/java.py":
                continue
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and (name, node.attr) not in EXCEPTIONS:
                    assert node.attr not in AVOIDED, f"{name}: {node.attr}: {AVOIDED[node.attr]}"


def test_no_package_overwrites_the_files_of_pyspark():
    # The Airflow provider for Spark would bring it; both install a folder named pyspark.
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("pyspark-client")


def test_nothing_is_unpickled():
    for file in PROJECT_ROOT.rglob("*.py"):
        if not {".venv", "data"} & set(file.relative_to(PROJECT_ROOT).parts):
            assert not imported(file) & {"pickle", "joblib", "cloudpickle", "dill"}, file
