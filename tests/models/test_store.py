"""Bundles from a real DVC remote."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
import yaml

from models.bundle_hash import bundle_sha256
from models.registry import ModelVersion
from models.store import BundleDiffers, StoreUnavailable, fetch_bundle, files_listed


@pytest.fixture(scope="module")
def pushed_bundle(tmp_path_factory) -> tuple[Path, str, Path]:
    """A bundle that the real DVC has pushed: its folder, its address and the remote."""
    folder = tmp_path_factory.mktemp("project")
    bundle = folder / "bundle"
    (bundle / "part").mkdir(parents=True)
    (bundle / "model.ubj").write_bytes(bytes(range(256)))
    (bundle / "part" / "metrics.json").write_text('{"roc_auc": 0.75}')
    store = folder / "store"
    dvc = str(Path(sys.executable).parent / "dvc")
    for arguments in (
        ["init", "--no-scm", "--quiet"],
        ["config", "core.analytics", "false"],
        ["remote", "add", "--default", "store", str(store)],
        ["add", "--quiet", "bundle"],
        ["push", "--quiet"],
    ):
        environment = os.environ | {"DVC_SITE_CACHE_DIR": str(folder / "site")}
        subprocess.run([dvc, *arguments], cwd=folder, env=environment, check=True)
    [out] = yaml.safe_load((folder / "bundle.dvc").read_text())["outs"]
    return bundle, out["md5"], store


@pytest.fixture
def version(pushed_bundle) -> ModelVersion:
    bundle, md5, _ = pushed_bundle
    return ModelVersion(
        name="repurchase",
        version="v1.0.0",
        commit="0" * 40,
        bundle_sha256=bundle_sha256(bundle),
        bundle_md5=md5,
        training_until=date(2026, 3, 31),
        source="generated",
        metrics={},
        reason="first",
        actor="ada",
        token=None,
    )


@pytest.fixture
def store(pushed_bundle, tmp_path) -> Path:
    """A copy of the remote that a test may spoil."""
    return Path(shutil.copytree(pushed_bundle[2], tmp_path / "store"))


def stored(store: Path, md5: str) -> Path:
    path = store / "files" / "md5" / md5[:2] / md5[2:]
    path.chmod(0o644)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_fetched_bundle_is_the_pushed_one(version, store, pushed_bundle, tmp_path):
    folder = fetch_bundle(version, str(store), tmp_path / "bundles")
    assert folder == tmp_path / "bundles" / version.bundle_sha256
    assert contents(folder) == contents(pushed_bundle[0])


def test_a_bundle_fetched_before_needs_no_store(version, store, tmp_path):
    folder = fetch_bundle(version, str(store), tmp_path / "bundles")
    shutil.rmtree(store)
    assert fetch_bundle(version, str(store), tmp_path / "bundles") == folder


def test_a_bundle_spoilt_in_the_cache_is_fetched_again(version, store, pushed_bundle, tmp_path):
    folder = fetch_bundle(version, str(store), tmp_path / "bundles")
    (folder / "model.ubj").write_bytes(b"spoilt")
    (folder / "stray").touch()
    assert contents(fetch_bundle(version, str(store), tmp_path / "bundles")) == contents(
        pushed_bundle[0]
    )


def test_an_empty_folder_in_the_cache_is_no_bundle(version, store, pushed_bundle, tmp_path):
    (tmp_path / "bundles" / version.bundle_sha256 / "part").mkdir(parents=True)
    folder = fetch_bundle(version, str(store), tmp_path / "bundles")
    assert contents(folder) == contents(pushed_bundle[0])


def test_a_model_changed_in_the_store_is_refused(version, store, pushed_bundle, tmp_path):
    model = (pushed_bundle[0] / "model.ubj").read_bytes()
    [path] = [p for p in store.rglob("*") if p.is_file() and p.read_bytes() == model]
    path.chmod(0o644)
    path.write_bytes(model[:-1] + b"!")
    with pytest.raises(BundleDiffers, match=r"v1\.0\.0.*changed after training"):
        fetch_bundle(version, str(store), tmp_path / "bundles")
    assert list((tmp_path / "bundles").iterdir()) == []


def test_a_changed_list_of_files_is_refused_before_a_name_is_used(version, store, tmp_path):
    listing = stored(store, version.bundle_md5)
    listing.write_text(listing.read_text().replace("model.ubj", "../../escaped"))
    with pytest.raises(BundleDiffers, match="not what was put there"):
        fetch_bundle(version, str(store), tmp_path / "bundles")
    assert not list(tmp_path.rglob("escaped"))


def test_a_store_that_lacks_the_bundle_is_named(version, store, tmp_path):
    stored(store, version.bundle_md5).unlink()
    with pytest.raises(StoreUnavailable, match="SCORING_MODEL_STORE_URL"):
        fetch_bundle(version, str(store), tmp_path / "bundles")


def forged(store: Path, version: ModelVersion, names: list[str], digest: str | None = None):
    """The version with a list of files of somebody else's making, whose hash is right."""
    [model] = [
        entry["md5"]
        for entry in json.loads(stored(store, version.bundle_md5).read_text())
        if entry["relpath"] == "model.ubj"
    ]
    listing = json.dumps([{"md5": digest or model, "relpath": name} for name in names])
    md5 = hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest()
    path = store / "files" / "md5" / md5[:2] / f"{md5[2:]}.dir"
    path.parent.mkdir(exist_ok=True)
    path.write_text(listing)
    return version.model_copy(update={"bundle_md5": f"{md5}.dir"})


