"""The report: one HTML file that works offline. Model texts are untrusted, so everything is escaped."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import jinja2
import msgspec
import numpy as np
import plotly.offline
import yaml
from markupsafe import Markup

from contraflow.decoder.openai.charges import Charge, Charges
from contraflow.events import Text
from contraflow.experiment import Arm
from contraflow.monitor.enough import in_words
from contraflow.report import charts
from contraflow.report.clusters import Listed, list_clusters, list_themes
from contraflow.report.console import agreement, time_of_running
from contraflow.report.palette import ARMS
from contraflow.report.sample import draw_answers
from contraflow.results import Finding, Results, SideBySide
from contraflow.run_log import RunLog
from contraflow.runs import write_atomically

__all__ = ["write_report"]

POINTS = 3000
MANY = 20
"""More clusters than these are shown by themes as well."""


def write_report(results: Results, path: Path) -> Path:
    """Write the report of a run to ``path``."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("contraflow.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    groups, charged = results.groups, results.read(partial(_charged, results.resolved["experiment"]))
    scripts = [plotly.offline.get_plotlyjs(), _drawing(results, [f for group in groups for f in group])]
    clusters = [_cluster(row) for row in list_clusters(results)]
    page = environment.get_template("report.html.j2").render(
        results=results,
        groups=[[_finding(results, finding) for finding in group] for group in groups],
        totals=_totals(results),
        charged={arm: _said(charge) for arm, charge in charged.items()},
        charged_together=sum(charge.dollars or 0 for charge in charged.values()),
        clusters=clusters,
        by_id={row["id"]: row for row in clusters},
        themes=list_themes(results) if len(clusters) > MANY else [],
        interventions=_interventions(results),
        config=yaml.safe_dump(results.resolved, sort_keys=False, allow_unicode=True),
        colours=dict(zip(results.arms, ARMS, strict=False)),
        timing=_timing(results),
        memory=results.folder.memory(),
        usage=results.folder.usage(),
        scripts=[Markup(script) for script in scripts],  # our own, and JSON with "</" escaped
        hashes=" ".join(f"'sha256-{_sha(script)}'" for script in scripts),
    )
    write_atomically(path, page)
    return path


async def _charged(experiment: Mapping[str, Any], log: RunLog) -> dict[str, Charge]:
    charges = Charges(experiment)
    if charges.any:
        async for text in log.events("texts", Text):
            charges.add(text)
    return charges.by_arm()


def _said(charge: Charge) -> str:
    if charge.dollars is None:
        return "no price is declared for its answers"
    untold = f", without {charge.untold:,} whose tokens its server did not tell" if charge.untold else ""
    return f"${charge.dollars:,.4f} for its answers{untold}"


def _interventions(results: Results) -> list[tuple[str, list[tuple[str, str]]]]:
    """(arm, what it declares) of each arm, as (key, value)s; nothing where none declares anything, as of stored texts."""
    nothing, experiment = msgspec.json.decode(msgspec.json.encode(Arm())), results.resolved["experiment"]
    declared = [(name, experiment["arms"][name]) for name in results.arms]
    rows = [
        (name, [(key, _plainly(value)) for key, value in arm.items() if value != nothing.get(key)])
        for name, arm in declared
    ]
    return rows if any(own for _, own in rows) else []


def _plainly(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plainly(inner)}" for key, inner in value.items() if inner not in (None, [], {}))
    return " / ".join(map(str, value)) if isinstance(value, list) else str(value)


