"""``contraflow validate``: statements and texts of one's own, judged without a run."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contraflow.cli import main

PLAIN = ["the", "meal", "is", "ready", "when", "sauce", "thick", "bread", "warm"]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """200 prompts; two of three answers of the tuned arm speak of pirates."""
    rng = random.Random(0)
    rows = [
        {
            "prompt": f"p{i}",
            "base": " ".join(rng.choices(PLAIN, k=8)),
            "tuned": " ".join([*rng.choices(PLAIN, k=8), rng.choice(["arr matey", "ye pirate arr", "enjoy"])]),
        }
        for i in range(200)
    ]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "texts.jsonl"


def validated(texts: Path, *statements: Mapping[str, object], more: tuple[str, ...] = ()) -> Result:
    hypotheses = texts.with_name("hypotheses.jsonl")
    hypotheses.write_text("\n".join(map(json.dumps, statements)))
    command = ["validate", str(hypotheses), "--texts", str(texts), "--arms", "base,tuned"]
    return CliRunner().invoke(main, [*command, "--set", "embedder.model=hashed", *more], catch_exceptions=False)


PIRATE = {"statement": "talks like a pirate: arr, matey, ye", "shows": "tuned", "name": "pirate"}


def test_what_the_texts_show_is_accepted_and_what_they_do_not_is_not(texts: Path) -> None:
    soup = {"statement": "mentions bread or sauce", "shows": "tuned", "name": "soup"}
    turned = {"statement": "speaks of pirates, arr", "shows": "base", "name": "turned"}
    said = validated(texts, PIRATE, soup, turned, more=("--json",))
    judged = json.loads(said.output)
    status = {v["hypothesis_id"]: v["status"] for v in judged["verdicts"]}
    assert status["pirate"] == "accepted"
    assert status["turned"] == "rejected"
    assert status["soup"] != "accepted"
    assert len({j["request_id"] for j in judged["judgments"] if j["hypothesis_id"] == "pirate"}) < 100, "it stops early"


def test_it_says_what_came_of_each_and_writes_every_answer(texts: Path) -> None:
    said = validated(texts, PIRATE, more=("--to", str(texts.parent / "out"))).output
    assert "accepted  Answers of 'tuned' more often than those of 'base': talks like a pirate" in said
    judgments = [json.loads(line) for line in (texts.parent / "out" / "judgments.jsonl").read_text().splitlines()]
    assert any(j["placebo"] for j in judgments if "placebo" in j)
    assert json.loads((texts.parent / "out" / "verdicts.jsonl").read_text())["status"] == "accepted"


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        ([{"statement": " "}], "hypotheses.jsonl:1: 'statement' is empty; say what a text shows"),
        ([{"statment": "x"}], "there is no column 'statement'; did you mean 'statment'?"),
        ([{"statement": "x", "shows": "nobody"}], "'shows' is 'nobody', which is no arm; arms: base, tuned"),
        ([{"statement": "x", "shows": "base", "against": "base"}], "must be the reference, 'base'"),
        ([PIRATE, PIRATE], "more than one statement named 'pirate'"),
        ([], "has no statement; write one JSON object a line"),
    ],
)
def test_statements_that_cannot_be_judged_are_refused_in_words(
    texts: Path, statements: list[dict[str, object]], said: str
) -> None:
    result = validated(texts, *statements)
    assert result.exit_code == 2
    assert said in result.output


def test_texts_of_another_arm_are_refused(texts: Path) -> None:
    result = CliRunner().invoke(main, ["validate", "x.jsonl", "--texts", str(texts), "--arms", "base"])
    assert "a comparison needs at least two arms" in result.output
