"""Git commands that never ask anything and run nobody's code, and addresses for git and people."""

import logging
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

# Set by a git that started us (a hook): they would point our own calls at its repository.
FOREIGN_GIT = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}

# Ours hold the secrets of the deployment; no git needs them.
NOT_FOR_GIT = ("SCORING_", "AIRFLOW")

# In a file, because the git that serves a repository on this machine ignores `git -c`: any owner
# will do, a checkout without its older history may be pushed, writers wait for each other, and
# nothing goes on working in the background.
_GIT_CONFIG = """\
[safe]
	directory = *
[receive]
	shallowUpdate = true
	autogc = false
[core]
	filesRefLockTimeout = 10000
[maintenance]
	auto = false
"""

# A repository can name programs in its hooks and its own configuration. The command line is the
# one place that its configuration cannot override.
_NO_FOREIGN_CODE = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.alternateRefsCommand=true"),
    *("-c", "receive.autogc=false", "-c", "maintenance.auto=false"),
    *("-c", "protocol.ext.allow=never"),
)

STALE_AFTER_SECONDS = 600
"""Git holds a lock for moments; what is older was left by a process that was killed."""

log = logging.getLogger(__name__)


class GitFailed(subprocess.CalledProcessError):
    """A git command failed; says which, and what git said. Shows no address with its token."""

    def __str__(self) -> str:
        return f"`{' '.join(self.cmd)}` failed: {self.stderr.strip() or 'git gave no reason'}"


def git(
    *arguments: str,
    folder: Path | None = None,
    stdin: str | None = None,
    keep_open: Sequence[int] = (),
) -> str:
    """Standard output of a git command, run in ``folder``, that never asks anything.

    It works without any configuration of git's own, and in repositories of another owner, whose
    hooks and programs it does not run.

    Args:
        arguments: The command.
        folder: Where; default here.
        stdin: What it reads.
        keep_open: File descriptors that stay open until git has ended, even if we are killed.

    Raises:
        GitFailed: If git fails.
    """
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in FOREIGN_GIT and not key.startswith(NOT_FOR_GIT)
    }
    given = environment.get("GIT_CONFIG_GLOBAL")
    includes = [given] if given else ["~/.config/git/config", "~/.gitconfig"]
    with tempfile.NamedTemporaryFile("w", suffix=".gitconfig") as config:
        config.write("".join(f'[include]\n\tpath = "{path}"\n' for path in includes))
        config.write(_GIT_CONFIG)
        config.flush()
        ours = {
            "GIT_CONFIG_GLOBAL": config.name,
            "GIT_TERMINAL_PROMPT": "0",
            # A promisor in a repository's configuration names a program to fetch with.
            "GIT_NO_LAZY_FETCH": "1",
            "LC_ALL": "C.UTF-8",
        }
        done = subprocess.run(
            ["git", *_NO_FOREIGN_CODE, *arguments],
            cwd=folder,
            input=stdin,
            env=environment | ours,
            pass_fds=keep_open,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        command = [shown(part) for part in ("git", *arguments)]
        raise GitFailed(done.returncode, command, done.stdout, shown(done.stderr))
    return done.stdout


def served_by_us(url: str, service: str) -> list[str]:
    """Options with which git serves the repository at ``url`` to us without running its code.

    None for a host, which serves it itself.

    Args:
        url: Of the repository.
        service: ``receive-pack`` for a push, ``upload-pack`` for a fetch.
    """
    if is_remote(url) and not url.startswith("file:"):
        return []
    return [f"--{service}=git {' '.join(_NO_FOREIGN_CODE)} {service}"]


def git_folder(repository: Path) -> Path:
    """Where a repository on this machine, bare or a checkout, keeps what is git's."""
    return repository / ".git" if (repository / ".git").exists() else repository


def remove_stale_locks(repository: Path, older_than: float = STALE_AFTER_SECONDS) -> None:
    """Remove what killed processes have left locked in a repository on this machine.

    The index of a checkout is left alone: people work there.
    """
    folder = git_folder(repository)
    names = ("config.lock", "HEAD.lock", "packed-refs.lock", "shallow.lock")
    for lock in [*(folder / name for name in names), *(folder / "refs").rglob("*.lock")]:
        try:
            age = time.time() - lock.stat().st_mtime
            if age >= older_than:
                lock.unlink()
                log.warning(
                    "removed %s, left %d seconds ago by a process that was killed", lock, age
                )
        except FileNotFoundError:
            continue


def absolute(url: str) -> str:
    """A path as it is understood from any folder; any other address as it is.

    >>> absolute("/models/../registry.git"), absolute("s3://models/store")
    ('/registry.git', 's3://models/store')
    """
    return url if is_remote(url) else str(Path(url).resolve())


def is_remote(url: str) -> bool:
    """Whether a host is asked (``https://...``, ``git@host:path``), not a folder read."""
    return re.match(r"[^/]+:", url) is not None


def shown(text: str) -> str:
    """An address, or a text with addresses, without the user or token they may carry.

    >>> shown("cannot read https://bot:s@cret@host/models.git")
    'cannot read https://host/models.git'
    """
    return re.sub(r"://[^/\s]*@", "://", text)
