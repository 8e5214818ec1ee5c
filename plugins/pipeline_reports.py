"""The pipeline's reports inside Airflow's UI, behind its login.

On every run two tabs of `nightly_scoring`, *Data Docs* and *Drift report*, and one of `retraining`,
*Gate*; in the side bar the dashboard over nights, and a list of all nights and models that have
reports. The pages are those that jobs put below ``<data_root>/reports``.
"""

from html import escape
from pathlib import Path
from urllib.parse import quote

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import get_user
from airflow.models.xcom import XComModel
from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from settings import Settings

PREFIX = "/nightly-reports"
DATA_DOCS = {
    "transactions": "What was delivered",
    "features": "What the customers look like",
    "predictions": "What was scored",
}
DRIFT = "drift/index.html"
MODEL_PAGES = {"gate/index.html": "gate", "card/index.html": "model card"}

# A report shows values that somebody delivered. It may draw itself with scripts, but not act on
# Airflow in the name of the person who looks at it.
SANDBOX = {"Content-Security-Policy": "sandbox allow-scripts allow-popups allow-downloads"}

PAGE = """\
<!doctype html>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; font: 16px/1.6 system-ui, sans-serif }}
  body {{ margin: 2rem; max-width: 60rem }}
  table {{ border-collapse: collapse; width: 100% }}
  td, th {{ text-align: left; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid #8884 }}
  code {{ font-size: .9em }}
</style>
<h1>{title}</h1>
{body}
"""

app = FastAPI(
    dependencies=[Depends(get_user)], openapi_url=None, title="Reports of nightly_scoring"
)


@app.get("/", response_class=HTMLResponse)
def nights() -> str:
    """Every run with reports, the newest score date first, then the history taken in; models."""
    folders = [
        folder
        for pattern in ("[0-9]*/*", "history/*")
        for folder in sorted(reports().glob(pattern), reverse=True)
    ]
    rows = [
        f"<tr><td>{escape(folder.parent.name)}<td><code>{escape(folder.name)}</code>"
        f"<td>{', '.join(links(folder)) or 'none yet'}"
        for folder in folders
    ]
    models = [
        f"<tr><td>{escape(folder.name)}<td>{', '.join(links(folder, MODEL_PAGES))}"
        for folder in sorted(reports().glob("models/v*"), key=numbers, reverse=True)
    ]
    body = f"<table><tr><th>Score date<th>Run<th>Reports{''.join(rows)}</table>"
    nothing = f"<p>No night has been validated yet: {escape(str(reports()))} is empty.</p>"
    judged = f"<h1>Models</h1><table><tr><th>Version<th>Pages{''.join(models)}</table>"
    return PAGE.format(
        title="Reports by night", body=(body if rows else nothing) + (judged if models else "")
    )


@app.get("/runs/{dag_id}/{run_id}/data-docs", response_class=HTMLResponse)
def data_docs_of_run(dag_id: str, run_id: str, session: SessionDep) -> str:
    """Links to the Data Docs of the night that this run of the DAG opened."""
    folder = opened(dag_id, run_id, session)
    found = links(
        folder, {f"data_docs/{name}/index.html": text for name, text in DATA_DOCS.items()}
    )
    body = "".join(f"<p>{link}</p>" for link in found)
    title = f"Data Docs of {folder.parent.name}"
    return PAGE.format(title=title, body=body or "<p>Nothing has been validated yet.</p>")


@app.get("/runs/{dag_id}/{run_id}/drift")
def drift_of_run(dag_id: str, run_id: str, session: SessionDep) -> RedirectResponse:
    """The drift report of the night that this run of the DAG opened."""
    folder = opened(dag_id, run_id, session)
    if not (folder / DRIFT).exists():
        raise HTTPException(404, f"No drift report of {folder.parent.name} yet: see report_drift.")
    return RedirectResponse(address(folder / DRIFT))


@app.get("/runs/{dag_id}/{run_id}/gate")
def gate_of_run(dag_id: str, run_id: str, session: SessionDep) -> RedirectResponse:
    """What the gate said of the model that this run of the DAG trained."""
    verdict = returned("judge_challenger", dag_id, run_id, session)
    if verdict is None:
        raise HTTPException(404, f"No model was judged by {dag_id} {run_id} yet.")
    return RedirectResponse(address(reports() / "models" / verdict["version"] / "gate/index.html"))


@app.get("/files/{path:path}")
def file(path: str) -> FileResponse:
    """One file below the reports folder, and none outside it."""
    wanted = (reports() / path).resolve()
    if not (wanted.is_relative_to(reports()) and wanted.is_file()):
        raise HTTPException(404, "There is no such report.")
    return FileResponse(wanted, headers=SANDBOX)


def reports() -> Path:
    """The folder of all reports."""
    return (Settings().data_root / "reports").resolve()


def opened(dag_id: str, run_id: str, session: SessionDep) -> Path:
    """The reports folder of the night that a run of the DAG opened.

    Raises:
        HTTPException: 404, if ``open_run`` has not finished in it.
    """
    night = returned("open_run", dag_id, run_id, session)
    if night is None:
        raise HTTPException(404, f"No night was opened by {dag_id} {run_id} yet: see open_run.")
    return reports() / night["score_date"] / night["run_id"]


def returned(task_id: str, dag_id: str, run_id: str, session: SessionDep) -> dict | None:
    """The result of a task in a run; None if it has none yet."""
    query = XComModel.get_many(
        dag_ids=dag_id, run_id=run_id, task_ids=task_id, key="return_value", limit=1
    )
    result = session.scalars(query).first()
    return None if result is None else XComModel.deserialize_value(result)


def numbers(version: Path) -> list[int]:
    """``v1.12.0`` as numbers, for ordering."""
    return [int(number) for number in version.name.lstrip("v").split(".")]


def links(folder: Path, wanted: dict[str, str] | None = None) -> list[str]:
    """Links to those of the wanted pages that are there; by default to all pages of a run."""
    all_pages = {f"data_docs/{name}/index.html": name for name in DATA_DOCS} | {DRIFT: "drift"}
    return [
        f'<a href="{address(folder / page)}">{escape(text)}</a>'
        for page, text in (wanted or all_pages).items()
        if (folder / page).exists()
    ]


def address(page: Path) -> str:
    """Where the UI serves a file of the reports folder."""
    return f"{PREFIX}/files/{quote(str(page.relative_to(reports())))}"


class PipelineReports(AirflowPlugin):
    """Registers the pages with Airflow."""

    name = "pipeline_reports"
    fastapi_apps = [{"app": app, "url_prefix": PREFIX, "name": "Reports of nightly_scoring"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Data Docs",
            "href": f"{PREFIX}/runs/{{DAG_ID}}/{{RUN_ID}}/data-docs",
            "destination": "dag_run",
            "url_route": "data-docs",
        },
        {
            "name": "Drift report",
            "href": f"{PREFIX}/runs/{{DAG_ID}}/{{RUN_ID}}/drift",
            "destination": "dag_run",
            "url_route": "drift-report",
        },
        {
            "name": "Gate",
            "href": f"{PREFIX}/runs/{{DAG_ID}}/{{RUN_ID}}/gate",
            "destination": "dag_run",
            "url_route": "gate",
        },
        {
            "name": "Dashboard",
            "href": Settings().evidently_url,
            "destination": "nav",
            "url_route": "nightly-dashboard",
        },
        {
            "name": "Reports",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "url_route": "nightly-reports",
        },
    ]
