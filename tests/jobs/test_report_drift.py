"""Reporting on a published run: the page, the file, the warehouse and the result agree."""

import json
import shutil
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from evidently.ui.workspace import Workspace

import catalog
import warehouse
from jobs import report_drift
from lake import read_json, write_json
from models.bundle import read_bundle
from models.bundle_hash import bundle_sha256
from models.season import moved
from monitoring.drift import DRIFT_THRESHOLDS
from monitoring.quality import QualityFinding
from params import read_params
from records import Challenger, RunRecord, StageRecord
from tests.harm import HARMS
from tests.jobs.conftest import write_model
from tests.records import finish, put_dataset, run_record
from tests.seasons import with_season
from tests.warehouse.nights import a_run, predictions
from warehouse.tables import DRIFT

NIGHT = date(2026, 4, 1)
PARAMS = read_params()
# The model of these tests was judged on 200 customers.
FEW = PARAMS.drift.model_copy(update={"min_rows": 100})
PARAMS = PARAMS.model_copy(update={"drift": FEW})


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The bundle of a model of few features: of each, Evidently draws several charts."""
    folder = tmp_path_factory.mktemp("model") / "fitting"
    write_model(folder, ("recency_days", "spend_90d", "tenure_days"))
    return folder


@pytest.fixture
def published(deployed, model):
    """Publishes a run over customers with the features of the model's reference, or others."""

    def publish(
        run_id="r1",
        is_published=True,
        night=NIGHT,
        challenger=None,
        model=model,
        **changed,
    ) -> RunRecord:
        sha256 = bundle_sha256(model)
        folder = deployed.data_root / "bundles" / sha256
        if not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            folder.symlink_to(model)
        bundle = read_bundle(folder, sha256)
        record = run_record(night, run_id=run_id, bundle_sha256=sha256, challenger=challenger)
        reference = pq.read_table(folder / "reference.parquet")
        ids = [f"c{number:04}" for number in range(len(reference))]
        features = reference.select(bundle.feature_names)
        for name, value in changed.items():
            values = value if isinstance(value, list) else [value] * len(ids)
            column = pa.array(values, features.schema.field(name).type)
            features = features.set_column(features.column_names.index(name), name, column)
        probability = reference["probability"].to_pylist()
        if challenger:
            probability = [0.01] * len(ids)
        step = bundle.season.step(night)
        probability = [moved(value, step) for value in probability]
        contacted = [value >= bundle.on(night).threshold for value in probability]
        batch = predictions(*ids, probability=probability, is_contacted=contacted)
        root = deployed.data_root
        customers = features.append_column("customer_id", [ids])
        described = put_dataset(root, record, catalog.FEATURES_LAYOUT, customers)
        finish(root, record, "build_features", features=described)
        scored = put_dataset(root, record, catalog.PREDICTIONS_LAYOUT, batch)
        finish(root, record, "score_customers", predictions=scored)
        if is_published:
            run = a_run(run_id=run_id, population=len(ids), score_date=night)
            warehouse.publish(
                warehouse.connect(deployed.warehouse_url), run, [batch], replaces=None
            )
            finish(root, record, "publish_predictions")
            record.write(root)
        return record

    return publish


def kept_drift(settings, record) -> dict[str, str]:
    """Verdict by column, as the warehouse has it."""
    with warehouse.connect(settings.warehouse_url).connect() as connection:
        rows = connection.execute(sa.select(DRIFT).where(DRIFT.c.run_id == record.run_id))
        return {row.column_name: row.verdict for row in rows}


def test_the_customers_of_the_reference_are_steady(deployed, published):
    record = published()
    facts = report_drift.run(deployed, PARAMS, record)
    assert facts["verdict"] == "steady"
    assert facts["drifted"] == []
    told = read_json(deployed.data_root / f"reports/{NIGHT}/r1/drift/drift.json")
    assert {finding["value"] for finding in told["reference"]["findings"]} == {0.0}
    assert told["same_weekday"] is None
    assert set(kept_drift(deployed, record).values()) == {"steady"}


def test_what_the_season_moves_is_no_drift(deployed, published, model, tmp_path):
    """The odds of everybody are three times those of the reference, as a year ago."""
    seasonal = with_season(model, tmp_path / "seasonal", NIGHT)
    record = published(model=seasonal)
    piece = StageRecord.read(deployed.data_root, record, "score_customers").pieces["predictions"]
    told = pq.read_table(deployed.data_root / piece.files[0].path)["probability"].to_numpy()
    reference = pq.read_table(model / "reference.parquet")["probability"].to_numpy()
    assert told.mean() > 1.2 * reference.mean()

    facts = report_drift.run(deployed, PARAMS, record)
    assert facts["verdict"] == "steady"
    page = deployed.data_root / f"reports/{NIGHT}/r1/drift/drift.json"
    assert {each["value"] for each in read_json(page)["reference"]["findings"]} == {0.0}


