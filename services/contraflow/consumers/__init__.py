"""Consumers of your own: a decorated function gets a topic's events with the delivery of contraflow's own services."""

from contraflow.consumers.declaring import Batch, Consumer, consumer
from contraflow.consumers.reading import read

__all__ = ["Batch", "Consumer", "consumer", "read"]