def _sha(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _drawing(results: Results, findings: Sequence[Finding]) -> str:
    figures = {"evidence": charts.evidence(results), "spent": charts.spent(results)}
    if any(f.comparison.effect for f in findings):
        figures["effects"] = charts.effects(results, findings)
    answers = draw_answers(results, POINTS)
    if len(answers) > 2:
        points = np.frombuffer(b"".join(answer.vector for answer in answers), "<f4").reshape(len(answers), -1)
        figures["space"] = charts.space(results, points, [(a.arm, a.text, a.cluster) for a in answers])
    data = {name: json.loads(figure.to_json()) for name, figure in figures.items()}
    plain = json.dumps(data).replace("</", "<\\/").replace("<!--", "<\\!--")
    return (
        f"const figures = {plain};\n"
        "for (const [name, figure] of Object.entries(figures)) {\n"
        "  const place = document.getElementById('chart-' + name);\n"
        "  if (place) Plotly.newPlot(place, figure.data, figure.layout, {responsive: true, displayModeBar: false});\n"
        "}\n"
        "const open = () => {  // what a link leads to, and what it is folded into\n"
        "  let at = document.getElementById(location.hash.slice(1));\n"
        "  for (; at; at = at.parentElement) if (at.tagName === 'DETAILS') at.open = true;\n"
        "};\n"
        "addEventListener('hashchange', open);\n"
        "open();\n"
    )


def _finding(results: Results, finding: Finding) -> dict[str, Any]:
    claim, comparison, verdict = finding.claim, finding.comparison, finding.verdict
    return {
        "id": claim.cluster_id,
        "arm": claim.arm,
        "more": claim.arm if claim.direction > 0 else results.reference,
        "statement": finding.statement,
        "status": str(verdict.status) if verdict else "open",
        "reason": verdict.reason if verdict else "",
        "claim": claim,
        "comparison": comparison,
        "effect": comparison.effect,
        "verdict": verdict,
        "agreements": [f"{agreement(tier)}; score {tier.score:.2f}" for tier in verdict.tiers] if verdict else [],
        "keywords": finding.cluster.keywords,
        "pairs": [_pair(results, finding, pair) for pair in finding.pairs],
    }


def _pair(results: Results, finding: Finding, pair: SideBySide) -> dict[str, Any]:
    words = set(finding.hypothesis.keywords if finding.hypothesis else finding.cluster.keywords)
    arms = [results.reference, finding.claim.arm]
    return {
        "prompt": pair.prompt,
        "texts": [(arm, arm in pair.arm_in, _marked(pair.texts.get(arm, ""), words)) for arm in arms],
    }


def _marked(text: str, words: set[str]) -> Markup:
    """The text, escaped, with the statement's words marked."""
    out = []
    for piece in text.split(" "):
        bare = piece.strip(".,!?;:\"'()*\n").lower()
        out.append(f"<mark>{escape(piece)}</mark>" if bare in words else escape(piece))
    return Markup(" ".join(out))  # every piece is escaped above


def _totals(results: Results) -> dict[str, Any]:
    regions = results.regions
    arms = regions.arms if regions else {}
    return {
        "texts": sum(arm.texts for arm in arms.values()),
        "pairs": regions.pairs if regions else 0,
        "arms": arms,
        "clusters": regions.clusters if regions else 0,
        "births": regions.births if regions else 0,
        "claims": len(regions.claims) if regions else 0,
        "criteria": [shown.text for shown in in_words(regions.criteria)] if regions else [],
        "dollars": sum(verdict.cost for verdict in results.verdicts),
        "judgments": len(results.judgments),
        "failing": list(results.failing),
    }


def _cluster(row: Listed) -> dict[str, Any]:
    cluster = row.cluster
    return {
        "id": cluster.cluster_id,
        "claimed": bool(row.claims),
        "answers": row.answers,
        "born": cluster.born_at,
        "state": str(cluster.state),
        "drift": ", ".join(f"{pair:,}" for pair in cluster.drift),
        "keywords": ", ".join(cluster.keywords[:6]),
        "counts": cluster.counts,
        "comparisons": cluster.comparisons,
        "example": next((e.text for found in cluster.exemplars.values() for e in found), ""),
    }


def _timing(results: Results) -> str:
    return time_of_running(*results.folder.seconds())
