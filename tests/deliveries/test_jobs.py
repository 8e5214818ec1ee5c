"""The jobs that make deliveries and that wait for one."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest

import catalog
from deliveries.faults import Fault, Faults
from deliveries.receive import DeliveryMissing, describe_delivery
from jobs import await_delivery, generate_deliveries
from jobs.await_delivery import ShopClosed
from params import read_params
from settings import PROJECT_ROOT
from tests.deliveries.conftest import DAY, line

LAST_DAY = DAY + timedelta(days=3)


def generate(settings, first=DAY, until=LAST_DAY, faults=()):
    """Generate the days of a small shop."""
    return generate_deliveries.run(
        settings,
        read_params(),
        first=first,
        until=until,
        customers=200,
        seed=1,
        faults=Faults(tuple(faults)),
    )


def test_generates_one_folder_a_day(settings):
    facts = generate(settings)
    files = [
        file
        for offset in range(4)
        for file in describe_delivery(
            catalog.incoming_folder(settings.data_root, DAY + timedelta(days=offset)), "parquet"
        )
    ]
    assert facts == {"days": 4, "left_alone": 0, "lines": sum(file.rows for file in files)}


def test_days_that_are_there_are_left_alone(settings, caplog):
    generate(settings, until=DAY)
    path = catalog.incoming_folder(settings.data_root, DAY) / "part-0.parquet"
    before = path.stat()
    facts = generate(settings, faults=[Fault.parse("nulls:2026-04-01")])
    assert (facts["days"], facts["left_alone"]) == (3, 1)
    assert path.stat() == before
    assert "touches no day that was made" in caplog.text


def test_a_day_without_delivery_has_no_folder(settings):
    facts = generate(settings, until=DAY, faults=[Fault.parse("no_delivery:2026-04-01")])
    assert facts["lines"] == 0
    assert not catalog.incoming_folder(settings.data_root, DAY).exists()


def test_days_go_forward(settings):
    with pytest.raises(ValueError, match="comes before"):
        generate(settings, first=LAST_DAY, until=DAY)


def test_the_parser_says_which_faults_there_are(capsys):
    with pytest.raises(SystemExit):
        generate_deliveries.PARSER.parse_args(
            ["--from", "2026-04-01", "--until", "2026-04-02", "--fault", "nuls:2026-04-01"]
        )
    assert "no fault is called 'nuls'; there are ['anonymous'," in capsys.readouterr().err


def test_finds_the_delivery_that_is_there(settings, deliver):
    folder = catalog.incoming_folder(settings.data_root, DAY)
    folder.parent.mkdir(parents=True)
    deliver(line()).rename(folder)
    assert await_delivery.run(settings, read_params(), DAY) == {"score_date": DAY, "files": 1}


def test_raises_for_the_delivery_that_is_not_there(settings):
    with pytest.raises(DeliveryMissing, match="2026-04-01"):
        await_delivery.run(settings, read_params(), DAY)


def test_a_closed_weekday_is_not_waited_for_unless_something_is_there(settings):
    source = read_params().source("generated")
    shut = source.model_copy(update={"closed_weekdays": [f"{DAY:%A}".lower()]})
    params = read_params().model_copy(update={"sources": {"generated": shut}})
    with pytest.raises(ShopClosed, match=r"Wednesday.* the night of 2026-03-31 stands"):
        await_delivery.run(settings, params, DAY)
    catalog.incoming_folder(settings.data_root, DAY).mkdir(parents=True)
    with pytest.raises(DeliveryMissing, match="the folder has no"):
        await_delivery.run(settings, params, DAY)


def await_as_command(settings):
    """The job as the sensor starts it."""
    return subprocess.run(
        [sys.executable, "-m", "jobs.await_delivery", "--score-date", str(DAY)],
        cwd=PROJECT_ROOT,
        env=os.environ | {"SCORING_DATA_ROOT": str(settings.data_root)},
        capture_output=True,
        text=True,
    )


def test_the_command_asks_to_try_again_and_names_the_path(settings):
    waiting = await_as_command(settings)
    assert waiting.returncode == os.EX_TEMPFAIL
    assert str(catalog.incoming_folder(settings.data_root, DAY)) in waiting.stderr
    assert waiting.stdout == ""


def test_the_command_prints_what_it_found(settings):
    generate(settings, until=DAY)
    found = await_as_command(settings)
    assert found.returncode == 0
    assert json.loads(found.stdout) == {"score_date": "2026-04-01", "files": 1}


def test_waiting_is_cheap():
    loaded = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jobs.await_delivery", "--help"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
    ).stderr
    modules = {row.rsplit("|", 1)[-1].strip() for row in loaded.splitlines()}
    assert "jobs.entry" in modules
    assert not modules & {"pandas", "sklearn", "xgboost", "great_expectations", "airflow"}
