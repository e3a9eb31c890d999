"""Real Apache Kafka for tests: brokers that a test owns, and may kill, freeze and start again on their data."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

__all__ = ["Broker", "Cluster", "kafka_home", "own_kafka"]

_OPTIONS = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC"]

_PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.bootstrap.servers={controllers}
listeners={listeners}
advertised.listeners={listeners}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CLIENT:{security}
log.dirs={folder}/log
auto.create.topics.enable=false
min.insync.replicas={insync}
offsets.topic.replication.factor={replicas}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={insync}
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
unclean.leader.election.enable=false
"""


def kafka_home() -> Path | None:
    """The unpacked Apache Kafka that ``KAFKA_HOME`` names."""
    home = os.environ.get("KAFKA_HOME")
    return Path(home).resolve() if home else None


def own_kafka() -> Path:
    """The unpacked Apache Kafka for brokers, or tools, of a test's own; the test is left out where there is none."""
    home = kafka_home()
    if home is None:
        pytest.skip("it needs a broker, or tools, of its own: set KAFKA_HOME")
    return home


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@dataclass
class Broker:
    """One node of Apache Kafka, an ordinary process. ``extra`` are more lines of its properties.

    With ``security`` (such as SASL_SSL) it has a second listener, called ``client``, at ``secured``.
    """

    home: Path
    folder: Path
    extra: str = ""
    node: int = 1
    port: int = 0
    security: str = ""
    secured_port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def secured(self) -> str:
        return f"127.0.0.1:{self.secured_port}"

    def start(self, *, wait: bool = True) -> None:
        """Start it, formatting its folder the first time, and wait until it answers."""
        if not self.port:
            self.port, self.secured_port, controller = _free_ports(3)
            self.configure(controller, f"127.0.0.1:{controller}", replicas=1)
            self.format("--standalone", self.random_uuid())
        with (self.folder / "broker.out").open("ab") as out:
            self.process = subprocess.Popen(
                [*self._java(), "kafka.Kafka", str(self._file)], stdout=out, stderr=out, start_new_session=True
            )
        if wait:
            self.wait_until_it_answers()

    def configure(self, controller: int, controllers: str, *, replicas: int) -> None:
        """Write its properties."""
        self.folder.mkdir(parents=True, exist_ok=True)
        listeners = f"PLAINTEXT://{self.servers},CONTROLLER://127.0.0.1:{controller}"
        properties = _PROPERTIES.format(
            node=self.node,
            listeners=f"{listeners},CLIENT://{self.secured}" if self.security else listeners,
            security=self.security or "PLAINTEXT",
            controllers=controllers,
            folder=self.folder,
            replicas=replicas,
            insync=max(1, replicas - 1),
        )
        self._file.write_text(properties + self.extra)

    def random_uuid(self) -> str:
        return self._run("kafka.tools.StorageTool", "random-uuid").split()[-1]

    def format(self, *quorum_and_cluster: str) -> None:
        """Format its folder: how the quorum begins, and the cluster's id."""
        *quorum, cluster = quorum_and_cluster
        self._run("kafka.tools.StorageTool", "format", *quorum, "-t", cluster, "-c", str(self._file))

    @property
    def _file(self) -> Path:
        return self.folder / "server.properties"

    def _java(self) -> list[str]:
        classes = ":".join(str(self.home / name) for name in ("conf", "config", "libs/*"))
        return ["java", *_OPTIONS, "-cp", classes]

    def tool(self, name: str, *arguments: str) -> str:
        """What a command line tool of Kafka prints, asked about this broker."""
        return self._run(name, "--bootstrap-server", self.servers, *arguments)

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run([*self._java(), name, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def wait_until_it_answers(self, limit: float = 60.0) -> None:
        deadline = time.monotonic() + limit
        request = b"\x00\x00\x00\x0e\x00\x12\x00\x00\x00\x00\x00\x01\x00\x04test"  # ApiVersions v0
        while time.monotonic() < deadline:
            assert self.process is not None and self.process.poll() is None, self._said()
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(request)
                    if connection.recv(4):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"no answer after {limit:g} s: {self._said()}")

    def _said(self) -> str:
        return (self.folder / "broker.out").read_text(errors="replace")[-2000:]

    def signal(self, number: signal.Signals) -> None:
        """Kill, freeze or wake it."""
        assert self.process is not None
        self.process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self.process.wait(timeout=30)
            self.process = None

    def stop(self) -> None:
        """End it, whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=30)
            self.process = None


class Cluster:
    """Several nodes, each a broker and a controller; what is replicated is on three of them."""

    def __init__(self, home: Path, folder: Path, nodes: int = 3) -> None:
        self.nodes = [Broker(home, folder / str(i), node=i) for i in range(1, nodes + 1)]

    @property
    def servers(self) -> str:
        return ",".join(node.servers for node in self.nodes)

    def start(self) -> None:
        """Format every node, start them, and wait until all answer."""
        ports = _free_ports(2 * len(self.nodes))
        at = {node.node: f"127.0.0.1:{port}" for node, port in zip(self.nodes, ports[::2], strict=True)}
        for node, controller, port in zip(self.nodes, ports[::2], ports[1::2], strict=True):
            node.port = port
            node.configure(controller, ",".join(at.values()), replicas=min(3, len(self.nodes)))
        quorum = ",".join(f"{number}@{address}:{self.nodes[0].random_uuid()}" for number, address in at.items())
        cluster = self.nodes[0].random_uuid()
        for node in self.nodes:
            node.format("--initial-controllers", quorum, cluster)
            node.start(wait=False)
        for node in self.nodes:
            node.wait_until_it_answers()

    def stop(self) -> None:
        """End every node."""
        for node in self.nodes:
            node.stop()
