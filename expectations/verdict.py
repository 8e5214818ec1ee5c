"""What Great Expectations says: the verdict on a batch, and the condition of a single row.

Everything happens in an ephemeral context: the suites are Python, nothing is kept but the page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import great_expectations as gx
from great_expectations.core import ExpectationValidationResult
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.datasource.fluent.interfaces import Batch
from great_expectations.expectations.expectation import ColumnMapExpectation, Expectation
from great_expectations.expectations.registry import get_metric_kwargs
from great_expectations.validator.metric_configuration import MetricConfiguration
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from errors import BadData
from expectations.data_docs import write_page
from expectations.promise import Outcome, rule_of, suite

# How many of the values that break a promise are shown to people.
EXAMPLES = 5


class ExpectationsBroken(BadData):
    """The batch breaks a promise that must hold."""


class SuiteNotEvaluated(RuntimeError):
    """Great Expectations could not compute a promise: a fault of ours, not of the data."""


def judge(name: str, batch: DataFrame, promises: Sequence[Expectation]) -> list[Outcome]:
    """What became of each promise, in their order.

    Raises:
        SuiteNotEvaluated: If a promise cannot be computed, e.g. because its column is missing.
    """
    _, definition = _batch_definition(name)
    judged = definition.get_batch({"dataframe": batch})

    # Details cost a job per promise; that each row keeps a promise is known without.
    strict = [one for one in promises if isinstance(one, ColumnMapExpectation) and one.mostly == 1]
    verdicts = _results(judged, name, strict, {"result_format": "BOOLEAN_ONLY"})
    kept = {rule for rule, verdict in verdicts.items() if verdict.success}
    details = _results(
        judged,
        name,
        [one for one in promises if rule_of(one) not in kept],
        {"result_format": "BASIC", "partial_unexpected_count": EXAMPLES},
    )

    rows = batch.count()
    return [
        Outcome(one, True, rows, 0, [], None)
        if rule_of(one) in kept
        else _detailed(one, rows, details[rule_of(one)])
        for one in promises
    ]


def verify(
    name: str,
    batch: DataFrame,
    promises: Sequence[Expectation],
    docs: Path,
    about: str,
    *,
    notes: Sequence[str] = (),
    examples: Mapping[str, Sequence[str]] = MappingProxyType({}),
    currency: str = "",
) -> list[str]:
    """Judge a batch and put the page about it into ``docs``.

    Args:
        name: What the batch is, e.g. ``transactions``.
        batch: Scanned several times; cache it when it is costly to make.
        docs: The folder that gets ``index.html``, replaced whole.
        about: Which batch it is, for the heading of the page.
        notes: Sentences that the page says first.
        examples: For some promises, rows that break them, in place of the values that Great
            Expectations found.
        currency: Of the amounts, for the page.

    Returns:
        A sentence for every broken promise that is only a warning.

    Raises:
        ExpectationsBroken: If a promise that must hold is broken; names all that are broken.
        SuiteNotEvaluated: If a promise cannot be computed, e.g. because its column is missing.
    """
    outcomes = [
        replace(outcome, examples=list(examples.get(outcome.rule, outcome.examples)))
        for outcome in judge(name, batch, promises)
    ]
    write_page(docs, name, about, outcomes, notes, currency)

    broken = [outcome for outcome in outcomes if not outcome.is_kept]
    sentences = [outcome.sentence() for outcome in broken]
    if any(outcome.must_hold for outcome in broken):
        listed = "\n".join(f"  - {sentence}" for sentence in sentences)
        raise ExpectationsBroken(
            f"{name} of {about} break what was promised:\n{listed}\n"
            f"The page with everything: {docs / 'index.html'}"
        )
    return sentences


def breaks(
    spark: SparkSession, frame: DataFrame, promises: Sequence[ColumnMapExpectation]
) -> dict[str, Column]:
    """For each promise about single rows, the condition of a row that breaks it; never null.

    The condition is the expectation's own, so counting it gives exactly what ``verify`` counts.
    Like there, null keeps every promise but "must not be null".

    Raises:
        SuiteNotEvaluated: If a promise is about a column that ``frame`` has not.
    """
    # Only the columns and their types matter.
    context, definition = _batch_definition("rows")
    empty = spark.createDataFrame([], frame.schema)
    validator = context.get_validator(
        batch_request=definition.build_batch_request({"dataframe": empty})
    )
    metrics = {}
    for one in promises:
        metric = f"{one.map_metric}.condition"
        arguments = get_metric_kwargs(metric, configuration=one.configuration)
        domain = {**arguments["metric_domain_kwargs"], "batch_id": validator.active_batch_id}
        metrics[rule_of(one)] = MetricConfiguration(
            metric, domain, arguments["metric_value_kwargs"]
        )
    # All at once: asked for one by one, each would cost a job of its own.
    conditions, aborted = validator.compute_metrics(list(metrics.values()))
    if aborted:
        raise SuiteNotEvaluated(f"conditions of single rows could not be made: {aborted}")
    return {
        rule: F.coalesce(conditions[metric.id][0], F.lit(False)) for rule, metric in metrics.items()
    }


def _detailed(one: Expectation, rows: int, found: ExpectationValidationResult) -> Outcome:
    values = found.result.get("partial_unexpected_list", [])
    return Outcome(
        promise=one,
        is_kept=bool(found.success),
        rows=rows,
        broken=found.result.get("unexpected_count"),
        examples=list(dict.fromkeys(value for value in values if value is not None)),
        observed=found.result.get("observed_value"),
    )


def _results(
    judged: Batch, name: str, promises: Sequence[Expectation], detail: dict
) -> dict[str, ExpectationValidationResult]:
    if not promises:
        return {}
    verdict = judged.validate(suite(name, list(promises)), result_format=detail)
    results = {
        config.meta["rule"]: result
        for result in verdict.results
        if (config := result.expectation_config)
    }
    for rule, result in results.items():
        if (
            "raised_exception" not in result.exception_info
            or result.exception_info["raised_exception"]
        ):
            raise SuiteNotEvaluated(
                f"{name}: {rule} could not be computed: {result.exception_info}"
            )
    return results


def _batch_definition(
    name: str,
) -> tuple[gx.data_context.EphemeralDataContext, BatchDefinition]:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    source = context.data_sources.add_spark("spark", persist=False)
    return context, source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
