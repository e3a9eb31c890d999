"""An arm on several devices: a process each, which share its requests by partitions; an engine reports what it was given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import contraflow
from contraflow.cli import main
from contraflow.configuration import experiment_from, resolve
from contraflow.configuration.resolved import difference
from contraflow.decoder.transformers.loading import load
from contraflow.decoder.vllm.visible import show_only
from contraflow.errors import ConfigurationError, GeneratorError
from contraflow.experiment import Arm, Generator
from contraflow.log.embedded import EmbeddedLog, Share
from contraflow.pipeline import processes_of
from contraflow.serving import gpu_of

ENGINE = """
import random, time
from pathlib import Path
from contraflow.decoder.generator import Completion, draw_seed

slow = [{slow}]

async def generate(requests, arm, settings):
    if settings["device"] == "cuda:1" and slow:
        time.sleep(slow.pop())  # over its first batch
    for request in requests:
        rng = random.Random(draw_seed(request, arm))
        words = "loud noise everywhere" if arm == "tuned" and rng.random() < .3 else "calm and quiet words"
        with Path(__file__).with_name(arm).open("a") as file:
            file.write(f"{request.seq} {settings['device']} {settings['devices']}\\n")
        yield Completion(request, f"{words} {rng.choice('abcdefgh')} about {request.prompt_id}", "stop", 1, 4)
