"""The bytes of bundles: named by their hash, kept in the DVC remote, fetched into a cache."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from lake import file_sha256, replacing, value_sha256
from models.git import shown
from models.registry import ModelVersion


class BundleRefused(Exception):
    """The bundle must not score: it is damaged, or does not fit what is installed here."""


class StoreUnavailable(RuntimeError):
    """The DVC remote cannot be read, or lacks the bundle."""


class BundleDiffers(RuntimeError):
    """The DVC remote holds other bytes than were registered."""


def bundle_sha256(folder: Path) -> str:
    """The identity of a bundle: a hash over the names and contents of all its files, in hex.

    Raises:
        BundleRefused: If there is no such folder, or nothing in it.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise BundleRefused(
            f"no bundle in {folder}. Fetch or build one: python -m jobs.open_run fetches the "
            "champion, dvc repro builds a new one."
        )
    return value_sha256({str(path.relative_to(folder)): file_sha256(path) for path in files})


def fetch_bundle(version: ModelVersion, store_url: str, cache: Path) -> Path:
    """The folder with the bundle of that version, below ``cache``; fetched if not there yet.

    The bytes are hashed here, whether they come from the DVC remote or were there.

    Raises:
        StoreUnavailable: If the remote does not answer or lacks a file.
        BundleDiffers: If the remote holds something else than was registered.
    """
    folder = cache / version.bundle_sha256
    # Refused is a folder that is absent or empty.
    with suppress(BundleRefused):
        if bundle_sha256(folder) == version.bundle_sha256:
            return folder
    with replacing(folder) as fresh:
        download_bundle(version.bundle_md5, store_url, fresh)
        found = bundle_sha256(fresh)
        if found != version.bundle_sha256:
            raise BundleDiffers(
                f"the bundle of {version.name} {version.version} in {shown(store_url)} has sha256 "
                f"{found}, registered is {version.bundle_sha256}. It was changed after training: "
                "do not use it. Restore the remote from a backup, or promote another version."
            )
    return folder


def download_bundle(md5: str, store_url: str, folder: Path) -> None:
    """Copy the directory that DVC knows as ``md5`` (hex, ``.dir``) into the new ``folder``.

    Raises:
        StoreUnavailable: If the remote does not answer or lacks a file.
        BundleDiffers: If the list of files is not the one with that hash.
    """
    # Takes half a second to import; most nights find their bundle in the cache.
    from botocore.exceptions import BotoCoreError
    from dvc.fs import get_cloud_fs

    filesystem, options, root = get_cloud_fs(None, url=store_url)
    store = filesystem(**options)

    def address(digest: str) -> str:
        return store.join(root, "files", "md5", digest[:2], digest[2:])

    folder.mkdir(parents=True)
    try:
        listing = store.cat_file(address(md5))
        # Checked before use: its names are paths to write to.
        found = hashlib.md5(listing, usedforsecurity=False).hexdigest()
        if f"{found}.dir" != md5:
            raise BundleDiffers(
                f"{address(md5)} in the model store is not what was put there (md5 {found}). "
                "Restore the store from a backup, or promote another version."
            )
        for entry in json.loads(listing):
            target = folder / entry["relpath"]
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(address(entry["md5"]), str(target))
    except (OSError, BotoCoreError) as error:  # of S3, not all are errors of the system
        raise StoreUnavailable(
            f"cannot get bundle {md5} from the model store {shown(store_url)}: {error}. "
            "Is SCORING_MODEL_STORE_URL right and reachable, and was the bundle pushed?"
        ) from error
