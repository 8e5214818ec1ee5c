"""Builders of run records: a test names only the values it is about."""

from datetime import date

from records import RunRecord
from tests.warehouse.nights import NIGHT
from warehouse import PublishedRun


def a_record(run_id: str = "run-1", score_date: date = NIGHT, **changes) -> RunRecord:
    """A run of that night, opened on its own delivery ``d1``."""
    values = {
        "run_id": run_id,
        "score_date": score_date,
        "source": "generated",
        "deliveries": {score_date: "d1"},
        "model_name": "repurchase",
        "model_version": "v1.0.0",
        "bundle_sha256": "b" * 64,
        "features_sha256": "f" * 64,
        "params_sha256": "c" * 64,
        "code_version": "0123456789ab",
        "previous_run_id": None,
        "reason": "test",
        **changes,
    }
    return RunRecord(**values)


def record_of(published: PublishedRun, **changes) -> RunRecord:
    """The record that the published run was opened with."""
    shared = {
        name: getattr(published, name)
        for name in RunRecord.model_fields
        if hasattr(published, name)
    }
    return a_record(**shared | changes)
