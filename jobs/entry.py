"""How every job is started: ``python -m jobs.<name> --score-date 2026-04-01``.

Exit codes: 0 done; 20 the data is bad, a retry will not help; anything else a fault that a retry
may mend. The last line of standard output is the job's result as JSON, or `{"error": why}`;
everything else is logged to standard error. What our own code raises says what is wrong and what to
do, so it is logged without the way it took; only the unforeseen has a traceback.

What a job writes is for its user and group: the lake and the warehouse hold customers.
"""

import argparse
import atexit
import errno
import gc
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

from errors import BadData, WrongInput

BAD_DATA_EXIT = 20

UMASK = 0o027

# Modules whose errors are sentences for people; a job that was started is called `__main__`.
OURS = {
    *("__main__", "jobs", "deliveries", "expectations", "features", "models", "monitoring"),
    *("warehouse", "lake", "ledger", "records", "sealed", "errors", "business_day"),
}

log = logging.getLogger("jobs")


# ------------------------------------------------------------------------------- command lines


def job_parser(doc: str, example: str = "") -> argparse.ArgumentParser:
    """A parser whose help is the job's docstring, and ``example``: flags that make sense."""
    return argparse.ArgumentParser(
        description=doc,
        epilog=f"example:\n  %(prog)s {example}".rstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def night_parser(doc: str, example: str = "") -> argparse.ArgumentParser:
    """A parser with the night: ``--score-date``."""
    parser = job_parser(doc, f"--score-date 2026-04-01 {example}")
    add_day(parser, "--score-date", required=True, help="the business day described")
    return parser


def run_parser(doc: str) -> argparse.ArgumentParser:
    """A parser with the night and the opened run: ``--score-date`` and ``--run-id``."""
    parser = night_parser(doc, "--run-id 3f2a90c1d4e5b607")
    parser.add_argument("--run-id", type=run_name, required=True, help="as printed by open_run")
    return parser


def add_day(parser: argparse.ArgumentParser, flag: str, **options) -> None:
    """A flag whose value is a date; options as those of ``add_argument``."""
    parser.add_argument(flag, type=day, metavar="YYYY-MM-DD", **options)


def add_days(parser: argparse.ArgumentParser, *, required: bool, of: str = "day") -> None:
    """The flags ``--from`` and ``--until``, as ``first`` and ``until``; `start` compares them."""
    add_day(parser, "--from", dest="first", required=required, help=f"the first {of}")
    add_day(parser, "--until", required=required, help=f"the last {of}, inclusive")


def day(text: str) -> date:
    """The date in ``2026-04-01``; other ways to write it are refused."""
    with suppress(ValueError):
        if (found := date.fromisoformat(text)).isoformat() == text:
            return found
    raise argparse.ArgumentTypeError(f"{text!r} is no date YYYY-MM-DD, such as 2026-04-01")


def instant(text: str) -> datetime:
    """The moment in ``2026-04-01T03:10:00Z``, in UTC."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no moment such as 2026-04-01T03:10:00Z"
        ) from None


def run_name(text: str) -> str:
    """A run id, which is also the name of a folder."""
    if not re.fullmatch(r"[\w-]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no run id such as 3f2a90c1d4e5b607")
    return text


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def existing(text: str) -> Path:
    """The path of a file or folder that is there."""
    if not Path(text).exists():
        raise argparse.ArgumentTypeError(f"there is no {text}")
    return Path(text)


def writable(text: str) -> Path:
    """The path of a file to write, in a folder that is there."""
    if Path(text).is_dir() or not Path(text).absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no file in a folder that is there")
    return Path(text)


# ------------------------------------------------------------------------------------ starting


def start(parser: argparse.ArgumentParser, job: Callable[[argparse.Namespace], dict]) -> None:
    """Parse the command line, do the job, print its result, and exit by the codes above."""
    # Python would look for garbage once more as it ends, among all that was imported.
    atexit.register(gc.freeze)
    started = getattr(sys.modules["__main__"], "__spec__", None)
    parser.prog = f"python -m {started.name}" if started else parser.prog
    arguments = parser.parse_args()
    first, until = (getattr(arguments, name, None) for name in ("first", "until"))
    if first and until and until < first:
        parser.error(f"--until {until} comes before --from {first}")
    os.umask(UMASK)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
    )
    # What these have to say below a warning is about themselves; the third sets its own level.
    for library in (
        "alembic.runtime.migration",
        "alembic.runtime.plugins",
        "great_expectations",
        "great_expectations.data_context.types.base",
        "py4j",
    ):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        result = job(arguments)
    except BadData as error:
        log.error("%s", error)
        _print_result({"error": str(error)})
        sys.exit(BAD_DATA_EXIT)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            why = disk_full(error)
        elif isinstance(error, OSError) and error.filename:
            why = f"{error.filename}: {error.strerror}"
        else:
            kind = "" if isinstance(error, WrongInput) else f"{type(error).__name__}: "
            why = f"{kind}{error}"
            if not is_for_people(error):
                _print_result({"error": why})
                raise
        log.error("%s", why)
        _print_result({"error": why})
        sys.exit(1)
    _print_result(result)


def is_for_people(error: Exception) -> bool:
    """Whether our own code raised it, with a sentence that says what to do."""
    is_our_class = type(error).__module__.split(".")[0] in OURS
    # The system's own have a number.
    is_our_text = isinstance(error, OSError) and error.errno is None
    return is_our_class or is_our_text


def disk_full(error: OSError) -> str:
    """What to do about a full disk, with the place where one is known to be full."""
    from settings import Settings

    places = {Path(tempfile.gettempdir()), Settings().data_root}
    if error.filename:
        places = {Path(error.filename).parent}
    left = [
        f"{place} has {shutil.disk_usage(place).free // 1024**2:,} MB left"
        for place in sorted(places)
        if place.exists()
    ]
    return (
        f"no space left on a disk ({'; '.join(left)}). Nothing of this job counts; readers still "
        "see what was published before. Make room and run the job again."
    )


def _print_result(result: dict) -> None:
    print(json.dumps(result, sort_keys=True, default=str), flush=True)
