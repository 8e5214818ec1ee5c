"""Make the shop of the fault matrix, in a process of its own: it needs an engine's threads."""

import sys
from pathlib import Path

from jobs.session import EMBEDDED, session
from models.git import git
from settings import Settings
from tests.jobs.small_shop import build_shop
from warehouse import migrate


def main(folder: Path) -> None:
    """History, deliveries of three nights and a champion, below ``folder``."""
    root = folder / "data"
    root.mkdir(parents=True)
    settings = Settings(data_root=root)
    migrate(settings.warehouse_url)
    git("init", "--quiet", str(folder / "code"))
    identity = ("-c", "user.name=faults", "-c", "user.email=faults@localhost")
    message = ("--quiet", "--allow-empty", "-m", "Train")
    git(*identity, "commit", *message, folder=folder / "code")
    with session(settings, "shop", EMBEDDED) as spark:
        build_shop(spark, settings, folder, nights=())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
