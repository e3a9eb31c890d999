"""What a LoRA adapter says of itself, and whether it fits a model: read from the files' headers, without torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from contraflow.errors import GeneratorError

__all__ = ["Adapter", "read_adapter", "refuse_another_base"]

_PREFIX = "base_model.model."
_A, _B = ".lora_A.weight", ".lora_B.weight"


class Adapter(NamedTuple):
    """A LoRA of peft. ``rank`` is its largest; ``shapes`` the (rows, columns) of the weights that it changes, by module."""

    folder: Path
    rank: int
    base: str
    shapes: dict[str, tuple[int, int]]


def read_adapter(folder: Path, field: str) -> Adapter:
    """The adapter in ``folder``, as peft saves it.

    :raises GeneratorError: if there is none, or its files cannot be read; names ``field``.
    """
    if not (folder / "adapter_config.json").is_file():
        raise GeneratorError(f"{field}: there is no adapter in {folder} (no adapter_config.json); give its folder")
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise GeneratorError(f"{field}: {folder} has no adapter_model.safetensors; save it with peft's save_pretrained")
    try:
        settings = json.loads((folder / "adapter_config.json").read_text())
        rank = max(settings["r"], *settings.get("rank_pattern", {}).values(), 0)
        return Adapter(folder, rank, str(settings.get("base_model_name_or_path")), _changed(_header(weights)))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GeneratorError(f"{field}: the adapter in {folder} cannot be read: {error!r}") from error


def refuse_another_base(adapter: Adapter, model: Path, field: str) -> None:
    """Refuse an adapter of another model: one that changes weights which ``model`` has not, or not in that shape.

    Sharded and quantised checkpoints are looked at as far as their headers tell.

    :raises GeneratorError: if it does not fit; names ``field`` and the first weight that does not.
    """
    there = {name: shape for file in sorted(model.glob("*.safetensors")) for name, shape in _shapes(_header(file))}
    for module, shape in adapter.shapes.items() if there else ():
        found = there.get(f"{module}.weight")
        quantised = found is None and f"{module}.qweight" in there
        if not quantised and found not in (shape, shape[::-1]):  # some models keep their weights transposed
            has = f"is {found[0]} x {found[1]}" if found else "is not there"
            raise GeneratorError(
                f"{field}: the adapter in {adapter.folder} does not fit {model}: it changes {module}, {shape[0]} x {shape[1]}, "
                f"which {has} in the model. It was trained on {adapter.base!r}; give that model, or another adapter"
            )


def _changed(header: dict[str, Any]) -> dict[str, tuple[int, int]]:
    by_name = dict(_shapes(header))
    return {
        name.removeprefix(_PREFIX).removesuffix(_A): (by_name[name.removesuffix(_A) + _B][0], shape[1])
        for name, shape in by_name.items()
        if name.endswith(_A)
    }


def _shapes(header: dict[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, entry in header.items():
        if name != "__metadata__" and len(entry["shape"]) == 2:
            yield name, tuple(entry["shape"])


def _header(file: Path) -> dict[str, Any]:
    """What a safetensors file begins with: its length in eight bytes, then JSON."""
    with file.open("rb") as stream:
        header: dict[str, Any] = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    return header
