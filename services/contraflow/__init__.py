"""contraflow: finds, while two language models are still generating, where they behave differently."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contraflow.api import compare, run
    from contraflow.consumers import Batch, consumer, read
    from contraflow.embedder.cache import EmbeddingCache
    from contraflow.errors import ConsumerError, ContraflowError
    from contraflow.events import Cluster, Embedding, Request, Text, Verdict
    from contraflow.experiment import Experiment
    from contraflow.results import Finding, Results

__all__ = [
    "Batch",
    "Cluster",
    "ConsumerError",
    "ContraflowError",
    "Embedding",
    "EmbeddingCache",
    "Experiment",
    "Finding",
    "Request",
    "Results",
    "Text",
    "Verdict",
    "compare",
    "consumer",
    "read",
    "run",
]

# a command and each process of a run load what they use: all of it takes a second or two
_HOMES = {
    "contraflow.api": ("compare", "run"),
    "contraflow.consumers": ("Batch", "consumer", "read"),
    "contraflow.embedder.cache": ("EmbeddingCache",),
    "contraflow.errors": ("ConsumerError", "ContraflowError"),
    "contraflow.events": ("Cluster", "Embedding", "Request", "Text", "Verdict"),
    "contraflow.experiment": ("Experiment",),
    "contraflow.results": ("Finding", "Results"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
