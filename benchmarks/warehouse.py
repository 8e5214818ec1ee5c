"""What a night costs the warehouse on PostgreSQL, and what readers wait for, by number of nights.

    python -m benchmarks.warehouse --folder data/warehouse --nights 100 --customers 100000

Starts a PostgreSQL of its own in ``folder``. Prints two Markdown tables. The first has a line per
key that the large table could have (the one it has is ``run, customer``): CPU of the server and
bytes of log for the first night and for the nights after so many, three of them; what some
questions take; and what deleting a night costs. The second holds publishing against the bare load
of the same rows by the same driver: medians over ``--repeats``, in turn, of the CPU of both sides.
"""

# ruff: noqa: S608 - every name and value in these statements is this module's own

import argparse
import hashlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import adbc_driver_postgresql.dbapi as adbc
import numpy as np
import pyarrow as pa
import sqlalchemy as sa

import warehouse
from local import postgres
from tests.warehouse.nights import a_run
from warehouse.bulk import BATCH_ROWS, SCHEMAS, AdbcDialect

FIRST = date(2026, 1, 1)
CHUNK_ROWS = 65_536
MEASURED_NIGHTS = 3

# Each begins with how the table is made from the columns of `predictions`.
KEYS = {
    "customer, run": (
        "create table scores (like predictions, primary key (customer_id, run_id))",
        "create index on scores using brin (run_id)",
    ),
    "run, customer": ("create table scores (like predictions, primary key (run_id, customer_id))",),
    "month, run, customer": (
        "create table scores (like predictions, score_date date not null, "
        "primary key (run_id, customer_id, score_date)) partition by range (score_date)",
    ),
    "month; customer": (
        "create table scores (like predictions, score_date date not null, "
        "primary key (run_id, customer_id, score_date)) partition by range (score_date)",
        "create index on scores (customer_id)",
    ),
}

QUESTIONS = {
    "latest score": "select * from latest where customer_id = '{customer}'",
    "history": "select * from shown where customer_id = '{customer}'",
    "top 100": "select * from latest order by probability desc limit 100",
}


def night_of(run_id: str, customers: int) -> pa.Table:
    """A night as score_customers writes it, with the columns of the warehouse."""
    likely = np.random.default_rng(1).random(customers)
    values = {
        "customer_id": pa.array([f"c{number:08}" for number in range(customers)]),
        "run_id": pa.repeat(run_id, customers),
        "probability": likely,
        "decile": 10 - np.floor(likely * 10).astype("int16"),
        "is_contacted": likely > 0.9,
        "is_control": pa.repeat(False, customers),
        "question": pa.repeat("purchase_within_30d", customers),
        "reason_1": pa.repeat("bought 3 days ago", customers),
        "reason_2": pa.repeat("spent 120 in the last 30 days", customers),
        "reason_3": pa.repeat("no returns in the last 90 days", customers),
        "status": pa.repeat("scored", customers),
        "arm": pa.repeat("champion", customers),
    }
    return pa.table(values).select(SCHEMAS["predictions"].names)


