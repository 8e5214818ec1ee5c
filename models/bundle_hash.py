"""The identity of a bundle: the hash of its files."""

from pathlib import Path

from lake import file_sha256, value_sha256


class BundleRefused(Exception):
    """The bundle must not score: it is damaged, or does not fit what is installed here."""


def bundle_sha256(folder: Path) -> str:
    """The identity of a bundle: a hash over the names and contents of all its files, in hex.

    Raises:
        BundleRefused: If there is no such folder, nothing in it, or a link.
    """
    paths = sorted(folder.rglob("*"))
    links = [path for path in paths if path.is_symlink()]
    if links:
        raise BundleRefused(
            f"{len(links)} files of the bundle in {folder} are links, such as {links[0].name}: "
            "what they lead to may change. Put the files themselves there."
        )
    files = [path for path in paths if path.is_file()]
    if not files:
        raise BundleRefused(
            f"no bundle in {folder}. Fetch or build one: python -m jobs.open_run fetches the "
            "champion, dvc repro builds a new one."
        )
    return value_sha256({str(path.relative_to(folder)): file_sha256(path) for path in files})


def check_bundle(folder: Path, expected_sha256: str) -> None:
    """Raise BundleRefused unless the folder holds exactly the files of that bundle.

    Raises:
        BundleRefused: If a file was changed, lost or added.
    """
    found = bundle_sha256(folder)
    if found != expected_sha256:
        raise BundleRefused(
            f"the bundle in {folder} has hash {found}, not {expected_sha256}: a file was changed, "
            "lost or added. Nothing was scored; readers still see the night before. open_run "
            "fetches the bundle again: clear the night from open_run on, or run "
            "python -m jobs.open_run for it and then this job."
        )
