"""``contraflow import``: existing texts through the ring, from their file to the findings."""

from __future__ import annotations

from pathlib import Path

import click
import yaml

from contraflow.cli.group import as_json, command_line, main, metrics_option, overrides_option, runs_folder
from contraflow.cli.money import yes_option
from contraflow.cli.run import carry_out
from contraflow.errors import ConfigurationError

__all__ = ["import_"]


def _columns(ctx: click.Context, option: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for arm, equals, column in pairs:
        if not (arm and equals and column):
            raise click.BadParameter(f"{arm + equals + column!r}: write it as ARM=COLUMN, such as tuned=answer_b")
    return {arm: column for arm, _, column in pairs}


@main.command("import")
@click.argument("texts")
@click.option("--arms", default="", metavar="A,B", help="The models that the texts are of; the reference first.")
@click.option("--column", "by_arm", multiple=True, metavar="ARM=COLUMN", callback=_columns, help="An arm's column.")
@click.option("--prompt", default="prompt", show_default=True, metavar="COLUMN", help="The column of the prompt.")
@click.option(
    "--arm", default="arm", show_default=True, metavar="COLUMN", help="In a row a text: which model wrote it."
)
@click.option("--text", default="text", show_default=True, metavar="COLUMN", help="In a row a text: what it wrote.")
@click.option("--category", metavar="COLUMN", help="A column that sorts the prompts, for the report.")
@click.option("--split", metavar="NAME", help="The split of a data set, such as train.")
@click.option("--name", help="The experiment's name.  [default: the file's]")
@click.option("--write", "target", type=click.Path(path_type=Path), help="Only write the experiment into this file.")
@click.option("--new", is_flag=True, help="Start a new run although an unfinished one is there.")
@overrides_option
@yes_option
@runs_folder
@metrics_option
@as_json
def import_(
    texts: str,
    arms: str,
    by_arm: dict[str, str],
    prompt: str,
    arm: str,
    text: str,
    category: str | None,
    split: str | None,
    name: str | None,
    target: Path | None,
    new: bool,
    overrides: tuple[str, ...],
    yes: bool,
    runs: Path,
    metrics: tuple[str, int] | None,
    as_json: bool,
) -> None:
    """Compare texts that you have already, or resume doing so.

    TEXTS is a JSONL, CSV, Parquet or Arrow file, a folder of them (also as `save_to_disk` wrote it), or hf:ORG/NAME on the
    Hugging Face hub. It has a row a text, with columns for the prompt, the model and the text, or a row a prompt with a
    column for each model. Several texts of a prompt pair by their order.
    """
    from contraflow.configuration import Loaded, experiment_from
    from contraflow.configuration.source import Source
    from contraflow.importing import Columns, described

    named = [one.strip() for one in arms.split(",") if one.strip()]
    columns = Columns(prompt, arm, text, category, by_arm)
    source = Source("TEXTS", described(texts, named, columns, name=name, split=split))
    for override in overrides:
        source.override(override)
    loaded = Loaded(experiment_from(source.values), Path(), Path(texts))
    if target is not None:
        _write(source.values, target)
        return
    options = [f"--{key}={value}" for key, value in (("arms", arms), ("category", category), ("split", split)) if value]
    options += [f"--column={key}={value}" for key, value in by_arm.items()]
    options += [f"--{key}={value}" for key, value in (("prompt", prompt), ("arm", arm), ("text", text)) if value != key]
    options += [f"--name={name}"] if name else []
    options += [f"--set={override}" for override in overrides]
    again = command_line("import", texts, *options, runs=runs)
    carry_out(loaded, runs, again, new=new, yes=yes, metrics=metrics, as_json=as_json)


def _write(plain: dict[str, object], target: Path) -> None:
    try:
        with target.open("x", encoding="utf-8") as file:
            yaml.safe_dump(plain, file, sort_keys=False, allow_unicode=True)
    except FileExistsError:
        raise ConfigurationError(f"--write: {target} is there already; choose another name, or remove it") from None
    except OSError as error:
        raise ConfigurationError(f"--write: {target} cannot be written: {error.strerror}") from error
    click.echo(f"wrote {target}; run it with: contraflow run {target}")
