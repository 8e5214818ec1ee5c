"""Which day a run describes when nobody names one."""

from datetime import timedelta
from zoneinfo import ZoneInfo

BUSINESS_TIMEZONE = "Europe/London"
"""``business.timezone`` of params.yaml, which a DAG must not read; a test holds them together."""


def day_before(dag_run) -> str:
    """The business day before the run, as YYYY-MM-DD.

    The run is dated by its logical date; a run without one (a manual run may have none) by the
    moment from which it was allowed to start. Neither changes when the run is cleared.
    """
    dated = dag_run.logical_date or dag_run.run_after
    return str(dated.astimezone(ZoneInfo(BUSINESS_TIMEZONE)).date() - timedelta(days=1))
