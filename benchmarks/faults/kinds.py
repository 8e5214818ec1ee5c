"""What can happen to a night: each kind is a function that lets it happen to one copy of the shop.

It is called with the shop as it is before ``case.job``, says in ``case.moment`` what exactly it
did, and leaves the rest to the retry: all jobs from ``case.job`` on, as Airflow would run them.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import sqlalchemy as sa

import catalog
from benchmarks.faults import mutations
from benchmarks.faults.processes import (
    Job,
    clock_off_by,
    files_up_to,
    hold_at,
    is_java,
    kill_at,
    processes_of,
)
from benchmarks.faults.shop import (
    BACKENDS,
    JOBS,
    NIGHT,
    Deployment,
    NotRecovered,
    Stages,
    grow,
    shrink,
)
from deliveries.receive import describe_delivery
from ledger import delivery_id, entries
from local import postgres
from tests.e2e.conftest import running_cluster

PUBLISHES = "publish_predictions"

USING_WAREHOUSE = tuple(job for job in JOBS if job in (
    "open_run", "publish_predictions", "measure_quality", "report_drift", "measure_performance",
    "decide_retraining", "audit_night",
))  # fmt: skip


@dataclass(slots=True)
class Case:
    """One fault: where it happens, and, once it has, at which moment and what became of it.

    ``detail`` is which one it is of a kind that has several. ``is_done`` says that ``job`` has
    ended well and is not to be run again, ``is_over`` that the kind has run those after it, and has
    compared; ``impossible`` why it cannot happen on this machine.
    """

    number: int
    kind: str
    stages: Stages
    job: str
    random: Random
    shop: Deployment
    detail: str = ""
    server_folder: Path | None = None
    moment: str = ""
    impossible: str = ""
    is_lake_compared: bool = True
    is_done: bool = False
    is_over: bool = False
    noticed: str = ""
    mended_by: str = ""

    @property
    def run_id(self) -> str | None:
        """The run of the night, once it is opened."""
        return None if self.job == JOBS[0] else self.stages.run_id

    @property
    def next_job(self) -> str:
        """The first job that is run after the fault."""
        is_last = self.job == JOBS[-1]
        return JOBS[JOBS.index(self.job) + 1] if self.is_done and not is_last else self.job

    @property
    def name(self) -> str:
        """The case as a person would look for it."""
        return f"case {self.number} ({self.kind}, {self.stages.backend}, {self.job}, {self.moment})"

    def draw_step(self) -> int:
        """A step of the job, as on_steps counts them."""
        return self.random.randint(1, max(1, self.stages.steps[self.job]))


def killed_at_a_step(case: Case) -> None:
    """Killed just before a write, a move, a statement or a commit."""
    step = case.draw_step()
    case.moment = f"before step {step} of {case.stages.steps[case.job]}"
    case.shop.start(case.job, case.run_id, kill_at(step)).wait()


def killed_at_a_moment(case: Case) -> None:
    """Killed at a moment drawn from the time that the job takes."""
    seconds = case.random.uniform(0, 1.1) * case.stages.seconds[case.job]
    case.moment = f"after {seconds:.3f} s of {case.stages.seconds[case.job]:.3f} s"
    job = case.shop.start(case.job, case.run_id)
    while time.monotonic() - job.started < seconds and not job.has_ended():
        time.sleep(0.002)
    job.kill()


def killed_between_jobs(case: Case) -> None:
    """The job had ended well, but Airflow lost its answer and runs it again."""
    case.moment = "after its end"
    case.shop.run(case.job, case.run_id)


def database_stopped(case: Case) -> None:
    """The server is killed in the middle of the job, and started when the job has failed."""
    step = case.draw_step()
    case.moment = f"before step {step} of {case.stages.steps[case.job]}"
    job = case.shop.start(case.job, case.run_id, hold_at(step))
    is_held = job.is_held()
    postmaster = case.server_folder / "server/data/postmaster.pid"
    pid = int(postmaster.read_text().splitlines()[0])
    os.kill(pid, signal.SIGQUIT)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)
    if is_held:
        job.go_on()
    job.wait()
    postgres.start(case.server_folder)


def connection_cut(case: Case) -> None:
    """The server ends all connections to the database in the middle of the job."""
    step = case.draw_step()
    case.moment = f"before step {step} of {case.stages.steps[case.job]}"
    job = case.shop.start(case.job, case.run_id, hold_at(step))
    is_held = job.is_held()
    engine = sa.create_engine(case.shop.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
    if is_held:
        job.go_on()
    job.wait()


def database_gone(case: Case) -> None:
    """The file of the warehouse is not there while the job runs, and then it is."""
    case.moment = "while it ran"
    files = list(case.shop.root.glob("warehouse.db*"))
    for file in files:
        file.rename(file.with_name(f"away-{file.name}"))
    if case.shop.start(case.job, case.run_id).wait() == 0:
        raise NotRecovered(f"{case.job} ends well without a warehouse")
    for left in case.shop.root.glob("warehouse.db*"):
        left.unlink()
    for file in files:
        file.with_name(f"away-{file.name}").rename(file)


def disk_full(case: Case) -> None:
    """The data lie on a small file system (tmpfs) that fills up while the job writes."""
    room = int(10 ** case.random.uniform(3.6, 5.4))
    case.moment = f"{room} bytes left"
    if not shrink(case.shop.root, room):
        case.impossible = "no file system can be mounted here"
        return
    case.shop.start(case.job, case.run_id).wait()
    grow(case.shop.root)


def files_limited(case: Case) -> None:
    """No file can grow beyond a size (RLIMIT_FSIZE): every writer of the job meets it."""
    size = int(10 ** case.random.uniform(2, 5.7))
    case.moment = f"at {size} bytes"
    case.shop.start(case.job, case.run_id, files_up_to(size)).wait()


def clock_wrong(case: Case) -> None:
    """The clock of our modules is wrong by up to thirty years while the job runs."""
    days = case.random.choice([-11_000, -400, -1, 1, 400, 11_000])
    case.moment = f"by {days} days"
    ended = case.shop.start(case.job, case.run_id, clock_off_by(timedelta(days=days)))
    if ended.wait():
        raise NotRecovered(f"{case.job} exits with {ended.code}: {ended.said}")
    case.is_done = True


def two_at_once(case: Case) -> None:
    """The job runs twice: one is held at a step while the other does all of it, or both race."""
    step = case.random.choice([None, case.draw_step()])
    case.moment = "both race" if step is None else f"one held before step {step}"
    first = case.shop.start(case.job, case.run_id, *([] if step is None else [hold_at(step)]))
    is_held = step is not None and first.is_held()
    second = case.shop.start(case.job, case.run_id)
    if is_held and _waits_for_the_held_one(second):
        case.moment += ", the other waits for it"
        first.go_on()
        is_held = False
    second.wait()
    if is_held:
        first.go_on()
    first.wait()


def _waits_for_the_held_one(job, patience: float = 20) -> bool:
    while time.monotonic() - job.started < patience:
        if job.has_ended():
            return False
        time.sleep(0.01)
    return True


# ------------------------------------------------------------------------ Apache Spark

ON_SPARK = ("validate_delivery", "summarise_activity", "build_features", "score_customers")

SHORT_OF_MEMORY = {
    "SCORING_SPARK_DRIVER_MEMORY": "512m",
    "SCORING_SPARK_EXECUTOR_MEMORY": "512m",
    "SPARK_LOCAL_IP": "127.0.0.1",
}
"""So that a cluster fits beside whatever else runs here."""


def java_killed(case: Case) -> None:
    """The job computes on Apache Spark, whose Java process (driver, executor) is killed."""
    seconds = case.random.uniform(0, 6)
    job = _start_on(case, "local[2]")
    if not _wait_for(job, lambda: job.java("SparkSubmit")):
        raise NotRecovered(f"{case.job} started no Java: {job.said}")
    time.sleep(seconds)
    java = job.java("SparkSubmit")
    for pid in java:
        os.kill(pid, signal.SIGKILL)
    code = job.wait()
    case.moment = f"{seconds:.1f} s after it was there; the job exits with {code}"
    if java and code == 0:
        case.moment = f"{seconds:.1f} s after it was there, when the job had all it needed"
    _retried_on_spark(case, "local[2]")


def executor_killed(case: Case) -> None:
    """The job computes on a cluster of two workers, and a busy executor is killed."""
    _on_a_cluster(case, "CoarseGrainedExecutorBackend", is_worker=False)


def worker_killed(case: Case) -> None:
    """The job computes on a cluster of two workers; a busy one is killed with its executor."""
    _on_a_cluster(case, "CoarseGrainedExecutorBackend", is_worker=True)


def _on_a_cluster(case: Case, executor: str, *, is_worker: bool) -> None:
    seconds = case.random.uniform(0, 4)
    folder = case.shop.root.parent / "cluster"
    folder.mkdir()
    with running_cluster(folder) as cluster:
        groups = [worker.pid for worker in cluster.workers.values()]

        def busy() -> list[tuple[int, int]]:
            return [(g, p) for g in groups for p in processes_of(g) if is_java(p, executor)]

        job = _start_on(case, cluster.url)
        if not _wait_for(job, busy):
            raise NotRecovered(f"{case.job} used no worker: {job.said}")
        time.sleep(seconds)
        for group, pid in busy()[:1]:
            os.killpg(group, signal.SIGKILL) if is_worker else os.kill(pid, signal.SIGKILL)
        code = job.wait()
        case.moment = f"{seconds:.1f} s after it was there; the job exits with {code}"
        _retried_on_spark(case, cluster.url, is_done=code == 0)


def _start_on(case: Case, engine: str) -> Job:
    os.environ.update(SHORT_OF_MEMORY)
    return case.shop.start(case.job, case.run_id, engine=engine)


def _wait_for(job: Job, look: Callable[[], list]) -> bool:
    while not job.has_ended():
        if look():
            return True
        time.sleep(0.02)
    return False


def _retried_on_spark(case: Case, engine: str, *, is_done: bool = False) -> None:
    """Run the job again where it was, and the others up to publishing on the embedded engine.

    Engines write the same values in other bytes, so what is published is compared, value by value.
    """
    if not is_done and _start_on(case, engine).wait():
        raise NotRecovered(f"{case.job} does not end well on {engine} when it is tried again")
    case.is_over = True
    case.shop.finish(JOBS[JOBS.index(case.job) + 1], case.run_id, last=PUBLISHES)
    if wrong := case.stages.after[PUBLISHES].published_differently(case.shop.url):
        raise NotRecovered(f"another night is published: {wrong}")


# ------------------------------------------------------------------------------- locks

GIT_LOCKS = (
    "registry-mirror.git/config.lock",
    "registry-mirror.git/HEAD.lock",
    "registry-mirror.git/packed-refs.lock",
    "registry-mirror.git/shallow.lock",
    "registry.git/config.lock",
    "registry.git/packed-refs.lock",
    "registry.git/refs/tags/repurchase@v1.0.0.lock",
    "registry-mirror.lock",
)
USING_GIT = ("open_run", "advance_rollout")

HALF_WRITTEN = (
    f"lake/.written.dead/rows/known_on={NIGHT}/part.parquet",
    "lake/.kept.dead/rows/part.parquet",
    f"lake/runs/score_date={NIGHT}/.run.json.dead",
    f"lake/received/known_on={NIGHT}/0123456789ab/part-0.parquet",
    f"reports/{NIGHT}/.drift.dead/new/index.html",
    "sessions/dead.json",
    "retraining.lock",
)


def locks_left(case: Case) -> None:
    """A lock or a half-written file that a dead process has left lies in the way of the job."""
    case.moment = case.detail
    path = case.shop.root / case.detail
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PAR1 half" if "lake" in case.detail else b"")


# -------------------------------------------------------------------------- deliveries


def _replaced(folder: Path) -> None:
    """Another, whole delivery."""
    mutations.a_row_dropped(next(folder.iterdir()))


def _truncated(folder: Path) -> None:
    file = next(folder.iterdir())
    mutations.replace(file, file.read_bytes()[:-20])


def _doubled(folder: Path) -> None:
    shutil.copy(folder / "part-0.parquet", folder / "part-1.parquet")


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


CHANGES = {"replaced": _replaced, "truncated": _truncated, "doubled": _doubled, "gone": _gone}
CHANGED = tuple(sorted(CHANGES))
BAD = ("truncated", "doubled", "gone")


def delivery_changed_after(case: Case) -> None:
    """Upstream changes its folder once the run is opened, and leaves it so."""
    case.moment = case.detail
    CHANGES[case.detail](catalog.incoming_folder(case.shop.root, NIGHT))


def delivery_changed_while_opened(case: Case) -> None:
    """Upstream changes its folder while open_run copies it, and puts it right later."""
    step, name = case.draw_step(), case.detail
    case.moment = f"{name} before step {step} of {case.stages.steps[case.job]}"
    root = case.shop.root
    job = case.shop.start(case.job, None, hold_at(step))
    is_held = job.is_held()
    whole = _spoil(root, name)
    if is_held:
        job.go_on()
    job.wait()
    for entry in entries(root, NIGHT):
        if entry.delivery_id != delivery_id(describe_delivery(root / entry.folder, "parquet")):
            raise NotRecovered(f"what the lake holds is not entry {entry.number} of its ledger")
        # Another delivery was there whole, and was taken; the one that is put right replaces it.
        if entry.delivery_id != case.stages.delivery_id:
            case.moment += ", which was taken"
            case.is_lake_compared = False
    _put_right(root, whole)


def delivery_bad_from_the_start(case: Case) -> None:
    """The delivery is late, truncated or doubled; upstream puts it right after the night failed."""
    case.moment = "late" if case.detail == "gone" else case.detail
    whole = _spoil(case.shop.root, case.detail)
    if not _try_the_night(case):
        raise NotRecovered(f"a night whose delivery is {case.moment} is published")
    # The bad one stays on the ledger.
    case.is_lake_compared = not entries(case.shop.root, NIGHT)
    _put_right(case.shop.root, whole)


def _spoil(root: Path, name: str) -> Path:
    """Change the delivery of the night; where the whole one is kept."""
    folder = catalog.incoming_folder(root, NIGHT)
    whole = root.parent / "whole"
    shutil.copytree(folder, whole)
    CHANGES[name](folder)
    return whole


def _put_right(root: Path, whole: Path) -> None:
    folder = catalog.incoming_folder(root, NIGHT)
    shutil.rmtree(folder, ignore_errors=True)
    whole.rename(folder)


def _try_the_night(case: Case) -> str | None:
    """Run the night up to its publishing; why it stopped, None if it did not."""
    try:
        case.shop.finish(last=PUBLISHES, tries=1)
    except NotRecovered as error:
        return str(error)
    return None


# ----------------------------------------------------------------------------- mutations


def mutated(case: Case) -> None:
    """A file of the lake that the night rests on is changed between two jobs.

    It must be noticed before the night is published, or change nothing that readers see. Then what
    the runbook says is tried, the smallest thing first.

    Raises:
        NotRecovered: If something else is published than without the change.
    """
    shop, root = case.shop, case.shop.root
    backups = root.parent / "kept"
    mutation = mutations.mutate(root, backups, case.stages.run_id, case.detail, case.random)
    case.moment = mutation.name
    # Only what is published matters, and only the tables that hold it are compared.
    case.is_over = True
    undisturbed = case.stages.after[PUBLISHES]
    stopped = case.job
    try:
        shop.finish(case.job, case.run_id, last=PUBLISHES, tries=1)
    except NotRecovered as error:
        case.noticed, stopped = str(error), error.job or case.job
    if shop.is_published(case.stages.run_id):
        if wrong := undisturbed.published_differently(shop.url):
            raise NotRecovered(f"a mutation was published: {wrong}")
        return
    for case.mended_by, mend, first in (
        ("its retry", lambda: None, stopped),
        ("open_run", lambda: None, JOBS[0]),
        ("load_history", shop.load_history, JOBS[0]),
        ("a backup", mutation.undo, stopped),
    ):
        mend()
        try:
            shop.finish(first, case.stages.run_id, last=PUBLISHES, tries=1)
        except NotRecovered:
            continue
        if wrong := undisturbed.published_differently(shop.url):
            raise NotRecovered(f"mended by {case.mended_by}, another night is published: {wrong}")
        return
    raise NotRecovered(
        f"neither a retry nor load_history nor a backup mends it. It was noticed: {case.noticed}"
    )


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault, to which job (and in which detail) and on which databases it can happen.

    ``share`` is how many of four hundred cases are of it. ``until`` is the last job that is run
    before the comparison, by default the job that was disturbed.
    """

    happen: Callable[[Case], None]
    share: int
    places: tuple[tuple[str, str], ...] = tuple((job, "") for job in JOBS)
    backends: tuple[str, ...] = BACKENDS
    until: str | None = None

    @property
    def name(self) -> str:
        return self.happen.__name__


