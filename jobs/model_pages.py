"""The pages about a version of the model: what the gate found, and its card."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lake import read_json, replacing, write_json
from models.card import Approval, card_page
from models.registry import ModelVersion, RegistryState
from params import Question
from warehouse import ApprovalAnswer

if TYPE_CHECKING:
    from models.gate import GateVerdict

REPORTS = "reports/models/{version}"
"""The pages about a version: ``gate/index.html``, ``gate/gate.json``, ``card/index.html``."""

log = logging.getLogger("jobs.model_pages")


def write_gate(root: Path, facts: dict, verdict: "GateVerdict") -> Path:
    """Replace the version's gate folder: the page, and ``gate.json`` with the same; the page."""
    from models.gate import gate_page

    folder = root / REPORTS.format(version=facts["version"]) / "gate"
    with replacing(folder) as fresh:
        fresh.mkdir()
        description = read_json(root / "bundles" / facts["bundle_sha256"] / "bundle.json")
        question = Question(**description["question"])
        page = gate_page(verdict, facts["version"], facts["champion"], question)
        (fresh / "index.html").write_text(page, encoding="utf-8")
        write_json(fresh / "gate.json", verdict.to_json() | facts)
    return folder / "index.html"


def write_card(
    root: Path, version: ModelVersion, state: RegistryState, answers: Sequence[ApprovalAnswer]
) -> None:
    """Replace the version's card, with what was decided about it so far.

    Raises:
        FileNotFoundError: If the bundle below ``root`` is not there.
    """
    folder = root / REPORTS.format(version=version.version)
    bundle = root / "bundles" / version.bundle_sha256
    gate = folder / "gate" / "gate.json"
    verdict = None
    if gate.exists():
        verdict = "passed" if read_json(gate)["verdict"] == "pass" else "not passed"
    page = card_page(
        version.version,
        read_json(bundle / "bundle.json"),
        read_json(bundle / "metrics.json"),
        approvals(version, state, answers),
        verdict,
    )
    with replacing(folder / "card") as fresh:
        fresh.mkdir()
        (fresh / "index.html").write_text(page, encoding="utf-8")


def refresh_cards(root: Path, state: RegistryState, answers: Sequence[ApprovalAnswer]) -> None:
    """Bring the cards up to date of all versions whose bundles are in the cache.

    What they tell has happened already, so a card that cannot be drawn is told and left as it was.
    """
    for version in state.versions:
        if (root / "bundles" / version.bundle_sha256).exists():
            try:
                write_card(root, version, state, answers)
            except Exception:
                log.exception("the card of %s cannot be drawn; it stays as it was", version.version)


def approvals(
    version: ModelVersion, state: RegistryState, answers: Sequence[ApprovalAnswer]
) -> list[Approval]:
    """Who registered the version, approved or rejected it and moved it, in order of time."""
    moves = [
        (answer.at, answer.what, answer.actor, answer.reason)
        for answer in answers
        if answer.version == version.version
    ]
    moves += [
        (move.at, f"champion (number {move.number})", move.actor, move.reason)
        for move in state.promotions
        if move.version == version.version
    ]
    for trial in state.challenges:
        if trial.version == version.version:
            share = "in shadow" if trial.percent == 0 else f"for {trial.percent} % of customers"
            moves.append((trial.at, f"challenger {share}", trial.actor, trial.reason))
        elif trial.version is None and trial.previous == version.version:
            moves.append((trial.at, "withdrawn", trial.actor, trial.reason))
    asked_at = f"asked for {version.asked_at:%Y-%m-%d %H:%M}" if version.asked_at else "-"
    return [
        Approval(asked_at, "registered", version.actor, version.reason),
        *[Approval(f"{at:%Y-%m-%d %H:%M}", *rest) for at, *rest in sorted(moves)],
    ]
