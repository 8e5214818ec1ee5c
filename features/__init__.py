"""What a customer looks like on a day: the only feature code there is.

A feature is a function without arguments; its name is the column and its docstring the entry in
``docs/data_dictionary.md`` (rewrite it with ``python -m features.dictionary``). Adding one is a
function and a line in the tuple of its module.
"""

from features.activity import read_activity, summarise_activity
from features.build import CATEGORICAL, FEATURE_NAMES, FEATURES, build_features, features_sha256
from features.golden import FeaturesDiffer, check_golden, write_golden
from features.labels import label_purchases

__all__ = [
    "CATEGORICAL",
    "FEATURES",
    "FEATURE_NAMES",
    "FeaturesDiffer",
    "build_features",
    "check_golden",
    "features_sha256",
    "label_purchases",
    "read_activity",
    "summarise_activity",
    "write_golden",
]