def _places(jobs: Sequence[str], details: Sequence[str] = ("",)) -> tuple[tuple[str, str], ...]:
    return tuple((job, detail) for job in jobs for detail in details)


UP_TO_PUBLISHING = JOBS[1 : JOBS.index(PUBLISHES) + 1]

KINDS = {
    kind.name: kind
    for kind in (
        Kind(killed_at_a_step, 52),
        Kind(killed_at_a_moment, 26),
        Kind(killed_between_jobs, 13),
        Kind(java_killed, 6, _places(ON_SPARK)),
        Kind(executor_killed, 3, _places(ON_SPARK[2:])),
        Kind(worker_killed, 3, _places(ON_SPARK[2:])),
        Kind(database_stopped, 7, _places(USING_WAREHOUSE), ("postgresql",)),
        Kind(connection_cut, 7, _places(USING_WAREHOUSE), ("postgresql",)),
        Kind(database_gone, 4, _places(USING_WAREHOUSE), ("sqlite",)),
        Kind(disk_full, 18),
        Kind(files_limited, 6),
        Kind(clock_wrong, 8),
        Kind(two_at_once, 14),
        Kind(locks_left, 15, (*_places(USING_GIT, GIT_LOCKS), *_places(JOBS, HALF_WRITTEN))),
        Kind(
            delivery_changed_after, 5, _places(UP_TO_PUBLISHING, sorted(CHANGES)), until=PUBLISHES
        ),
        Kind(delivery_changed_while_opened, 8, _places(JOBS[:1], sorted(CHANGES)), until=PUBLISHES),
        Kind(
            delivery_bad_from_the_start,
            5,
            _places(JOBS[:1], ("truncated", "doubled", "gone")),
            until=PUBLISHES,
        ),
        Kind(
            mutated,
            200,
            tuple(
                (job, what)
                for what, first in mutations.THERE_BEFORE.items()
                for job in UP_TO_PUBLISHING[UP_TO_PUBLISHING.index(first) :]
            ),
        ),
    )
}
