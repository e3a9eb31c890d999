"""Real Apache Kafka for tests: a broker of the test session's own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Broker", "kafka_home"]

_OPTIONS = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC"]

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/log
auto.create.topics.enable=false
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
group.initial.rebalance.delay.ms=0
"""


def kafka_home() -> Path | None:
    """The unpacked Apache Kafka that ``KAFKA_HOME`` names."""
    home = os.environ.get("KAFKA_HOME")
    return Path(home).resolve() if home else None


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@dataclass
class Broker:
    """One node of Apache Kafka, an ordinary process."""

    home: Path
    folder: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Format its folder, start it, and wait until it answers."""
        self.port, controller = _free_ports(2)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file.write_text(_PROPERTIES.format(port=self.port, controller=controller, folder=self.folder))
        uuid = self._run("kafka.tools.StorageTool", "random-uuid").split()[-1]
        self._run("kafka.tools.StorageTool", "format", "--standalone", "-t", uuid, "-c", str(self._file))
        with (self.folder / "broker.out").open("ab") as out:
            self.process = subprocess.Popen(
                [*self._java(), "kafka.Kafka", str(self._file)], stdout=out, stderr=out, start_new_session=True
            )
        self._wait_until_it_answers()

    @property
    def _file(self) -> Path:
        return self.folder / "server.properties"

    def _java(self) -> list[str]:
        classes = ":".join(str(self.home / name) for name in ("conf", "config", "libs/*"))
        return ["java", *_OPTIONS, "-cp", classes]

    def _run(self, name: str, *arguments: str) -> str:
        done = subprocess.run([*self._java(), name, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def _wait_until_it_answers(self, limit: float = 60.0) -> None:
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

    def stop(self) -> None:
        """End it, whatever it does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=30)
            self.process = None
