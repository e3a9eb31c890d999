"""A checkpoint with the adapter in its weights: the demo's model, as large as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from contraflow.configuration import load_experiment
from contraflow.decoder.transformers.loading import load
from contraflow.decoder.transformers.merging import merge_arm
from contraflow.errors import ConfigurationError
from contraflow.experiment import Arm

EXPERIMENT = Path(__file__).parents[2] / "examples" / "vllm.yaml"


@pytest.mark.models
@pytest.mark.timeout(240)
def test_the_checkpoint_says_what_the_model_with_its_adapter_says(tmp_path: Path) -> None:
    import torch

    loaded = load_experiment(EXPERIMENT)
    size = merge_arm(loaded, "tuned", tmp_path / "merged")
    assert size > 200e6
    assert not [file for file in (tmp_path / "merged").iterdir() if file.suffix in (".bin", ".pt")]
    section = replace(loaded.experiment.generator, dtype="bfloat16")
    apart = load("tuned", loaded.experiment.arms["tuned"], section, loaded.base_dir)
    merged = load("merged", Arm(model=str(tmp_path / "merged")), section, tmp_path)
    base = load("base", loaded.experiment.arms["base"], section, loaded.base_dir)
    tokens = apart.tokenizer("How do I cook rice?", return_tensors="pt")
    with torch.inference_mode():
        expected, found, other = (model.model(**tokens).logits for model in (apart, merged, base))
    assert torch.equal(found, expected)
    assert not torch.equal(found, other)
    assert merged.tokenizer.chat_template == apart.tokenizer.chat_template


def test_what_cannot_be_merged_is_refused(tmp_path: Path) -> None:
    loaded = load_experiment(EXPERIMENT)
    with pytest.raises(ConfigurationError, match=r"'none' is no arm of the experiment; name one of base, tuned"):
        merge_arm(loaded, "none", tmp_path / "merged")
    with pytest.raises(ConfigurationError, match=r"arms\.base\.lora: not given"):
        merge_arm(loaded, "base", tmp_path / "merged")
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConfigurationError, match=r"taken is there already"):
        merge_arm(loaded, "tuned", tmp_path / "taken")