def test_in_a_season_that_the_training_has_not_seen_a_seasonal_column_informs(
    deployed, published, model, tmp_path
):
    """The training ended in the summer; the night is in April."""
    young = Path(shutil.copytree(model, tmp_path / "young"))
    thresholds = read_json(young / DRIFT_THRESHOLDS)
    seen = {"seasonal": ["spend_90d"], "seen_on": ["2025-08-01"]}
    write_json(young / DRIFT_THRESHOLDS, thresholds | seen)
    rows = pq.read_metadata(model / "reference.parquet").num_rows
    much = [9e6 + row for row in range(rows)]

    heard = report_drift.run(deployed, PARAMS, published(spend_90d=much))
    assert (heard["verdict"], heard["drifted"]) == ("drift", ["spend_90d"])
    record = published(run_id="r2", night=NIGHT + timedelta(1), model=young, spend_90d=much)
    facts = report_drift.run(deployed, PARAMS, record)
    assert (facts["verdict"], facts["drifted"]) == ("steady", [])
    assert "spend_90d" in facts["deaf"]
    page = deployed.data_root / f"reports/{record.score_date}/r2/drift/drift.json"
    findings = {each["column"]: each for each in read_json(page)["reference"]["findings"]}
    assert findings["spend_90d"]["value"] > 1
    assert findings["spend_90d"]["threshold"] is None


def test_page_file_warehouse_and_record_agree_on_a_column_that_moved(deployed, published):
    record = published(recency_days=400.0, spend_90d=None)
    facts = report_drift.run(deployed, PARAMS, record)
    page = deployed.data_root / f"reports/{NIGHT}/r1/drift/index.html"
    assert facts["report"] == str(page)
    assert "recency_days" in page.read_text(encoding="utf-8")
    told = read_json(page.with_name("drift.json"))
    findings = told["reference"]["findings"]
    verdicts = {finding["column"]: finding["verdict"] for finding in findings}
    assert verdicts["recency_days"] == "constant"
    assert verdicts["spend_90d"] == "empty"
    assert verdicts == kept_drift(deployed, record)
    kept = StageRecord.read(deployed.data_root, record, "report_drift").facts
    assert kept == json.loads(json.dumps(facts))


def test_a_second_report_replaces_the_first(deployed, published):
    record = published()
    first = report_drift.run(deployed, PARAMS, record)
    rows = kept_drift(deployed, record)
    assert report_drift.run(deployed, PARAMS, record) == first
    assert kept_drift(deployed, record) == rows


def test_the_dashboard_has_a_run_once_however_often_it_is_reported(deployed, published):
    for record in (published(), published("r2", night=NIGHT + timedelta(days=1))):
        report_drift.run(deployed, PARAMS, record)
        report_drift.run(deployed, PARAMS, record)
    workspace = Workspace.create(str(deployed.data_root / catalog.DASHBOARD))
    [project] = workspace.list_projects()
    runs = [workspace.get_run(project.id, each) for each in workspace.list_runs(project.id)]
    assert {run.name: run.timestamp.date() for run in runs} == {
        "r1": NIGHT,
        "r2": NIGHT + timedelta(days=1),
    }
    assert len(runs) == 2


def test_the_dashboard_shows_columns_that_the_first_night_lacked(deployed, published):
    def drawn() -> list[int]:
        workspace = Workspace.create(str(deployed.data_root / catalog.DASHBOARD))
        [project] = workspace.list_projects()
        return [len(panel.values) for panel in project.dashboard.model().panels]

    report_drift.run(deployed, PARAMS, published("r1", recency_days=400.0))
    lacking = drawn()
    report_drift.run(deployed, PARAMS, published("r2", night=NIGHT + timedelta(days=1)))
    assert drawn() == [2, 1, lacking[2] + 1, 0]
    # Nor does a night that lacks a column take it away.
    third = published("r3", night=NIGHT + timedelta(days=2), recency_days=400.0)
    missing = QualityFinding("transactions", "customer_id", "missing_share", 0.12, "as usual")
    engine = warehouse.connect(deployed.warehouse_url)
    warehouse.replace_quality(engine, third.run_id, [missing])
    report_drift.run(deployed, PARAMS, third)
    assert drawn() == [2, 1, lacking[2] + 1, 1]


