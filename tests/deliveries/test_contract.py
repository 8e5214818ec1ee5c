"""What breaks the agreement with upstream, and what is tolerated."""

import pyarrow as pa
import pytest

from deliveries.contract import ContractBroken, check_contract
from deliveries.receive import describe_delivery
from tests.deliveries.conftest import line


@pytest.fixture
def check(source):
    """``check(folder)`` or ``check(folder, source)`` holds the delivery to the contract."""

    def run(folder, source=source):
        return check_contract(folder, describe_delivery(folder, source.format), source)

    return run


def test_a_delivery_as_agreed_has_no_findings(deliver, check):
    assert check(deliver(line())) == []


def test_a_removed_column_is_named_with_its_file(deliver, check):
    deliver(line(), name="a.parquet")
    folder = deliver(line(), name="b.parquet", customer=None)
    with pytest.raises(
        ContractBroken, match=r"b\.parquet: column 'customer' \(our customer_id\) is missing"
    ) as error:
        check(folder)
    assert "a.parquet" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "value", "type_"),
    [
        ("quantity", "6", pa.string()),
        ("quantity", True, pa.bool_()),
        ("unit_price", "2.55", pa.string()),
        ("invoiced_at", "2026-04-01 08:26", pa.string()),
        ("invoiced_at", 1775031960, pa.int64()),
        ("invoiced_at", None, pa.time64("us")),
        ("customer", ["17850"], pa.list_(pa.string())),
        ("customer", b"17850", pa.binary()),
        ("country", 44, pa.int32()),
    ],
)
def test_a_retyped_column_is_named_with_both_types(deliver, check, column, value, type_):
    folder = deliver(line(**{column: value}), **{column: type_})
    with pytest.raises(ContractBroken, match=rf"part-0\.parquet: column '{column}'.* was agreed"):
        check(folder)


@pytest.mark.parametrize(
    ("column", "value", "type_"),
    [
        ("quantity", 6, pa.int64()),
        ("quantity", 6, pa.uint16()),
        ("quantity", 6.0, pa.float64()),
        ("unit_price", 3, pa.int32()),
        ("unit_price", 2.5, pa.float32()),
        ("unit_price", 2, pa.decimal128(20, 4)),
        ("customer", 17850, pa.int64()),
        ("customer", 17850.0, pa.float64()),
        ("customer", "17850", pa.large_string()),
        ("customer", "17850", pa.dictionary(pa.int32(), pa.string())),
        ("customer", None, pa.null()),
        ("invoiced_at", 0, pa.timestamp("ns", "UTC")),
        ("invoiced_at", 0, pa.date32()),
    ],
)
def test_another_width_of_the_same_kind_is_tolerated(deliver, check, column, value, type_):
    assert check(deliver(line(**{column: value}), **{column: type_})) == []


def test_times_may_be_text_where_params_give_their_format(deliver, check, source):
    folder = deliver(line(invoiced_at="01/04/2026 08:26"), invoiced_at=pa.string())
    written = source.model_copy(update={"timestamp_format": "dd/MM/yyyy HH:mm"})
    assert check(folder, written) == []


def test_a_new_column_is_tolerated_and_said(deliver, check):
    deliver(line(), name="a.parquet")
    folder = deliver(line(), name="b.parquet", channel=pa.string())
    assert check(folder) == ["new column 'channel' (string) in 1 of 2 file(s); it is not used."]


def test_a_renamed_letter_case_is_a_removed_column(deliver, check):
    folder = deliver(line(), country=None, Country=pa.string())
    with pytest.raises(ContractBroken, match=r"column 'country'.* is missing"):
        check(folder)


def test_a_column_that_differs_from_ours_by_letter_case_alone_is_a_new_column(deliver, check):
    folder = deliver(line(), Country=pa.string())
    assert check(folder) == ["new column 'Country' (string) in 1 of 1 file(s); it is not used."]


def test_a_column_of_ours_that_is_there_twice_is_refused(deliver_text, check, csv_source):
    folder = deliver_text(
        "invoice,product,customer,quantity,unit_price,invoiced_at,country,invoice\n"
    )
    with pytest.raises(ContractBroken, match=r"'invoice' \(our invoice_id\) is there 2 times"):
        check(folder, csv_source)


def test_a_csv_header_is_held_to_the_contract(deliver_text, check, csv_source):
    header = "invoice,product,customer,quantity,price,invoiced_at,country\n"
    with pytest.raises(ContractBroken, match=r"part-0\.csv: column 'unit_price'.* is missing"):
        check(deliver_text(header), csv_source)
    assert check(deliver_text(header.replace("price", "unit_price")), csv_source) == []
