"""Which of the candidates a training has chosen and why, for people."""

from models.metrics import KINDS, METRICS, PAIRS, difference_text, is_clearly_better
from models.sections import Block, Points, Section, Table, sections_text
from params import Question

COMPARED = (
    "What chooses is how the live fit of each kind serves customers of the same rows whom it has "
    "not seen: it is what will score, and has learnt what happened last."
)


def choice_text(metrics: dict, question: Question) -> str:
    """What a training ends with on a terminal: the candidates side by side, and the choice.

    Args:
        metrics: What is in ``metrics.json``.
    """
    holdout = metrics["holdout"]
    rows = [
        [title, *[_figure(metrics[kind][metric]["value"]) for kind in KINDS]]
        for metric, title in METRICS.items()
    ]
    return sections_text(
        f"Judged on {holdout['rows']:,} rows of {holdout['customers']:,} customers, of which "
        f"{holdout['base_rate']:.1%} {question.did}",
        [
            Section("Candidates", [Table(["metric", *KINDS.values()], rows)]),
            Section("Choice", choice_blocks(metrics)),
        ],
    )


def choice_blocks(metrics: dict) -> list[Block]:
    """How the live fits of the candidates compare, two by two, and which kind is chosen."""
    live, compared = metrics["live"], []
    for name, (rival, simpler) in PAIRS.items():
        verdict = "clearly better" if is_clearly_better(live[name]) else "not clearly better"
        compared.append(
            f"{KINDS[rival]} beside {KINDS[simpler]}: {verdict} ({difference_text(live[name])})"
        )
    alike = [
        f"The {KINDS[kind]} gives everybody the same score, so it is no candidate."
        for kind in metrics["alike"]
    ]
    if len(alike) == len(KINDS):
        untold = "No kind tells customers apart: nothing was learnt that says who is likelier."
        return [COMPARED, Points(compared), f"{untold} The gate lets no such model score."]
    chosen = (
        f"Chosen: {KINDS[metrics['chosen']]}, the simplest that no more complex one clearly beats. "
        "Clearly better is a model whose whole 95 % interval of the difference is on the "
        "better side for log loss (below zero) or PR AUC (above), and for neither on the worse."
    )
    return [COMPARED, Points(compared), " ".join([*alike, chosen])]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
