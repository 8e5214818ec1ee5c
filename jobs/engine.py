"""Which engine computes: a small one in the job's own process, or Apache Spark."""

import logging

AUTO, EMBEDDED, THIS_MACHINE = "auto", "embedded", "local[*]"

EMBEDDED_ROWS = 3_000_000
"""Rows of activity up to which the embedded engine is the quicker one (docs/decisions/0051)."""

log = logging.getLogger("jobs.engine")


def choose_engine(setting: str, activity_rows: int) -> str:
    """The engine for so much work; anything but ``auto`` is what it says.

    >>> choose_engine("auto", 400_000), choose_engine("auto", 40_000_000)
    ('embedded', 'local[*]')
    >>> choose_engine("spark://master:7077", 400_000)
    'spark://master:7077'
    """
    if setting != AUTO:
        return setting
    engine = EMBEDDED if activity_rows <= EMBEDDED_ROWS else THIS_MACHINE
    log.info("%d rows of activity: the engine is %s (SCORING_SPARK=auto)", activity_rows, engine)
    return engine
