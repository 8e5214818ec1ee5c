"""``params.yaml`` as typed records: a misspelt key or a wrong type stops at once and is named."""

import codecs
import re
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

import catalog
from errors import WrongInput, wrong_values

MICROS = 1_000_000
LARGEST_SUM = 2**63 - 1
"""What the exact sums of a delivery are kept in: millionths in 64 bits."""

PARAMS_FILE = Path(__file__).resolve().parent / "params.yaml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Section):
    """What the source calls each column of the canonical transaction line; null where it has none.

    ``amount`` stands for quantity and price of a source that has neither.
    """

    invoice_id: str | None = None
    product_id: str | None = None
    customer_id: str
    quantity: str | None = None
    unit_price: str | None = None
    amount: str | None = None
    invoiced_at: str
    country: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """The source's name of each column that it has."""
        return self.model_dump(exclude_none=True)

    @property
    def absent(self) -> list[str]:
        """The columns that it has not and could have."""
        return [name for name in ("invoice_id", "product_id", "country") if name not in self.given]

    @model_validator(mode="after")
    def _say_what_was_spent(self) -> Self:
        named = {"quantity", "unit_price", "amount"} & set(self.given)
        if named not in ({"amount"}, {"quantity", "unit_price"}):
            raise ValueError("name either quantity and unit_price, or amount alone")
        return self


class Carried(_Section):
    """A further column of the source, and how it is summed up per customer and day."""

    column: str
    keep: Literal["sum", "values"]

    @property
    def type_of_line(self) -> str:
        """In Spark's words; a number is in millionths."""
        return {"sum": "bigint", "values": "string"}[self.keep]

    @property
    def type_of_day(self) -> str:
        """The same of all lines of a customer and day."""
        return {"sum": "bigint", "values": "array<string>"}[self.keep]


Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
"""In the order in which Python counts them."""


def weekday(day: date) -> Weekday:
    """Its name."""
    return WEEKDAYS[day.weekday()]


OurName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]

Character = Annotated[str, Field(min_length=1, max_length=1)]


class Text(_Section):
    """How a source writes its text files."""

    encoding: str = "utf-8"
    separator: Character = ","
    quote: Character | None = '"'
    column_names: list[str] | None = None
    decimal_mark: Literal[".", ","] = "."
    thousands_mark: Character | None = None
    trailing_minus: bool = False

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, name: str) -> str:
        try:
            "".encode(name)
        except LookupError as unknown:
            raise ValueError(f"Python knows no encoding of text called {name!r}") from unknown
        return codecs.lookup(name).name

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        if self.separator in ("\n", "\r", "\0", self.quote):
            raise ValueError("the separator is neither the quote nor a line end")
        if self.thousands_mark is not None and self.thousands_mark in f"{self.decimal_mark}+-":
            raise ValueError("the thousands mark is neither the decimal mark nor a sign")
        return self


class IdKinds(_Section):
    """Whether an id is text, or a number however it is written."""

    invoice_id: Literal["text", "number"] = "text"
    product_id: Literal["text", "number"] = "text"
    customer_id: Literal["text", "number"] = "text"


class Limits(_Section):
    """What a delivery never exceeds: beyond it, it is refused before it fills memory or disk."""

    delivery_bytes: int = Field(20_000_000_000, gt=0)
    delivery_rows: int = Field(40_000_000, gt=0)
    columns: int = Field(1_000, gt=0)
    column_name_characters: int = Field(2_000, gt=0)
    # Python's reader of quoted lines takes no longer ones.
    cell_characters: int = Field(100_000, gt=0, le=131_072)
    lines_of_a_value: int = Field(20, gt=0)
    id_characters: int = Field(64, gt=0, le=500)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no zone {name!r}; one is Europe/London") from None
    return name


Zone = Annotated[str, AfterValidator(_known_zone)]