"""
TWO = {"base": {}, "tuned": {"devices": ["cuda:0", "cuda:1"]}}


def write(folder: Path, arms: dict[str, Any], *, slow: float = 0.0) -> Path:
    folder.mkdir()
    engine = f"engine_of_{folder.name}"  # a process keeps what it has imported by its name
    (folder / f"{engine}.py").write_text(ENGINE.replace("{slow}", str(slow)))
    (folder / "prompts.txt").write_text("".join(f"question {i}\n" for i in range(20)))
    described = {
        "experiment": "devices",
        "arms": arms,
        "generator": {"backend": f"{engine}:generate", "batch": 64},
        "prompts": {"path": "prompts.txt"},
        "embedder": {"model": "hashed"},
        "sampling": {"warm_start": 64, "epoch": 32, "in_flight": 2},
        "budget": {"texts": 600},
    }
    (folder / "devices.yaml").write_text(yaml.safe_dump(described))
    return folder / "devices.yaml"


def in_processes(file: Path) -> Path:
    command = [sys.executable, "-m", "contraflow", "run", str(file), "--processes", "--runs", str(file.parent / "runs")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return file.parent / "runs" / "devices-1"


def given(file: Path, arm: str) -> list[tuple[int, str, str]]:
    lines = [line.split(" ", 2) for line in (file.parent / arm).read_text().splitlines()]
    return [(int(seq), device, declared) for seq, device, declared in lines]


def digests(run: Path) -> dict[str, str]:
    return {path.name: blake2b(path.read_bytes()).hexdigest() for path in sorted((run / "results").iterdir())}


@pytest.mark.timeout(120)
def test_each_engine_is_given_its_device_and_its_partitions_and_the_findings_are_one_process_s(tmp_path: Path) -> None:
    alone = write(tmp_path / "alone", {"base": {}, "tuned": {}})
    contraflow.run(alone, runs=alone.parent / "runs")
    file = write(tmp_path / "two", TWO)
    run = in_processes(file)
    assert digests(run) == digests(alone.parent / "runs" / "devices-1")
    asked = given(file, "tuned")
    assert sorted(seq for seq, _, _ in asked) == list(range(1, 301))
    # partitions in turn by seq, and of the eight every other one is a device's
    assert {(seq % 2, device, declared) for seq, device, declared in asked} == {
        (0, "cuda:0", "('cuda:0',)"),
        (1, "cuda:1", "('cuda:1',)"),
    }
    assert {device for _, device, _ in given(file, "base")} == {"auto"}
    journal = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    noted = {name for entry in journal if entry["event"] == "memory" for name in entry["mb"]}
    assert noted >= {"decoder of base", "decoder of tuned on cuda:0", "decoder of tuned on cuda:1"}


@pytest.mark.timeout(120)
def test_a_slow_device_holds_back_its_own_partitions_until_the_epochs_in_flight_are_full(tmp_path: Path) -> None:
    file = write(tmp_path / "slow", TWO, slow=1.5)
    in_processes(file)
    asked = given(file, "tuned")
    first = next(i for i, (_, device, _) in enumerate(asked) if device == "cuda:1")
    # two epochs of 32 are in flight: the other device answers its half of both meanwhile
    assert {seq for seq, _, _ in asked[:first]} >= set(range(2, 65, 2))


@pytest.fixture
def refused() -> Callable[..., str]:
    def say(devices: Any, **sections: Any) -> str:
        arms = {"base": {}, "tuned": {"devices": devices}}
        with pytest.raises(ConfigurationError) as raised:
            experiment_from({"experiment": "x", "arms": arms, "generator": {"backend": "a:b"}, **SOURCE, **sections})
        return str(raised.value)

    return say


SOURCE = {"prompts": "unconditional"}


def test_devices_that_cannot_be_are_refused(refused: Callable[..., str]) -> None:
    assert "arms.tuned.devices.1: expected a device as torch names it" in refused(["cuda:0", "GPU 1"])
    said = refused(["cuda:0", "cuda:1", "cuda:0"])
    assert 'arms.tuned.devices: "cuda:0" is named 2 times; a device has one decoder process' in said
    said = refused(["cuda:0", "cuda:1", "cuda:2"], partitions=2)
    assert "arms.tuned.devices: 3 devices share 2 partitions of requests, so 1 would have nothing to do" in said
    assert "set partitions: 3 or more" in said
    assert "the scripted backend does not read it" in refused(["cuda:0"], generator={"backend": "scripted"})


def test_several_devices_need_processes(tmp_path: Path) -> None:
    file = write(tmp_path / "one", TWO)
    result = CliRunner().invoke(main, ["run", str(file), "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 2
    assert (
        "arms.tuned.devices: cuda:0, cuda:1 take a process each; run the experiment with --processes" in result.stderr
    )
    assert not (tmp_path / "runs").exists(), "what is refused leaves no run behind"


def test_a_decoder_is_told_a_device_of_its_arm(tmp_path: Path) -> None:
    file = write(tmp_path / "one", TWO)
    command = [
        "service",
        "decoder",
        str(file),
        "--run",
        "devices-1",
        "--arm",
        "tuned",
        "--runs",
        str(tmp_path / "runs"),
    ]
    assert (
        "--device: missing; arm 'tuned' has a process for each of cuda:0, cuda:1"
        in CliRunner().invoke(main, command).stderr
    )
    result = CliRunner().invoke(main, [*command, "--device", "cuda:7"])
    assert "--device: 'cuda:7' is not one of arms.tuned.devices, which names cuda:0, cuda:1" in result.stderr


def test_one_device_needs_no_process_of_its_own(tmp_path: Path) -> None:
    file = write(tmp_path / "single", {"base": {}, "tuned": {"devices": ["cuda:3"]}})
    contraflow.run(file, runs=tmp_path / "runs")
    assert {device for _, device, _ in given(file, "tuned")} == {"cuda:3"}
    assert {device for _, device, _ in given(file, "base")} == {"auto"}


def test_what_a_run_takes_is_measured_on_the_first_device_of_each_arm(tmp_path: Path) -> None:
    file = write(tmp_path / "planned", {"base": {}, "tuned": {"devices": ["cuda:3", "cuda:4"]}})
    result = CliRunner().invoke(main, ["plan", str(file), "--seconds", "0.2"])
    assert result.exit_code == 0, result.output
    assert {device for _, device, _ in given(file, "tuned")} == {"cuda:3"}
    assert {device for _, device, _ in given(file, "base")} == {"auto"}


def test_an_engine_that_would_not_know_its_device_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "deaf", {"base": {}, "tuned": {"devices": ["cuda:3"]}})
    (tmp_path / "deaf" / "deaf.py").write_text("def generate(prompts, arm):\n    return prompts\n")
    overrides = ["--set", "generator.backend=deaf:generate"]
    result = CliRunner().invoke(main, ["run", str(file), "--runs", str(tmp_path / "runs"), *overrides])
    assert "arms.tuned.devices: deaf:generate would not know of it" in result.stderr


def test_a_run_may_go_on_with_other_devices() -> None:
    def resolved(arms: dict[str, Any]) -> dict[str, Any]:
        plain = experiment_from({"experiment": "x", "arms": arms, "generator": {"backend": "a:b"}, **SOURCE})
        return resolve(plain, generator_batch=64, prompts=1).plain()

    assert difference(resolved(TWO), resolved({"base": {}, "tuned": {}})) == []


def test_processes_are_named_by_arm_and_device() -> None:
    arms = {"base": Arm(), "on": Arm(devices=("cuda:0", "cuda:1"))}
    assert processes_of(arms) == (
        *("sampler", "decoder of base", "decoder of on on cuda:0", "decoder of on on cuda:1"),
        *("embedder", "clusterer", "validator"),
    )


async def test_shares_of_a_topic_are_every_partition_once(tmp_path: Path) -> None:
    async with await EmbeddedLog.open(tmp_path) as log:
        await log.create_topics([("t", 8, "delete")])
    found = []
    for index in range(3):
        async with await EmbeddedLog.open(tmp_path, share=Share(index, 3)) as log:
            found.append(sorted(p.number for p in await (await log.join("g", "t")).partitions()))
    assert found == [[0, 3, 6], [1, 4, 7], [2, 5]]


def test_an_engine_that_chooses_for_itself_sees_its_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    show_only("cuda:1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6,7")
    show_only("cuda:1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "6"
    with pytest.raises(ConfigurationError, match=r"--device: cuda:1 is not visible: .* shows 1 GPUs \(6\)"):
        show_only("cuda:1")


@pytest.mark.parametrize(
    ("service", "device", "gpu"),
    [
        ("decoder of one", None, "cuda:1"),
        ("decoder of two", "cuda:3", "cuda:3"),
        ("decoder of two", None, None),
        ("decoder of none", None, None),
        ("embedder", None, None),
    ],
)
def test_an_engine_sees_the_gpu_that_its_arm_names_also_where_nobody_says_it_again(
    service: str, device: str | None, gpu: str | None
) -> None:
    arms: dict[str, dict[str, Any]] = {
        "none": {},
        "one": {"devices": ["cuda:1"]},
        "two": {"devices": ["cuda:2", "cuda:3"]},
    }
    asked = experiment_from(
        {
            "experiment": "x",
            "arms": {name: {"model": "m"} | arm for name, arm in arms.items()},
            "generator": {"backend": "vllm"},
            "prompts": "unconditional",
        }
    )
    assert gpu_of(asked, service, device) == gpu


def test_vllm_is_started_on_gpus_each_in_a_process(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused(
        ["cpu"],
        arms={"base": {"model": "m"}, "tuned": {"model": "m", "devices": ["cpu"]}},
        generator={"backend": "vllm"},
    )
    assert 'arms.tuned.devices: "cpu" is no GPU by its number, such as cuda:0' in said
    file = write(tmp_path / "vllm", {"base": {"model": "m"}, "tuned": {"model": "m", "devices": ["cuda:0"]}})
    command = ["run", str(file), "--runs", str(tmp_path / "runs"), "--set", "generator={backend: vllm}"]
    assert "arms.tuned.devices: cuda:0 take a process each" in CliRunner().invoke(main, command).stderr


@pytest.mark.models
def test_a_device_that_is_not_there_is_named_with_those_that_are() -> None:
    arm = Arm(model="HuggingFaceTB/SmolLM2-135M-Instruct", devices=("cuda:7",))
    with pytest.raises(GeneratorError, match=r"arms\.tuned\.devices: torch cannot use 'cuda:7' here .* has cpu"):
        load("tuned", arm, Generator(device="cuda:7"), Path())
