"""What a run pins of code and parameters, and the record of a run that was published."""

from datetime import date

import sqlalchemy as sa

from errors import BadData
from lake import value_sha256
from meaning import code_sha256
from params import Params
from records import RunRecord
from settings import PROJECT_ROOT, Settings
from warehouse import check_kept, current_run, published_run

NIGHT_CODE = (
    "chunks.py",
    "expectations/features.py",
    "expectations/predictions.py",
    "jobs/build_features.py",
    "jobs/score_customers.py",
    "models/additive.py",
    "models/apply.py",
    "models/arms.py",
    "models/batches.py",
    "models/bundle.py",
    "models/calibration.py",
    "models/control.py",
    "models/deciles.py",
    "models/estimators.py",
    "models/reasons.py",
    "models/schema.py",
    "models/season.py",
    "models/tree_shap.py",
    "monitoring/rollout.py",
)
"""The code between activity and predictions, beside features/, which has a hash of its own."""


class NotPublished(BadData):
    """Nothing is published of a night that is asked for, or not that run."""


def night_code_sha256() -> str:
    """The hash of what the code means that computes scores from activity, the features left out."""
    return code_sha256(PROJECT_ROOT / path for path in NIGHT_CODE)


def scoring_params_sha256(params: Params, source: str, is_challenged: bool = False) -> str:
    """The hash of exactly those parameters that change what a night computes.

    These are the source without `training_until`, `validation`, `population`, `scoring` and the
    share of the control; with a challenger also the checks of `rollout` that decide whom it serves.
    What shaped the model (`training`, `model`, the rest of `decision`) is in its bundle; the other
    sections judge a night that is scored.
    """
    sections = params.model_dump(mode="json", include={"validation", "population", "scoring"})
    sections["control_share"] = params.decision.control_share
    if is_challenged:
        checks = {"min_rank_correlation", "max_contacted_factor"}
        sections["rollout"] = params.rollout.model_dump(mode="json", include=checks)
    mapping = params.source(source).model_dump(mode="json", exclude={"training_until"})
    return value_sha256({**sections, "source": mapping})


def published_record(
    settings: Settings, engine: sa.Engine, score_date: date, run_id: str | None = None
) -> RunRecord:
    """The record of a published run; by default of the one that readers see of the night.

    Raises:
        NotPublished: If there is no such run, or the lake has lost its record.
        RunDropped: If its scores were dropped.
        RecordOutdated: If the record was written by other code.
    """
    name = current_run(engine, score_date) if run_id is None else run_id
    row = None if name is None else published_run(engine, name)
    if name is None or row is None or row["score_date"] != score_date:
        what = "nothing" if run_id is None else f"no run {run_id}"
        raise NotPublished(
            f"{what} is published of {score_date}. Which nights are: python -m jobs.show_nights"
        )
    check_kept(engine, name)
    try:
        return RunRecord.read(settings.data_root, score_date, name)
    except FileNotFoundError:
        raise NotPublished(
            f"run {name} of {score_date} is published, but the lake in {settings.data_root} has "
            "no record of it. Restore lake/runs from a backup."
        ) from None