def test_a_night_is_also_compared_with_the_same_weekday_before(deployed, published):
    week = timedelta(weeks=1)
    first = report_drift.run(deployed, PARAMS, published("r1", night=NIGHT))
    assert first["against_same_weekday"] == "no_nights"
    second = published("r2", night=NIGHT + week, recency_days=400.0)
    assert report_drift.run(deployed, PARAMS, second)["against_same_weekday"] == "steady"
    third = published("r3", night=NIGHT + 2 * week, spend_90d=9e9)
    facts = report_drift.run(deployed, PARAMS, third)
    with warehouse.connect(deployed.warehouse_url).connect() as connection:
        of_recency = sa.select(DRIFT.c.against, DRIFT.c.verdict).where(
            DRIFT.c.run_id == "r3", DRIFT.c.column_name == "recency_days"
        )
        found = dict(connection.execute(of_recency).all())
    # The week before, half of the customers of the two nights had not bought for 400 days.
    assert found == {"reference": "steady", "same_weekday": "drift"}
    # A change that the weeks before hear alone makes the night one that has drifted, everywhere.
    names = ("verdict", "against_reference", "against_same_weekday")
    assert [facts[name] for name in names] == ["drift", "steady", "drift"]
    assert warehouse.night_drift(warehouse.connect(deployed.warehouse_url), "r3") == "drift"
    page = deployed.data_root / f"reports/{third.score_date}/r3/drift/index.html"
    assert read_json(page.with_name("drift.json"))["verdict"] == "drift"
    text = page.read_text(encoding="utf-8")
    assert '"the weeks before", "recency_days", "drift"' in text


@pytest.mark.parametrize(
    ("dataset", "compared"), [("features", "no_nights"), ("transactions", "steady")]
)
def test_a_night_of_wrong_features_or_gone_from_the_lake_is_not_compared_with(
    deployed, published, dataset, compared
):
    """A column of the lines alone silences no comparison of the customers."""
    week, engine = timedelta(weeks=1), warehouse.connect(deployed.warehouse_url)
    wrong = QualityFinding(dataset, "country", "missing_share", 0.9, "gone", high=0.1)
    warehouse.replace_quality(engine, published("wrong").run_id, [wrong])
    gone = published("gone", night=NIGHT + week)
    (deployed.data_root / catalog.RUN_RECORD.format(**gone.key)).unlink()
    featureless = published("featureless", night=NIGHT + 2 * week)
    shutil.rmtree(deployed.data_root / catalog.FEATURES_LAYOUT.format(**featureless.key))
    tonight = published("tonight", night=NIGHT + 3 * week)
    facts = report_drift.run(deployed, PARAMS, tonight)
    assert facts["against_same_weekday"] == compared


def test_the_scores_of_a_challenger_are_not_taken_for_a_change_of_the_customers(
    deployed, published
):
    challenger = Challenger(version="v1.1.0", bundle_sha256="b", percent=50)
    record = published(challenger=challenger)
    assert report_drift.run(deployed, PARAMS, record)["verdict"] == "steady"
    assert kept_drift(deployed, record)["probability"] == "steady"
    # Nor is the week after compared with them.
    after = published("r2", night=NIGHT + timedelta(weeks=1))
    assert report_drift.run(deployed, PARAMS, after)["against_same_weekday"] == "steady"


def test_too_few_customers_give_no_verdict(deployed, published):
    record = published()
    facts = report_drift.run(deployed, read_params(), record)
    assert facts["verdict"] == "too_few_rows"
    assert set(kept_drift(deployed, record).values()) == {"too_few_rows"}


def test_a_run_that_was_not_published_is_refused_with_the_next_step(deployed, published):
    record = published(is_published=False)
    with pytest.raises(FileNotFoundError, match="publish_predictions has not finished"):
        report_drift.run(deployed, PARAMS, record)


@pytest.mark.parametrize(("harm", "error"), HARMS)
@pytest.mark.parametrize("job", ["build_features", "score_customers"])
def test_pieces_that_are_not_as_they_were_written_are_not_reported_on(
    deployed, published, job, harm, error
):
    record = published()
    [piece] = StageRecord.read(deployed.data_root, record, job).pieces.values()
    harm(deployed.data_root / piece.files[0].path)
    with pytest.raises(error, match=rf"{piece.files[0].path}.*{record.command(job)}"):
        report_drift.run(deployed, PARAMS, record)
    assert kept_drift(deployed, record) == {}
