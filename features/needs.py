"""What a feature needs of a line that not every source has."""

from collections.abc import Callable, Collection

from pyspark.sql import Column

Feature = Callable[[], Column]

_NEEDED: dict[str, frozenset[str]] = {}


def needs(*columns: str) -> Callable[[Feature], Feature]:
    """Say that a feature is over columns of the line that a source may lack.

    Args:
        columns: By our name, as in `columns` of a source in params.yaml.
    """

    def mark(feature: Feature) -> Feature:
        _NEEDED[feature.__name__] = frozenset(columns)
        return feature

    return mark


def needed_by(feature: Feature) -> frozenset[str]:
    """The columns that a feature is over and a source may lack; most features need none."""
    return _NEEDED.get(feature.__name__, frozenset())


def can_be_made(feature: Feature, columns: Collection[str]) -> bool:
    """Whether a source with these columns has all that the feature needs."""
    return needed_by(feature) <= set(columns)
