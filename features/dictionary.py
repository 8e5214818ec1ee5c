"""Write ``docs/data_dictionary.md`` from the features: ``python -m features.dictionary``."""

import inspect
import sys
from itertools import groupby
from pathlib import Path

from features.build import CATEGORICAL, FEATURES
from features.needs import Feature, needed_by

DICTIONARY_FILE = Path(__file__).resolve().parents[1] / "docs" / "data_dictionary.md"

HEAD = """\
# Data dictionary

Written by `python -m features.dictionary` from the functions in `features/`; change those.

One row per customer of the population, as of a day: only what had happened by the end of that day
on the clock of the source, and was known by then. The last 30 days are the as-of day and the 29
before it. Amounts are in the currency of the source. Numbers are doubles. A feature that needs a
column which the source has not is left out.
"""


def data_dictionary() -> str:
    """The dictionary as Markdown: a section for each subject, a line for each feature."""
    sections = [HEAD]
    for module, features in groupby(FEATURES, key=lambda feature: feature.__module__):
        rows = [
            f"| `{feature.__name__}` | {_kind(feature.__name__)} | {_meaning(feature)} |"
            for feature in features
        ]
        sections.append(
            f"## {module.rpartition('.')[2].capitalize()}\n\n{_text(sys.modules[module])}\n\n"
            "| feature | kind | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
        )
    return "\n".join(sections)


def _kind(name: str) -> str:
    return "category" if name in CATEGORICAL else "number"


def _meaning(feature: Feature) -> str:
    needed = (f"Needs `{name}`." for name in sorted(needed_by(feature)))
    return " ".join([_text(feature), *needed])


def _text(documented: object) -> str:
    return " ".join((inspect.getdoc(documented) or "").split())


if __name__ == "__main__":
    DICTIONARY_FILE.write_text(data_dictionary(), encoding="utf-8")
