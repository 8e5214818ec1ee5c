"""Judge a version beside the champion on the same rows, and say whether it may score.

Reads both bundles and the registry; writes the gate's page and the version's card below the reports
and a line into the audit log. A gate that is lost is a result like one that is passed: both end
with exit code 0.
"""

from jobs.entry import job_parser, start
from jobs.model_pages import write_card, write_gate
from jobs.registry import open_registry, usable_bundle
from models.bundle import read_holdout
from models.gate import judge_challenger
from models.golden import run_golden_rows
from models.registry import CHAMPION
from params import Params, read_params
from settings import Settings
from warehouse import append_audit, approval_answers, check_migrated, connect, writing

PARSER = job_parser(__doc__, "--version v1.2.0")
PARSER.add_argument("--version", required=True, help="the version to judge, such as v1.2.0")
PARSER.add_argument(
    "--against", default=CHAMPION, help="the version to judge it beside; default the champion"
)


def run(settings: Settings, params: Params, version: str, *, against: str = CHAMPION) -> dict:
    """Judge; the facts are the verdict with its reasons, both versions, and where the page is.

    ``approval`` is who lets a version on that has passed: ``automatic`` or ``person``.

    Raises:
        VersionUnknown: If there is no such version.
        StoreUnavailable: If a bundle cannot be fetched.
        BundleRefused: If a bundle cannot score here, or holds no rows to judge on.
    """
    engine = connect(settings.warehouse_url)
    check_migrated(engine)
    state = open_registry(settings, params).read()
    judged = state.resolve(version)
    beside = None if against == CHAMPION and not state.promotions else state.resolve(against)
    challenger = usable_bundle(settings, judged)
    champion = usable_bundle(settings, beside) if beside else None
    holdout = read_holdout(challenger.folder)

    golden = run_golden_rows(challenger.folder, challenger.sha256, params.gate.golden_seconds)
    verdict = judge_challenger(challenger, champion, holdout, golden, params)

    facts = {
        "verdict": "pass" if verdict.is_passed else "fail",
        "version": judged.version,
        "champion": beside.version if beside else None,
        "reasons": verdict.reasons,
    }
    evidence = {
        "bundle_sha256": judged.bundle_sha256,
        "champion_sha256": beside.bundle_sha256 if beside else None,
        "asked_at": judged.asked_at and judged.asked_at.isoformat(),
    }
    page = write_gate(settings.data_root, facts | evidence, verdict)
    write_card(settings.data_root, judged, state, approval_answers(engine))
    event = "gate_passed" if verdict.is_passed else "gate_failed"
    with writing(engine) as connection:
        append_audit(connection, event, facts | evidence)
    return facts | {"approval": params.gate.approval, "page": str(page)}


def main(arguments) -> dict:
    """Start the job from the command line."""
    return run(Settings(), read_params(), arguments.version, against=arguments.against)


if __name__ == "__main__":
    start(PARSER, main)
