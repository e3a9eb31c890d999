"""contraflow: finds, while two language models are still generating, where they behave differently."""

from contraflow.consumers import Batch, consumer, read
from contraflow.embedder.cache import EmbeddingCache
from contraflow.errors import ConsumerError, ContraflowError
from contraflow.events import Cluster, Embedding, Request, Text, Verdict
from contraflow.experiment import Experiment
from contraflow.results import Finding, Results
from contraflow.runner import run

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
    "consumer",
    "read",
    "run",
]
