"""Each feature is a documented function, and the dictionary is made of nothing else."""

import inspect
import re
import shutil
import sys
from pathlib import Path

import pytest
from pyspark.sql import Column

import business_day
import features
from features.build import CATEGORICAL, FEATURES, features_sha256
from features.dictionary import DICTIONARY_FILE, data_dictionary

NAMES = [feature.__name__ for feature in FEATURES]


def test_the_dictionary_in_docs_is_the_one_the_features_make(golden):
    golden(DICTIONARY_FILE, data_dictionary())


def test_each_feature_has_its_line_in_the_dictionary():
    listed = re.findall(r"^\| `(\w+)` \|", data_dictionary(), flags=re.MULTILINE)
    assert listed == NAMES


def test_every_public_function_beside_a_feature_is_a_feature():
    modules = {sys.modules[feature.__module__] for feature in FEATURES}
    functions = {
        function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    assert functions == set(FEATURES)
    assert len(set(NAMES)) == len(FEATURES)


@pytest.mark.parametrize("feature", FEATURES, ids=NAMES)
def test_a_feature_says_its_window_and_what_is_so_when_there_is_nothing(feature):
    entry = " ".join(inspect.getdoc(feature).split())
    window = re.search(r"_(\d+)d$", feature.__name__)
    assert window is None or f"{window[1]} days" in entry
    assert re.search(r"\b0 if|\bNull (if|below)|Never null", entry), entry
    assert inspect.signature(feature).return_annotation is Column


def test_categories_are_the_features_that_are_not_numbers():
    assert set(CATEGORICAL) <= set(NAMES)


def test_the_hash_of_the_features_changes_with_what_their_code_means(tmp_path, monkeypatch):
    copy = tmp_path / "features"
    shutil.copytree(Path(features.__file__).parent, copy)
    days = tmp_path / "business_day.py"
    days.write_text(Path(business_day.__file__).read_text())
    before = features_sha256()
    monkeypatch.setattr("meaning.PROJECT_ROOT", tmp_path)
    monkeypatch.setattr("features.build.__file__", str(copy / "build.py"))
    monkeypatch.setattr("business_day.__file__", str(days))
    assert features_sha256() == before

    rhythm = copy / "rhythm.py"
    rhythm.write_text(rhythm.read_text() + "# said once more\n")
    assert features_sha256() == before
    rhythm.write_text(rhythm.read_text().replace("enough - 1", "enough - 2"))
    changed = features_sha256()
    assert changed != before

    days.write_text(days.read_text() + "ANOTHER_DAY = 1\n")
    assert features_sha256() != changed
