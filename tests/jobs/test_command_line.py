"""What a person sees of any job: its help, and a sentence when something typed or set is wrong."""

import argparse
import importlib
import json
import logging
import os
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from jobs.__main__ import WIDTH, jobs, listing
from params import PARAMS_FILE, read_params

# They are started here beside their own modules.
pytestmark = pytest.mark.filterwarnings("ignore:.*found in sys.modules")

JOBS = sorted(jobs())
DATES = {"--score-date", "--from", "--until", "--day", "--accept-refused"}


@pytest.fixture
def typed(tmp_path, monkeypatch, capsys):
    """Starts a job with these flags; its exit code and what it says. A traceback is an error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCORING_DATA_ROOT", str(tmp_path / "data"))
    umask, root = os.umask(0), logging.getLogger()
    handlers, level = root.handlers[:], root.level

    (tmp_path / "rows.csv").touch()
    (tmp_path / "till.csv").touch()
    # Some jobs write there.
    shutil.copy(PARAMS_FILE, tmp_path)
    monkeypatch.setattr("params.PARAMS_FILE", tmp_path / "params.yaml")
    monkeypatch.setattr(
        "params.read_params", lambda path=tmp_path / "params.yaml": read_params(path)
    )

    def start(job: str, *flags: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [job, *flags])
        root.handlers = []
        code = 0
        try:
            runpy.run_module(f"jobs.{job}", run_name="__main__", alter_sys=True)
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        return code, said.out + said.err

    yield start
    os.umask(umask)
    root.handlers, root.level = handlers, level


def example(job: str) -> list[str]:
    """The flags of the example in the help of a job."""
    [line] = re.findall(r"^  %\(prog\)s ?(.*)$", parser_of(job).epilog, re.MULTILINE)
    return shlex.split(line)


def parser_of(job: str) -> argparse.ArgumentParser:
    return importlib.import_module(f"jobs.{job}").PARSER


def flags_of(job: str) -> set[str]:
    return {flag for action in parser_of(job)._actions for flag in action.option_strings}


def test_the_list_has_every_job_and_fits_a_terminal():
    assert {"open_run", "show_nights", "build_bundle"} <= set(JOBS)
    assert not {"entry", "session", "java", "__init__", "__main__"} & set(JOBS)
    assert max(map(len, listing().splitlines())) <= WIDTH


@pytest.mark.parametrize("job", JOBS)
def test_help_has_the_command_and_an_example_that_is_accepted(job, typed, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    code, help_page = typed(job, "--help")
    assert code == 0
    assert help_page.startswith(f"usage: python -m jobs.{job} ")
    assert f"\n  python -m jobs.{job}" in help_page.partition("example:")[2]
    for flag in flags_of(job) & DATES:
        assert f"{flag} YYYY-MM-DD" in help_page

    parser_of(job).parse_args(example(job))


def edit_params(edit: Callable[[dict], object]) -> None:
    """Edit the ``params.yaml`` that jobs find."""
    edited = yaml.safe_load(Path("params.yaml").read_text())
    edit(edited)
    Path("params.yaml").write_text(yaml.safe_dump(edited))


SETTINGS = {
    "a source that is not there": (
        lambda patch: patch.setenv("SCORING_SOURCE", "nowhere"),
        "params.yaml has no source 'nowhere', only ['generated', ",
    ),
    "a key that is missing": (
        lambda _: edit_params(lambda params: params["training"]["question"].pop("horizon_days")),
        "params.yaml: training.question.horizon_days is missing",
    ),
    "a value of the wrong type": (
        lambda _: edit_params(lambda params: params["model"].update(max_depth="deep")),
        "params.yaml: model.max_depth should be a valid integer",
    ),
    "a variable of the wrong type": (
        lambda patch: patch.setenv("SCORING_SPARK", "sparc"),
        "environment: SCORING_SPARK should match pattern",
    ),
    "an empty deployment": (lambda _: None, ""),
}
LOOK_AT_PARAMS_FIRST = {
    *("await_delivery", "generate_deliveries", "list_training_window", "load_history"),
    *("migrate_warehouse", "return_repaired", "show_quarantine"),
}


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_set_wrong_is_told_in_one_sentence(job, name, typed, monkeypatch):
    mistake, sentence = SETTINGS[name]
    mistake(monkeypatch)
    flags = example(job)
    if job == "generate_deliveries":
        flags[1] = flags[3]

    code, said = typed(job, *flags)

    if job in LOOK_AT_PARAMS_FIRST and sentence:
        assert code == 1
        assert json.loads(said.splitlines()[0])["error"].startswith(sentence)
    # Others may find first that nothing is there to work on, or have nothing to do.
    assert code in (0, 1, 20, 75)


TYPED = {
    **dict.fromkeys(DATES, ("20260401", "'20260401' is no date YYYY-MM-DD, such as 2026-04-01")),
    "--run-id": ("../../etc", "'../../etc' is no run id"),
    "--instead-of": ("../../etc", "'../../etc' is no run id"),
    "--asked-at": ("tonight", "'tonight' is no moment"),
    "--file": ("nowhere.csv", "there is no nowhere.csv"),
    "--csv": ("nowhere/rows.csv", "nowhere/rows.csv is no file in a folder that is there"),
    "--html": ("nowhere/page.html", "nowhere/page.html is no file in a folder that is there"),
    "--nights": ("0", "'0' is no number from 1"),
    "--customers": ("many", "'many' is no number from 1"),
    "--fault": ("nuls:2026-04-01", "nuls"),
}


@pytest.mark.parametrize(
    ("job", "flag"), [(job, flag) for job in JOBS for flag in sorted(flags_of(job) & set(TYPED))]
)
def test_what_is_typed_wrong_is_told_in_one_sentence(job, flag, typed):
    value, sentence = TYPED[flag]
    code, said = typed(job, *example(job), flag, value)
    assert code == 2
    [*_, last] = said.splitlines()
    assert last.startswith(f"python -m jobs.{job}: error: argument {flag}: ")
    assert sentence in last


@pytest.mark.parametrize("job", [job for job in JOBS if {"--from", "--until"} <= flags_of(job)])
def test_days_the_wrong_way_round_are_refused(job, typed):
    code, said = typed(job, *example(job), "--from", "2026-04-03", "--until", "2026-04-01")
    assert code == 2
    assert said.endswith("error: --until 2026-04-01 comes before --from 2026-04-03\n")


VERSIONED = {"--version", "--against"}


@pytest.mark.parametrize(
    ("job", "flag"), [(job, flag) for job in JOBS for flag in sorted(flags_of(job) & VERSIONED)]
)
def test_a_version_that_nobody_registered_is_refused(job, flag, deployed, typed, monkeypatch):
    monkeypatch.setenv("SCORING_MODEL_STORE_URL", deployed.model_store_url)
    known = [word.replace("v1.2.0", "v1.1.0") for word in example(job)]
    code, said = typed(job, *known, flag, "v9.9.9")
    assert code == 1
    assert (
        "no version 'v9.9.9', only ['v1.0.0', 'v1.1.0']"
        in json.loads(said.splitlines()[0])["error"]
    )
