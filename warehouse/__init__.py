"""Where readers find the scores: tables, migrations, publishing, queries.

SQLite or PostgreSQL by URL, from the same code.
"""

from warehouse.audit import AuditBroken, append_audit, check_audit
from warehouse.connection import WarehouseAway, connect, writing
from warehouse.content import PredictionsBroken
from warehouse.decisions import (
    RecordedDecision,
    decision_of,
    record_decision,
    retrainings_asked,
    training_until,
)
from warehouse.drift import replace_drift
from warehouse.migrate import NotMigrated, check_migrated, migrate
from warehouse.nights import (
    current_run,
    current_runs,
    customers_scored,
    incident_nights,
    is_newest,
    newest_night,
    run_before,
    usual_weekdays,
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
    TakenBack,
    publish,
)
from warehouse.quality import missing_shares, replace_quality
from warehouse.queries import (
    CustomerScore,
    Night,
    RuleCount,
    look_up,
    newest_nights,
    score_of,
    top_rules,
)
from warehouse.rollout import WHO_SCORED, ArmMetric, newest_comparison, nights_tried
from warehouse.versions import (
    HistoryDiffers,
    record_challenge,
    record_promotion,
    record_version,
)

__all__ = [
    "WHO_SCORED",
    "ArmMetric",
    "AuditBroken",
    "CountsDiffer",
    "CustomerScore",
    "EstimateError",
    "HistoryDiffers",
    "Measurement",
    "Night",
    "NotMigrated",
    "NothingToRollBack",
    "Overtaken",
    "PredictionsBroken",
    "PublishedChanged",
    "PublishedRun",
    "RecordedDecision",
    "RollBack",
    "RuleCount",
    "RunDiffers",
    "TakenBack",
    "WarehouseAway",
    "append_audit",
    "check_audit",
    "check_migrated",
    "check_published",
    "connect",
    "current_run",
    "current_runs",
    "customers_scored",
    "decision_of",
    "estimate_errors",
    "incident_nights",
    "is_newest",
    "look_up",
    "migrate",
    "missing_shares",
    "newest_comparison",
    "newest_night",
    "newest_nights",
    "night_drift",
    "nights_tried",
    "publish",
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
    "top_rules",
    "training_until",
    "unmeasured_cohorts",
    "usual_weekdays",
    "writing",
]
