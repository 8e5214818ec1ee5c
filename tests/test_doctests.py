"""The examples in docstrings are true."""

import doctest
import importlib

import pytest

from settings import PROJECT_ROOT

FOLDERS = (
    "dags",
    "deliveries",
    "expectations",
    "features",
    "jobs",
    "local",
    "models",
    "monitoring",
    "plugins",
    "warehouse",
)
FILES = [
    file.relative_to(PROJECT_ROOT)
    for file in (
        *PROJECT_ROOT.glob("*.py"),
        *(file for folder in FOLDERS for file in (PROJECT_ROOT / folder).rglob("*.py")),
    )
    if ">>> " in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("file", sorted(FILES), ids=str)
def test_examples_give_what_they_say(file):
    module = importlib.import_module(".".join(file.with_suffix("").parts))
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_there_are_examples():
    assert len(FILES) > 20
