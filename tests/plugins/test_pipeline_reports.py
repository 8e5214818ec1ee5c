"""Tests of plugins/pipeline_reports.py; the tabs of a run are tested with a real Airflow in e2e."""

import pytest
from airflow.api_fastapi.core_api.security import get_user
from fastapi.testclient import TestClient

from plugins.pipeline_reports import PREFIX, PipelineReports, app
from settings import Settings


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """A deployment with one report, and a secret beside the reports."""
    monkeypatch.setenv("SCORING_DATA_ROOT", str(tmp_path))
    report = tmp_path / "reports/2026-04-01/ab12/drift/index.html"
    report.parent.mkdir(parents=True)
    report.write_text("<h1>Drift</h1>")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "reports-of-others").mkdir()
    (tmp_path / "reports-of-others/x.html").write_text("secret")
    return tmp_path


@pytest.fixture
def visitor(deployment):  # noqa: ARG001 - the pages read its folder
    return TestClient(app, follow_redirects=False)


@pytest.fixture
def user(visitor):
    app.dependency_overrides[get_user] = lambda: "ana"
    yield visitor
    app.dependency_overrides.clear()


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/files/2026-04-01/ab12/drift/index.html",
        "/runs/nightly_scoring/x/drift",
        "/runs/nightly_scoring/x/data-docs",
        "/runs/retraining/x/gate",
    ],
)
def test_nobody_sees_anything_without_login(visitor, path):
    assert visitor.get(path).status_code == 401


def test_a_report_is_shown_but_may_not_act_in_airflow(user):
    answer = user.get("/files/2026-04-01/ab12/drift/index.html")
    assert (answer.status_code, answer.text) == (200, "<h1>Drift</h1>")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox")
    assert "allow-same-origin" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "..%2fsecret.txt",
        "2026-04-01%2f..%2f..%2fsecret.txt",
        "%2fetc%2fpasswd",
        "..%2freports-of-others%2fx.html",
        "link.html",
        "2026-04-01",
        "2026-04-01/ab12/missing.html",
    ],
)
def test_no_file_outside_the_reports_is_served(user, deployment, path):
    (deployment / "reports/link.html").symlink_to(deployment / "secret.txt")
    assert user.get(f"/files/{path}").status_code == 404


def test_nights_are_listed_newest_first_with_links_that_work(user, deployment):
    docs = deployment / "reports/2026-04-02/cd34/data_docs/transactions/index.html"
    docs.parent.mkdir(parents=True)
    docs.write_text("docs")
    (deployment / "reports/history/2026-03-31").mkdir(parents=True)
    (deployment / "reports/deliveries/2026-03-01").mkdir(parents=True)
    page = user.get("/").text
    assert page.index("2026-04-02") < page.index("2026-04-01") < page.index("2026-03-31")
    assert "2026-03-01" not in page
    link = f"{PREFIX}/files/2026-04-02/cd34/data_docs/transactions/index.html"
    assert f'href="{link}"' in page
    assert user.get(link.removeprefix(PREFIX)).text == "docs"


def test_a_deployment_without_reports_says_so(user, deployment, monkeypatch):
    monkeypatch.setenv("SCORING_DATA_ROOT", str(deployment / "new"))
    assert "No night has been validated yet" in user.get("/").text


def test_models_are_listed_by_version_with_their_pages(user, deployment):
    for version in ("v1.9.0", "v1.10.0"):
        page = deployment / f"reports/models/{version}/gate/index.html"
        page.parent.mkdir(parents=True)
        page.write_text(f"the gate of {version}")
    page = user.get("/").text
    assert page.index("v1.10.0") < page.index("v1.9.0")
    assert user.get("/files/models/v1.10.0/gate/index.html").text == "the gate of v1.10.0"


def test_every_view_leads_to_a_page_of_ours_or_to_the_dashboard():
    routes = {route.path for route in app.routes}
    for view in PipelineReports.external_views:
        if view["href"] == Settings().evidently_url:
            continue
        path = view["href"].removeprefix(PREFIX)
        assert path.replace("{DAG_ID}", "{dag_id}").replace("{RUN_ID}", "{run_id}") in routes
