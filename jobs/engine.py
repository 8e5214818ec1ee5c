"""Which engine computes: a small one in the job's own process, or Apache Spark."""

import logging

AUTO, EMBEDDED, THIS_MACHINE = "auto", "embedded", "local[*]"

EMBEDDED_ROWS = 5_000_000
"""Rows up to which the embedded engine computes: that many take 1.7 of the 4 GB that it may have by
default, and a third of the time (docs/performance.md)."""

log = logging.getLogger("jobs.engine")


def choose_engine(setting: str, rows: int) -> str:
    """The engine for ``rows`` in the widest query; any setting but ``auto`` is the answer.

    >>> choose_engine("auto", 400_000), choose_engine("auto", 40_000_000)
    ('embedded', 'local[*]')
    >>> choose_engine("spark://master:7077", 400_000)
    'spark://master:7077'
    """
    if setting != AUTO:
        return setting
    engine = EMBEDDED if rows <= EMBEDDED_ROWS else THIS_MACHINE
    log.info("%d rows: the engine is %s (SCORING_SPARK=auto)", rows, engine)
    return engine
