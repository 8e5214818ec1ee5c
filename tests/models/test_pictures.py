"""Pictures of calibration and lift, of holdouts in which nobody did what was asked about too."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from models.judge import calibration_curve, lift_curve
from models.metrics import KINDS
from models.pictures import calibration_picture, lift_picture
from params import Question

RETURN = Question(outcome="return", horizon_days=14)
EVEN = np.linspace(0.1, 0.9, 50)


def drawn(labels, probabilities) -> dict[str, ElementTree.Element]:
    """Both pictures, by name."""
    scores = pd.DataFrame({"label": labels, **{f"p_{kind}": probabilities for kind in KINDS}})
    curve = calibration_curve(scores["label"], scores["p_xgboost"])
    pictures = {
        "calibration": calibration_picture(curve, RETURN),
        "lift": lift_picture(lift_curve(scores), RETURN),
    }
    return {name: ElementTree.fromstring(text) for name, text in pictures.items()}  # noqa: S314


def test_axes_speak_of_the_question_and_end_above_what_was_found():
    pictures = drawn(EVEN > 0.5, EVEN)
    texts = {name: [*picture.itertext()] for name, picture in pictures.items()}
    assert "share that returned something" in texts["calibration"]
    assert "100 %" in texts["calibration"]
    assert "times as many returners as by chance" in texts["lift"]
    assert "2" in texts["lift"]


@pytest.mark.parametrize("probabilities", [EVEN, np.zeros(50), np.full(50, 0.2)])
@pytest.mark.parametrize("labels", [np.zeros(50), np.ones(50)])
def test_there_is_a_picture_also_where_nobody_or_everybody_did(labels, probabilities):
    for picture in drawn(labels, probabilities).values():
        assert "nan" not in ElementTree.tostring(picture, encoding="unicode")
