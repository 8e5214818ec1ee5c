"""``params.yaml`` as typed records: a misspelt key or a wrong type stops at once and is named."""

from datetime import date
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

PARAMS_FILE = Path(__file__).resolve().parent / "params.yaml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Zoned(_Section):
    timezone: str

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        ZoneInfo(name)
        return name


class Business(_Zoned):
    """The zone in which days are cut, and the unit of amounts."""

    currency: str


class Columns(_Section):
    """What the source calls each column of the canonical transaction line."""

    invoice_id: str
    product_id: str
    customer_id: str
    quantity: str
    unit_price: str
    invoiced_at: str
    country: str


class Source(_Zoned):
    """One upstream table: its format, its names, and what is right in it."""

    format: Literal["parquet", "csv"]
    timestamp_format: str | None
    columns: Columns
    not_merchandise: str
    largest_quantity: int = Field(gt=0)
    largest_unit_price: float = Field(gt=0)
    countries: list[str] | None
    closed_days: list[date]
    training_until: date


class Validation(_Section):
    quarantine_budget_share: float = Field(ge=0, le=1)
    volume_weeks: int = Field(ge=1)
    volume_min_share: float = Field(ge=0)
    volume_max_share: float = Field(gt=0)


class Population(_Section):
    active_days: int = Field(ge=1)


class Training(_Section):
    horizon_days: int = Field(ge=1)
    history_days: int = Field(ge=1)
    as_of_count: int = Field(ge=1)
    as_of_step_days: int = Field(ge=1)
    rows_per_date: int = Field(ge=1)
    holdout_count: int = Field(ge=1)
    calibration_count: int = Field(ge=1)
    wrong_day_reach: int = Field(ge=0)
    bootstrap_rounds: int = Field(ge=1)
    seed: int


class Model(_Section):
    name: str
    max_rounds: int
    early_stopping_rounds: int
    learning_rate: float
    max_depth: int
    min_child_weight: float
    subsample: float
    colsample_bytree: float
    reg_lambda: float


class Decision(_Section):
    contact_share: float = Field(gt=0, lt=1)


class Scoring(_Section):
    reasons: bool
    reason_count: int = Field(ge=1)
    batch_rows: int = Field(ge=1)


class Drift(_Section):
    sample_rows: int = Field(ge=1)
    min_rows: int = Field(ge=1)
    seed: int
    placebo_nights: int = Field(ge=1)
    false_alarm_nights: int = Field(ge=1)
    weekday_nights: int = Field(ge=1)


class Quality(_Section):
    missing_margin: float = Field(ge=0, le=1)
    out_of_range_share: float = Field(ge=0, le=1)


class Performance(_Section):
    bootstrap_rounds: int = Field(ge=1)
    partial_days: list[int]
    catch_up_nights: int = Field(ge=0)
    loss_margin: float = Field(ge=0)
    calibration_margin: float = Field(ge=0)
    min_buyers: int = Field(ge=1)
    wrong_label_share: float = Field(ge=0, lt=1)
    contacted_buyer_value: float
    contact_cost: float


class Retraining(_Section):
    drift_nights: int = Field(ge=1)
    loss_cohorts: int = Field(ge=1)
    min_new_days: int = Field(ge=0)
    cool_down_days: int = Field(ge=0)
    max_a_month: int = Field(ge=0)
    max_age_days: int | None = Field(ge=1)
    max_new_labels: int | None = Field(ge=1)


class Gate(_Section):
    rounds: int = Field(ge=1)
    slice_margin: float = Field(ge=0)
    min_slice_rows: int = Field(ge=1)
    calibration_bound: float = Field(gt=0)
    golden_seconds: float = Field(gt=0)
    golden_mebibytes: int = Field(gt=0)
    group_columns: list[str]
    owner: str = Field(min_length=1)
    approval: Literal["automatic", "person"]


class Rollout(_Section):
    percents: list[int] = Field(min_length=1)
    min_nights: int = Field(ge=1)
    min_rank_correlation: float = Field(ge=-1, le=1)
    max_contacted_factor: float = Field(gt=1)

    @field_validator("percents")
    @classmethod
    def _rise(cls, percents: list[int]) -> list[int]:
        if percents != sorted(set(percents)) or percents[0] < 0 or percents[-1] > 99:
            raise ValueError("steps rise from 0 (shadow) or more to at most 99; 100 is a champion")
        return percents


class Params(_Section):
    """The whole file."""

    business: Business
    sources: dict[str, Source]
    validation: Validation
    population: Population
    training: Training
    model: Model
    decision: Decision
    scoring: Scoring
    drift: Drift
    quality: Quality
    performance: Performance
    retraining: Retraining
    gate: Gate
    rollout: Rollout

    def source(self, name: str) -> Source:
        """The entry of ``sources`` called ``name``.

        Raises:
            KeyError: If there is none; names those there are.
        """
        if name not in self.sources:
            raise KeyError(
                f"params.yaml has no source {name!r}, only {sorted(self.sources)}. "
                "Set SCORING_SOURCE to one of them, or add the mapping of your table."
            )
        return self.sources[name]


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check ``params.yaml``.

    Raises:
        pydantic.ValidationError: If a key is missing, unknown or of the wrong type; names it.
    """
    return Params.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
