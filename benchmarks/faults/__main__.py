"""Do to a night what can happen to one, again and again: ``python -m benchmarks.faults --help``.

Each case takes a copy of a small shop as it is before one job of a night, lets one fault happen
there, and then does what Airflow would do: runs the job again. A reader polls
``latest_predictions`` all the while. Then the whole warehouse and the whole lake must hold what
they hold after that job in a night that nothing disturbed, moments left out, and the reader must
have seen the night before or the new one, whole, and nothing else. What the later jobs do follows
from that; every fifth case runs them all the same. Everything is drawn from the seed, so a case can
be run again by its number.
"""

import argparse
import importlib
import itertools
import logging
import platform
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random

from rich.console import Console

from benchmarks.faults.kinds import KINDS, Case, Kind
from benchmarks.faults.reader import Reader, look
from benchmarks.faults.shop import (
    BACKENDS,
    JOBS,
    NotRecovered,
    Stages,
    build_shop,
    build_stages,
    remove,
    unmount_below,
)
from benchmarks.faults.values import values_of
from local import postgres
from settings import PROJECT_ROOT

TO_THE_END = 5
"""Each case whose number divides by it goes on to the end of the night."""

console = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case; ``violation`` says what was broken, and is empty if nothing was."""

    case: Case
    violation: str
    looks: int
    seconds: float


def import_jobs() -> None:
    """Import what jobs import, so that a forked one begins with its work."""
    for job in (*JOBS, "load_history"):
        importlib.import_module(f"jobs.{job}")
    for module in ("evidently", "monitoring.dashboard", "monitoring.report", "deltalake"):
        try:
            importlib.import_module(module)
        except ImportError:
            continue


@dataclass(frozen=True, slots=True)
class Card:
    """What happens in a case, and where."""

    kind: Kind
    backend: str
    job: str
    detail: str


def deck(seed: int, kinds: Sequence[Kind], backends: Sequence[str]) -> list[Card]:
    """The cases of a seed in their order, of each kind its share.

    The details of a kind come in turn, and for each of them its databases and jobs, so that none
    comes twice before all have come.
    """
    cards = []
    for kind in kinds:
        random = Random(f"{seed} {kind.name}")  # noqa: S311 - to be drawn again from the seed
        mine = [each for each in backends if each in kind.backends]
        places = [Card(kind, backend, *place) for backend in mine for place in kind.places]
        random.shuffle(places)
        by_detail: dict[str, list[Card]] = {}
        for card in places:
            by_detail.setdefault(card.detail, []).append(card)
        if by_detail:
            piles = itertools.cycle([itertools.cycle(pile) for pile in by_detail.values()])
            cards += [next(pile) for pile in itertools.islice(piles, kind.share)]
    Random(seed).shuffle(cards)  # noqa: S311
    return cards


def run_case(case: Case, kind: Kind, folder: Path) -> Outcome:
    """Let the fault happen, run the night to its end, and compare."""
    started = time.monotonic()
    violation = ""
    with Reader(case.shop.url, folder / "seen.json") as reader:
        try:
            kind.happen(case)
            if not (case.is_over or case.impossible):
                last = JOBS[-1] if case.number % TO_THE_END == 0 else kind.until or case.job
                compare_after(case, last)
        except (NotRecovered, TimeoutError) as error:
            violation = str(error)
        except Exception as error:
            # One case that this program cannot run does not end the others; it is no success.
            violation = f"not run to its end: {type(error).__name__}: {error}"
    if strange := sorted(set(reader.seen) - set(case.stages.seen)):
        violation += f" A reader saw {strange[0]!r}, which is no whole night."
    if not reader.seen:
        violation += " The reader saw nothing, which proves nothing."
    return Outcome(case, violation.strip(), sum(reader.seen.values()), time.monotonic() - started)


def compare_after(case: Case, last: str) -> None:
    """Run the night on up to a job, and hold all there is then against what there should be.

    What the jobs after it do follows from that.

    Raises:
        NotRecovered: If it is something else.
    """
    if not case.is_done or last != case.job:
        case.shop.finish(case.next_job, case.stages.run_id, last=last)
    now, undisturbed = values_of(case.shop.root, case.shop.url), case.stages.after[last]
    lake = {"is_lake_compared": case.is_lake_compared}
    if wrong := now.first_difference(undisturbed, **lake):
        raise NotRecovered(f"after {last}: {wrong}")


def run_all(
    numbers: Iterable[int],
    seed: int,
    folder: Path,
    kinds: Sequence[Kind] = tuple(KINDS.values()),
    backends: Sequence[str] = BACKENDS,
    *,
    minutes: float = float("inf"),
) -> list[Outcome]:
    """Run these cases of a seed, one after the other, below ``folder``; none after ``minutes``.

    Raises:
        NotRecovered: If a night cannot be run that nothing disturbs, or a file of the lake that is
            never to be changed was changed in place.
    """
    deadline = time.monotonic() + 60 * minutes
    import_jobs()
    server_folder = folder / "server"
    stages: dict[str, Stages] = {}
    try:
        root = build_shop(folder / "shop")
        for backend in backends:
            server = postgres.start(server_folder) if backend == "postgresql" else None
            stages[backend] = build_stages(root, backend, server, folder / backend, look)
            times = {job: round(taken, 1) for job, taken in stages[backend].seconds.items()}
            console.print(f"a night on {backend}: {times}")
        outcomes, cards = [], deck(seed, kinds, backends)
        for number in numbers:
            if time.monotonic() > deadline:
                break
            card = cards[(number - 1) % len(cards)]
            place, its = folder / f"case{number}", stages[card.backend]
            case = Case(
                number=number,
                kind=card.kind.name,
                stages=its,
                job=card.job,
                random=Random(f"{seed} {number}"),  # noqa: S311
                shop=its.copy(card.job, place),
                detail=card.detail,
                server_folder=server_folder,
            )
            outcome = run_case(case, card.kind, place)
            outcomes.append(outcome)
            became = outcome.violation or case.impossible or case.noticed or "recovered"
            console.print(
                f"{case.name}: {became} [{outcome.seconds:.1f} s, {outcome.looks} looks]",
                style="red" if outcome.violation else None,
                markup=False,
                soft_wrap=True,
            )
            if not outcome.violation:
                remove(case.shop, its.server)
        for each in stages.values():
            if changed := each.changed_files():
                raise NotRecovered(f"{len(changed)} files were changed in place: {changed[0]}")
        return outcomes
    finally:
        unmount_below(folder)
        if "postgresql" in backends:
            postgres.stop(server_folder)
            shutil.rmtree((server_folder / "server").resolve(), ignore_errors=True)


# ------------------------------------------------------------------------------- the page


def write_page(outcomes: Sequence[Outcome], seed: int, path: Path) -> None:
    """Write what was done and found, as a table by kind."""
    count = len(outcomes)
    left_out = [each for each in outcomes if each.case.impossible]
    outcomes = [each for each in outcomes if not each.case.impossible]
    faults = [each for each in outcomes if each.case.kind != "mutated"]
    changes = [each for each in outcomes if each.case.kind == "mutated"]
    violations = [each for each in outcomes if each.violation]
    looks = sum(each.looks for each in outcomes)
    lines = [
        "# What can happen to a night",
        "",
        f"Made by `make faults` (`python -m benchmarks.faults --count {count} "
        f"--seed {seed}`); nothing on this page was written by hand.",
        "",
        "Each case takes a small shop as it is before one job of a night, lets one thing happen to "
        "it, and runs the job again, as Airflow would. Then all tables and all records and pieces "
        "of the lake must hold what they hold after that job in a night that nothing disturbed, "
        "moments left out; every fifth case goes on to the end of the night first. A reader polls "
        "`latest_predictions` meanwhile and must see the night before or the new one, whole. On "
        "Apache Spark, which writes the same values in other bytes, and after mutations, what is "
        "published is compared, value by value.",
        "",
        f"{len(faults)} faults, {len(faults) - sum(bool(e.violation) for e in faults)} recovered; "
        f"{len(changes)} mutations, {sum(bool(e.violation) for e in changes)} published or not "
        f"mended; {looks:,} looks of the reader. **Violations: {len(violations)}.**",
        "",
        "## Faults",
        "",
        "| fault | what happens | SQLite | PostgreSQL | recovered | violations |",
        "|---|---|---|---|---|---|",
    ]
    for kind in KINDS.values():
        of_kind = [each for each in faults if each.case.kind == kind.name]
        if not of_kind:
            continue
        by = [sum(e.case.stages.backend == backend for e in of_kind) for backend in BACKENDS]
        bad = sum(bool(each.violation) for each in of_kind)
        what = (kind.happen.__doc__ or "").split("\n")[0]
        name = kind.name.replace("_", " ")
        lines.append(f"| {name} | {what} | {by[0]} | {by[1]} | {len(of_kind) - bad} | {bad} |")
    lines += ["", "By the job that was under way:", "", "| job | faults | violations |"]
    lines.append("|---|---|---|")
    for job in JOBS:
        at_job = [each for each in faults if each.case.job == job]
        bad = sum(bool(each.violation) for each in at_job)
        lines.append(f"| `{job}` | {len(at_job)} | {bad} |")
    if changes:
        lines += _mutations(changes)
    if left_out:
        lines += ["", "Not possible on this machine, and left out:", ""]
        lines += [f"- {each.case.name}: {each.case.impossible}" for each in left_out]
    if violations:
        lines += ["", "## Violations", ""]
        lines += [f"- {each.case.name}: {each.violation}" for each in violations]
    lines += ["", "## With", "", _versions(), ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _mutations(changes: Sequence[Outcome]) -> list[str]:
    lines = [
        "",
        "## Mutations of files between two jobs",
        "",
        "One file that the night rests on gets a bit flipped, is cut, emptied, removed, loses a "
        "row, gets the content of another one or, a record, another value. *Noticed* means that a "
        "job stopped; *changed nothing* that nothing read it, or that it was made again; the rest "
        "of the line says what mended it: the job alone, the night from `open_run` on, "
        "`load_history` before that, or the file from a backup.",
        "",
        "| file | mutations | noticed | changed nothing | published | by its retry | by open_run | "
        "by load_history | by a backup |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    whats = sorted({each.case.moment.split(",")[0] for each in changes})
    for what in [*whats, "all"]:
        of_what = [e for e in changes if what in (e.case.moment.split(",")[0], "all")]
        good = [each for each in of_what if not each.violation]
        noticed = [each for each in of_what if each.case.noticed]
        mended = [
            sum(each.case.mended_by == by for each in good)
            for by in ("its retry", "open_run", "load_history", "a backup")
        ]
        silent = sum(not each.case.noticed for each in good)
        published = sum("was published" in each.violation for each in of_what)
        counts = [len(of_what), len(noticed), silent, published, *mended]
        lines.append(f"| {what} | {' | '.join(map(str, counts))} |")
    return lines


def _versions() -> str:
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    ).stdout.strip()
    packages = ("pysail", "pyarrow", "SQLAlchemy", "adbc-driver-postgresql", "psycopg", "evidently")
    return ", ".join(
        [
            f"commit {commit}",
            f"Python {platform.python_version()}",
            f"SQLite {sqlite3.sqlite_version}",
            "PostgreSQL 18",
            *(f"{package} {version(package)}" for package in packages),
            f"{platform.system()} {platform.release().split('-')[0]}",
        ]
    )


def main() -> None:
    """Run the cases of the command line; exit with 1 if one is a violation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=400, help="cases")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="only the case with this number")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="begin no case after so long"
    )
    parser.add_argument("--only", choices=sorted(KINDS), action="append", help="only this kind")
    parser.add_argument("--database", choices=BACKENDS, help="only on this one")
    parser.add_argument("--page", type=Path, help="where the page is written; default nowhere")
    parser.add_argument("--keep", action="store_true", help="keep the folders of violations")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    # However it ends, the server that it has started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    kinds = [KINDS[name] for name in arguments.only or KINDS]
    backends = [arguments.database] if arguments.database else BACKENDS
    numbers = range(1, arguments.count + 1) if arguments.case is None else [arguments.case]
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    folder.chmod(0o755)
    try:
        outcomes = run_all(
            numbers, arguments.seed, folder, kinds, backends, minutes=arguments.minutes
        )
    finally:
        if arguments.keep:
            console.print(f"kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if arguments.page is not None:
        write_page(outcomes, arguments.seed, arguments.page)
    violations = [each for each in outcomes if each.violation]
    for each in violations:
        console.print(f"seed {arguments.seed}, {each.case.name}: {each.violation}", style="red")
    console.print(f"{len(outcomes)} cases, {len(violations)} violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
