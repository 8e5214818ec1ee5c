"""A model that adds up what each feature gives: a recency table, a logistic regression.

Its parameters are numbers in a JSON file, and it computes with nothing but look-ups, additions,
multiplications and powers of two, in a fixed order: every machine gives the same margins, bit for
bit. What a feature adds is its contribution, so reasons are exact.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lake import read_json, write_json


@dataclass(frozen=True, slots=True)
class Steps:
    """Gives ``adds[i]`` to a value from ``starts[i]`` on, up to the next start.

    ``starts`` ascend; what lies below the first is like the first. A category is a step, as its
    value is its position. ``missing`` is for NaN.
    """

    starts: tuple[float, ...]
    adds: tuple[float, ...]
    missing: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """What each value gives, as float64."""
        step = np.searchsorted(self.starts, values, side="right") - 1
        given = np.asarray(self.adds, dtype=np.float64)[np.maximum(step, 0)]
        return np.where(np.isnan(values), self.missing, given)


@dataclass(frozen=True, slots=True)
class Line:
    """Gives ``weight`` times ``compressed`` of the value, plus ``offset``; to NaN ``missing``."""

    weight: float
    offset: float
    missing: float

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """What each value gives, as float64."""
        return np.where(
            np.isnan(values), self.missing, self.weight * compressed(values) + self.offset
        )


def compressed(values: np.ndarray) -> np.ndarray:
    """Sign times log2(1 + size) as float64, with a straight line between powers of two.

    A logarithm from a library may differ in its last bit between processors; this cannot.

    >>> compressed(np.array([-3.0, 0.0, 1.0, 2.0, 3.0, 1023.0])).tolist()
    [-2.0, 0.0, 1.0, 1.5, 2.0, 10.0]
    """
    mantissa, exponent = np.frexp(1.0 + np.abs(values.astype(np.float64)))
    return np.sign(values) * (exponent + 2.0 * mantissa - 2.0)


@dataclass(frozen=True, slots=True)
class Additive:
    """``start`` plus what the terms give to the features they are named after.

    ``features`` are the columns of the matrix, in order; one without a term gives nothing.
    """

    kind: str
    features: tuple[str, ...]
    start: float
    terms: Mapping[str, Steps | Line]

    suffix = ".json"

    def margin(self, matrix: np.ndarray) -> np.ndarray:
        """The log-odds of each row before calibration, (n,)."""
        sums = np.full(len(matrix), self.start)
        for column, name in enumerate(self.features):
            if name in self.terms:
                sums += self.terms[name](matrix[:, column])
        return sums

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """How each feature moves each row's margin, (k + 1, n); the last row is the start."""
        sums = np.zeros((len(self.features) + 1, len(matrix)))
        sums[-1] = self.start
        for column, name in enumerate(self.features):
            if name in self.terms:
                sums[column] = self.terms[name](matrix[:, column])
        return sums

    def second_contributions(self, matrix: np.ndarray) -> np.ndarray:
        """The same: there is one way to compute them."""
        return self.contributions(matrix)

    def write(self, path: Path) -> None:
        """Write the file."""
        terms = {name: asdict(term) for name, term in self.terms.items()}
        facts = {"kind": self.kind, "features": self.features, "start": self.start}
        write_json(path, facts | {"terms": terms})

    @classmethod
    def read(cls, path: Path) -> "Additive":
        """What ``write`` wrote."""
        found = read_json(path)
        terms = {
            name: Steps(tuple(term["starts"]), tuple(term["adds"]), term["missing"])
            if "starts" in term
            else Line(**term)
            for name, term in found["terms"].items()
        }
        return cls(found["kind"], tuple(found["features"]), found["start"], terms)
