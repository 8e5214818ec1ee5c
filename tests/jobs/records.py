"""Run records of the nights that the tests of the warehouse know."""

from datetime import date

from records import RunRecord
from tests.records import intake, run_record
from tests.warehouse.nights import NIGHT
from warehouse import PublishedRun


def a_record(run_id: str = "run-1", score_date: date = NIGHT, **changes) -> RunRecord:
    """A run of that night, opened on its own delivery ``d1``, or on ``deliveries`` by day."""
    if deliveries := changes.pop("deliveries", None):
        changes["intakes"] = {day: intake(name) for day, name in deliveries.items()}
    return run_record(score_date, run_id=run_id, **changes)


def record_of(published: PublishedRun, **changes) -> RunRecord:
    """The record that the published run was opened with."""
    shared = {
        name: getattr(published, name)
        for name in RunRecord.model_fields
        if hasattr(published, name)
    }
    return a_record(**shared | changes)
