"""The log on Apache Kafka: the same promises as the embedded one, for more than one machine."""

from contraflow.log.kafka.connection import KafkaConnection
from contraflow.log.kafka.log import KafkaLog

__all__ = ["KafkaConnection", "KafkaLog"]
