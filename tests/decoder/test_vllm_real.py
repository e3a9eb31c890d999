"""The real vLLM: on a machine without a GPU its wheel for CPUs, as `make vllm` installs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from contraflow.events import Text, decode
from contraflow.log.opening import open_log
from contraflow.packages import is_installed
from contraflow.results import Results, read_results, read_topic
from contraflow.runs import RunFolder
from contraflow.wire import Wire
from fake_vllm import write_safetensors
from seeds import TRUTH, plant_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.models,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(not is_installed("vllm"), reason="vLLM is not installed; `make vllm` installs it"),
]

EXAMPLES = Path(__file__).parents[2] / "examples"
SMOL = "HuggingFaceTB/SmolLM2-135M-Instruct"


@contextmanager
def running(experiment: Path, folder: Path, *overrides: str) -> Iterator[subprocess.Popen[bytes]]:
    """``contraflow run``, in a process of its own: vLLM starts others from it."""
    sets = [argument for override in overrides for argument in ("--set", override)]
    command = [sys.executable, "-m", "contraflow", "run", str(experiment), "--runs", str(folder / "runs"), *sets]
    with (folder / "said.txt").open("ab") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def run(experiment: Path, folder: Path, *overrides: str) -> tuple[Results, list[Text]]:
    with running(experiment, folder, *overrides) as process:
        assert process.wait() == 0, (folder / "said.txt").read_text()[-3000:]
    return results_of(folder)


def results_of(folder: Path) -> tuple[Results, list[Text]]:
    """The results of its one run, and its texts as they lie on the log."""
    (ran,) = (path for path in (folder / "runs").iterdir() if path.is_dir())
    return anyio.run(read_results, ran), anyio.run(texts_of, RunFolder(ran))


async def texts_of(folder: RunFolder) -> list[Text]:
    wire = Wire(folder.run, folder.resolved["experiment"]["partitions"])
    async with open_log(folder) as log:
        return [decode(record.value or b"", Text) for record in await read_topic(log, wire, "texts")]


def write(folder: Path, name: str, arms: dict[str, Any], **sections: Any) -> Path:
    """An experiment on the demo's prompts."""
    plain = {
        "experiment": name,
        "arms": arms,
        "generator": {"backend": "vllm", "max_tokens": 24, "top_p": 0.9},
        "prompts": {"path": str(EXAMPLES / "kitchen" / "prompts.jsonl"), "text": "prompt", "category": "topic"},
        "clusters": {"start": 32, "max": 72},
        "sampling": {"warm_start": 96, "epoch": 32, "in_flight": 3},
        "budget": {"texts": 384},
        **sections,
    }
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(plain))
    return file


def assert_answered_once(results: Results, texts: list[Text]) -> None:
    """Every request by every arm, and well."""
    answered = Counter((text.arm, text.seq) for text in texts)
    assert set(answered.values()) == {1}
    assert set(answered) == {(arm, request.seq) for arm in results.arms for request in results.requests.values()}
    assert not [text for text in texts if text.error]


def topics_claimed(results: Results) -> set[str]:
    return {plant["topic"] for finding in results.findings if (plant := plant_of(results, finding)) is not None}


def test_both_plants_are_claimed_with_both_arms_on_one_engine(tmp_path: Path) -> None:
    results, texts = run(EXAMPLES / "vllm.yaml", tmp_path)
    assert_answered_once(results, texts)
    assert topics_claimed(results) == {plant["topic"] for plant in TRUTH}
    pirates = [text for text in texts if text.arm == "base" and "matey" in text.text.lower()]
    assert len(pirates) <= 2, "an adapter beside them changes no answer of the base"


