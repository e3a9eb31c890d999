"""contraflow: finds, while two language models are still generating, where they behave differently."""

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
