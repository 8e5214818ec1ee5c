"""Where readers find the scores: tables, migrations, publishing, queries.

SQLite or PostgreSQL by URL, from the same code.
"""

from warehouse.audit import AuditBroken, append_audit, audit_head, check_audit
from warehouse.connection import (
    WarehouseAway,
    WarehouseBusy,
    WarehouseFull,
    WarehouseLost,
    connect,
    writing,
)
from warehouse.content import PredictionsBroken, sha256_as_published
from warehouse.decisions import (
    RecordedDecision,
    decision_of,
    record_decision,
    retrainings_asked,
    training_until,
)
from warehouse.drift import replace_drift
from warehouse.migrate import MayNotMigrate, NotMigrated, check_migrated, has_tables, migrate
from warehouse.nights import (
    current_run,
    current_runs,
    customers_scored,
    incident_nights,
    incidents,
    is_newest,
    judged_runs,
    newest_night,
    pointer_of,
    run_before,
    weekdays_before,
)
from warehouse.performance import (
    EstimateError,
    Measurement,
    PublishedChanged,
    check_published,
    estimate_errors,
    night_drift,
    replace_maturity_curve,
    replace_performance,
    unmeasured_cohorts,
)
from warehouse.pointer import NothingToRollBack, RollBack, roll_back
from warehouse.publish import (
    CountsDiffer,
    Overtaken,
    PublishedRun,
    RunDiffers,
    publish,
)
from warehouse.published import (
    logged_sha256,
    published_rows,
    published_rules,
    published_run,
)
from warehouse.quality import missing_shares, replace_quality
from warehouse.queries import (
    Answer,
    CustomerScore,
    Night,
    QueryRefused,
    RuleCount,
    look_up,
    newest_nights,
    score_of,
    top_rules,
)
from warehouse.restatement import RestatedNight, publish_restated
from warehouse.roles import READER, WRITER, owner_warning
from warehouse.rollout import WHO_SCORED, ArmMetric, newest_comparison, nights_tried
from warehouse.versions import (
    HistoryDiffers,
    check_version,
    record_challenge,
    record_promotion,
    record_version,
)

__all__ = [
    "READER",
    "WHO_SCORED",
    "WRITER",
    "Answer",
    "ArmMetric",
    "AuditBroken",
    "CountsDiffer",
    "CustomerScore",
    "EstimateError",
    "HistoryDiffers",
    "MayNotMigrate",
    "Measurement",
    "Night",
    "NotMigrated",
    "NothingToRollBack",
    "Overtaken",
    "PredictionsBroken",
    "PublishedChanged",
    "PublishedRun",
    "QueryRefused",
    "RecordedDecision",
    "RestatedNight",
    "RollBack",
    "RuleCount",
    "RunDiffers",
    "WarehouseAway",
    "WarehouseBusy",
    "WarehouseFull",
    "WarehouseLost",
    "append_audit",
    "audit_head",
    "check_audit",
    "check_migrated",
    "check_published",
    "check_version",
    "connect",
    "current_run",
    "current_runs",
    "customers_scored",
    "decision_of",
    "estimate_errors",
    "has_tables",
    "incident_nights",
    "incidents",
    "is_newest",
    "judged_runs",
    "logged_sha256",
    "look_up",
    "migrate",
    "missing_shares",
    "newest_comparison",
    "newest_night",
    "newest_nights",
    "night_drift",
    "nights_tried",
    "owner_warning",
    "pointer_of",
    "publish",
    "publish_restated",
    "published_rows",
    "published_rules",
    "published_run",
    "record_challenge",
    "record_decision",
    "record_promotion",
    "record_version",
    "replace_drift",
    "replace_maturity_curve",
    "replace_performance",
    "replace_quality",
    "retrainings_asked",
    "roll_back",
    "run_before",
    "score_of",
    "sha256_as_published",
    "top_rules",
    "training_until",
    "unmeasured_cohorts",
    "weekdays_before",
    "writing",
]
