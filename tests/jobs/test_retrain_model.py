"""Training in a clean clone: real git, real DVC, a project with one quick stage as the code."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.registry import NotCommitted, open_registry, register_commit
from jobs.retrain_model import (
    CodeUnavailable,
    SourceNotCommitted,
    clone_code,
    set_training_until,
)
from models.git import git
from models.registry import Registry
from models.store import StoreUnavailable, fetch_bundle
from params import PARAMS_FILE, read_params
from settings import PROJECT_ROOT, Settings
from warehouse import connect

TRAIN = """\
import importlib.util, json, os, pathlib, subprocess, sys, time, yaml

subprocess.run(["git", "rev-parse", "HEAD"], check=True)
if importlib.util.find_spec("half_done"):
    sys.exit("this is not what was committed")
root = pathlib.Path(os.environ["SCORING_DATA_ROOT"])
with (root / "trainings").open("a") as log:
    log.write("trained\\n")
while (root / "pause").exists():
    time.sleep(0.1)
if (root / "fail").exists():
    sys.exit("the lake is dry")

until = yaml.safe_load(open("params.yaml"))["sources"]["generated"]["training_until"]
bundle = pathlib.Path("artifacts/bundle")
bundle.mkdir(parents=True)
(bundle / "model.ubj").write_text(f"a model of {until}")
(bundle / "metrics.json").write_text(json.dumps({"model": {"roc_auc": 0.75}}))
pathlib.Path("artifacts/window.json").write_text(json.dumps({"until": until}))
"""

DVC_YAML = """\
stages:
  train_model:
    cmd: python train.py
    deps: [train.py]
    params: [sources]
    outs:
      - artifacts/bundle
      - artifacts/window.json: {cache: false}
"""

PARAMS = """\
sources:
  generated:
    training_until: "2026-03-31"   # last score date training may look at
  other:
    training_until: "2026-03-31"
"""

IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@localhost")


def deploy(folder: Path, empty_warehouse: Path) -> Settings:
    """A deployment whose code is a project of one quick stage."""
    code = folder / "code"
    (code / ".dvc").mkdir(parents=True)
    (code / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    (code / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n/cache\n")
    for name, text in {"train.py": TRAIN, "dvc.yaml": DVC_YAML, "params.yaml": PARAMS}.items():
        (code / name).write_text(text)
    git("init", "--quiet", folder=code)
    commit(code)
    (folder / "data").mkdir()
    shutil.copy(empty_warehouse, folder / "data")
    return Settings(data_root=folder / "data", code_url=str(code))


@pytest.fixture
def deployment(tmp_path, empty_warehouse) -> Iterator[Settings]:
    """A deployment of the test's own."""
    settings = deploy(tmp_path, empty_warehouse)
    yield settings
    # A training that a failed test has left behind goes on, and ends.
    (settings.data_root / "pause").unlink(missing_ok=True)


def commit(code: Path) -> None:
    git("add", "--all", folder=code)
    git(*IDENTITY, "commit", "--quiet", "-m", "Code", folder=code)


