"""What the model must beat: one number about the customer, and a linear model of all of them.

Each baseline learns from the same rows as the model and is calibrated on the same later dates, so
that what is compared is how much each knows about a customer, not who saw the newer level.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from models.calibration import calibrate
from models.fit import labels
from models.schema import Feature, feature_matrix

RECENCY = "recency_days"
"""The feature of the simplest baseline: days since the last purchase."""

# A category with fewer rows is pooled with the other rare ones.
RARE_ROWS = 50


def recency_probabilities(fit: pa.Table, calibration: pa.Table, holdout: pa.Table) -> np.ndarray:
    """Probability for each row of ``holdout`` from days since the last purchase alone.

    The share of buyers is a falling step function of recency (isotonic regression).
    """
    days, days_calibration, days_holdout = (
        rows[RECENCY].to_numpy().astype(np.float64) for rows in (fit, calibration, holdout)
    )
    # A step on which nobody or everybody bought would claim certainty.
    edge = 1.0 / (fit.num_rows + 2)
    steps = IsotonicRegression(increasing=False, y_min=edge, y_max=1 - edge, out_of_bounds="clip")
    steps.fit(days, labels(fit))

    margin, margin_holdout = (_log_odds(steps.predict(d)) for d in (days_calibration, days_holdout))
    return calibrate(margin, labels(calibration)).probability(margin_holdout)


def logistic_probabilities(
    fit: pa.Table, calibration: pa.Table, holdout: pa.Table, schema: Sequence[Feature]
) -> np.ndarray:
    """Probability for each row of ``holdout`` from a logistic regression on all features.

    Counts and amounts are long-tailed, so the regression gets their logarithm, scaled; missing
    numbers become the median beside a flag; categories become one column each.
    """
    numbers = [i for i, feature in enumerate(schema) if feature.kind == "number"]
    categories = [i for i, feature in enumerate(schema) if feature.kind == "category"]
    regression = make_pipeline(
        ColumnTransformer(
            [
                (
                    "numbers",
                    make_pipeline(
                        FunctionTransformer(_signed_log),
                        SimpleImputer(strategy="median", add_indicator=True),
                        StandardScaler(),
                    ),
                    numbers,
                ),
                (
                    "categories",
                    OneHotEncoder(min_frequency=RARE_ROWS, handle_unknown="infrequent_if_exist"),
                    categories,
                ),
            ]
        ),
        LogisticRegression(max_iter=2000),
    )
    # One thread, so that the order of additions does not follow the machine's number of cores.
    with threadpool_limits(1):
        regression.fit(feature_matrix(fit, schema), labels(fit))
        margin, margin_holdout = (
            regression.decision_function(feature_matrix(rows, schema))
            for rows in (calibration, holdout)
        )
    return calibrate(margin, labels(calibration)).probability(margin_holdout)


def _log_odds(probability: np.ndarray) -> np.ndarray:
    return np.log(probability / (1 - probability))


def _signed_log(values: np.ndarray) -> np.ndarray:
    return np.sign(values) * np.log1p(np.abs(values))
