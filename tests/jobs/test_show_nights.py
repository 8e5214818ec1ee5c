"""Tests of the summary that a person reads."""

import io
import shutil
from datetime import date
from types import SimpleNamespace

import pytest
from rich.console import Console

import catalog
import warehouse
from jobs import show_nights
from lake import write_json
from tests.records import run_record
from tests.warehouse.nights import a_run, predictions


@pytest.fixture
def engine(settings, empty_warehouse):
    shutil.copy(empty_warehouse, settings.data_root)
    return warehouse.connect(settings.warehouse_url)


def shown(show, *arguments) -> str:
    """What is printed, without blanks at the ends of lines."""
    output = io.StringIO()
    show(Console(file=output, width=show_nights.WIDEST, markup=False), *arguments)
    return "".join(f"{line.rstrip()}\n" for line in output.getvalue().splitlines())


def publish_nights(engine, settings):
    """Two nights: a plain one, and one with a fallback customer, drift and reports."""
    warehouse.publish(
        engine,
        a_run("3f2a90c1d4e5b607", population=3, score_date=date(2026, 3, 31)),
        [predictions("ada", "bob", "eve", probability=[0.05, 0.15, 0.95])],
        replaces=None,
    )
    tonight = a_run(
        "a87b11c0de4f5a21",
        population=1200,
        scored=1199,
        fallback={"previous": 1, "default": 0},
        delivered=1_234_567,
        accepted=1_200_000,
        quarantined={"price_is_positive": 30_000, "row_is_unique": 67},
        excluded={"customer_is_known": 4_500},
        model_version="v1.10.0",
    )
    customers = [f"c{number:04d}" for number in range(1200)]
    batch = predictions(
        *customers,
        probability=[(number / 1200) ** 2 for number in range(1200)],
        is_contacted=[number >= 960 for number in range(1200)],
        status=["previous"] + ["scored"] * 1199,
    )
    warehouse.publish(engine, tonight, [batch], replaces=None)
    finding = {"kind": "number", "method": "psi", "value": 0.3, "threshold": 0.2, "detail": ""}
    verdicts = {"recency_days": "drift", "tenure_days": "steady", "country": "steady"}
    warehouse.replace_drift(
        engine,
        tonight.run_id,
        {
            "reference": [
                SimpleNamespace(column=name, verdict=verdict, **finding)
                for name, verdict in verdicts.items()
            ]
        },
    )
    warehouse.record_decision(
        engine,
        warehouse.RecordedDecision(
            run_id=tonight.run_id,
            score_date=tonight.score_date,
            decision="alarm",
            trigger=None,
            reasons=["the inputs have drifted for 3 nights or more"],
            evidence={"performance": "the cohort of 2026-03-02 did well"},
            child_run=None,
        ),
    )
    key = {"score_date": tonight.score_date, "run_id": tonight.run_id}
    reports = settings.data_root / catalog.REPORTS.format(**key)
    write_json(reports / "drift/drift.json", {"verdict": "drift"})
    for page in ("drift", "data_docs/transactions", "data_docs/features", "data_docs/predictions"):
        (reports / page).mkdir(parents=True, exist_ok=True)
        (reports / page / "index.html").touch()


def test_the_summary_reads_as_accepted(engine, settings, golden, monkeypatch):
    monkeypatch.setattr(show_nights.shutil, "which", lambda name: f"/usr/bin/{name}")
    publish_nights(engine, settings)

    text = shown(show_nights.show_nights, settings, 10, ".venv/bin/python")

    widths = [len(line.rstrip()) for line in text.splitlines() if line.startswith(" 2026-")]
    assert len(widths) == 6
    assert max(widths) <= 80
    golden("show_nights.txt", text.replace(str(settings.data_root), "<data>"))


def test_a_night_by_a_version_that_was_not_the_champion_is_marked(engine, settings):
    publish_nights(engine, settings)
    assert "by name" not in shown(show_nights.show_nights, settings, 10)
    night, run_id = date(2026, 4, 1), "a87b11c0de4f5a21"
    run_record(night, run_id=run_id, is_champion=False).write(settings.data_root)

    lines = shown(show_nights.show_nights, settings, 10).splitlines()

    assert [line.split()[1] for line in lines if "0.3" in line] == ["v1.0.0", "v1.10.0*"]
    assert "* asked for by name: it was not the champion" in map(str.strip, lines)


def test_only_as_many_nights_as_asked_for(engine, settings):
    publish_nights(engine, settings)

    text = shown(show_nights.show_nights, settings, 1)

    assert "2026-04-01" in text
    assert "2026-03-31" not in text


@pytest.mark.usefixtures("engine")
def test_before_the_first_night_it_says_how_to_begin(settings):
    assert shown(show_nights.show_nights, settings, 10) == (
        "No night is published yet. Begin with: make run\n"
    )


def test_the_query_it_offers_works(engine, settings):
    publish_nights(engine, settings)

    lines = shown(show_nights.show_answer, settings, show_nights.BEST_CUSTOMERS).split("\n")

    assert lines[1].split() == ["customer_id", "probability", "decile", "reason_1"]
    assert lines[3].split()[0] == "c1199"


def test_values_are_bound_to_the_names_of_a_query(engine, settings):
    publish_nights(engine, settings)
    asked = show_nights.PARSER.parse_args(
        ["--sql", warehouse.WHO_SCORED, "--value=customer_id=bob", "--value=score_date=2026-03-31"]
    )

    text = shown(show_nights.show_answer, settings, asked.sql, dict(asked.value))

    assert text.split("\n")[3].split()[:3] == ["2026-03-31", "bob", "0.15"]


def test_a_value_without_a_name_is_refused():
    with pytest.raises(SystemExit):
        show_nights.PARSER.parse_args(["--value", "customer"])
