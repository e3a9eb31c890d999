"""Every metric of contraflow: its name, what it says, its type and its labels. Base units; labels of bounded values only."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from contraflow.runtime.meter import Meter

__all__ = ["Metrics"]

# they would be a series beside each counter, which nobody reads
disable_created_metrics()  # type: ignore[no-untyped-call]  # its signature lacks "-> None"

_SERVICE = ("service", "arm")
"""Which service, and the arm of a decoder (empty for the others)."""
_COMMITS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """What one process of a run counts; ``registry`` is what it exposes, with the process's own CPU and memory."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.registry = registry = CollectorRegistry()
        self.meters: dict[str, Meter] = {}
        ProcessCollector(registry=registry)
        about = Info("contraflow_run", "The run that this process serves, and by which version.", registry=registry)
        about.info({"run": run, "version": version("contraflow")})
        self.records_in = Counter(
            "contraflow_records_in_total",
            "Records that a service has read, by topic (its name without the run).",
            (*_SERVICE, "topic"),
            registry=registry,
        )
        self.records_out = Counter(
            "contraflow_records_out_total",
            "Records that a service has committed, by topic.",
            (*_SERVICE, "topic"),
            registry=registry,
        )
        self.bytes_out = Counter(
            "contraflow_bytes_out_total",
            "Bytes of keys and values that a service has committed, by topic.",
            (*_SERVICE, "topic"),
            registry=registry,
        )
        self.read_delay = Gauge(
            "contraflow_read_delay_seconds",
            "How long the newest record that a service has read of a topic had waited for it.",
            (*_SERVICE, "topic"),
            registry=registry,
        )
        self.seconds = Counter(
            "contraflow_time_seconds_total",
            "Where a service's time went: waiting for records, processing, blocked by the ring's brake, or committing.",
            (*_SERVICE, "state"),
            registry=registry,
        )
        self.commit_seconds = Histogram(
            "contraflow_commit_seconds",
            "How long a service's commits took: outputs, positions and state together.",
            _SERVICE,
            buckets=_COMMITS,
            registry=registry,
        )
        self.dead_letters = Counter(
            "contraflow_dead_letters_total",
            "Records of a topic that a service could not process.",
            (*_SERVICE, "topic"),
            registry=registry,
        )
        self.restarts = Counter(
            "contraflow_restarts_total",
            "How often a service failed and was started again in this process.",
            _SERVICE,
            registry=registry,
        )
        self.tokens = Counter(
            "contraflow_tokens_total",
            "Tokens that a decoder has read (prompt) and written (completion).",
            (*_SERVICE, "kind"),
            registry=registry,
        )
        self.cache_hits = Counter(
            "contraflow_embedding_cache_hits_total",
            "Texts whose vector this process found in the embedding cache.",
            registry=registry,
        )
        self.cache_misses = Counter(
            "contraflow_embedding_cache_misses_total",
            "Texts that this process had to embed.",
            registry=registry,
        )

    def of(self, service: str) -> Meter:
        """The meter of a service, by the name that the ring knows it by, such as ``decoder of base``."""
        if service not in self.meters:
            self.meters[service] = Meter(self, service)
        return self.meters[service]
