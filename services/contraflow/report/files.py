"""A run's result files: equal for equal runs, so they hold no times."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from contraflow.results import Results
from contraflow.run_log import RunLog
from contraflow.runs import replacing, write_atomically

__all__ = ["write_results"]


def write_results(results: Results) -> None:
    """Write ``results/`` of the run's folder."""
    folder = results.folder.results
    folder.mkdir(exist_ok=True)
    tables: dict[str, Iterable[msgspec.Struct]] = {
        "clusters": results.clusters,
        "evidence": results.evidence,
        "hypotheses": results.hypotheses,
        "judgments": results.judgments,
        "verdicts": results.verdicts,
        "steering": results.steering,
    }
    for name, rows in tables.items():
        with replacing(folder / f"{name}.jsonl") as file:
            file.writelines(map(_line, rows))

    async def write_assignments(log: RunLog) -> None:
        with replacing(folder / "assignments.jsonl") as file:
            async for assignment in log.assignments():
                file.write(_line(assignment))

    results.read(write_assignments)
    findings = [_plain(finding) | {"statement": finding.statement} for finding in results.findings]
    summary = {
        "run": results.folder.run,
        "why": results.why,
        "regions": _plain(results.regions) if results.regions else None,
        "dead_letters": results.dead,
        "findings": findings,
    }
    write_atomically(folder / "findings.json", json.dumps(summary, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def _line(event: msgspec.Struct) -> str:
    return json.dumps(_plain(event), ensure_ascii=False, sort_keys=True) + "\n"


def _plain(event: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(event, builtin_types=())
    return plain
