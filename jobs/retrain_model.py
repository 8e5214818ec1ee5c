"""Train in a clean clone of the code and register what comes out as a new version.

Reads the code at the head of SCORING_CODE_URL and the lake; writes the bundle into the model
store and, last of all, a version tag into the registry. Nobody's checkout is touched. Uncommitted
code is not used; of a checkout, params.yaml is used as it is there, because nights use it, and kept
with the version. It may be killed at any time: there is a whole new version, or none.
"""

import fcntl
import getpass
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

import yaml

from jobs.entry import add_day, instant, job_parser, start
from jobs.registry import copy_history, open_registry, promote, register_commit, version_facts
from models.git import FOREIGN_GIT, GitFailed, absolute, git, shown
from models.registry import ModelVersion, RegistryState
from params import Params, read_params
from settings import Settings
from warehouse import check_migrated, connect

PARSER = job_parser(__doc__, '--until 2026-03-31 --reason "first model"')
add_day(PARSER, "--until", required=True, help="last score date training may look at")
PARSER.add_argument("--reason", required=True, help="why; kept with the version")
PARSER.add_argument("--actor", help="who asks for it; default the user of this machine")
PARSER.add_argument(
    "--promote-first", action="store_true", help="promote the version if there is no champion yet"
)
PARSER.add_argument(
    "--asked-at",
    type=instant,
    metavar="YYYY-MM-DDTHH:MM:SSZ",
    help="when it was asked for, such as 2026-04-01T03:10:00Z; kept with the version",
)
PARSER.add_argument("--token", help="names this training, so that a retry finds what it made")

# The group dies with us, however we die: even `kill -9` closes the pipe that `cat` waits on.
DIES_WITH_US = 'exec 3<&0; (cat <&3 >/dev/null; kill -KILL 0) & exec "$@" 3<&- </dev/null'

DVC_CONFIG = """\
[core]
    remote = store
    analytics = false
    check_update = false
[cache]
    dir = "{cache}"
['remote "store"']
    url = "{store}"
    verify = true
"""

# They would mix the checkout's modules in, or point git at another repository.
NOT_FOR_THE_CLONE = {"PYTHONPATH", *FOREIGN_GIT}

# Whatever the user's own configuration asks of commits: nobody is there to enter a passphrase.
COMMIT = (
    *("-c", "user.name=retrain_model", "-c", "user.email=retrain_model@localhost"),
    *("-c", "commit.gpgSign=false", "commit", "--quiet"),
)

log = logging.getLogger("jobs.retrain_model")


class CodeUnavailable(RuntimeError):
    """The code to train with cannot be cloned."""


class SourceNotCommitted(RuntimeError):
    """The code to train with has no entry for the source."""


class TrainingFailed(RuntimeError):
    """A DVC command failed; its own output says why."""


def run(
    settings: Settings,
    params: Params,
    until: date,
    *,
    reason: str,
    actor: str,
    token: str | None,
    asked_at: datetime | None = None,
) -> ModelVersion:
    """Train and register; or find the version that an earlier attempt with ``token`` made.

    Raises:
        WrongInput: If ``params.yaml`` lacks the source.
        CodeUnavailable: If the code cannot be cloned.
        SourceNotCommitted: If the ``params.yaml`` of that code lacks the source.
        TrainingFailed: If a stage fails.
    """
    # Better now than after an hour of training.
    params.source(settings.source)
    check_migrated(connect(settings.warehouse_url))
    registry = open_registry(settings, params)
    registry.create()
    with only_training(settings.data_root / "retraining") as folder:
        for version in registry.read().versions:
            if token is not None and version.token == token:
                log.info("%s was made by this training (token %s)", version.version, token)
                copy_history(settings, registry)
                return version

        clone = clone_code(settings, folder)
        set_training_until(clone / "params.yaml", settings.source, until)
        environment = configure_dvc(settings, clone)
        dvc("repro", clone=clone, environment=environment)

        git("add", "--all", "--", "params.yaml", "dvc.lock", "artifacts", folder=clone)
        message = f"Train {params.model.name} on {settings.source} until {until}\n\n{reason}"
        git(*COMMIT, "--allow-empty", "-m", message, folder=clone)
        dvc("push", clone=clone, environment=environment)
        version = register_commit(
            settings,
            params,
            clone,
            reason=reason,
            actor=actor,
            token=token,
            asked_at=asked_at,
        )
        log.info("%s is registered", version.version)
        return version