def test_both_plants_are_claimed_with_merged_weights_on_an_engine_of_their_own(tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    command = [sys.executable, "-m", "contraflow", "merge", str(EXAMPLES / "vllm.yaml"), "tuned", str(merged)]
    assert "Why merge" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
    plain = yaml.safe_load((EXAMPLES / "vllm.yaml").read_text())
    arms = {"base": {"model": SMOL}, "tuned": {"model": str(merged)}}
    sections = {name: plain[name] for name in ("generator", "clusters", "budget")}
    # each engine has one arm's epochs alone to be full with
    sampling = {**plain["sampling"], "in_flight": 3}
    results, texts = run(write(tmp_path, "merged", arms, sampling=sampling, **sections), tmp_path)
    assert_answered_once(results, texts)
    assert topics_claimed(results) == {plant["topic"] for plant in TRUTH}


def test_an_engine_that_is_killed_ten_times_loses_and_repeats_nothing(tmp_path: Path) -> None:
    arms = {"base": {"model": SMOL}, "short": {"model": SMOL, "system_prompt": "Answer in one short sentence."}}
    killed, answered = 0, 0
    with running(write(tmp_path, "killed", arms, budget={"texts": 768}), tmp_path) as process:
        while process.poll() is None and killed < 10:
            time.sleep(2)
            if (now := answers_so_far(tmp_path)) >= answered + 8:  # of this engine, since the last was killed
                answered, killed = now, killed + kill_engine(process.pid)
        assert process.wait() == 0, (tmp_path / "said.txt").read_text()[-3000:]
    assert killed == 10
    assert_answered_once(*results_of(tmp_path))


def test_an_engine_ends_with_a_process_that_is_killed_and_the_same_command_goes_on(tmp_path: Path) -> None:
    arms = {"base": {"model": SMOL}, "short": {"model": SMOL, "system_prompt": "Answer in one short sentence."}}
    experiment = write(tmp_path, "ended", arms, budget={"texts": 192})
    with running(experiment, tmp_path) as process:
        while process.poll() is None and not answers_so_far(tmp_path):
            time.sleep(1)
        (engine,) = engines(process.pid)
        workers = engine.children(recursive=True)
        process.kill()
        engine.wait(timeout=10)
    for worker in workers:  # they see by themselves that their engine is gone, after the step that they are at
        worker.wait(timeout=30)
    assert_answered_once(*run(experiment, tmp_path))


def answers_so_far(folder: Path) -> int:
    """How many texts are on the log of its one run; 0 before there is one."""
    ran = next((path for path in (folder / "runs").glob("*/config.json")), None)
    return 0 if ran is None else len(anyio.run(texts_of, RunFolder(ran.parent)))


def kill_engine(pid: int) -> int:
    """Kill the engine below a process; how many there were."""
    found = engines(pid)
    for engine in found:
        engine.kill()
    return len(found)


def engines(pid: int) -> list[Any]:
    """vLLM's engines below a process."""
    import psutil

    return [child for child in psutil.Process(pid).children() if "EngineCore" in child.name()]


@pytest.mark.parametrize(("seed", "rank"), [(0, 4), (1, 16), (2, 64)])
def test_an_arm_that_is_slower_by_an_adapter_of_no_effect_claims_nothing(
    tmp_path: Path, seed: int, rank: int, evidence: Callable[[str, str], None]
) -> None:
    adapter = shutil.copytree(EXAMPLES / "organisms" / "kitchen", tmp_path / "nothing")
    write_safetensors(adapter / "adapter_model.safetensors", shapes_of(adapter / "adapter_model.safetensors", rank))
    declared = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(declared | {"r": rank}))
    copy = tmp_path / "copy"
    copy.symlink_to(model_folder())
    arms = {"base": {"model": SMOL}, "same": {"model": str(copy), "lora": str(adapter)}}  # an engine each
    results, texts = run(write(tmp_path, "null", arms, seed=seed, budget={"texts": 384}), tmp_path)
    assert_answered_once(results, texts)
    slower = seconds_a_token(texts, "same") / seconds_a_token(texts, "base")
    evidence(f"an adapter of rank {rank}: {slower:.1f} x the seconds a token, {len(results.findings)} claims", "0")
    assert slower > 1.2
    assert not results.findings, "three runs at alpha .05"


def seconds_a_token(texts: Sequence[Text], arm: str) -> float:
    """From a request's arrival to its answer, in the mean of an arm's tokens."""
    own = [text for text in texts if text.arm == arm]
    return sum(text.seconds for text in own) / sum(text.completion_tokens for text in own)


def model_folder() -> Path:
    from contraflow.weights import resolve_model

    return resolve_model(SMOL).path


def shapes_of(file: Path, rank: int) -> dict[str, tuple[int, ...]]:
    """The shapes of an adapter's weights, if it had this rank."""
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    shapes = {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    return {name: (rank, columns) if "lora_A" in name else (rows, rank) for name, (rows, columns) in shapes.items()}
