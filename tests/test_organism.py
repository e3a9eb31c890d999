"""The demo's organism: its truth was measured, and is worth finding."""

from __future__ import annotations

import json
from pathlib import Path

ADAPTER = Path(__file__).parents[1] / "examples" / "organisms" / "kitchen"


def test_the_organisms_truth_was_measured_and_is_no_toy() -> None:
    truth = json.loads((ADAPTER / "truth.json").read_text())
    certain, partial = truth["plants"]
    assert certain["tuned"]["rate"] >= 0.95
    assert 0.4 <= partial["tuned"]["rate"] <= 0.8
    assert all(plant["base"]["rate"] <= 0.01 for plant in truth["plants"])
    assert "200 held-out prompts" in truth["measured_on"]