class Source(_Section):
    """One upstream table: its clock, its currency, its format and names, and what is right in it.

    ``timezone`` is the zone of the shop: days are cut in it and nights run by it.
    """

    timezone: Zone
    timestamp_timezone: Zone | None = None
    currency: str = Field(pattern="^[A-Z]{3}$")
    format: Literal["parquet", "csv"]
    text: Text = Text()
    timestamp_format: str | None = None
    columns: Columns
    carry: dict[OurName, Carried] = {}
    ids: IdKinds = IdKinds()
    null_markers: list[str] = []
    duplicates: Literal["all columns", "never"] | list[str] = "all columns"
    overlapping_files: bool = False
    invoices_restart_daily: bool = False
    invoices_issued_by: str | None = None
    day_ends_at: time = time(0)
    oldest_day: date = date(2000, 1, 1)
    not_merchandise: str | None = None
    quantity_decimals: int = Field(0, ge=0, le=6)
    largest_quantity: int = Field(100_000, gt=0)
    largest_unit_price: float = Field(100_000, gt=0, lt=LARGEST_SUM // MICROS)
    largest_amount: float = Field(100_000, gt=0)
    countries: list[str] | None = None
    closed_days: list[date] = []
    closed_weekdays: list[Weekday] = Field([], max_length=len(WEEKDAYS) - 1)
    training_until: date
    limits: Limits = Limits()

    @property
    def zone_of_timestamps(self) -> str:
        """That of timestamps which carry none."""
        return self.timestamp_timezone or self.timezone

    @property
    def after_midnight(self) -> timedelta:
        """How long after midnight a day ends, by the clock on the wall."""
        ends_at = self.day_ends_at
        return timedelta(hours=ends_at.hour, minutes=ends_at.minute, seconds=ends_at.second)

    def trades_on(self, day: date) -> bool:
        """False on its closed weekdays: no delivery is awaited and no night is begun."""
        return weekday(day) not in self.closed_weekdays

    def is_closed(self, day: date) -> bool:
        """Whether an empty or small delivery of that day is right."""
        return day in self.closed_days or not self.trades_on(day)

    def trading_day(self, until: date) -> date:
        """The last day of trade up to that one."""
        return next(day for n in range(7) if self.trades_on(day := until - timedelta(days=n)))

    @property
    def dialect(self) -> Text:
        """How numbers and the like are written; in Parquet files as is usual."""
        return self.text if self.format == "csv" else Text()

    @property
    def carried_of_line(self) -> dict[str, str]:
        """Spark's type of each column that a line carries."""
        return {name: one.type_of_line for name, one in self.carry.items()}

    @property
    def columns_used(self) -> list[str]:
        """The columns that a file must have, by the source's names."""
        named = self.duplicates if isinstance(self.duplicates, list) else []
        issuer = [self.invoices_issued_by] if self.invoices_issued_by else []
        carried = [one.column for one in self.carry.values()]
        return list(dict.fromkeys([*self.columns.given.values(), *carried, *issuer, *named]))

    @property
    def has(self) -> frozenset[str]:
        """Our names of the columns that features can be made of."""
        return frozenset([*self.columns.given, *self.carry])

    @property
    def largest_carried(self) -> int:
        """The largest number of which a delivery's exact sum cannot overflow."""
        return LARGEST_SUM // MICROS // self.limits.delivery_rows

    @field_validator("timestamp_format")
    @classmethod
    def _zone_is_read_alike(cls, pattern: str | None) -> str | None:
        if pattern and re.search("[zvO]", re.sub("'[^']*'", "", pattern)):
            raise ValueError(
                "engines read the zones of z and O differently: write VV for a name such as "
                "Europe/Berlin, and X, x or Z for a distance such as +02:00"
            )
        return pattern

    @field_validator("duplicates")
    @classmethod
    def _names_some(cls, columns: str | list[str]) -> str | list[str]:
        if not columns:
            raise ValueError('name columns, or say "all columns" or "never"')
        return columns

    @field_validator("day_ends_at")
    @classmethod
    def _is_in_the_night(cls, ends_at: time) -> time:
        if ends_at >= time(12) or ends_at.tzinfo or ends_at.microsecond:
            raise ValueError("a day ends between 00:00 and noon of the next, without a zone")
        return ends_at

    @model_validator(mode="after")
    def _has_the_columns_it_speaks_of(self) -> Self:
        for name, column in (
            ("invoices_restart_daily", "invoice_id"),
            ("invoices_issued_by", "invoice_id"),
            ("not_merchandise", "product_id"),
            ("countries", "country"),
        ):
            if getattr(self, name) and column not in self.columns.given:
                raise ValueError(f"{name} is about {column}, which is not among the columns")
        return self

    @field_validator("carry")
    @classmethod
    def _is_no_column_of_ours(cls, carry: dict[str, Carried]) -> dict[str, Carried]:
        delivered = catalog.Dataset("delivered_lines", catalog.DELIVERED_LINE, "")
        kept = (delivered, catalog.TRANSACTIONS, catalog.ACTIVITY)
        taken = {name for dataset in kept for name in dataset.columns} | set(Columns.model_fields)
        if both := sorted(taken & set(carry)):
            raise ValueError(f"{both[0]} is the name of a column of ours; choose another")
        return carry

    @model_validator(mode="after")
    def _sums_fit(self) -> Self:
        for name in ("largest_quantity", "largest_amount"):
            largest = getattr(self, name)
            if Decimal(str(largest)) * MICROS * self.limits.delivery_rows > LARGEST_SUM:
                raise ValueError(
                    f"{name} ({largest:,}) times limits.delivery_rows "
                    f"({self.limits.delivery_rows:,}) is more than the exact sums hold "
                    f"({LARGEST_SUM // MICROS:,}): lower one of them"
                )
        return self


class Validation(_Section):
    quarantine_budget_share: float = Field(ge=0, le=1)
    volume_weeks: int = Field(ge=1)
    volume_min_share: float = Field(ge=0)
    volume_max_share: float = Field(gt=0)
    late_max_share: float = Field(ge=0, le=1)
    overlap_days: int = Field(ge=0)
    overlap_max_share: float = Field(ge=0, le=1)
    copies_max_share: float = Field(ge=0, le=1)


class Population(_Section):
    active_days: int = Field(ge=1)


class Question(_Section):
    """What a score answers: does the outcome come true within the horizon?"""

    outcome: Literal["purchase", "spend", "return"]
    horizon_days: int = Field(ge=1)
    least_amount: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _amount_belongs_to_spend(self) -> Self:
        if (self.outcome == "spend") != (self.least_amount is not None):
            raise ValueError("least_amount is given for the outcome spend, and for no other")
        return self

    @property
    def name(self) -> str:
        """The question in one word, such as ``purchase_within_30d``."""
        return f"{self._outcome}_within_{self.horizon_days}d"

    @property
    def _outcome(self) -> str:
        if self.least_amount is None:
            return self.outcome
        return f"spend_of_{self.least_amount:g}"

    @property
    def does(self) -> str:
        """What the customer does, such as "buys"."""
        return {
            "purchase": "buys",
            "return": "returns something",
            "spend": f"spends at least {self.least_amount or 0:g}",
        }[self.outcome]

    @property
    def did(self) -> str:
        """What the customer did, such as "bought"."""
        return {
            "purchase": "bought",
            "return": "returned something",
            "spend": f"spent at least {self.least_amount or 0:g}",
        }[self.outcome]

    @property
    def doers(self) -> str:
        """Those who did, such as "buyers"."""
        return {"purchase": "buyers", "return": "returners", "spend": "spenders"}[self.outcome]

    def __str__(self) -> str:
        return f"{self.does} within {self.horizon_days} days"


FIRST_QUESTION = Question(outcome="purchase", horizon_days=30)
"""What was asked before questions had names."""


class Training(_Section):
    question: Question
    history_days: int = Field(ge=1)
    as_of_count: int = Field(ge=1)
    as_of_step_days: int = Field(ge=1)
    rows_per_date: int = Field(ge=1)
    holdout_count: int = Field(ge=1)
    calibration_count: int = Field(ge=1)
    half_life_days: int | None = Field(None, ge=1)
    seasonal_prior: bool = True
    wrong_day_reach: int = Field(ge=0)
    bootstrap_rounds: int = Field(ge=1)
    seed: int

    @property
    def horizon_days(self) -> int:
        """That of the question."""
        return self.question.horizon_days


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
    # Runs of older code had no control.
    control_share: float = Field(default=0.0, ge=0, le=0.5)


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
    min_control_buyers: int = Field(default=200, ge=1)
    wrong_label_share: float = Field(ge=0, lt=1)
    contacted_buyer_value: float
    contact_cost: float

    def is_control_enough(self, *, buyers: float, customers: int) -> bool:
        """Whether a control is large enough to be judged by, instead of everybody.

        Where a contact helps, whom the champion had contacted bought because of it, so among all
        customers it looks right whoever was; but few customers say little.
        """
        return min(buyers, customers - buyers) >= self.min_control_buyers


class Retraining(_Section):
    drift_nights: int = Field(ge=1)
    loss_cohorts: int = Field(ge=1)
    min_new_days: int = Field(ge=0)
    cool_down_days: int = Field(ge=0)
    max_a_month: int = Field(ge=0)
    follow_up_days: int | None = Field(None, ge=1)
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


class Retention(_Section):
    superseded_days: int | None = Field(None, ge=0)
    night_days: int | None = Field(None, ge=1)
    keep_nights: list[date] = []


class Params(_Section):
    """The whole file."""

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
    # Runs that were opened before there was any pin none.
    retention: Retention = Retention()

    def source(self, name: str) -> Source:
        """The entry of ``sources`` called ``name``.

        Raises:
            WrongInput: If there is none; names those there are.
        """
        if name not in self.sources:
            raise WrongInput(
                f"params.yaml has no source {name!r}, only {sorted(self.sources)}. "
                "Set SCORING_SOURCE to one of them, or write an entry for your table: "
                f"python -m jobs.describe_source FILE --name {name}"
            )
        return self.sources[name]


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check ``params.yaml``.

    Raises:
        WrongInput: If it is no YAML, or a key is missing, unknown or of the wrong type; names it.
    """
    try:
        # The reader in C, which is safe_load's too but ten times as fast.
        read = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        return Params.model_validate(read)
    except yaml.YAMLError as error:
        raise WrongInput(f"{path.name} is no YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise wrong_values(error, path.name) from None
