"""A reader of `latest_predictions`, in a process of its own, who looks again and again."""

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import sqlalchemy as sa

import warehouse
from benchmarks.faults.processes import die_with_parent
from warehouse.connection import readers_engine
from warehouse.tables import LATEST_PREDICTIONS

PAUSE_SECONDS = 0.04


def look(url: str) -> str:
    """What a reader sees: of each run its customers, and sums that tell its rows from others."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return look_through(connection)


def look_through(connection: sa.Connection) -> str:
    """What a reader sees who is connected."""
    c = LATEST_PREDICTIONS.c
    rows = sa.select(
        c.score_date,
        c.run_id,
        sa.func.count(),
        # Whole numbers, whose sum does not depend on the order of the rows.
        sa.func.sum(sa.cast(c.probability * 1e9, sa.BigInteger)),
        sa.func.sum(c.decile),
    ).group_by(c.score_date, c.run_id)
    found = connection.execute(rows).all()
    return "; ".join(
        f"{day} {run_id}: {customers} customers, {total}, {deciles}"
        for day, run_id, customers, total, deciles in sorted(map(tuple, found))
    )


class Reader:
    """Reads while the block lasts; then ``seen`` counts what it saw, by ``look``.

    A database that is away is looked for again; how often it was is in ``away``.
    """

    def __init__(self, url: str, path: Path) -> None:
        self.url, self.path = url, path
        self.seen: Counter[str] = Counter()
        self.away = 0

    def __enter__(self) -> "Reader":
        # A word to stop that comes early waits until it is listened to.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self._read()
            finally:
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        found = json.loads(self.path.read_text())
        self.seen, self.away = Counter(found["seen"]), found["away"]

    def _read(self) -> None:
        die_with_parent()
        is_over = False

        def stop(*_: object) -> None:
            nonlocal is_over
            is_over = True

        signal.signal(signal.SIGTERM, stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        # Connects for each look, and never makes a file that is not there.
        engine = readers_engine(warehouse.connect(self.url))
        while not is_over:
            self._look(engine)
            time.sleep(PAUSE_SECONDS)
        # At what the case has left.
        self._look(engine)
        self.path.write_text(json.dumps({"seen": self.seen, "away": self.away}))
        os._exit(0)

    def _look(self, engine: sa.Engine) -> None:
        try:
            with engine.connect() as connection:
                self.seen[look_through(connection)] += 1
        except (sa.exc.DBAPIError, ConnectionError):
            self.away += 1
