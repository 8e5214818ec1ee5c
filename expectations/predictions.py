"""What good predictions look like, checked before anybody may read them."""

from datetime import date
from pathlib import Path

import great_expectations.expectations as gxe
from pyspark.sql import DataFrame

from expectations.promise import FAIL, WARN, promise
from expectations.verdict import verify

STATUSES = ["scored", "previous", "default"]
ARMS = ["champion", "challenger"]

# What every prediction has; reasons may be null.
GIVEN = (
    *("customer_id", "probability", "decile", "is_contacted", "status", "arm"),
    *("is_control", "question"),
)


def verify_predictions(
    predictions: DataFrame, docs: Path, *, night: date, population: int
) -> list[str]:
    """Judge the predictions of one run and write the page.

    Args:
        predictions: One row per customer, with the columns of ``catalog.PREDICTIONS``.
        docs: The folder for the page.
        night: The score date.
        population: The customers the run had to score.

    Returns:
        A sentence for each broken promise that is only a warning.

    Raises:
        ExpectationsBroken: If a promise that must hold is broken; names all of them.
    """
    promises = [
        promise(
            gxe.ExpectTableRowCountToEqual,
            "whole_population",
            "Every customer of the population gets a score; one without would vanish from every "
            "list made from it.",
            FAIL,
            value=population,
        ),
        promise(
            gxe.ExpectColumnValuesToBeUnique,
            "customer_once",
            "Two scores of one customer contradict each other.",
            FAIL,
            column="customer_id",
        ),
        *[
            promise(
                gxe.ExpectColumnValuesToNotBeNull,
                f"{column}_given",
                "Readers may rely on it; null passes every other promise.",
                FAIL,
                column=column,
            )
            for column in GIVEN
        ],
        promise(
            gxe.ExpectColumnValuesToBeBetween,
            "probability_in_range",
            "It is a probability.",
            FAIL,
            column="probability",
            min_value=0,
            max_value=1,
        ),
        promise(
            gxe.ExpectColumnValuesToBeBetween,
            "decile_in_range",
            "Deciles are 1 (likeliest) to 10.",
            FAIL,
            column="decile",
            min_value=1,
            max_value=10,
        ),
        promise(
            gxe.ExpectColumnValuesToBeInSet,
            "status_known",
            "Readers branch on it: scored by the model, the previous score, or the default.",
            FAIL,
            column="status",
            value_set=STATUSES,
        ),
        promise(
            gxe.ExpectColumnValuesToBeInSet,
            "arm_known",
            "Every score is some model's: the champion's, or that of the one tried beside it.",
            FAIL,
            column="arm",
            value_set=ARMS,
        ),
        promise(
            gxe.ExpectColumnValuesToBeInSet,
            "mostly_scored",
            "Fallback scores are for single customers; more of them means that scoring or the "
            "features are ill.",
            WARN,
            column="status",
            value_set=["scored"],
            mostly=0.99,
        ),
    ]
    # A handful of customers may well have equal scores, a population may not.
    if population >= 100:
        promises.append(
            promise(
                gxe.ExpectColumnUniqueValueCountToBeBetween,
                "score_not_constant",
                "One score for everybody ranks nobody: the features or the model came to nothing.",
                FAIL,
                column="probability",
                min_value=2,
            )
        )
    return verify(
        "predictions", predictions, promises, docs, f"{population:,} customers of {night}"
    )
