"""``contraflow validate``: your own statements and texts through the tiers, without a run."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
import msgspec
from rich.console import Console
from rich.markup import escape

from contraflow.cli.group import as_json, await_, console, main, overrides_option, quiet_libraries
from contraflow.cli.money import confirm, yes_option
from contraflow.errors import ConfigurationError

if TYPE_CHECKING:
    from contraflow.experiment import Experiment
    from contraflow.validator.alone import Judged

__all__ = ["validate"]


@main.command()
@click.argument("hypotheses", type=click.Path(path_type=Path))
@click.option("--texts", required=True, type=click.Path(path_type=Path), help="JSONL, CSV or Parquet.")
@click.option("--arms", required=True, metavar="A,B", help="The models that the texts are of; the reference first.")
@click.option(
    "--to", "target", type=click.Path(path_type=Path), help="Also write hypotheses, verdicts and judgments here."
)
@yes_option
@overrides_option
@as_json
def validate(
    hypotheses: Path,
    texts: Path,
    arms: str,
    target: Path | None,
    yes: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Judge statements of your own on texts of your own.

    HYPOTHESES has a JSON object a line: {"statement": "uses rhymes", "shows": "tuned"}. The texts have a column for each
    arm, or a row a text with the columns prompt, arm and text. What validation.tiers and the rest mean is as in an
    experiment file: --set 'validation.tiers=[keywords, embedding]'.
    """
    quiet_libraries()
    experiment = _experiment(texts, [arm.strip() for arm in arms.split(",") if arm.strip()], overrides)
    confirm(experiment, Console(stderr=True, soft_wrap=True) if as_json else console, yes=yes)
    judged = await_(_judge, experiment, hypotheses)
    if target is not None:
        _write(judged, target)
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(judged)))
        return
    for line in _lines(judged):
        console.print(line, highlight=False)


def _experiment(texts: Path, arms: list[str], overrides: tuple[str, ...]) -> Experiment:
    from contraflow.configuration import experiment_from
    from contraflow.tables import read_table

    _, row = next(read_table(texts, [], field="--texts"), ("", {}))
    columns = {arm: arm for arm in arms} if all(arm in row for arm in arms) else {}
    described: dict[str, Any] = {
        "experiment": "validate",
        "arms": {arm: {} for arm in arms},
        "generator": {"backend": "replay"},
        "replay": {"path": str(texts.absolute()), "columns": columns, "holdout": 0.0},
    }
    return experiment_from(described, overrides)


async def _judge(experiment: Experiment, hypotheses: Path) -> Judged:
    from contraflow.configuration.tiers import judged_pairs
    from contraflow.decoder.replay import ReplayTexts
    from contraflow.embedder import encoder
    from contraflow.embedder.batcher import open_batcher
    from contraflow.embedder.cache import EmbeddingCache
    from contraflow.validator import alone, judges
    from contraflow.validator.types import ValidatorConfig

    arms, reference, asked = tuple(experiment.arms), experiment.reference or "", experiment.validation
    statements = await anyio.to_thread.run_sync(alone.read_statements, hypotheses, arms, reference)
    assert experiment.replay is not None
    stored = await anyio.to_thread.run_sync(ReplayTexts.load, experiment.replay, arms, Path())
    pairs = alone.pairs_of(stored, arms, experiment.seed)
    most = judged_pairs(asked, free=len(pairs))
    config = ValidatorConfig(
        arms, reference, experiment.alpha, asked.min_accuracy, asked.borderline, most, experiment.seed
    )
    folder = Path(experiment.embedder.cache) if experiment.embedder.cache else None
    cache = await anyio.to_thread.run_sync(lambda: EmbeddingCache(encoder.build(experiment.embedder), folder))
    try:
        async with open_batcher(cache.embed) as batcher:

            async def embed(texts: Any) -> Any:
                return (await batcher.embed(texts)).vectors

            said = "\n".join(f"{one.name} {one.shows} {one.statement}" for one in statements)
            spent = f"validate {blake2b(said.encode(), digest_size=8).hexdigest()}"
            async with judges.open_judges(asked.tiers, embed, spent, experiment.budget.dollars) as (opened, _):
                return await alone.validate(statements, pairs, config, opened)
    finally:
        await anyio.to_thread.run_sync(cache.close)


def _lines(judged: Judged) -> list[str]:
    from contraflow.report.console import agreement

    colours = {"accepted": "green", "rejected": "red"}
    lines = [""]
    for hypothesis, verdict in zip(judged.hypotheses, judged.verdicts, strict=True):
        cost = f"   ${verdict.cost:.4f}" if verdict.cost else ""
        status = str(verdict.status)
        lines.append(
            f"  [{colours.get(status, 'yellow')}]{status:<9}[/] {escape(hypothesis.statement)}\n"
            f"            {verdict.s} of {verdict.n} pairs for it, {verdict.ties} alike   "
            f"against a placebo {verdict.placebo_s} of {verdict.placebo_n}, {verdict.placebo_ties} ties of it   "
            f"{escape(verdict.reason)}{cost}\n"
            + "".join(f"            {escape(agreement(tier))}; score {tier.score:.2f}\n" for tier in verdict.tiers)
        )
    return [*lines, f"[yellow]{escape(judged.waits)}[/]"] if judged.waits else lines


def _write(judged: Judged, target: Path) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in ("hypotheses", "verdicts", "judgments"):
            rows = b"".join(msgspec.json.encode(row) + b"\n" for row in getattr(judged, name))
            (target / f"{name}.jsonl").write_bytes(rows)
    except OSError as error:
        raise ConfigurationError(f"--to: {target} cannot be written: {error.strerror}") from error
