"""The gate as a job: real bundles from a real registry and store, its pages and its audit line."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import sqlalchemy as sa

from jobs import judge_challenger, promote_model, record_approval
from jobs.registry import open_registry
from lake import read_json
from models.registry import VersionUnknown
from params import read_params
from settings import PROJECT_ROOT, Settings
from tests.jobs.conftest import deploy
from warehouse import connect

PARAMS = read_params()
# The small models of these tests are judged on 200 rows, which no calibration error survives.
PARAMS = PARAMS.model_copy(
    update={"gate": PARAMS.gate.model_copy(update={"rounds": 20, "calibration_bound": 0.5})}
)


def judge(settings, version="v1.0.0", **arguments) -> dict:
    return judge_challenger.run(settings, PARAMS, version, **arguments)


def promote(settings, version: str, reason="better") -> None:
    promote_model.run(settings, PARAMS, version=version, reason=reason, actor="ada")


@pytest.fixture(scope="module")
def judged(tmp_path_factory, model_shop, empty_warehouse) -> tuple[Settings, dict]:
    """A deployment whose first model has been judged, and what came out; not to be changed."""
    settings = deploy(tmp_path_factory.mktemp("judged"), model_shop, empty_warehouse)
    return settings, judge(settings)


@pytest.fixture
def carded(tmp_path, judged) -> Settings:
    """A copy of that deployment, to be changed."""
    settings, _ = judged
    shutil.copytree(settings.data_root, tmp_path / "data")
    return Settings(data_root=tmp_path / "data", model_store_url=settings.model_store_url)


def gate_lines(settings) -> list[tuple[str, dict]]:
    """What the audit log holds of gates."""
    query = "select event, details from audit_log where event like 'gate%' order by number"
    with connect(settings.warehouse_url).connect() as connection:
        return [(row.event, json.loads(row.details)) for row in connection.execute(sa.text(query))]


def test_a_first_model_passes_and_leaves_its_pages_and_a_line_in_the_audit_log(judged):
    deployed, facts = judged
    folder = deployed.data_root / "reports" / "models" / "v1.0.0"
    assert facts["verdict"] == "pass", facts["reasons"]
    assert (facts["version"], facts["champion"]) == ("v1.0.0", None)
    assert facts["page"] == str(folder / "gate" / "index.html")
    assert facts["approval"] == PARAMS.gate.approval
    assert "passed" in (folder / "gate" / "index.html").read_text()
    assert read_json(folder / "gate" / "gate.json")["verdict"] == "pass"
    [(event, details)] = gate_lines(deployed)
    version = open_registry(deployed, PARAMS).resolve("v1.0.0")
    assert event == "gate_passed"
    assert details["bundle_sha256"] == version.bundle_sha256
    assert details["reasons"] == facts["reasons"]


def test_a_version_that_is_not_better_than_the_champion_loses_the_gate(deployed):
    promote(deployed, "v1.1.0")
    facts = judge(deployed)
    assert (facts["verdict"], facts["champion"]) == ("fail", "v1.1.0")
    assert "the champion stays" in facts["reasons"][0]
    [(event, details)] = gate_lines(deployed)
    assert event == "gate_failed"
    champion = open_registry(deployed, PARAMS).resolve("champion")
    assert details["champion_sha256"] == champion.bundle_sha256


def test_judging_again_says_the_same(deployed):
    promote(deployed, "v1.1.0")
    found = []
    for _ in range(2):
        judge(deployed)
        gate = read_json(
            deployed.data_root / "reports" / "models" / "v1.0.0" / "gate" / "gate.json"
        )
        # What it took this time is all that may differ.
        for condition in gate["conditions"]:
            if condition["name"].startswith("golden rows"):
                del condition["value"]
        found.append(gate)
    assert found[0] == found[1]


def test_a_version_can_be_judged_beside_any_other(deployed):
    assert judge(deployed, against="v1.1.0")["champion"] == "v1.1.0"


def test_a_version_that_lacks_what_the_champion_reads_is_not_compared(deployed):
    promote(deployed, "v1.0.0")
    facts = judge(deployed, "v1.1.0")
    assert facts["verdict"] == "fail"
    assert "tenure_days" in facts["reasons"][0]


@pytest.mark.parametrize("arguments", [{"version": "v9.0.0"}, {"against": "v9.0.0"}])
def test_an_unknown_version_is_not_judged(deployed, arguments):
    with pytest.raises(VersionUnknown, match=r"v9\.0\.0"):
        judge(deployed, **arguments)
    assert gate_lines(deployed) == []


def test_the_card_says_who_let_the_version_go_how_far_and_why(deployed):
    promote(deployed, "v1.1.0", reason="first")
    registry = open_registry(deployed, PARAMS)
    registry.challenge("v1.0.0", 0, actor="grace", reason="let us see")
    registry.challenge("v1.0.0", 5, actor="night", reason="it holds")
    registry.withdraw(actor="night", reason="<b>inverted</b>")
    promote(deployed, "v1.0.0", reason="after all")
    judge(deployed, against="v1.1.0")
    page = (
        deployed.data_root / "reports" / "models" / "v1.0.0" / "card" / "index.html"
    ).read_text()
    told = [
        "<td>registered</td><td>ada</td><td>test</td>",
        "<td>challenger in shadow</td><td>grace</td><td>let us see</td>",
        "<td>challenger for 5 % of customers</td><td>night</td><td>it holds</td>",
        "<td>withdrawn</td><td>night</td><td>&lt;b&gt;inverted&lt;/b&gt;</td>",
        "<td>champion (number 2)</td><td>ada</td><td>after all</td>",
    ]
    positions = [page.find(cells) for cells in told]
    assert -1 not in positions
    assert positions == sorted(positions)
    assert "<td>first</td>" not in page
    assert "not passed" in page
    assert "http" not in page


def test_a_rejection_and_its_reason_are_on_the_card(carded):
    said = {"approval": "person", "actor": "grace", "reason": "not on a Friday"}
    record_approval.run(carded, PARAMS, version="v1.0.0", answer="Reject", **said)
    page = carded.data_root / "reports" / "models" / "v1.0.0" / "card" / "index.html"
    told = "<td>rejected by a person</td><td>grace</td><td>not on a Friday</td>"
    assert told in page.read_text()
    promote(carded, "v1.0.0", reason="it is Monday")
    assert told in page.read_text()


def test_the_card_learns_of_a_promotion_that_comes_after_the_gate(carded):
    page = carded.data_root / "reports" / "models" / "v1.0.0" / "card" / "index.html"
    assert "after the gate" not in page.read_text()
    promote(carded, "v1.0.0", reason="after the gate")
    assert "<td>champion (number 1)</td><td>ada</td><td>after the gate</td>" in page.read_text()


def test_a_lost_gate_ends_well_and_prints_the_verdict(deployed):
    promote(deployed, "v1.1.0")
    done = subprocess.run(
        [sys.executable, "-m", "jobs.judge_challenger", "--version", "v1.0.0"],
        cwd=PROJECT_ROOT,
        env=os.environ | {f"SCORING_{name.upper()}": str(value) for name, value in deployed},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["verdict"] == "fail"
