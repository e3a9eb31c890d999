"""What processes have held at most, while they live and after."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from contraflow.runtime.memory import collect_rarely
from contraflow.runtime.peaks import Peaks, free_memory, gpu_peaks, note_peaks, process_name

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what a process held at most")

HOLDS = "import sys; kept = bytearray(80 << 20); print(flush=True); sys.stdin.read()"


def test_a_process_below_is_known_after_it_has_ended() -> None:
    peaks = Peaks("this")
    child = subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    name = next(name for name in peaks.look() if name.startswith("python"))
    child.communicate()
    found = peaks.look()
    assert found[name] > 80
    assert found["this"] > 10


async def test_what_was_held_is_noted_also_when_the_block_fails() -> None:
    notes: list[dict[str, Any]] = []
    with pytest.raises(ValueError, match="its own"):
        async with note_peaks(lambda event, **details: notes.append({"event": event, **details}), "embedder"):
            await anyio.lowlevel.checkpoint()
            raise ValueError("its own")
    assert notes[0]["event"] == "memory"
    assert notes[0]["mb"]["embedder"] > 10


def test_a_service_is_called_what_the_ring_calls_it() -> None:
    command = [sys.executable, "-m", "contraflow", "service", "decoder", "x.yaml", "--run", "x-1", "--arm", "tuned"]
    assert process_name(command) == "decoder of tuned"
    assert process_name([*command[:4], "embedder", "x.yaml"]) == "embedder"
    assert process_name(["/usr/bin/java", "-Xmx1g"]) == "java"
    assert process_name(["VLLM::EngineCore"]) == "VLLM::EngineCore"
    assert process_name([""]) == "a process below"


@pytest.fixture
def collector() -> Iterator[None]:
    kept = gc.get_threshold()
    yield
    gc.set_threshold(*kept)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_what_is_imported_is_not_looked_through_again() -> None:
    here, frozen = len(gc.get_objects()), gc.get_freeze_count()
    collect_rarely()
    assert len(gc.get_objects()) < here / 10
    assert gc.get_freeze_count() > frozen
    before = gc.get_stats()[0]["collections"]
    made = [[number] for number in range(10_000)]
    assert gc.get_stats()[0]["collections"] == before, f"{len(made)} objects are no reason to look"


@pytest.fixture
def engines() -> Iterator[tuple[int, int]]:
    """The ids of two processes below this one, of one name."""
    command = [sys.executable, "-c", HOLDS]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
    ):
        yield one.pid, other.pid
        one.communicate()
        other.communicate()


async def test_what_processes_below_hold_on_gpus_is_noted_as_the_driver_says_by_name_together(
    engines: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = engines
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\nprintf '{one}, 600\\n{one}, 100\\n1, 5000\\n{other}, 300\\n{other}, [N/A]\\n'")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    notes: list[dict[str, Any]] = []
    async with note_peaks(lambda event, **details: notes.append(details), "run"):
        await anyio.sleep(0.5)
    ((process, mb),) = notes[0]["gpu_mb"].items()
    assert process.startswith("python") and process.endswith("on its GPUs")
    assert mb == 1000


def test_a_gpu_is_named_with_what_torch_held_there() -> None:
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, max_memory_allocated=lambda i: (i + 1) * 3 << 20
    )
    assert gpu_peaks(SimpleNamespace(cuda=cuda)) == {"cuda:0": 3.0, "cuda:1": 6.0}
    cuda.is_available = lambda: False
    assert gpu_peaks(SimpleNamespace(cuda=cuda)) == {}


def test_free_memory_is_some_of_what_the_machine_has() -> None:
    free = free_memory()
    assert free is not None
    assert 0 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
