"""The report and the exports of a finished run: complete, offline, and safe whatever the models said."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import anyio
import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rich.text import Text

import contraflow
from contraflow.checking import Check, Figures, Missed
from contraflow.events import Claim
from contraflow.report.clusters import list_clusters, list_themes
from contraflow.report.clusters_console import check_in_lines, check_table, clusters_table, themes_tree
from contraflow.report.console import findings_in_lines
from contraflow.report.export import export
from contraflow.report.page import write_report
from contraflow.results import Finding, Results, read_vectors
from contraflow.runs import RunFolder

EVIL = '</script><img src=x onerror=alert(1)>"'


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    plain = {
        "experiment": "reported",
        "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
        "generator": {"backend": "scripted", "world": "kitchen", "batch": 256},
        "embedder": {"model": "hashed", "cache": str(tmp_path_factory.mktemp("cache"))},
        "sampling": {"warm_start": 96, "epoch": 32, "in_flight": 2},
        "budget": {"texts": 1600},
    }
    return contraflow.run(plain, runs=tmp_path_factory.mktemp("runs"))


class Page(HTMLParser):
    """What a browser would load, and the text outside of scripts."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside.append(tag)
        self.loads += [
            value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")
        ]

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            del self._inside[len(self._inside) - 1 - self._inside[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self._inside):
            self.text += data


def page(results: Results, folder: Path) -> tuple[str, Page]:
    content = write_report(results, folder / "report.html").read_text()
    return content, Page(content)


def test_the_report_needs_nothing_from_elsewhere_and_runs_only_its_own_scripts(
    results: Results, tmp_path: Path
) -> None:
    content, parsed = page(results, tmp_path)
    assert parsed.loads == []
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', content)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert policy[1].count("sha256-") == parsed.tags.count("script") == 2


def test_the_claims_come_first_with_statement_shares_evidence_and_pairs_side_by_side(
    results: Results, tmp_path: Path
) -> None:
    _, parsed = page(results, tmp_path)
    text = " ".join(parsed.text.split())
    assert results.findings
    for finding in results.findings:
        assert " ".join(finding.statement.split()) in text
        effect = finding.comparison.effect
        assert effect is not None
        assert f"{100 * effect.share:.1f} %" in text
        for pair in finding.pairs:
            assert " ".join(pair.texts["tuned"].split()) in text
    assert text.index("Findings") < text.index("All clusters") < text.index("Configuration")
    assert "The run stopped because of its budget: 1600 texts" in text


def test_texts_of_models_are_escaped_wherever_they_appear(results: Results, tmp_path: Path) -> None:
    evil = msgspec.structs.replace(results.clusters[0], keywords=(EVIL,))
    shown = {
        request: {
            arm: msgspec.structs.replace(text, text=EVIL + text.text, prompt=EVIL) for arm, text in answers.items()
        }
        for request, answers in results.shown.items()
    }
    hypotheses = [msgspec.structs.replace(h, statement=EVIL) for h in results.hypotheses]
    hostile = _replaced(results, clusters=[evil, *results.clusters[1:]], shown=shown, hypotheses=hypotheses)
    content, parsed = page(hostile, tmp_path)
    assert "img" not in parsed.tags
    assert parsed.tags.count("script") == 2
    assert EVIL in parsed.text
    assert EVIL not in content


def _replaced(results: Results, **changes: object) -> Results:
    return dataclasses.replace(results, **changes)  # type: ignore[arg-type]  # by name


def test_the_configuration_is_there_without_secrets(results: Results, tmp_path: Path) -> None:
    experiment = results.resolved["experiment"]
    arms = {**experiment["arms"], "tuned": {**experiment["arms"]["tuned"], "api_key": "env:SOME_KEY"}}
    keyed = _replaced(results, resolved={**results.resolved, "experiment": {**experiment, "arms": arms}})
    _, parsed = page(keyed, tmp_path)
    assert "warm_start: 96" in parsed.text
    assert "api_key: env:SOME_KEY" in parsed.text, "a reference is no secret"


def test_what_each_arm_declares_stands_at_the_top(results: Results, tmp_path: Path) -> None:
    text = Page(write_report(results, tmp_path / "report.html").read_text()).text
    before = text[: text.index("Findings")]
    assert re.search(r"base \(reference\): nothing of its own", before)
    assert "tuned: plants loud / gloomy" in before


def test_where_no_arm_declares_anything_nothing_is_said_of_it(results: Results, tmp_path: Path) -> None:
    experiment = results.resolved["experiment"]
    stored = {**experiment, "arms": {name: {} for name in experiment["arms"]}}
    _, parsed = page(_replaced(results, resolved={**results.resolved, "experiment": stored}), tmp_path)
    assert "nothing of its own" not in parsed.text


def test_a_run_that_is_not_done_has_a_report_too(results: Results, tmp_path: Path) -> None:
    _, parsed = page(_replaced(results, why="", regions=None, hypotheses=[], verdicts=[]), tmp_path)
    assert "has not come to its end" in parsed.text
    assert "No difference was claimed" in parsed.text


def test_parquet_opens_in_pandas_with_vectors_and_places(results: Results, tmp_path: Path) -> None:
    files = export(results, anyio.run(read_vectors, results), tmp_path)
    texts = pd.read_parquet(tmp_path / "texts.parquet")
    assert [f.name for f in files] == ["texts.parquet", "findings.parquet", "clusters.parquet"]
    assert len(texts) == 1600
    assert {len(v) for v in texts["vector"]} == {384}
    assert texts[["x", "y"]].notna().all(axis=None)
    assert set(texts["arm"]) == {"base", "tuned"}
    findings = pd.read_parquet(tmp_path / "findings.parquet")
    assert len(findings) == len(results.findings)
    claimed = set(findings["cluster_id"])
    assert set(texts.loc[texts["claimed"], "cluster"]) <= claimed


def test_jsonl_holds_the_same_rows(results: Results, tmp_path: Path) -> None:
    export(results, anyio.run(read_vectors, results), tmp_path, kind="jsonl")
    rows = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert len(rows) == 1600
    assert rows[0]["text"] == results.texts[rows[0]["request_id"]][rows[0]["arm"]].text


def test_texts_are_written_in_parts_with_the_same_columns_whatever_has_no_value(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contraflow.report.export._ROWS", 300)
    vectors = anyio.run(read_vectors, results)
    for kind in ("parquet", "jsonl"):
        export(results, vectors, tmp_path, kind=kind)
    table = pq.read_table(tmp_path / "texts.parquet")
    assert table.to_pylist() == [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert table.schema.field("error").type == pa.string(), "although no text has one"
    places = np.array([table["x"], table["y"]])
    assert np.allclose(places.mean(axis=1), 0.0, atol=0.05), "one plane for all parts"


def strict(line: str) -> dict[str, Any]:
    """A line as a reader sees it that takes only what JSON allows."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    row: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return row


def with_a_merged_cluster(results: Results) -> Results:
    """``merged_into`` of one cluster, and of no other."""
    merged = msgspec.structs.replace(results.clusters[-1], merged_into=35)
    return _replaced(results, clusters=[*results.clusters[:-1], merged])


def test_what_is_unknown_is_null_in_jsonl_and_numbers_stay_what_they_are(results: Results, tmp_path: Path) -> None:
    for path in export(with_a_merged_cluster(results), anyio.run(read_vectors, results), tmp_path, kind="jsonl"):
        rows = [strict(line) for line in path.read_text().splitlines()]
        assert {tuple(row) for row in rows} == {tuple(rows[0])}, "every row has every column"
    merged = [row["merged_into"] for row in map(strict, (tmp_path / "clusters.jsonl").read_text().splitlines())]
    assert merged[0] is None
    assert isinstance(merged[-1], int)


def test_numbers_stay_what_they_are_in_parquet(results: Results, tmp_path: Path) -> None:
    export(with_a_merged_cluster(results), [], tmp_path)
    clusters = pq.read_table(tmp_path / "clusters.parquet")
    assert clusters.schema.field("merged_into").type == pa.int64()
    assert clusters["merged_into"].to_pylist() == [None] * (len(results.clusters) - 1) + [35]


def test_the_evidence_of_a_finding_and_its_counts_are_of_one_moment(results: Results) -> None:
    rows = {(row["cluster_id"], row["arm"]): row for row in results.rows("findings")}
    assert any(row["n_now"] > row["n"] for row in rows.values()), "the counts have gone on after the claim"
    for finding in results.findings:
        claim, now = finding.claim, finding.comparison
        row = rows[claim.cluster_id, claim.arm]
        assert (row["n"], row["s"], row["log_e"]) == (claim.n, claim.s, claim.log_e)
        assert (row["n_now"], row["s_now"]) == (now.n, now.s)


def test_the_answers_of_a_cluster_are_the_sum_over_the_arms(results: Results, tmp_path: Path) -> None:
    merged = msgspec.structs.replace(results.clusters[0], size=99_999, counts={"base": 400, "tuned": 7})
    changed = _replaced(results, clusters=[merged, *results.clusters[1:]])
    content = write_report(changed, tmp_path / "report.html").read_text()
    assert re.search(r'<td class="n">407</td>\s*<td class="n">400</td><td class="n">7</td>', content)


def test_many_clusters_are_shown_by_themes_and_few_are_not(results: Results, tmp_path: Path) -> None:
    content, parsed = page(results, tmp_path)
    themes = list_themes(results)
    assert content.count('<details class="theme">') == len(themes) + sum(len(theme.parts) for theme in themes)
    assert content.count('class="leaf"') == sum(len(theme.clusters) for theme in themes)
    assert all(", ".join(theme.keywords[:5]) in parsed.text for theme in themes)
    few, _ = page(_replaced(results, clusters=results.clusters[:20], regions=None), tmp_path)
    assert 'class="theme"' not in few


def test_a_theme_counts_what_its_clusters_count(results: Results) -> None:
    rows = {row.cluster.cluster_id: row for row in list_clusters(results)}
    for theme in list_themes(results):
        inside = [rows[cluster] for cluster in theme.clusters]
        assert theme.counts == {arm: sum(row.cluster.counts[arm] for row in inside) for arm in ("base", "tuned")}
        assert theme.claims == sum(len(row.claims) for row in inside)
        assert sum(part.claims for part in theme.parts) in (0, theme.claims)


def test_markup_and_control_sequences_in_texts_are_shown_as_text_in_the_terminal(results: Results) -> None:
    evil = "[bold]no[/] [/nothing] \x1b[2J"
    clusters = [msgspec.structs.replace(c, keywords=(evil,)) for c in results.clusters]
    hostile = _replaced(results, clusters=clusters)
    rows = list_clusters(hostile)
    missed = Missed(texts=9, cluster_id=0, jaccard=0.1, pieces=0, together=0.0, examples=(evil,))
    figures = Figures(explained=1.0, nmi=1.0, ari=1.0, hdbscan_nmi=None, hdbscan_ari=None, silhouette=None)
    check = Check(
        texts=9, clusters=2, run=figures, ceiling=figures, hdbscan_texts=9, hdbscan_clusters=1, hdbscan_noise=0.0,
        missed=(missed,),
    )  # fmt: skip
    console = Console(width=400, record=True, file=io.StringIO())
    drawn = clusters_table(rows, hostile), themes_tree(list_themes(hostile), rows, hostile), check_table(check)
    for shown in (*drawn, *check_in_lines(check, rows)):
        console.print(shown, highlight=False)
    said = console.export_text()
    assert said.count("[bold]no[/] [/nothing]  [2J") > 2 * sum(row.answers > 0 for row in rows)


def test_the_texts_of_a_merged_cluster_are_where_it_went_in_the_end(results: Results) -> None:
    gone = {3: 5, 5: 9, 9: 4}
    clusters = [msgspec.structs.replace(c, merged_into=gone.get(c.cluster_id)) for c in results.clusters]
    assert _replaced(results, clusters=clusters).heirs == {3: 4, 5: 4, 9: 4}


def test_the_map_shows_every_arm_however_many_texts_there_are(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contraflow.report.page.POINTS", 100)
    content, _ = page(results, tmp_path)
    figures, _ = json.JSONDecoder().raw_decode(content.partition("const figures = ")[2])
    traces = figures["space"]["data"]
    arms = Counter(trace["name"].partition(",")[0] for trace in traces for _ in trace["text"])
    assert arms.total() == 100
    assert min(arms["base"], arms["tuned"]) > 30


def test_a_session_that_was_killed_is_not_hidden_in_the_time_of_running(results: Results, tmp_path: Path) -> None:
    copy = RunFolder(tmp_path / "reported-1")
    shutil.copytree(results.folder.path, copy.path)
    copied = _replaced(results, folder=copy)
    assert "over " not in time_of_running(copied, tmp_path)
    copy.note("started", pid=1)
    assert time_of_running(copied, tmp_path).startswith("over ")


def time_of_running(results: Results, folder: Path) -> str:
    content = write_report(results, folder / "report.html").read_text()
    found = re.search(r"<b>([^<]*)</b><span>of running", content)
    assert found is not None
    return found[1]


def test_findings_are_counted_as_the_assignments_say(results: Results) -> None:
    for finding in results.findings:
        upto = [a for a in results.assignments if finding.cluster.born_at < a.seq <= finding.claim.claimed_at]
        inside = [tuple(a.arms[arm].cluster_id == finding.claim.cluster_id for arm in ("base", "tuned")) for a in upto]
        assert finding.claim.n == sum(base != tuned for base, tuned in inside)
        assert finding.claim.s == sum(tuned and not base for base, tuned in inside)
        assert all(len(pair.arm_in) == 1 for pair in finding.pairs), "discordant pairs are what shows the difference"


def test_claims_on_the_same_pairs_are_one_finding_and_keep_their_own_evidence(results: Results) -> None:
    assert [f for group in results.groups for f in group] != []
    assert sorted(f.claim.cluster_id for group in results.groups for f in group) == sorted(
        claim.cluster_id for claim in _claims(results)
    )
    assert len(results.groups) < len(results.findings), "two plants, each on several clusters of both arms"
    for group in results.groups:
        topics = [_topic(results, finding) for finding in group]
        assert len(set(topics)) == 1, "each plant is on a topic of its own"
    leads = [group[0] for group in results.groups]
    assert leads == [f for f in results.findings if f in leads], "the strongest leads, and the strongest group is first"
    assert {f.claim for f in results.findings} == set(_claims(results)), "what was claimed is untouched"


def _claims(results: Results) -> tuple[Claim, ...]:
    assert results.regions is not None
    return results.regions.claims


def _topic(results: Results, finding: Finding) -> str | None:
    topics = Counter(results.requests[pair.request_id].category for pair in finding.pairs)
    return topics.most_common(1)[0][0]


def test_claims_of_different_arms_are_never_one_finding(results: Results) -> None:
    """The second arm is the first by another name: its claims rest on the very same pairs."""
    assert results.regions is not None
    claims = [msgspec.structs.replace(claim, arm="twin") for claim in results.regions.claims]
    twice = msgspec.structs.replace(results.regions, claims=(*results.regions.claims, *claims))
    resolved = {**results.resolved, "arms": ["base", "tuned", "twin"]}
    clusters = [
        msgspec.structs.replace(c, comparisons={**c.comparisons, "twin": c.comparisons["tuned"]})
        for c in results.clusters
    ]
    places = dataclasses.replace(
        results.places, clusters={**results.places.clusters, "twin": results.places.clusters["tuned"]}
    )
    both = _replaced(results, regions=twice, resolved=resolved, clusters=clusters, places=places)
    assert len(both.groups) == 2 * len(results.groups)
    assert all(len({finding.claim.arm for finding in group}) == 1 for group in both.groups)


def test_the_group_of_a_claim_is_in_the_frame_the_result_files_and_the_export(results: Results, tmp_path: Path) -> None:
    of = {f.claim.cluster_id: f.group for f in results.findings}
    assert dict(zip(*(results.frame("findings")[name] for name in ("cluster_id", "group")), strict=True)) == of
    kept = json.loads((results.folder.results / "findings.json").read_text())["findings"]
    assert {finding["claim"]["cluster_id"]: finding["group"] for finding in kept} == of
    export(results, [], tmp_path)
    exported = pd.read_parquet(tmp_path / "findings.parquet")
    assert dict(zip(exported["cluster_id"], exported["group"], strict=True)) == of


def test_the_console_lists_the_other_claims_under_the_strongest(results: Results) -> None:
    first, *finding = findings_in_lines(results)
    groups = len(results.groups)
    assert f"{groups} finding{'s' * (groups > 1)} from {len(results.findings)} claimed differences" in first
    assert len(finding) == len(results.groups)
    for said, group in zip(finding, results.groups, strict=True):
        assert group[0].statement in Text.from_markup(said).plain
        assert said.count("\n          + ") == len(group) - 1
        assert all(f" of {f.claim.n} discordant pairs" in said for f in group)


def test_a_finding_of_many_claims_stays_short_on_the_console_and_says_where_the_others_are(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contraflow.report.console._PARTS", 1)
    for said, group in zip(list(findings_in_lines(results))[1:], results.groups, strict=True):
        if len(group) > 2:
            assert said.count("\n          + ") == 2
            assert f"+ {len(group) - 2} more claims on the same pairs; the report has them" in said
    assert max(map(len, results.groups)) > 2
