"""params.yaml, misread: what is at fault is named, a sentence each."""

import pytest

from errors import WrongInput
from params import PARAMS_FILE, WEEKDAYS, read_params


@pytest.mark.parametrize(
    ("was", "written", "said"),
    [
        ("format: parquet", "format: xlsx", "sources.generated.format should be 'parquet'"),
        ("active_days: 365", "activ_days: 365", "population.activ_days is not known"),
        ('separator: ","', "separator: '\"'", "sources.generated.text: the separator is neither"),
        ("closed_weekdays: []", "closed_weekdays: [sun]", "closed_weekdays.0 should be 'monday'"),
        (
            "closed_weekdays: []",
            f"closed_weekdays: {[*WEEKDAYS]}",
            "at most 6 items",
        ),
        ("sources:", "sources: [", "is no YAML"),
    ],
)
def test_a_wrong_key_is_named(tmp_path, was, written, said):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS_FILE.read_text().replace(was, written, 1))
    with pytest.raises(WrongInput, match=said):
        read_params(path)
