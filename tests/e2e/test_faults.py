"""Cases of the fault matrix (`make faults`) on SQLite, of a seed whose first are of many kinds."""

import pytest

from tests.e2e.conftest import CASES


@pytest.mark.e2e
def test_whatever_happens_to_a_night_it_ends_as_an_undisturbed_one(faults):
    ended = faults.process.wait(timeout=1200)
    said = faults.said.read_text()
    assert ended == 0, said
    assert f"{CASES} cases, 0 violations" in said
    assert "**Violations: 0.**" in faults.page.read_text()
