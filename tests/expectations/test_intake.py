"""Every delivered row is accounted for, and what is promised about a batch is shown to people."""

import re
from datetime import date
from pathlib import Path

import great_expectations.expectations as gxe
import pytest

from expectations.accounting import RowsUnaccounted, account_for_rows
from expectations.intake import take_deliveries
from expectations.promise import FAIL, promise
from expectations.refusal import DeliveryRefused
from expectations.verdict import ExpectationsBroken, SuiteNotEvaluated, breaks, verify
from records import Delivery


def delivery(rows):
    """A delivery said to have ``rows`` rows."""
    return Delivery(date(2026, 4, 1), "ab12", "ab12-r1", Path("copy"), [], rows, [])


@pytest.mark.parametrize(
    ("rows", "said"),
    [(7, "7 rows delivered, but 3 accepted .* is 6: 1 lost"), (4, "is 6: 2 too many")],
)
def test_rows_that_do_not_add_up_stop_everything_and_say_by_how_much(rows, said):
    found = {"accepted": {"": 3}, "quarantined": {"a": 1, "b": 1}, "excluded": {"no_customer": 1}}

    account_for_rows(delivery(6), found)
    with pytest.raises(RowsUnaccounted, match=said):
        account_for_rows(delivery(rows), found)


def test_nothing_is_written_of_a_delivery_whose_rows_do_not_add_up(
    spark, params, line, delivered, tmp_path
):
    lines = delivered([line()])

    with pytest.raises(RowsUnaccounted, match="2 rows delivered, but 1 accepted"):
        take_deliveries(
            spark, lines, [delivery(2)], tmp_path, "generated", params, tmp_path / "docs", {}, False
        )

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


PROMISES = [
    promise(gxe.ExpectColumnValuesToNotBeNull, "name_given", "Names are needed.", column="name"),
    promise(
        gxe.ExpectColumnValuesToMatchRegex,
        "name_short",
        "Names are <short>.",
        FAIL,
        column="name",
        regex="^.{1,20}$",
    ),
]


def test_the_page_names_every_promise_and_needs_nothing_but_itself(spark, tmp_path):
    names = ["ada", "<script>alert('a long name')</script>", None]
    batch = spark.createDataFrame([(name,) for name in names], "name string")

    with pytest.raises(ExpectationsBroken, match="1 of 3 rows"):
        verify("names", batch, PROMISES, tmp_path / "docs", "a test")

    page = (tmp_path / "docs/index.html").read_text()
    assert re.findall(r"<code>(\w+)</code>", page) == ["name_short", "name_given"]
    assert "Names are &lt;short&gt;." in page
    assert "name values must match this regular expression: ^.{1,20}$" in page
    # What upstream delivers is shown, never run; and nothing is fetched from elsewhere.
    assert "<script" not in page
    assert not re.search(r"(src|href|url)\s*[=(]", page)


def test_a_promise_about_an_absent_column_is_a_fault_and_not_bad_data(spark, tmp_path):
    batch = spark.createDataFrame([("x",)], "other string")

    with pytest.raises(SuiteNotEvaluated, match="name"):
        verify("names", batch, PROMISES, tmp_path / "docs", "a test")
    with pytest.raises(SuiteNotEvaluated, match="name"):
        breaks(spark, batch, PROMISES)


@pytest.mark.parametrize(
    ("reason", "times"), [("3 rows break row rules", 1), ("no column sku. Ask upstream for it", 0)]
)
def test_what_to_ask_upstream_for_is_said_once(reason, times):
    said = str(DeliveryRefused({date(2026, 4, 1): [reason]}))
    assert said.count("have the day delivered again") == times
    assert "--accept-refused 2026-04-01" in said
