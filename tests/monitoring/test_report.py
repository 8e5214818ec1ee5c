"""The drift page, as Evidently makes it and as a browser shows it."""

import json
import shutil
import socket
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from monitoring.drift import Thresholds, find_drift
from monitoring.report import comparison, write_page
from params import read_params

DRIFT = read_params().drift.model_copy(update={"min_rows": 100})
OWN = {"spend_gbp_90d": 0.2, "returns_90d": 0.2, "country": 0.1, "probability": 0.2}
THRESHOLDS = Thresholds(OWN, {name: 1.5 * own for name, own in OWN.items()}, 1000, 10, {})
CATEGORIES = ("country",)
ATTACK = "</script><script>document.title = 'owned'</script>"


def customers(rows=500, shift=0.0, **columns):
    random = np.random.default_rng(int(shift * 10))
    plain = {
        "spend_gbp_90d": random.lognormal(3 + shift, 1.5, rows),
        "returns_90d": random.poisson(0.2, rows).astype(float),
        "country": random.choice(["United Kingdom", "France", ATTACK], rows, p=[0.6, 0.2, 0.2]),
        "probability": random.beta(2, 5, rows),
    }
    table = pd.DataFrame(plain | columns, index=range(rows))
    return table.assign(is_contacted=table["probability"] > 0.4)


@pytest.fixture
def night():
    """Reference, tonight and result of a night with one finding of each sort."""
    reference = customers(gone=1.0, hollow=[1.0, 2.0] * 250, flat=[1.0, 2.0] * 250)
    current = customers(shift=2.0, hollow=np.nan, flat=1.0, fresh=1.0)
    return reference, current, find_drift(reference, current, THRESHOLDS, DRIFT, CATEGORIES)


def page_of(night, folder):
    return write_page(comparison(*night, CATEGORIES, "Night of 2026-04-01"), folder)


def test_the_page_shows_the_values_that_were_found(night):
    reference, current, result = night
    shown = {
        metric["config"]["column"]: (metric["value"], metric["config"]["threshold"])
        for metric in comparison(reference, current, result, CATEGORIES, "Night").dict()["metrics"]
        if "column" in metric["config"]
    }
    assert shown == {
        finding.column: (finding.value, finding.threshold)
        for finding in result.findings
        if finding.verdict in ("steady", "drift")
        and finding.threshold is not None
        and finding.kind != "night"
    }
    assert set(shown) == {"spend_gbp_90d", "returns_90d", "country", "probability"}


def test_the_page_needs_no_network_and_nothing_is_sent(night, tmp_path, monkeypatch):
    def refuse(_socket, address):
        raise AssertionError(f"a connection to {address} was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    text = page_of(night, tmp_path).read_text(encoding="utf-8")
    assert 'src="http' not in text
    assert '<link rel="stylesheet" href="http' not in text


def test_a_browser_shows_verdict_findings_and_charts(night, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on PATH; install one to see the page drawn")
    page = page_of(night, tmp_path)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    drawn = subprocess.run(
        [*command, *offline, profile, page.as_uri()], capture_output=True, text=True, check=True
    ).stdout
    body = drawn[drawn.index("<body") :]
    for words in ("Night of 2026-04-01", "columns beyond", "spend_gbp_90d"):
        assert words in body
    for verdict in ("empty", "constant", "new", "missing", "drift"):
        assert f">{verdict}</" in body
    assert "01 · up to" in body
    assert "<title>owned</title>" not in drawn


def test_text_from_deliveries_cannot_leave_its_string(night, tmp_path):
    page = page_of(night, tmp_path).read_text(encoding="utf-8")
    assert ATTACK not in page
    assert json.dumps(ATTACK.replace("<", "‹"))[1:-1] in page


@pytest.mark.parametrize("rows", [0, 99])
def test_a_night_with_too_few_rows_has_a_page_too(rows, tmp_path):
    reference, current = customers(), customers(rows)
    result = find_drift(reference, current, THRESHOLDS, DRIFT, CATEGORIES)
    page = page_of((reference, current, result), tmp_path)
    assert "too few rows" in page.read_text(encoding="utf-8")


def test_the_result_is_plain_json(night):
    _, _, result = night
    back = json.loads(json.dumps(result.as_dict()))
    assert back["verdict"] == "drift"
    assert {finding["column"]: finding["verdict"] for finding in back["findings"]} == {
        "night": "drift",
        "probability": "steady",
        "mean_probability": "steady",
        "contacted_share": "steady",
        "country": "steady",
        "flat": "constant",
        "fresh": "new",
        "gone": "missing",
        "hollow": "empty",
        "returns_90d": "steady",
        "spend_gbp_90d": "drift",
    }


def test_the_page_names_what_it_cannot_hear_and_counts_as_the_night_does(tmp_path):
    reference, current = customers(), customers(shift=2.0)
    thresholds = replace(THRESHOLDS, deaf=["tenure_days"])
    result = find_drift(reference, current, thresholds, DRIFT, CATEGORIES)
    page = page_of((reference, current, result), tmp_path).read_text(encoding="utf-8")
    assert "Changes go unheard in tenure_days" in page
    assert "1 of 4" in page
    assert result.findings[0].detail.startswith("1 of 4 columns")
    [spend] = [each for each in result.findings if each.column == "spend_gbp_90d"]
    assert f"{spend.value / spend.threshold:.2f}" in page
