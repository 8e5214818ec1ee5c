"""Every dataset of the pipeline, declared once: its columns, its folder, its maker, its users.

Folders are below ``Settings.data_root``. What is written is never changed: the key of a partition
holds the identity of what went in (an intake, a run), and below it each attempt at writing has a
folder of its own. The one that counts is named by a record.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Dataset:
    """A set of Parquet partitions.

    ``schema`` is Spark DDL of the columns in the files. ``layout`` is the folder of one
    partition; the values in it are Hive-style, so readers get them as columns.
    """

    name: str
    schema: str
    layout: str

    @property
    def columns(self) -> list[str]:
        """The names of the columns.

        >>> Dataset("pairs", "id string, counts map<string, int>, day date", "").columns
        ['id', 'counts', 'day']
        """
        return [column.split()[0] for column in re.split(r",\s*(?![^<]*>)", self.schema)]

    def extended(self, more: Mapping[str, str]) -> "Dataset":
        """The same with further columns behind the others, by name and type.

        >>> Dataset("pairs", "id string", "").extended({"discount": "bigint"}).schema
        'id string, discount bigint'
        """
        columns = [self.schema, *(f"{name} {type_}" for name, type_ in more.items())]
        return replace(self, schema=", ".join(columns))

    def partition(self, root: Path, **key: object) -> Path:
        """The folder of one partition, e.g. ``partition(root, known_on=d, intake="ab12-07ff")``."""
        return root / self.layout.format(**key)


LINE = (
    "invoice_id string, product_id string, customer_id string, quantity_micros bigint, "
    "unit_price_micros bigint, invoiced_at timestamp, country string, known_on date"
)
"""The canonical transaction line. ``quantity_micros`` is in millionths of a piece (or of the unit
that goods are weighed in), negative for a return; ``unit_price_micros`` in millionths of the
currency unit. Where the source has an amount alone, the line is one piece for that amount.
``invoiced_at`` is UTC, ``customer_id`` is null for a sale without a customer, ``known_on`` the day
of the delivery. ``invoice_id``, ``product_id`` and ``country`` are null in all lines of a source
that has no such column."""

DELIVERED_LINE = (
    f"{LINE}, source_file string, source_line bigint, raw map<string, string>, row_text string, "
    "malformed string, unusable_invoice_id string, unusable_product_id string, "
    "unusable_customer_id string, unusable_country string, inexact_quantity string, "
    "inexact_unit_price string, inexact_amount string, invoice_issuer string, "
    "unusable_carried string"
)
"""A line as it is read from a delivery, before it is split.

``source_line`` is the number of its line in a text file, of its row in a Parquet file, from 1.
``raw`` holds the row as delivered, ``row_text`` all of it as one text, the same for copies; null
where the source names the columns that tell its lines apart. What stands in ``malformed``, in
``unusable_*`` or in ``inexact_*`` says what is wrong with the line, the id or the number, which is
null then; null if it is right. ``invoice_issuer`` is who numbers the invoices, where the source
says that there are several. What the source carries stands behind the others, by name.
"""

INCOMING_TRANSACTIONS = "incoming/transactions/{known_on}"
"""What upstream puts down for one day; Parquet or CSV in the source's own columns.

Made by: outside (or generate_deliveries, describe_source). Used by: await_delivery, open_run,
load_history.
"""

KEPT_LINE = f"{LINE}, line_key string"
"""A line as the lake holds it. Lines with the same ``line_key`` are the same line; it is null where
the source names no columns that tell its lines apart."""

TRANSACTIONS = Dataset("transactions", KEPT_LINE, "lake/transactions/known_on={known_on}/{intake}")
"""Accepted lines of one delivery.

Made by: validate_delivery, load_history. Used by: summarise_activity, load_history,
measure_quality.
"""

EXCLUDED_TRANSACTIONS = Dataset(
    "excluded_transactions",
    f"{KEPT_LINE}, rule string",
    "lake/excluded/transactions/known_on={known_on}/{intake}",
)
"""Lines that are right but not ours to score, each with the rule that says so.

Made by: validate_delivery, load_history. Used by: measure_quality; kept so that every delivered row
can be found.
"""

QUARANTINED_TRANSACTIONS = Dataset(
    "quarantined_transactions",
    "rule string, rules array<string>, reason string, source_file string, source_line bigint, "
    "raw map<string, string>",
    "lake/quarantine/transactions/known_on={known_on}/{intake}",
)
"""Lines that break a row rule: the first rule broken, all of them, why, where, and the row as
delivered.

Made by: validate_delivery, load_history. Used by: people, and a redelivery after repair.
"""

RECEIVED = "lake/received/known_on={known_on}"
"""The files of deliveries as they came, each delivery in a folder of its own; nothing else is read.

Made by: open_run, load_history. Used by: validate_delivery, load_history.
"""

LEDGER_ENTRY = "lake/ledger/known_on={known_on}/{number:05}.json"
"""Every delivery that came for a day, numbered, with the first night that may use it.

Made by: open_run, load_history. Used by: all that ask what was known when (see ``ledger.py``).
"""

RULES = "lake/rules/{rules}.json"
"""Rules under which deliveries are read, split and summarised, by value.

Made by: open_run, load_history. Used by: both, to name what has changed.
"""

INTAKE_RECORD = "lake/intakes/known_on={known_on}/{intake}.json"
"""What was found in one delivery under certain rules: counts by rule, findings, pieces.

