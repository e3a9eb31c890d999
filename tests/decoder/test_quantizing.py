"""Rounded weights in the real SmolLM2."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from contraflow.decoder.transformers.loading import load
from contraflow.experiment import Arm, Generator

pytestmark = [pytest.mark.models, pytest.mark.timeout(240)]  # torchao takes its time to be imported
pytest.importorskip("torchao", reason="needs pip install 'contraflow[quantization]'")

SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"
ADAPTER = Path(__file__).parents[2] / "examples" / "organisms" / "kitchen"


def logits(quantization: str | None) -> torch.Tensor:
    arm = Arm(model=SMOL, lora=str(ADAPTER), quantization=quantization)
    loaded = load("tuned", arm, Generator(), Path())
    inputs = loaded.tokenizer("To cook rice, first wash", return_tensors="pt")
    assert loaded.fingerprint.endswith(f"+{quantization}") == (quantization is not None)
    with torch.inference_mode():
        found: torch.Tensor = loaded.model(**inputs).logits[0, -1].float()
    return found


def test_fewer_bits_are_nearer_to_noise_and_eight_are_near_to_all() -> None:
    whole = logits(None)
    eight, four = ((logits(kind) - whole).norm() / whole.norm() for kind in ("int8", "int4"))
    assert 0 < eight < 0.1
    assert eight < four < 0.8
