"""The same ring with each service in a process of its own, as ``contraflow run --processes``, measured from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from contraflow.runtime.peaks import processes
from rings.measuring import anonymous

__all__ = ["measure_apart"]

_LOOK = 0.5


def measure_apart(described: Mapping[str, Any], texts: int, folder: Path) -> dict[str, float]:
    """Run an experiment over ``texts`` stored texts in ``folder``: all of the command, reading and report included.

    Memory is that of all processes together, around a quarter of the time and around its end.
    """
    file = folder / "experiment.yaml"
    file.write_text(yaml.safe_dump(dict(described)), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "contraflow",
        "run",
        str(file),
        "--processes",
        "--json",
        "--runs",
        str(folder / "runs"),
    ]
    environment = {**os.environ, "CONTRAFLOW_CACHE": str(folder / "cache")}
    started, before = time.perf_counter(), os.times()
    memory: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        while process.poll() is None:
            memory.append(sum(anonymous(pid) for pid, _ in processes(str(process.pid))))
            time.sleep(_LOOK)
    if process.returncode:
        raise SystemExit(f"`{' '.join(command)}` ended with {process.returncode}")
    seconds, after = time.perf_counter() - started, os.times()
    (timing,) = (folder / "runs").glob("*/timing.json")
    ran = float(json.loads(timing.read_text(encoding="utf-8"))["seconds"])
    early, late = _mean(memory, 0.2, 0.3), _mean(memory, 0.8, 0.9)
    return {
        "apart_texts_per_second": texts / ran,
        "apart_seconds": ran,
        "apart_seconds_of_the_command": seconds,
        "apart_cpu_seconds": sum(after[2:4]) - sum(before[2:4]),
        "apart_anonymous_mb_early": early,
        "apart_anonymous_mb_late": late,
        "apart_memory_ratio": late / early,
    }


def _mean(values: list[float], start: float, end: float) -> float:
    part = values[int(start * len(values)) : int(end * len(values)) + 1]
    return sum(part) / len(part)
