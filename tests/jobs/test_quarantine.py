"""Rows in quarantine are shown, repaired, and come back as a delivery of their own."""

import csv
from datetime import date, timedelta

import pytest

from expectations.refusal import DeliveryRefused
from jobs import load_history, return_repaired, show_quarantine
from jobs.repairs import NothingToRepair
from ledger import intake_rules, known_by, pin_rules, repairs_by
from params import read_params
from records import ActivityRecord, IntakeRecord
from tests.jobs.test_days import DAYS, deliver, rows_of

PARAMS = read_params()


@pytest.fixture
def shop(spark, settings):
    """A day of twenty good rows, a copy of one, and one without a quantity."""
    rows = rows_of(DAYS[0])
    deliver(settings, DAYS[0], [*rows, rows[0], *rows_of(DAYS[0], 1, quantity=0, product="pie")])
    load_history.run(spark, settings, PARAMS, until=DAYS[0])
    return settings


def rules_of(settings, params=PARAMS) -> str:
    return pin_rules(settings.data_root, intake_rules(params, settings.source))


def shown(settings, path, **changes) -> list[dict]:
    """The rows of quarantine as a file, with these values in the rows that break a rule."""
    show_quarantine.run(settings, into=path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["_rule"] != "exact_duplicate":
            row |= changes
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row for row in rows if row["_rule"] != "exact_duplicate")
    return rows


def test_rows_are_counted_by_day_and_rule_and_written_as_they_were_delivered(shop, tmp_path):
    path = tmp_path / "rows.csv"
    facts = show_quarantine.run(shop, into=path)

    assert facts["by_day"] == [
        {"day": str(DAYS[0]), "rule": "exact_duplicate", "rows": 1},
        {"day": str(DAYS[0]), "rule": "quantity_not_zero", "rows": 1},
    ]
    assert path.stat().st_mode & 0o077 == 0
    with path.open(newline="") as file:
        broken = list(csv.DictReader(file))[1]
    assert broken.items() >= {
        ("_delivered_for", str(DAYS[0])),
        ("_source_file", "part-0.parquet"),
        ("_source_line", "22"),
        ("_rule", "quantity_not_zero"),
        ("product", "pie"),
        ("quantity", "0"),
        ("invoiced_at", "2026-04-01 12:00:00Z"),
    }
    with pytest.raises(FileExistsError):
        show_quarantine.run(shop, into=path)


def test_repaired_rows_come_back_for_their_day_and_are_known_from_the_next_night(
    spark, shop, tmp_path
):
    path = tmp_path / "rows.csv"
    shown(shop, path, quantity="3")

    facts = return_repaired.run(spark, shop, PARAMS, DAYS[0], path)

    assert (facts["returned"], facts["accepted"]) == (1, 1)
    root, rules = shop.data_root, rules_of(shop)
    [name] = repairs_by(root, rules, night=date.max, until=DAYS[0])[DAYS[0]]
    record = IntakeRecord.read(root, DAYS[0], name)
    assert record.repairs == known_by(root, rules, night=date.max, until=DAYS[0])[DAYS[0]]
    assert ActivityRecord.read(root, DAYS[0], name).activity.rows == 1
    assert show_quarantine.run(shop)["returned"] == {str(DAYS[0]): facts["accepted"]}

    # The same file again is the same delivery.
    assert return_repaired.run(spark, shop, PARAMS, DAYS[0], path) == facts
    assert repairs_by(root, rules, night=date.max, until=DAYS[0]) == {DAYS[0]: [name]}


def test_a_row_that_is_still_wrong_or_there_already_is_not_counted(spark, shop, tmp_path):
    shown(shop, tmp_path / "wrong.csv")
    with pytest.raises(DeliveryRefused, match=r"1 of 1 rows .* break row rules.*\n.*quantity '0'"):
        return_repaired.run(spark, shop, PARAMS, DAYS[0], tmp_path / "wrong.csv")

    show_quarantine.run(shop, rule="exact_duplicate", into=tmp_path / "copy.csv")
    facts = return_repaired.run(spark, shop, PARAMS, DAYS[0], tmp_path / "copy.csv")
    assert (facts["accepted"], facts["quarantined"]) == (0, {"delivered_before": 1})


def test_more_rows_than_are_in_quarantine_do_not_come_back(spark, shop, tmp_path):
    path = tmp_path / "rows.csv"
    rows = shown(shop, path, quantity="3")
    with path.open("a", newline="") as file:
        for invoice in ("new-1", "new-2"):
            csv.DictWriter(file, list(rows[0])).writerow(rows[1] | {"invoice": invoice})
    with pytest.raises(DeliveryRefused, match="3 rows come back, but only 2 of that delivery"):
        return_repaired.run(spark, shop, PARAMS, DAYS[0], path)


def test_without_a_delivery_nothing_can_be_repaired(spark, shop, tmp_path):
    shown(shop, tmp_path / "rows.csv", quantity="3")
    with pytest.raises(NothingToRepair, match="no delivery of 2026-04-02 was taken in"):
        return_repaired.run(spark, shop, PARAMS, DAYS[1], tmp_path / "rows.csv")


def test_under_new_rules_what_came_back_is_taken_in_again(spark, shop, tmp_path):
    shown(shop, tmp_path / "rows.csv", quantity="3")
    return_repaired.run(spark, shop, PARAMS, DAYS[0], tmp_path / "rows.csv")
    source = PARAMS.source("generated").model_copy(update={"largest_quantity": 19_999})
    params = PARAMS.model_copy(update={"sources": {"generated": source}})

    load_history.run(spark, shop, params, until=DAYS[0])

    rules = rules_of(shop, params)
    assert rules != rules_of(shop)
    assert len(repairs_by(shop.data_root, rules, night=date.max, until=DAYS[0])[DAYS[0]]) == 1


def test_a_redelivery_takes_the_place_of_the_delivery_and_of_its_repairs(spark, shop, tmp_path):
    shown(shop, tmp_path / "rows.csv", quantity="3")
    return_repaired.run(spark, shop, PARAMS, DAYS[0], tmp_path / "rows.csv")
    deliver(shop, DAYS[0], rows_of(DAYS[0], 21))
    load_history.run(spark, shop, PARAMS, until=DAYS[0])

    root, rules, until = shop.data_root, rules_of(shop), DAYS[0]
    assert repairs_by(root, rules, night=date.max, until=until) == {}
    # The nights before knew no better.
    assert until in repairs_by(root, rules, night=until, until=until)
    assert until not in repairs_by(root, rules, night=until + timedelta(days=1), until=until)