@pytest.mark.parametrize(
    "name",
    [
        "/{}/escaped",
        "../escaped",
        "part/../../escaped",
        "",
        ".",
        "part/",
        "esc\0aped",
        "a\\escaped",
    ],
)
def test_a_listed_name_that_leads_out_of_the_folder_is_refused_before_a_byte_is_written(
    version, store, tmp_path, name
):
    wrong = name.format(tmp_path)
    with pytest.raises(BundleDiffers, match="1 files that must not be written"):
        fetch_bundle(forged(store, version, ["ok", wrong]), str(store), tmp_path / "bundles")
    assert not list(tmp_path.rglob("escaped"))
    assert not list((tmp_path / "bundles").rglob("*"))


@pytest.mark.parametrize("names", [["a", "a"], ["Model.ubj", "model.ubj"], ["a", "a/b"]], ids=str)
def test_two_listed_names_of_one_file_are_refused(version, store, tmp_path, names):
    with pytest.raises(BundleDiffers, match=f"such as '{names[1]}'"):
        fetch_bundle(forged(store, version, names), str(store), tmp_path / "bundles")


def test_a_listed_hash_that_is_a_path_is_refused(version, store, tmp_path):
    (tmp_path / "secret").write_text("not a model")
    digest = f"../../../../{tmp_path.name}/secret"
    with pytest.raises(BundleDiffers, match="must not be written"):
        fetch_bundle(forged(store, version, ["a"], digest), str(store), tmp_path / "bundles")


@pytest.mark.parametrize("listing", ["[1]", '[{"md5": null, "relpath": "a"}]', "no json"])
def test_what_is_no_list_of_files_is_refused(listing):
    with pytest.raises(BundleDiffers, match="there in the model store is no list of files"):
        files_listed(listing.encode(), "there")


def test_a_link_in_the_cache_is_replaced_by_the_file(version, store, tmp_path):
    folder = fetch_bundle(version, str(store), tmp_path / "bundles")
    model = folder / "model.ubj"
    model.rename(tmp_path / "elsewhere")
    model.symlink_to(tmp_path / "elsewhere")

    assert not (fetch_bundle(version, str(store), tmp_path / "bundles") / "model.ubj").is_symlink()