Made by: validate_delivery, load_history. Used by: both, for the volume of later days;
summarise_activity, publish_predictions, measure_quality.
"""

REFUSAL_RECORD = "lake/intakes/known_on={known_on}/{intake}.refused.json"
"""Why a delivery must not be used, and the rows at fault.

Made by: validate_delivery, load_history. Used by: load_history, people.
"""

ACTIVITY_RECORD = "lake/intakes/known_on={known_on}/{intake}.activity.json"
"""The piece of activity made from an intake; with it nights may use the delivery.

Made by: summarise_activity, load_history. Used by: all that read activity.
"""

ACTIVITY = Dataset(
    "activity",
    "customer_id string, activity_on date, country string, "
    "purchase_invoice_ids array<string>, purchase_product_ids array<string>, "
    "purchase_lines bigint, purchase_quantity_micros bigint, purchase_micros bigint, "
    "return_lines bigint, return_quantity_micros bigint, return_micros bigint, known_on date",
    "lake/activity/known_on={known_on}/{intake}",
)
"""One row per customer and business day with activity, from one delivery; exact and additive.

Purchases have ``quantity_micros > 0``, returns ``quantity_micros < 0``; the sums of returns
are positive. ``purchase_micros`` and ``return_micros`` are what the lines are worth,
in millionths of the currency unit. The arrays are sorted and distinct. ``known_on`` is the day of
the delivery. What the source carries stands behind the others: sums and lists of purchases. No
nulls, but ``country`` of a source without one; there an array is empty for want
of its column.

Made by: summarise_activity, load_history. Used by: build_features, list_training_window,
build_training_set, measure_performance.
"""

RUN_RECORD = "lake/runs/score_date={score_date}/{run_id}.json"
"""The inputs of one run, pinned when it was opened.

Made by: open_run. Used by: every later job of the night.
"""

STAGE_RECORD = "lake/runs/score_date={score_date}/{run_id}.stages/{stage}.json"
"""What one job of a run took and found.

Made by: every job between open_run and decide_retraining. Used by: publish_predictions,
report_drift, measure_quality, measure_performance, advance_rollout, decide_retraining.
"""

FEATURES_LAYOUT = "lake/features/score_date={score_date}/run_id={run_id}"
PREDICTIONS_LAYOUT = "lake/predictions/score_date={score_date}/run_id={run_id}"

UNSCORABLE = Dataset(
    "unscorable",
    "customer_id string",
    "lake/unscorable/score_date={score_date}/run_id={run_id}",
)
"""Customers of the population whose features break a promise, ordered by ``customer_id``; they get
a fallback score.

Made by: build_features. Used by: score_customers.
"""

PREDICTIONS = Dataset(
    "predictions",
    "customer_id string, probability double, decile int, is_contacted boolean, "
    "reason_1 string, reason_2 string, reason_3 string, status string, arm string, "
    "is_control boolean, question string",
    PREDICTIONS_LAYOUT,
)
"""One row per customer of the population, ordered by ``customer_id``.

``probability`` in [0, 1] that the answer to ``question`` is yes; ``decile`` 1 (likeliest) to 10
among all customers of this run, by the model whose score the row is; ``reason_*`` null when reasons
are off or the customer is a fallback; ``status`` is ``scored``, ``previous`` (last night's score
kept) or ``default`` (the prior); ``arm`` says whose score it is that readers get, ``champion`` or
``challenger``; ``is_control`` marks those who are never contacted, whatever their score, so
``is_contacted`` is false of them; ``question`` is the same in all rows of a run.

Made by: score_customers. Used by: publish_predictions, report_drift, measure_performance, and
score_customers of the next night.
"""

ARM_SCORES = Dataset(
    "arm_scores",
    "customer_id string, champion_probability double, champion_is_contacted boolean, "
    "challenger_probability double, challenger_is_contacted boolean",
    "lake/arm_scores/score_date={score_date}/run_id={run_id}",
)
"""What either model says of every customer, ordered by ``customer_id``; only of runs that were
opened with a challenger. Neither would contact a customer of the control.

Made by: score_customers. Used by: publish_predictions, measure_performance.
"""

RESTATEMENT = "lake/restatements/{first}_{last}.json"
"""Nights computed again as known now, not shown to readers before they are asked for.

Made by: restate. Used by: restate, with --apply.
"""

RESTATEMENT_REPORT = "reports/restatements/{first}_{last}"
"""HTML for people: what a restatement would change.

Made by: restate. Used by: people.
"""

REPORTS = "reports/{score_date}/{run_id}"
"""HTML for people: Data Docs and drift report of one run.

Made by: validate_delivery, build_features, score_customers, report_drift. Used by: show_nights, the
Airflow UI.
"""

DASHBOARD = "evidently"
"""Evidently's workspace: the nights of every model side by side.

Made by: report_drift, measure_performance. Used by: people, with evidently ui.
"""

DELIVERY_DOCS = "reports/deliveries/{known_on}/{intake}/transactions"
"""The page about one delivery, for the runs that use it without taking it in again.

Made by: validate_delivery. Used by: validate_delivery.
"""

HISTORY_DOCS = "reports/history/{until}/data_docs/transactions"
"""The page about the deliveries taken in together before the first night.

Made by: load_history. Used by: people.
"""


def incoming_folder(root: Path, known_on: date) -> Path:
    """Where the delivery of that day is awaited."""
    return root / INCOMING_TRANSACTIONS.format(known_on=known_on)
