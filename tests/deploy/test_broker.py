"""The broker of docker-compose.yml: real Kafka takes its settings, and they let the ring commit."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from brokers import Broker, own_kafka
from contraflow.log.kafka import KafkaConnection, KafkaLog
from contraflow.log.protocol import Outgoing, Partition, Position

COMPOSE = Path(__file__).parents[2] / "docker-compose.yml"
ENVIRONMENT: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]["kafka"]["environment"]


def properties(settings: dict[str, Any], replace: Callable[[str], str]) -> str:
    """The broker's properties, as the image makes them of its environment."""
    return "".join(
        f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={replace(str(value))}\n"
        for name, value in settings.items()
        if name.startswith("KAFKA_")
    )


class Composed(Broker):
    """The broker of docker-compose.yml, on this machine's addresses."""

    def configure(self, controller: int, controllers: str, *, replicas: int) -> None:
        def here(value: str) -> str:
            value = value.replace("kafka:9093", controllers).replace(
                "CONTROLLER://:9093", f"CONTROLLER://{controllers}"
            )
            value = re.sub(r"RING://(kafka)?:9092", f"RING://127.0.0.1:{self.port}", value)
            value = re.sub(r",HOST://[^,]*$", "", value)
            return value.replace("/var/lib/kafka/data", str(self.folder / "data"))

        self.folder.mkdir(parents=True)
        self._file.write_text(properties(ENVIRONMENT, here))

    def format(self, *_: str) -> None:
        super().format(ENVIRONMENT["CLUSTER_ID"])


@pytest.mark.kafka
@pytest.mark.timeout(90)
async def test_kafka_takes_its_settings_and_commits_a_transaction(tmp_path: Path) -> None:
    home = own_kafka()
    broker = Composed(home, tmp_path / "broker")
    broker.start()
    try:
        async with await KafkaLog.open(KafkaConnection(broker.servers)) as log:
            await log.create_topics([("texts", 2, "delete")])
            producer = await log.producer("embedder")
            there = Partition("texts", 0)
            await producer.commit([Outgoing("texts", 0, "k", b"v")], group="g", positions={there: Position(1)})
            await producer.close()
            assert (await log.positions("g", [there]))[there].offset == 1
    finally:
        broker.stop()
