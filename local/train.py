"""Train in this checkout, and say what came out: ``make train``.

Does what ``dvc repro`` finds necessary, then shows the candidates side by side, the one that was
chosen, and what may be done with dvc.lock.
"""

import subprocess
import sys

from lake import read_json
from models.choice import choice_text
from params import read_params
from settings import PROJECT_ROOT

DESCRIBED = ("dvc.lock", "artifacts")
"""What a training leaves for git: dvc.lock, and the small files beside what DVC keeps."""

UNCHANGED = "dvc.lock is as committed: this training was there before."
CHANGED = """\
dvc.lock describes this training, and is not committed. It need not be: a version that may
score is trained by retrain_model in a clone of its own, and committed there. Commit it if later
trainings are to be compared with it (dvc metrics diff, dvc plots diff):
  git add dvc.lock artifacts && git commit -m "What the next experiments are compared with"
To go back to what was committed: git checkout -- dvc.lock artifacts && dvc checkout"""


def advice(status: str) -> str:
    """What to do with dvc.lock.

    Args:
        status: What ``git status --porcelain`` says of ``DESCRIBED``.

    >>> advice("")
    'dvc.lock is as committed: this training was there before.'
    >>> "git add dvc.lock" in advice("?? dvc.lock")
    True
    """
    return CHANGED if status.strip() else UNCHANGED


def main() -> None:
    """Train; the exit code is that of DVC."""
    done = subprocess.run([sys.executable, "-m", "dvc", "repro"], cwd=PROJECT_ROOT)
    if done.returncode:
        sys.exit(done.returncode)
    status = subprocess.run(
        ["git", "status", "--porcelain", "--", *DESCRIBED],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    metrics = read_json(PROJECT_ROOT / "artifacts" / "evaluation" / "metrics.json")
    print(choice_text(metrics, read_params().training.question))
    print(f"\n{advice(status)}")


if __name__ == "__main__":
    main()
