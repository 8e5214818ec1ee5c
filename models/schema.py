"""What goes into a model, and how a table becomes the matrix that XGBoost reads."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Feature:
    """One column of the matrix.

    A category is its position in ``categories`` (most frequent first in the rows the model was
    fitted on). ``low`` and ``high`` are the range of a number in those rows, both null for a
    category or when every value was missing. ``missing_share`` is from the same rows.
    """

    name: str
    kind: Literal["number", "category"]
    categories: tuple[str, ...]
    low: float | None
    high: float | None
    missing_share: float


class FeatureMismatch(ValueError):
    """The rows to score are not the rows the model was trained on."""

    def __init__(self, missing: Sequence[str], available: Sequence[str]) -> None:
        super().__init__(
            f"the model needs columns {list(missing)}, which are not among {list(available)}. "
            "Was it trained before a feature was renamed? Retrain, or score with the older "
            "checkout of features/."
        )


def describe_features(rows: pa.Table, names: Sequence[str]) -> tuple[Feature, ...]:
    """The features ``names`` of ``rows``: strings are categories, all else is a number."""
    return tuple(_describe(name, rows.column(name)) for name in names)


def _describe(name: str, column: pa.ChunkedArray) -> Feature:
    missing_share = column.null_count / max(len(column), 1)
    if pa.types.is_string(column.type):
        counts = column.drop_null().value_counts().to_pylist()
        by_frequency = sorted(counts, key=lambda entry: (-entry["counts"], entry["values"]))
        categories = tuple(entry["values"] for entry in by_frequency)
        return Feature(name, "category", categories, None, None, missing_share)

    span = pc.min_max(column).as_py()
    return Feature(name, "number", (), span["min"], span["max"], missing_share)


def feature_matrix(rows: pa.RecordBatch | pa.Table, schema: Sequence[Feature]) -> np.ndarray:
    """The rows as float32, (n, k), columns in the order of ``schema``.

    NaN stands for a missing number, a missing category, and a category that was not seen when
    the model was fitted.

    Raises:
        FeatureMismatch: If a column of the schema is absent. Other columns are ignored.
    """
    available = rows.schema.names
    missing = [feature.name for feature in schema if feature.name not in available]
    if missing:
        raise FeatureMismatch(missing, available)

    matrix = np.empty((rows.num_rows, len(schema)), dtype=np.float32)
    # A number too large for float32 becomes infinite, which score() answers.
    with np.errstate(over="ignore"):
        for position, feature in enumerate(schema):
            column = rows.column(feature.name)
            if feature.kind == "category":
                column = pc.index_in(column, pa.array(feature.categories, pa.string()))
            matrix[:, position] = pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False)
    return matrix


def schema_to_json(schema: Sequence[Feature]) -> list[dict]:
    """The schema as plain values, in order."""
    return [asdict(feature) for feature in schema]


def schema_from_json(entries: list[dict]) -> tuple[Feature, ...]:
    """What ``schema_to_json`` wrote."""
    return tuple(Feature(**entry | {"categories": tuple(entry["categories"])}) for entry in entries)


def of_each(values: pa.ChunkedArray, given: Callable, dtype: type[np.generic]) -> np.ndarray:
    """What ``given`` makes of the value of each row, asked once for each different value."""
    encoded = values.combine_chunks().dictionary_encode()
    made = [given(value) for value in encoded.dictionary.to_pylist()]
    return np.array(made, dtype=dtype)[encoded.indices.to_numpy()]
