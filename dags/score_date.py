"""Whose nights these are, and which day a run describes when nobody names one."""

from params import read_params
from schedule import day_ended_before
from settings import Settings

SOURCE = read_params().source(Settings().source)
"""Its zone and the hour at which its day ends say when nights start. Read when a DAG is loaded."""


def day_before(dag_run) -> str:
    """The business day that had ended before the run, as YYYY-MM-DD.

    The run is dated by its logical date; a run without one (a manual run may have none) by the
    moment from which it was allowed to start. Neither changes when the run is cleared.
    """
    return str(day_ended_before(SOURCE, dag_run.logical_date or dag_run.run_after))