@contextmanager
def only_training(folder: Path) -> Iterator[Path]:
    """``folder``, empty, to this process alone; waits until another training there has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.warning("another training works in %s; waiting for its end", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        _empty(folder)
        try:
            yield folder
        finally:
            _empty(folder)


def clone_code(settings: Settings, folder: Path) -> Path:
    """A clone of the code's head below ``folder``, with the ``params.yaml`` of the checkout, if it
    is one; warns of what else the clone will not have.

    Raises:
        CodeUnavailable: If git cannot clone it; the address is shown without its password.
        SourceNotCommitted: If its ``params.yaml`` lacks the source.
    """
    checkout = Path(settings.code_url)
    is_checkout = (
        checkout.is_dir() and git("rev-parse", "--is-bare-repository", folder=checkout) != "true\n"
    )
    if is_checkout:
        made_here = (":!params.yaml", ":!dvc.lock", ":!artifacts")
        changed = git(*("status", "--porcelain", "--", ".", *made_here), folder=checkout)
        if changed:
            log.warning(
                "training uses the last commit of %s, without these changes:\n%s",
                settings.code_url,
                changed.rstrip(),
            )
    clone = folder / "code"
    try:
        git("clone", "--quiet", "--no-tags", settings.code_url, str(clone))
    except GitFailed as error:
        raise CodeUnavailable(
            f"cannot clone the code from {shown(settings.code_url)}: {error.stderr.strip()}. "
            "See to its host and the access to it, or set SCORING_CODE_URL; then run the job again."
        ) from None
    log.info("training code %s", git("log", "-1", "--format=%h %s", folder=clone).strip())
    params = clone / "params.yaml"
    if is_checkout:
        shutil.copyfile(checkout / params.name, params)
        if git("status", "--porcelain", "--", params.name, folder=clone):
            log.info("params.yaml is used as it is now; it is kept with the version")
    if settings.source not in yaml.safe_load(params.read_text(encoding="utf-8"))["sources"]:
        raise SourceNotCommitted(
            f"the params.yaml of {shown(settings.code_url)} has no source {settings.source!r}: "
            "commit params.yaml there and run the job again."
        )
    return clone


def set_training_until(path: Path, source: str, until: date) -> None:
    """Put ``until`` into the source's entry of ``params.yaml``; every other byte stays."""
    text = path.read_text(encoding="utf-8")
    wanted = yaml.load(text, yaml.CSafeLoader)
    wanted["sources"][source]["training_until"] = str(until)

    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in ("sources", source, "training_until"):
        node = {name.value: value for name, value in node.value}[key]
    edited = f'{text[: node.start_mark.index]}"{until}"{text[node.end_mark.index :]}'

    if yaml.load(edited, yaml.CSafeLoader) != wanted:
        raise ValueError(f"cannot set sources.{source}.training_until in {path}: set it by hand")
    path.write_text(edited, encoding="utf-8")


def configure_dvc(settings: Settings, clone: Path) -> dict[str, str]:
    """Point the clone at our cache and model store; the environment for DVC and the stages."""
    (clone / ".dvc" / "config.local").write_text(
        DVC_CONFIG.format(
            cache=settings.data_root / "dvc-cache", store=absolute(settings.model_store_url)
        ),
        encoding="utf-8",
    )
    ours = {f"SCORING_{name.upper()}": str(value) for name, value in settings}
    return {
        **{key: value for key, value in os.environ.items() if key not in NOT_FOR_THE_CLONE},
        **ours,
        # The `python` and `dvc` of the stages are those of this process.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # Beside the clone, so that it goes when the clone goes.
        "DVC_SITE_CACHE_DIR": str(clone.parent / "dvc-site"),
        # Threads that spin while they wait starve the JVM beside them.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def dvc(command: str, clone: Path, environment: dict[str, str]) -> None:
    """Run ``dvc <command>`` in the clone, its output on our standard error.

    Raises:
        TrainingFailed: If it fails.
    """
    log.info("dvc %s", command)
    with subprocess.Popen(
        ["sh", "-c", DIES_WITH_US, "sh", "dvc", command],
        cwd=clone,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=2,
        start_new_session=True,
    ) as process:
        code = process.wait()
    if code:
        raise TrainingFailed(f"dvc {command} ended with {code}; its output above says why")


def _empty(folder: Path) -> None:
    for leftover in folder.iterdir():
        # What a process that is just being killed still writes is swept by the next training.
        shutil.rmtree(leftover, ignore_errors=True)


def main(arguments) -> dict:
    """Start the job from the command line."""
    # So that a stopped job still clears up.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    settings, params = Settings(), read_params()
    reason, actor = arguments.reason, arguments.actor or getpass.getuser()
    version = run(
        settings,
        params,
        arguments.until,
        reason=reason,
        actor=actor,
        token=arguments.token,
        asked_at=arguments.asked_at,
    )
    registry = open_registry(settings, params)
    if arguments.promote_first and not registry.read().promotions:
        promote(settings, params, version=version.version, reason=reason, actor=actor)
    log.info("%s", standing(version, registry.read()))
    return version_facts(version)


def standing(version: ModelVersion, state: RegistryState) -> str:
    """What the version is allowed to do, in a sentence that ends a training."""
    champion = state.champion
    if champion is None:
        return (
            f"{version.version} is registered and scores nobody: there is no champion yet. To make "
            f"it the first: python -m jobs.promote_model --version {version.version} --reason ..."
        )
    if champion == version.version:
        return f"{version.version} is the champion: it scores from the next night on"
    return (
        f"{version.version} is registered and scores nobody: the champion is {champion}. It must "
        "not be promoted unless it wins against that one, or is to ask another question: "
        f"python -m jobs.judge_challenger --version {version.version}"
    )


if __name__ == "__main__":
    start(PARSER, main)
