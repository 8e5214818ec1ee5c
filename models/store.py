"""The bytes of bundles: named by their hash, kept in the DVC remote, fetched into a cache."""

import hashlib
import json
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from lake import replacing
from models.bundle_hash import BundleRefused, bundle_sha256
from models.git import shown
from models.registry import ModelVersion


class StoreUnavailable(RuntimeError):
    """The DVC remote cannot be read, or lacks the bundle."""


class BundleDiffers(RuntimeError):
    """The DVC remote holds other bytes than were registered."""


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
        BundleDiffers: If the list of files is not the one with that hash, or names a file outside
            the folder, or one twice. Nothing was written then.
    """
    # Takes half a second to import; most nights find their bundle in the cache.
    from botocore.exceptions import BotoCoreError
    from dvc.fs import get_cloud_fs

    filesystem, options, root = get_cloud_fs(None, url=store_url)
    store = filesystem(**options)

    def address(digest: str) -> str:
        return store.join(root, "files", "md5", digest[:2], digest[2:])

    try:
        listing = store.cat_file(address(md5))
        found = hashlib.md5(listing, usedforsecurity=False).hexdigest()
        if f"{found}.dir" != md5:
            raise BundleDiffers(
                f"{address(md5)} in the model store is not what was put there (md5 {found}). "
                "Restore the store from a backup, or promote another version."
            )
        files = files_listed(listing, address(md5))
        for name, digest in files.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(address(digest), str(target))
    except (OSError, BotoCoreError) as error:  # of S3, not all are errors of the system
        raise StoreUnavailable(
            f"cannot get bundle {md5} from the model store {shown(store_url)}: {error}. "
            "Is SCORING_MODEL_STORE_URL right and reachable, and was the bundle pushed?"
        ) from error


def files_listed(listing: bytes, address: str) -> dict[str, str]:
    """The MD5 of each file by its name, from DVC's list of a directory.

    Raises:
        BundleDiffers: If it is no such list, or a name leads out of the folder or is there twice
            for a file system that does not tell upper from lower case; names it.
    """
    try:
        entries = [(entry["relpath"], entry["md5"]) for entry in json.loads(listing)]
        wrong = [name for name, digest in entries if not re.fullmatch(r"[0-9a-f]{32}", digest)]
        wrong += names_to_refuse([name for name, _ in entries])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BundleDiffers(
            f"{address} in the model store is no list of files ({error}). Nothing was written. "
            "Do not use that version; promote another one."
        ) from None
    if wrong:
        raise BundleDiffers(
            f"{address} in the model store lists {len(wrong)} files that must not be written, "
            f"such as {wrong[0]!r}: their names lead out of the bundle's folder, or are there "
            "twice. Nothing was written. Do not use that version; find out who made it."
        )
    return dict(entries)


def names_to_refuse(names: Iterable[str]) -> list[str]:
    """Those names of files that are not plainly below a folder, or mean the same file as another.

    >>> names_to_refuse(["model.ubj", "part/metrics.json"])
    []
    >>> names_to_refuse(["/etc/passwd", "../x", "a/./b", "a//b"])
    ['/etc/passwd', '../x', 'a/./b', 'a//b']
    >>> names_to_refuse(["A.json", "a.json", "a.json/b"])
    ['a.json', 'a.json/b']
    """
    refused: list[str] = []
    taken: set[str] = set()
    for name in names:
        folded = name.casefold()
        parents = {str(parent) for parent in PurePosixPath(folded).parents} - {"."}
        is_below = all(part not in ("", ".", "..") for part in name.split("/"))
        is_plain = name.isprintable() and not re.search(r"[\\:]", name)
        if not (is_below and is_plain) or folded in taken or parents & taken:
            refused.append(name)
        taken.add(folded)
    return refused
