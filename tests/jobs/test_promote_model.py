"""Promoting a registered model, with the real registry, store and warehouse."""

import shutil

import pytest
import sqlalchemy as sa

from features.build import FEATURE_NAMES
from jobs import promote_model
from jobs.registry import open_registry
from jobs.retrain_model import standing
from models.bundle_hash import BundleRefused
from models.metrics import KINDS
from models.registry import VersionUnknown
from models.store import StoreUnavailable
from params import read_params
from tests.jobs.conftest import register, run_dvc, write_model
from warehouse import NotMigrated, connect

PARAMS = read_params()


def promote(settings, version="v1.0.0", reason="better") -> dict:
    return promote_model.run(settings, PARAMS, version=version, reason=reason, actor="ada")


def champions(settings) -> list[str]:
    return [p.version for p in open_registry(settings, PARAMS).read().promotions]


def warehouse_rows(settings, query: str) -> list[tuple]:
    with connect(settings.warehouse_url).connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def test_a_promoted_version_is_champion_and_the_warehouse_knows_why(deployed):
    assert promote(deployed) == {"champion": "v1.0.0", "number": 1, "previous": None}
    assert open_registry(deployed, PARAMS).resolve("champion").version == "v1.0.0"
    assert warehouse_rows(deployed, "select version, reason, actor from promotions") == [
        ("v1.0.0", "better", "ada")
    ]
    versions = warehouse_rows(deployed, "select version from model_versions order by version")
    assert versions == [("v1.0.0",), ("v1.1.0",)]


def test_a_champion_that_no_gate_has_judged_has_a_card_that_says_so(deployed):
    promote(deployed)
    card = deployed.data_root / "reports" / "models" / "v1.0.0" / "card" / "index.html"
    assert "gate: never judged" in card.read_text()
    assert "<td>champion (number 1)</td><td>ada</td><td>better</td>" in card.read_text()


def test_a_card_that_cannot_be_drawn_stops_no_promotion_and_no_other_card(deployed, caplog):
    promote(deployed)
    older = (
        deployed.data_root
        / "bundles"
        / open_registry(deployed, PARAMS).resolve("v1.0.0").bundle_sha256
    )
    (older / "metrics.json").write_text("{}")

    assert promote(deployed, version="v1.1.0")["champion"] == "v1.1.0"
    cards = deployed.data_root / "reports" / "models"
    assert "champion (number 2)" in (cards / "v1.1.0" / "card" / "index.html").read_text()
    assert "champion (number 1)" in (cards / "v1.0.0" / "card" / "index.html").read_text()
    [told] = [each for each in caplog.records if each.name == "jobs.model_pages"]
    assert told.getMessage() == "the card of v1.0.0 cannot be drawn; it stays as it was"
    assert told.exc_info[1].args == ("holdout",)
    assert len(warehouse_rows(deployed, "select * from promotions")) == 2


def test_promoting_the_champion_again_changes_nothing(deployed):
    first = promote(deployed)
    assert promote(deployed, reason="once more") == first
    assert promote(deployed, version="champion") == first
    assert champions(deployed) == ["v1.0.0"]
    assert len(warehouse_rows(deployed, "select * from promotions")) == 1


def test_a_promotion_that_the_warehouse_missed_is_copied_with_the_next(deployed):
    open_registry(deployed, PARAMS).promote("v1.0.0", actor="ada", reason="missed")
    promote(deployed, version="v1.1.0")
    numbers = warehouse_rows(deployed, "select number, previous from promotions order by number")
    assert numbers == [(1, None), (2, "v1.0.0")]


def test_an_unknown_version_is_not_promoted(deployed):
    with pytest.raises(VersionUnknown, match=r"v1\.0\.0"):
        promote(deployed, version="v9.0.0")
    assert champions(deployed) == []


def test_a_version_whose_bundle_cannot_be_had_is_not_promoted(deployed, tmp_path):
    lost = deployed.model_copy(update={"model_store_url": str(tmp_path / "nothing")})
    with pytest.raises(StoreUnavailable):
        promote(lost)
    assert champions(deployed) == []


def test_a_version_that_does_not_load_here_is_not_promoted(deployed, monkeypatch):
    monkeypatch.setattr("xgboost.__version__", "2.1.4")
    with pytest.raises(BundleRefused, match="xgboost"):
        promote(deployed)
    assert champions(deployed) == []


@pytest.mark.parametrize("kind", ["recency", "logistic"])
def test_a_simple_model_can_be_the_first_champion_and_follow_another(
    deployed, model_shop, tmp_path, kind
):
    shop = shutil.copytree(model_shop, tmp_path / "shop")
    run_dvc(shop, "remote", "modify", "store", "url", str(shop / "model-store"))
    write_model(shop / kind, FEATURE_NAMES, kind=kind)
    register(shop, deployed.data_root / "registry.git", kind)
    here = deployed.model_copy(update={"model_store_url": str(shop / "model-store")})
    for version in ("v1.2.0", "v1.0.0", "v1.2.0"):
        promote(here, version)
    assert champions(here) == ["v1.2.0", "v1.0.0", "v1.2.0"]
    card = here.data_root / "reports" / "models" / "v1.2.0" / "card" / "index.html"
    assert f"The model, {KINDS[kind]}, was fitted twice" in card.read_text()


def test_without_tables_nothing_is_promoted(deployed):
    (deployed.data_root / "warehouse.db").unlink()
    with pytest.raises(NotMigrated, match="migrate_warehouse"):
        promote(deployed)
    assert champions(deployed) == []


def test_the_end_of_a_training_says_whether_its_version_may_score(deployed):
    state = open_registry(deployed, PARAMS).read()
    first, second = state.versions
    assert "To make it the first: python -m jobs.promote_model" in standing(first, state)
    promote(deployed)
    state = open_registry(deployed, PARAMS).read()
    assert "is the champion" in standing(first, state)
    assert "must not be promoted unless it wins" in standing(second, state)