def start_training(settings: Settings, until="2026-04-30", attempt="t1") -> subprocess.Popen:
    """The job, just as Airflow starts it."""
    command = [sys.executable, "-m", "jobs.retrain_model", "--until", until, "--reason", "test"]
    return subprocess.Popen(
        [*command, "--token", attempt, "--actor", "ada"],
        cwd=PROJECT_ROOT,
        env=os.environ
        | {f"SCORING_{name.upper()}": str(value) for name, value in settings}
        # As a git hook and a careless shell would leave them.
        | {"GIT_DIR": "elsewhere", "PYTHONPATH": f"{PROJECT_ROOT}:{settings.code_url}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(training: subprocess.Popen) -> dict:
    """What a training printed."""
    out, err = training.communicate()
    assert training.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def registry_of(settings: Settings) -> Registry:
    return open_registry(settings, read_params())


def versions(settings: Settings) -> list[str]:
    return [version.version for version in registry_of(settings).read().versions]


def trainings(settings: Settings) -> int:
    """How often the stage has been run."""
    return len((settings.data_root / "trainings").read_text().splitlines())


def wait_until(condition) -> None:
    """Poll; the runner's own timeout ends it if the condition never comes."""
    while not condition():
        time.sleep(0.02)


def processes_in(folder: Path) -> list[int]:
    """The living processes that work below ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue  # it ended as we looked
    return found


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass
class Finished:
    """A deployment after one training, what that printed, and the code as it was before."""

    deployment: Settings
    result: dict
    code_before: dict[Path, bytes]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, empty_warehouse) -> Finished:
    deployment = deploy(tmp_path_factory.mktemp("finished"), empty_warehouse)
    code = files_of(Path(deployment.code_url))
    return Finished(deployment, finish(start_training(deployment)), code)


def test_a_training_ends_with_a_version_that_can_be_fetched(finished, tmp_path):
    version = registry_of(finished.deployment).resolve("v1.0.0")
    assert finished.result == {
        "version": "v1.0.0",
        "bundle_sha256": version.bundle_sha256,
        "metrics": {"roc_auc": 0.75},
    }
    assert (version.training_until, version.source) == (date(2026, 4, 30), "generated")
    assert (version.reason, version.actor, version.token) == ("test", "ada", "t1")
    bundle = fetch_bundle(version, finished.deployment.model_store_url, tmp_path / "bundles")
    assert (bundle / "model.ubj").read_text() == "a model of 2026-04-30"


def test_the_commit_of_a_version_says_how_it_was_made(finished):
    version = registry_of(finished.deployment).resolve("v1.0.0")
    made = ("--git-dir", finished.deployment.registry_url)
    changes = git(*made, "diff", f"{version.commit}~", version.commit, "--", "params.yaml")
    assert [line for line in changes.splitlines() if line[:1] in "+-"][2:] == [
        '-    training_until: "2026-03-31"   # last score date training may look at',
        '+    training_until: "2026-04-30"   # last score date training may look at',
    ]
    files = git(*made, "ls-tree", "-r", "--name-only", version.commit).split()
    assert {"dvc.lock", "artifacts/window.json", "train.py"} <= set(files)
    assert not [name for name in files if name.startswith(("artifacts/bundle", ".dvc/config."))]


def test_the_users_checkout_stays_as_it_is(finished):
    assert files_of(Path(finished.deployment.code_url)) == finished.code_before


def test_a_training_clears_up_after_itself(finished):
    assert list((finished.deployment.data_root / "retraining").iterdir()) == []


def test_the_warehouse_knows_the_version(finished):
    with connect(finished.deployment.warehouse_url).connect() as connection:
        rows = connection.execute(sa.text("select version, actor from model_versions")).all()
    assert rows == [("v1.0.0", "ada")]


def test_a_retry_finds_its_version_and_does_not_train_again(finished):
    before = trainings(finished.deployment)
    assert finish(start_training(finished.deployment, until="2026-05-31")) == finished.result
    assert trainings(finished.deployment) == before


def test_training_on_the_same_inputs_again_gives_the_version_there_is(finished):
    assert finish(start_training(finished.deployment, attempt="t2")) == finished.result
    assert versions(finished.deployment) == ["v1.0.0"]


def test_changes_that_are_not_committed_are_named_and_not_used(deployment):
    (Path(deployment.code_url) / "train.py").write_text("raise SystemExit('half done')")
    (Path(deployment.code_url) / "half_done.py").touch()
    training = start_training(deployment)
    _, err = training.communicate()
    assert training.returncode == 0, err
    assert "without these changes:\n M train.py\n?? half_done.py" in err


def test_params_are_used_as_they_are_in_the_checkout_and_kept_with_the_version(deployment):
    ours = f"{PARAMS}  ours:\n    training_until: null\n"
    (Path(deployment.code_url) / "params.yaml").write_text(ours)
    finish(start_training(deployment))

    version = registry_of(deployment).resolve("v1.0.0")
    kept = git(*("--git-dir", deployment.registry_url, "show", f"{version.commit}:params.yaml"))
    assert yaml.safe_load(kept)["sources"]["ours"] == {"training_until": None}
    assert (Path(deployment.code_url) / "params.yaml").read_text() == ours


def test_a_source_that_the_committed_params_lack_is_named(deployment, tmp_path):
    bare = tmp_path / "hosted.git"
    git("clone", "--quiet", "--bare", deployment.code_url, str(bare))
    away = deployment.model_copy(update={"code_url": str(bare), "source": "ours"})
    with pytest.raises(SourceNotCommitted, match="no source 'ours': commit"):
        clone_code(away, tmp_path / "training")


def test_code_that_cannot_be_cloned_is_named_without_its_password(settings, tmp_path):
    away = settings.model_copy(update={"code_url": "https://bot:secret@localhost:1/code.git"})
    with pytest.raises(CodeUnavailable, match=r"https://localhost:1.*SCORING_CODE_URL") as refusal:
        clone_code(away, tmp_path)
    assert "secret" not in "".join(traceback.format_exception(refusal.value))


def test_a_stage_that_fails_leaves_no_version_and_its_output(deployment):
    (deployment.data_root / "fail").touch()
    training = start_training(deployment)
    out, err = training.communicate()
    assert training.returncode == 1
    assert "dvc repro ended with" in json.loads(out)["error"]
    assert "the lake is dry" in err
    assert versions(deployment) == []
    assert list((deployment.data_root / "retraining").iterdir()) == []


def test_a_second_training_waits_for_the_first(deployment):
    (deployment.data_root / "pause").touch()
    first = start_training(deployment, until="2026-04-30", attempt="t1")
    wait_until((deployment.data_root / "trainings").exists)
    second = start_training(deployment, until="2026-05-31", attempt="t2")
    while "another training works" not in (line := second.stderr.readline()):
        assert line, "the second training did not wait"
    assert trainings(deployment) == 1
    (deployment.data_root / "pause").unlink()
    assert finish(first)["version"] == "v1.0.0"
    assert finish(second)["version"] == "v1.1.0"


def in_training(settings: Settings) -> bool:
    return (settings.data_root / "trainings").exists()


def in_pushing_the_bundle(settings: Settings) -> bool:
    return any(Path(settings.model_store_url).rglob("*"))


@pytest.mark.parametrize("moment", [in_training, in_pushing_the_bundle])
def test_a_killed_training_leaves_no_version_and_no_process_and_its_retry_makes_one(
    deployment, moment
):
    if moment is in_training:
        (deployment.data_root / "pause").touch()
    training = start_training(deployment)
    wait_until(lambda: moment(deployment))
    training.kill()
    training.communicate()

    wait_until(lambda: not processes_in(deployment.data_root / "retraining"))
    assert versions(deployment) == []
    (deployment.data_root / "pause").unlink(missing_ok=True)
    assert finish(start_training(deployment))["version"] == "v1.0.0"
    assert list((deployment.data_root / "retraining").iterdir()) == []


def test_killed_as_it_registers_there_is_a_whole_version_or_none_and_never_two(deployment):
    registry_of(deployment).create()
    folder = Path(deployment.registry_url)
    # The git that receives the tag waits for this lock, after it has taken the tag's objects.
    lock = folder / f"refs/tags/{read_params().model.name}@v1.0.0.lock"
    lock.touch()
    training = start_training(deployment)
    wait_until(lambda: any(path.is_file() for path in (folder / "objects").glob("[0-9a-fp]*/*")))
    training.kill()
    training.wait()
    assert versions(deployment) == []

    lock.unlink()
    assert finish(start_training(deployment))["version"] == "v1.0.0"
    assert versions(deployment) == ["v1.0.0"]


def test_a_stopped_training_takes_its_processes_and_its_clone_with_it(deployment):
    (deployment.data_root / "pause").touch()
    training = start_training(deployment)
    wait_until((deployment.data_root / "trainings").exists)
    training.send_signal(signal.SIGTERM)
    training.communicate()
    assert training.returncode == 128 + signal.SIGTERM
    wait_until(lambda: not processes_in(deployment.data_root / "retraining"))
    assert list((deployment.data_root / "retraining").iterdir()) == []


@pytest.fixture
def checkout(deployment) -> Path:
    """The deployment's code after ``dvc repro`` by hand; not committed, not pushed."""
    code = Path(deployment.code_url)
    dvc(deployment, "repro")
    return code


def dvc(settings: Settings, command: str) -> None:
    code = Path(settings.code_url)
    (code / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = store\n['remote \"store\"']\n    url = {settings.model_store_url}\n"
    )
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "SCORING_DATA_ROOT": str(settings.data_root),
        "DVC_SITE_CACHE_DIR": str(settings.data_root / "dvc-site"),
    }
    subprocess.run([binaries / "dvc", command, "--quiet"], cwd=code, env=environment, check=True)


def register(settings: Settings):
    code = Path(settings.code_url)
    return register_commit(settings, read_params(), code, reason="by hand", actor="ada")


def test_a_bundle_trained_by_hand_can_be_registered(deployment, checkout):
    commit(checkout)
    dvc(deployment, "push")
    assert register(deployment).training_until == date(2026, 3, 31)
    assert versions(deployment) == ["v1.0.0"]


@pytest.mark.usefixtures("checkout")
def test_a_lock_that_is_not_committed_is_refused(deployment):
    with pytest.raises(NotCommitted, match=r"dvc\.lock differs"):
        register(deployment)


def test_a_commit_without_lock_is_refused(deployment):
    with pytest.raises(NotCommitted, match=r"holds no dvc\.lock"):
        register(deployment)


def test_a_bundle_that_was_not_pushed_is_refused(deployment, checkout):
    commit(checkout)
    with pytest.raises(StoreUnavailable, match="was the bundle pushed"):
        register(deployment)


@given(
    until=st.dates(min_value=date(1000, 1, 1)),
    source=st.sampled_from(sorted(read_params().sources)),
)
def test_setting_the_last_training_day_touches_nothing_else(tmp_path_factory, until, source):
    path = tmp_path_factory.mktemp("params") / "params.yaml"
    shutil.copy(PARAMS_FILE, path)
    set_training_until(path, source, until)

    was, now = PARAMS_FILE.read_text().splitlines(), path.read_text().splitlines()
    [(old, new)] = [pair for pair in zip(was, now, strict=True) if pair[0] != pair[1]] or [("", "")]
    assert new.partition("#")[2] == old.partition("#")[2]
    # The reader in C: a hundred examples are two hundred files.
    expected, found = (
        yaml.load(text, yaml.CSafeLoader) for text in (PARAMS_FILE.read_text(), path.read_text())
    )
    expected["sources"][source]["training_until"] = str(until)
    assert found == expected
