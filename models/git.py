"""Git commands that never ask anything, and addresses as git and people take them."""

import os
import re
import subprocess
import tempfile
from pathlib import Path

# Set by a git that started us (a hook): they would point our own calls at its repository.
FOREIGN_GIT = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}

# In a file, because the git that serves a repository on this machine ignores `git -c`: any owner
# will do, a checkout without its older history may be pushed, and writers wait for each other.
_GIT_CONFIG = """\
[safe]
	directory = *
[receive]
	shallowUpdate = true
[core]
	filesRefLockTimeout = 10000
"""


def git(*arguments: str, folder: Path | None = None, stdin: str | None = None) -> str:
    """Standard output of a git command, run in ``folder``, that never asks anything.

    It works without any configuration of git's own, and in repositories of another owner: every
    address we use was given by the operator.

    Raises:
        subprocess.CalledProcessError: If git fails; its ``stderr`` says why. It shows no address
            with its user or token.
    """
    environment = {key: value for key, value in os.environ.items() if key not in FOREIGN_GIT}
    given = environment.get("GIT_CONFIG_GLOBAL")
    includes = [given] if given else ["~/.config/git/config", "~/.gitconfig"]
    with tempfile.NamedTemporaryFile("w", suffix=".gitconfig") as config:
        config.write("".join(f'[include]\n\tpath = "{path}"\n' for path in includes))
        config.write(_GIT_CONFIG)
        config.flush()
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            input=stdin,
            env=environment | {"GIT_CONFIG_GLOBAL": config.name, "GIT_TERMINAL_PROMPT": "0"},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        command = [shown(part) for part in ("git", *arguments)]
        raise subprocess.CalledProcessError(
            done.returncode, command, done.stdout, shown(done.stderr)
        )
    return done.stdout


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