def run_name(number: int) -> str:
    """A run id: like all of them, in no order."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------ the server


class Server:
    """A database of a server that does nothing else."""

    def __init__(self, folder: Path, name: str) -> None:
        url = postgres.start(folder)
        self.url = postgres.create_database(url, name)
        self.engine = sa.create_engine(
            self.url,
            isolation_level="AUTOCOMMIT",
            # Nothing is prepared: tables change under the same names.
            connect_args={"prepare_threshold": None},
        )
        data = (folder / "server").resolve() / "data"
        self._root = int((data / "postmaster.pid").read_text().split()[0])
        # The log of a night must not depend on when somebody else's work was cleared away.
        for setting in ("autovacuum = off", "max_wal_size = '8GB'"):
            self.do(f"alter system set {setting}")
        self.do("select pg_reload_conf()")

    def do(self, statement: str) -> None:
        """Execute it."""
        with self.engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def ask(self, query: str) -> list:
        """Its rows."""
        with self.engine.connect() as connection:
            return list(connection.exec_driver_sql(query).all())

    def cpu_seconds(self) -> float:
        """Of all its processes, those that ended included."""
        ticks = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(path.parent.name) == self._root:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == self._root:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def cost(self) -> Iterator[dict[str, float]]:
        """CPU seconds of the server and of this process, and MB of log, of what the block does."""
        found: dict[str, float] = {}
        self.do("checkpoint")
        [(begin,)] = self.ask("select pg_current_wal_lsn()")
        server, client = self.cpu_seconds(), time.process_time()
        yield found
        found["client"] = time.process_time() - client
        time.sleep(0.2)  # A process that has ended is counted once it was waited for.
        found["server"] = self.cpu_seconds() - server
        [(log,)] = self.ask(f"select pg_wal_lsn_diff(pg_current_wal_lsn(), '{begin}')")
        found["log"] = float(log) / 1e6

    def load(self, table: str, night: pa.Table) -> None:
        """Append a night by the bare driver."""
        words, _ = AdbcDialect().create_connect_args(sa.make_url(self.url))
        with adbc.connect(words[0]) as connection:
            with connection.cursor() as cursor:
                cursor.adbc_ingest(table, night.to_reader(BATCH_ROWS), mode="append")
            connection.commit()


# ---------------------------------------------------------------------------------------- tables


def measure_key(server: Server, key: str, nights: int, customers: int) -> str:
    """A line of the first table."""
    has_months = key.startswith("month")
    for statement in (
        *("drop table if exists scores, current cascade", *KEYS[key]),
        "create table current (score_date date primary key, run_id text not null)",
        f"create view shown as select current.score_date as night, scores.* from current "
        f"join scores on scores.run_id = current.run_id"
        f"{' and scores.score_date = current.score_date' if has_months else ''}",
        "create view latest as select * from shown where run_id = "
        "(select run_id from current order by score_date desc limit 1)",
    ):
        server.do(statement)
    if has_months:
        for month in range((nights + MEASURED_NIGHTS) // 28 + 1):
            begin, end = (FIRST + timedelta(days=31 * month + n * 31) for n in (0, 1))
            server.do(
                f"create table scores_{month} partition of scores "
                f"for values from ('{begin}') to ('{end}')"
            )

    def add(number: int) -> dict[str, float]:
        night = FIRST + timedelta(days=number)
        rows = night_of(run_name(number), customers)
        if has_months:
            rows = rows.append_column("score_date", pa.repeat(night, customers))
        with server.cost() as cost:
            server.load("scores", rows)
            server.do(f"insert into current values ('{night}', '{run_name(number)}')")
        return cost

    first = add(0)
    columns = [name for name in SCHEMAS["predictions"].names if name != "run_id"]
    names = ", ".join(columns)
    for number in range(1, nights):
        night = FIRST + timedelta(days=number)
        more, value = (", score_date", f", '{night}'") if has_months else ("", "")
        server.do(
            f"insert into scores (run_id, {names}{more}) select '{run_name(number)}', {names}"
            f"{value} from scores where run_id = '{run_name(0)}' order by customer_id"
        )
        server.do(f"insert into current values ('{night}', '{run_name(number)}')")
    server.do("vacuum analyze")
    later = [add(nights + n) for n in range(MEASURED_NIGHTS)]
    server.do("vacuum analyze")
    waits = [_wait(server, question, customers) for question in QUESTIONS.values()]
    with server.cost() as deleting:
        server.do(f"delete from scores where run_id = '{run_name(2)}'")
        server.do("vacuum scores")
    cpu, log = (statistics.median(each[what] for each in later) for what in ("server", "log"))
    cells = [
        f"{cpu:.2f} ({first['server']:.2f})",
        f"{log:.0f} ({first['log']:.0f})",
        *(f"{1000 * wait:.1f}" for wait in waits),
        f"{deleting['server']:.2f}, {deleting['log']:.0f}",
    ]
    return f"| {key} | {' | '.join(cells)} |"


def _wait(server: Server, question: str, customers: int) -> float:
    """Seconds for an answer, median of several customers, none of them asked for before."""
    taken = []
    with server.engine.connect() as connection:
        for number in range(7):
            customer = f"c{(customers // 8 * (number + 1)):08}"
            begin = time.perf_counter()
            connection.exec_driver_sql(question.format(customer=customer)).all()
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def measure_publishing(server: Server, customers: int, repeats: int) -> str:
    """The lines of the second table."""
    engine = warehouse.connect(server.url)
    night = night_of("0" * 16, customers)
    batches = night.drop_columns(["run_id"]).to_batches(CHUNK_ROWS)

    def publish() -> None:
        run = a_run(run_name(0), population=customers, score_date=FIRST)
        warehouse.publish(engine, run, batches, replaces=None)

    ways: dict[str, Callable[[], None]] = {
        "bare ADBC": lambda: server.load("predictions", night),
        "publish": publish,
    }
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for repeat in range(repeats + 1):
        # In turn, and whichever is first is so every other time.
        for way in sorted(ways, reverse=repeat % 2 == 1):
            for table in ("current_runs", "quarantine_counts", "scoring_runs"):
                server.do(f"delete from {table}")
            server.do("truncate predictions")
            with server.cost() as cost:
                ways[way]()
            if repeat:  # The first one compiles statements.
                found[way].append(cost)
    ratios = [
        (ours["server"] + ours["client"]) / (bare["server"] + bare["client"])
        for ours, bare in zip(found["publish"], found["bare ADBC"], strict=True)
    ]
    lines = []
    for way, costs in found.items():
        server_s, client_s = (
            statistics.median(cost[side] for cost in costs) for side in ("server", "client")
        )
        lines.append(f"| {way} | {server_s:.2f} | {client_s:.2f} | {server_s + client_s:.2f} |")
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return "\n".join(
        [*lines, f"\nRatio, median of {repeats}: {statistics.median(ratios):.2f} ({spread})"]
    )


def main() -> None:
    """Measure every key, then publishing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--nights", type=int, default=100)
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--keys", nargs="*", default=list(KEYS))
    parser.add_argument("--publish-rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    server = Server(arguments.folder, "benchmark")
    try:
        warehouse.migrate(server.url)
        [(version,)] = server.ask("show server_version")
        print(
            f"PostgreSQL {version}, {arguments.customers:,} customers, {arguments.nights} nights\n"
        )
        if arguments.keys:
            titles = ["key", "night, CPU s (first)", "night, MB of log (first)"]
            titles += [f"{question}, ms" for question in QUESTIONS] + ["deleting: CPU s, MB of log"]
            print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}", flush=True)
        for key in arguments.keys:
            print(
                measure_key(server, key, arguments.nights, arguments.customers),
                flush=True,
            )
        server.do("drop table if exists scores, current cascade")
        if arguments.repeats:
            print(f"\n| {arguments.publish_rows:,} rows | server CPU s | client CPU s | both |")
            print("|---|---|---|---|", flush=True)
            print(measure_publishing(server, arguments.publish_rows, arguments.repeats))
    finally:
        postgres.stop(arguments.folder)


if __name__ == "__main__":
    main()
