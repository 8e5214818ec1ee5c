"""A small shop before each job of one night, to be copied for every case.

Files of the lake are never changed in place, so copies are hard links; what other programs change
in place (the database, git, pages) is copied. That the linked files still hold what they held is
checked at the end (``Stages.changed_files``).
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import sqlalchemy as sa

import warehouse
from benchmarks.faults.processes import Job, Prepare, count_steps, start
from benchmarks.faults.values import Values, values_of
from lake import file_sha256
from ledger import entries
from local import postgres
from settings import PROJECT_ROOT
from tests.jobs.small_shop import NIGHTS

NIGHT = NIGHTS[2]

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

BACKENDS = ("sqlite", "postgresql")

LINKED = ("lake", "incoming", "model-store", "bundles")

TRIES = 4
"""How often Airflow would run a task: once, and three more times."""


class NotRecovered(Exception):
    """A night did not come to its end, or not to the end of an undisturbed one.

    ``job`` is the one that could not be done, if it was one.
    """

    def __init__(self, said: str, job: str | None = None) -> None:
        super().__init__(said)
        self.job = job


@dataclass(frozen=True, slots=True)
class Deployment:
    """A data root and its warehouse."""

    root: Path
    url: str

    @property
    def output(self) -> Path:
        """Where the output of jobs goes."""
        return self.root.parent / "output"

    @property
    def _environment(self) -> dict[str, str]:
        return {"SCORING_DATA_ROOT": str(self.root), "SCORING_WAREHOUSE_URL": self.url}

    def start(
        self,
        job: str,
        run_id: str | None,
        *prepare: Prepare,
        night: date = NIGHT,
        engine: str | None = None,
    ) -> Job:
        """Start a job of the night, by default on the engine that the run was opened with."""
        arguments = [] if job == "sweep_lake" else [f"--score-date={night}"]
        if run_id is not None and job not in ("open_run", "sweep_lake"):
            arguments.append(f"--run-id={run_id}")
        environment = self._environment | ({"SCORING_SPARK": engine} if engine else {})
        return start(job, arguments, environment, self.output, *prepare)

    def run(self, job: str, run_id: str | None, *, tries: int = TRIES, night: date = NIGHT) -> Job:
        """Run a job as a task does, with its retries; wrong data are not tried again.

        Raises:
            NotRecovered: If it does not end well.
        """
        for _ in range(tries):
            ended = self.start(job, run_id, night=night)
            if ended.wait() in (0, 20):
                break
        if ended.code:
            raise NotRecovered(f"{job} exits with {ended.code}: {ended.said}", job)
        return ended

    def finish(
        self,
        first: str = JOBS[0],
        run_id: str | None = None,
        *,
        last: str = JOBS[-1],
        tries: int = TRIES,
        night: date = NIGHT,
    ) -> str | None:
        """Run the night's jobs from ``first`` to ``last``; the run's id."""
        for job in JOBS[JOBS.index(first) : JOBS.index(last) + 1]:
            ended = self.run(job, run_id, tries=tries, night=night)
            if job == "open_run":
                run_id = ended.result["run_id"]
        return run_id

    def load_history(self) -> None:
        """Take in again what the lake lacks, as most messages advise."""
        until = NIGHT - timedelta(days=1)
        start("load_history", [f"--until={until}"], self._environment, self.output).wait()

    def is_published(self, run_id: str) -> bool:
        """Whether readers see the run."""
        return warehouse.current_run(warehouse.connect(self.url), NIGHT) == run_id


@dataclass(frozen=True, slots=True)
class Stages:
    """The shop before each job of the night, on one kind of database; and how the night ends.

    ``seconds`` and ``steps`` are those of each job when nothing disturbs it, ``after`` what there
    is once it has ended; ``seen`` is what readers may see: the night before, or this one.
    """

    backend: str
    folder: Path
    server: str | None
    run_id: str
    delivery_id: str
    seconds: Mapping[str, float]
    steps: Mapping[str, int]
    after: Mapping[str, Values]
    seen: tuple[str, ...]
    linked: Mapping[str, str]

    def copy(self, job: str, folder: Path) -> Deployment:
        """The shop as it is before that job, in a new folder."""
        return copy_shop(self.folder / job, self.server, f"before_{job}", folder)

    def changed_files(self) -> list[str]:
        """Linked files that do not hold any more what they held: they were changed in place."""
        return [path for path, sha256 in self.linked.items() if file_sha256(Path(path)) != sha256]


def build_shop(folder: Path) -> Path:
    """A shop with a history, a champion and no night yet, below ``folder``; its data root."""
    program = [sys.executable, "-m", "benchmarks.faults.build", str(folder)]
    ours = {"PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run(
        program, cwd=PROJECT_ROOT, env=os.environ | ours, capture_output=True, text=True
    )
    if done.returncode:
        raise NotRecovered(f"the shop was not made: {done.stderr[-2000:]}")
    return folder / "data"


def build_stages(
    root: Path, backend: str, server: str | None, folder: Path, look: Callable[[str], str]
) -> Stages:
    """Two nights, and the third one job by job, with a copy of the shop before each.

    Args:
        root: A shop without nights.
        server: The URL of a PostgreSQL server; None for SQLite.
        look: What readers see at a URL.
    """
    work = folder / "work"
    work.mkdir(parents=True)
    shutil.copytree(root, work / "data")
    url = f"sqlite:///{work}/data/warehouse.db"
    if server is not None:
        (work / "data/warehouse.db").unlink()
        url = postgres.create_database(server, "work")
        warehouse.migrate(url)
    shop = Deployment(work / "data", url)
    for night in NIGHTS[:2]:
        shop.finish(last="publish_predictions", night=night)
    before = look(url)
    run_id, seconds, steps, after = None, {}, {}, {}
    for job in JOBS:
        copy_shop(work, server and url, "work", folder / job, f"before_{job}")
        counter = work / "steps"
        ended = shop.start(job, run_id, count_steps(counter))
        if ended.wait():
            raise NotRecovered(f"undisturbed, {job} exits with {ended.code}: {ended.said}")
        seconds[job], steps[job] = ended.seconds, int(counter.read_text() or 0)
        if job == "open_run":
            run_id = ended.result["run_id"]
        after[job] = values_of(shop.root, url)
    linked = {
        str(path): file_sha256(path)
        for name in LINKED
        for path in (folder / JOBS[-1] / "data" / name).rglob("*")
        if path.is_file()
    }
    return Stages(
        backend=backend,
        folder=folder,
        server=server,
        run_id=run_id,
        delivery_id=entries(shop.root, NIGHT)[-1].delivery_id,
        seconds=seconds,
        steps=steps,
        after=after,
        seen=(before, look(url)),
        linked=linked,
    )


def copy_shop(
    source: Path, server: str | None, database: str, folder: Path, name: str | None = None
) -> Deployment:
    """A copy of a shop in ``folder``, files of the lake linked.

    Args:
        server: A URL on the server that holds ``database``; None for SQLite.
        name: Of the copy's database; by default that of the folder.
    """
    for path in (source / "data").iterdir():
        target = folder / "data" / path.name
        if path.is_dir():
            how = os.link if path.name in LINKED else shutil.copy2
            shutil.copytree(path, target, copy_function=how, symlinks=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
    if server is None:
        return Deployment(folder / "data", f"sqlite:///{folder}/data/warehouse.db")
    name = name or folder.name
    with _administrator(server) as connection:
        connection.exec_driver_sql(f'create database "{name}" template "{database}"')
    return Deployment(folder / "data", _url_of(server, name))


def remove(shop: Deployment, server: str | None) -> None:
    """Remove a copy and its database."""
    unmount_below(shop.root.parent)
    if server is not None:
        with _administrator(server) as connection:
            name = sa.make_url(shop.url).database
            connection.exec_driver_sql(f'drop database "{name}" with (force)')
    shutil.rmtree(shop.root.parent)


def shrink(root: Path, room: int) -> bool:
    """Put a data root on a file system of its own (tmpfs) with ``room`` bytes left.

    False if this machine does not let us mount one; nothing has changed then.
    """
    whole = root.with_name("whole")
    root.rename(whole)
    root.mkdir()
    if not _mount("-t", "tmpfs", "-o", "size=256m", "faults", str(root)):
        root.rmdir()
        whole.rename(root)
        return False
    shutil.copytree(whole, root, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(whole)
    _mount("-o", f"remount,size={_used(root) + room}", str(root))
    return True


def grow(root: Path) -> None:
    """Give a data root that was shrunk room enough."""
    _mount("-o", "remount,size=256m", str(root))


def unmount_below(folder: Path) -> None:
    """Unmount what a case has mounted."""
    for line in Path("/proc/mounts").read_text().splitlines():
        if (place := Path(line.split()[1])).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(*arguments: str) -> bool:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def _used(root: Path) -> int:
    state = os.statvfs(root)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def _administrator(server: str):
    url = _url_of(server, "postgres")
    return sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect()


def _url_of(server: str, name: str) -> str:
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)
