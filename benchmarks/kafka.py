"""The Kafka log: each stage's loop beside bare clients on the same broker, and the whole ring on it.

    KAFKA_HOME=... python benchmarks/kafka.py                 # starts a broker of its own
    python benchmarks/kafka.py --servers host:9092            # or uses one that is there
    python benchmarks/kafka.py --part loop|ring|latency|join|scale --quick

``loop``: a service that does nothing consumes records of 1 KB, produces one for each, and commits outputs and position
in a transaction. Its rivals do the same with plain aiokafka, which produces and commits positions without a
transaction, and with confluent-kafka, plain and transactional, one producer for all partitions. Each is timed from its
first record to its last commit. What bounds it: one
interpreter for the client, which all of them share with nothing else, and two cores for client and broker.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import yaml
from rich.console import Console
from rich.table import Table

from screen import screen

SIZE = 1024
Loop = Callable[[str, str, int, int, float], Awaitable[float]]
"""Runs a loop over (servers, prefix, partitions, records, interval); returns records a second."""


# the loop, and its rivals


async def fill(servers: str, prefix: str, partitions: int, records: int) -> None:
    from contraflow.log.kafka import KafkaConnection, KafkaLog
    from contraflow.log.protocol import Outgoing

    async with await KafkaLog.open(KafkaConnection(servers, prefix=prefix)) as log:
        await log.create_topics([("in", partitions, "delete"), ("out", partitions, "delete")])
        body = os.urandom(SIZE)
        for start in range(0, records, 5000):
            batch = range(start, min(start + 5000, records))
            await log.append([Outgoing("in", i % partitions, str(i), body) for i in batch])


class Echo:
    """A service that does nothing."""

    def __init__(self, expected: int) -> None:
        self.seen = 0
        self.expected = expected
        self.done = anyio.Event()
        self.first = self.last = 0.0

    async def process(self, records: Sequence[Any]) -> list[Any]:
        """A record for each."""
        from contraflow.log.protocol import Outgoing

        self.first = self.first or time.perf_counter()
        self.seen += len(records)
        return [Outgoing("out", r.partition, r.key, r.value) for r in records]

    async def producer(self, log: Any, transactional_id: str) -> Any:
        """The log's, noting when it has committed."""
        producer = await log.producer(transactional_id)
        commit = producer.commit

        async def noting(*arguments: Any, **keywords: Any) -> None:
            await commit(*arguments, **keywords)
            self.last = time.perf_counter()
            if self.seen >= self.expected:
                self.done.set()

        producer.commit = noting
        return producer

    def failed(self, record: Any, error: BaseException) -> list[Any]:
        """Nothing may fail here."""
        raise error


async def ours(servers: str, prefix: str, partitions: int, records: int, interval: float) -> float:
    from contraflow.log.kafka import KafkaConnection, KafkaLog
    from contraflow.runtime.drain import Drain
    from contraflow.runtime.lanes import run_lanes

    drain, service = Drain(), Echo(records)
    async with await KafkaLog.open(KafkaConnection(servers, prefix=prefix)) as log, anyio.create_task_group() as tasks:
        noted: Any = _Noted(log, service)
        tasks.start_soon(partial(run_lanes, noted, f"g-{uuid4().hex}", "in", service, drain, interval=interval))
        await service.done.wait()
        drain.request("measured")  # what is open is committed before the lanes end
    return records / (service.last - service.first)


class _Noted:
    """A log whose producers tell an Echo when they have committed."""

    def __init__(self, log: Any, service: Echo) -> None:
        self._log = log
        self._service = service

    async def producer(self, transactional_id: str) -> Any:
        return await self._service.producer(self._log, transactional_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


async def bare_aiokafka(servers: str, prefix: str, partitions: int, records: int, interval: float) -> float:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    consumer = AIOKafkaConsumer(
        prefix + "in",
        bootstrap_servers=servers,
        group_id=f"{prefix}{uuid4().hex}",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=9 << 20,
    )
    producer = AIOKafkaProducer(bootstrap_servers=servers, max_batch_size=256 << 10, enable_idempotence=True)
    await consumer.start()
    await producer.start()
    seen, started, due, sent = 0, 0.0, time.perf_counter() + interval, []
    while seen < records:
        for batch in (await consumer.getmany(timeout_ms=500, max_records=500)).values():
            started = started or time.perf_counter()
            sent += [
                await producer.send(prefix + "out", r.value, r.key, partition=r.partition, headers=list(r.headers))
                for r in batch
            ]
            seen += len(batch)
        if time.perf_counter() >= due or seen >= records:
            for future in sent:
                await future
            await consumer.commit()
            sent, due = [], time.perf_counter() + interval
    rate = records / (time.perf_counter() - started)
    await producer.stop()
    await consumer.stop()
    return rate


def _confluent(servers: str, prefix: str, records: int, interval: float, transactional: bool) -> float:
    from confluent_kafka import Consumer, Producer

    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"{prefix}{uuid4().hex}",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed" if transactional else "read_uncommitted",
        }
    )
    own: dict[str, Any] = {"transactional.id": f"{prefix}{uuid4().hex}"} if transactional else {}
    producer = Producer(
        {"bootstrap.servers": servers, "enable.idempotence": True, "queue.buffering.max.messages": 10**6, **own}
    )
    consumer.subscribe([prefix + "in"])
    if transactional:
        producer.init_transactions()
        producer.begin_transaction()
    seen, started, due = 0, 0.0, time.perf_counter() + interval
    while seen < records:
        batch = [m for m in consumer.consume(500, timeout=0.5) if m.error() is None]
        started = started or (time.perf_counter() if batch else 0.0)
        for m in batch:
            producer.produce(prefix + "out", m.value(), m.key(), partition=m.partition() or 0)
        seen += len(batch)
        producer.poll(0)
        if time.perf_counter() >= due or seen >= records:
            if transactional:
                at = consumer.position(consumer.assignment())
                producer.send_offsets_to_transaction(at, consumer.consumer_group_metadata())
                producer.commit_transaction()
                producer.begin_transaction()
            else:
                producer.flush()
                consumer.commit(asynchronous=False)
            due = time.perf_counter() + interval
    rate = records / (time.perf_counter() - started)
    if transactional:
        producer.abort_transaction()
    consumer.close()
    return rate


async def confluent_plain(servers: str, prefix: str, partitions: int, records: int, interval: float) -> float:
    return await anyio.to_thread.run_sync(_confluent, servers, prefix, records, interval, False)


async def confluent_transactional(servers: str, prefix: str, partitions: int, records: int, interval: float) -> float:
    return await anyio.to_thread.run_sync(_confluent, servers, prefix, records, interval, True)


async def loops(servers: str, records: int, rounds: int, console: Console) -> dict[str, float]:
    """Each loop in turn, several rounds: the median, and ours as a ratio of bare aiokafka's in the same round."""
    runners: dict[str, Loop] = {
        "contraflow": ours,
        "aiokafka, no transactions": bare_aiokafka,
        "confluent-kafka, plain": confluent_plain,
        "confluent-kafka, transactional": confluent_transactional,
    }
    table = Table("partitions", "interval", *runners, "contraflow / aiokafka", title="records/s of a loop", box=None)
    figures: dict[str, float] = {}
    for partitions in (1, 8):
        prefix = f"bench-{uuid4().hex[:8]}."
        await fill(servers, prefix, partitions, records)
        for interval in (0.1, 0.5, 2.0):
            rates: dict[str, list[float]] = {name: [] for name in runners}
            for _ in range(rounds):
                for name, runner in runners.items():
                    rates[name].append(await runner(servers, prefix, partitions, records, interval))
            ratios = [a / b for a, b in zip(*list(rates.values())[:2], strict=True)]
            row = {name: statistics.median(rate) for name, rate in rates.items()}
            table.add_row(
                str(partitions),
                f"{interval * 1000:.0f} ms",
                *(f"{rate:,.0f}" for rate in row.values()),
                f"{statistics.median(ratios):.2f}",
            )
            key = f"loop_{partitions}p_{interval * 1000:.0f}ms"
            figures |= {f"{key}_{name.replace(', ', '_').replace(' ', '_')}": rate for name, rate in row.items()}
            figures[f"{key}_ratio"] = statistics.median(ratios)
    console.print(table)
    return figures


# the ring


def experiment(folder: Path, servers: str, texts: int, **sections: Any) -> Path:
    plain = {
        "experiment": "benchmark",
        "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
        "generator": {"backend": "scripted", "world": "everyday", "batch": 1024},
        "embedder": {"model": "hashed", "cache": str(folder / "cache")},
        "clusters": {"start": 100, "max": 100},
        "sampling": {"epoch": 1024, "in_flight": 4, "warm_start": 1024},
        "budget": {"texts": texts},
        "log": {"kafka": servers, "prefix": f"bench-{uuid4().hex[:8]}."},
    }
    path = folder / "benchmark.yaml"
    path.write_text(yaml.safe_dump({**plain, **sections}))
    return path


def start(name: str, path: Path, runs: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "contraflow", name, *options[:1], str(path), "--runs", str(runs), *options[1:]]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def service(path: Path, runs: Path, name: str, *options: str) -> subprocess.Popen[bytes]:
    return start("service", path, runs, name, "--run", "benchmark-1", *options)


async def texts_seen(path: Path) -> tuple[Any, Any]:
    """A log on the experiment's cluster, and a reader of its texts and assignments from now on."""
    from contraflow.configuration import load_experiment
    from contraflow.log.kafka import KafkaConnection, KafkaLog
    from contraflow.wire import Wire

    section = load_experiment(path).experiment.log
    assert not isinstance(section, str)
    log = await KafkaLog.open(KafkaConnection(section.kafka, prefix=section.prefix))
    wire = Wire("benchmark-1")
    while len(ends := await log.ends([*wire.all("texts"), *wire.all("assignments")])) < 16:  # noqa: ASYNC110  # topics tell nobody
        await anyio.sleep(0.1)
    return log, await log.reader(dict.fromkeys(ends))


async def ring(servers: str, texts: int, console: Console) -> dict[str, float]:
    """The whole ring in one process: texts a second from the first to the last text."""
    with tempfile.TemporaryDirectory() as folder:
        path = experiment(Path(folder), servers, texts)
        process = start("run", path, Path(folder) / "runs")
        log, reader = await texts_seen(path)
        first, seen = 0.0, 0
        while seen < texts:
            records = await reader.fetch(5000, 1.0)
            assert process.poll() in (None, 0), "the run failed"
            seen += sum(r.topic.endswith("texts") for r in records)
            first = first or (time.perf_counter() if seen else 0.0)
        rate = texts / (time.perf_counter() - first)
        await reader.close()
        await log.close()
        process.wait(timeout=120)
    console.print(f"the whole ring, one process beside the broker: {rate:,.0f} texts/s of {texts:,}", highlight=False)
    return {"ring_texts_per_second": rate}


async def latency(servers: str, texts: int, console: Console) -> dict[str, float]:
    """From a text's append to its assignment's, by the log's own times, at about 500 texts a second."""
    with tempfile.TemporaryDirectory() as folder:
        # answers that take their time, so that with the ring's own two arms give about 500 a second
        arms = {"base": {"speed": 0.0016}, "tuned": {"plants": ["loud", "gloomy"], "speed": 0.0016}}
        slow = {"backend": "scripted", "world": "everyday", "batch": 32}
        sampling = {"epoch": 128, "in_flight": 4, "warm_start": 320}
        path = experiment(Path(folder), servers, texts, arms=arms, generator=slow, sampling=sampling)
        process = start("run", path, Path(folder) / "runs")
        log, reader = await texts_seen(path)
        at: dict[str, int] = {}
        waits, stamps, seen = [], [], 0
        while seen < texts // 2:
            for r in await reader.fetch(5000, 1.0):
                if r.topic.endswith("texts"):
                    at[r.key] = r.timestamp  # of the pair's later text
                    stamps.append(r.timestamp)
                else:
                    seen += 1
                    if seen > 400:  # past the warm start, which waits for all of its pairs
                        waits.append((r.timestamp - at[r.key]) / 1000)
        await reader.close()
        await log.close()
        process.wait(timeout=120)
    rate = len(stamps) / ((max(stamps) - min(stamps)) / 1000)
    p50, p99 = statistics.median(waits), statistics.quantiles(waits, n=100)[98]
    said = f"from a pair's last text to its cluster at {rate:.0f} texts/s: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms"
    console.print(said, highlight=False)
    return {"latency_p50_seconds": p50, "latency_p99_seconds": p99, "latency_texts_per_second": rate}


async def join(servers: str, texts: int, console: Console) -> dict[str, float]:
    """The longest silence of the embeddings when a second embedder joins, beside the longest before."""
    with tempfile.TemporaryDirectory() as folder:
        arms = {"base": {"speed": 0.01}, "tuned": {"plants": ["loud", "gloomy"], "speed": 0.01}}
        slow = {"backend": "scripted", "world": "everyday", "batch": 32}
        path = experiment(Path(folder), servers, texts, arms=arms, generator=slow)
        runs = Path(folder) / "runs"
        names = ("sampler", "clusterer", "validator", "embedder")
        processes = [service(path, runs, name) for name in names]
        processes += [service(path, runs, "decoder", "--arm", arm) for arm in arms]
        log, reader = await texts_seen(path)
        await reader.close()
        from contraflow.wire import Wire

        reader = await log.reader(dict.fromkeys(Wire("benchmark-1").all("embeddings")))
        quiet = await _longest_silence(reader, 10.0)
        processes.append(service(path, runs, "embedder"))
        joined = await _longest_silence(reader, 10.0)
        await reader.close()
        await log.close()
        for process in processes:
            process.kill()
            process.wait()
    console.print(
        f"longest silence of the embeddings: {quiet:.2f} s before, {joined:.2f} s as a member joins", highlight=False
    )
    return {"join_silence_seconds": joined, "before_silence_seconds": quiet}


async def _longest_silence(reader: Any, seconds: float) -> float:
    end, last, longest = time.perf_counter() + seconds, time.perf_counter(), 0.0
    while (now := time.perf_counter()) < end:
        if await reader.fetch(5000, 0.2):
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
    return longest


_SLOW = """\
import time

def answer(prompts, arm):
    time.sleep(0.25)
    return [f"{prompt} {arm} {len(prompt) % 7}" for prompt in prompts]
"""


async def scale(servers: str, texts: int, console: Console) -> dict[str, float]:
    """Decoders whose generator takes 250 ms for a batch of 32, as a GPU would: 1, 2 and 4 of them."""
    figures: dict[str, float] = {}
    table = Table("decoders an arm", "texts/s", "times", title="scale-out", box=None)
    for decoders in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "slow.py").write_text(_SLOW)
            (Path(folder) / "prompts.txt").write_text("".join(f"question number {i}\n" for i in range(500)))
            path = experiment(
                Path(folder),
                servers,
                texts * decoders,
                arms={"base": {}, "tuned": {}},
                generator={"backend": "slow:answer", "batch": 32},
                prompts={"path": "prompts.txt"},
                sampling={"epoch": 512, "in_flight": 4, "warm_start": 512},
            )
            runs = Path(folder) / "runs"
            processes = [service(path, runs, name) for name in ("sampler", "clusterer", "validator", "embedder")]
            processes += [
                service(path, runs, "decoder", "--arm", a) for _ in range(decoders) for a in ("base", "tuned")
            ]
            log, reader = await texts_seen(path)
            stamps: list[int] = []
            while len(stamps) < texts * decoders:
                stamps += [r.timestamp for r in await reader.fetch(5000, 1.0) if r.topic.endswith("texts")]
            await reader.close()
            await log.close()
            for process in processes:
                process.kill()
                process.wait()
        stamps.sort()
        middle = stamps[len(stamps) // 5 :]  # the first fifth has the members' arrival
        rate = len(middle) / ((middle[-1] - middle[0]) / 1000)
        figures[f"scale_{decoders}"] = rate
        table.add_row(str(decoders), f"{rate:,.0f}", f"{rate / figures['scale_1']:.2f}")
    console.print(table)
    return figures | {f"scale_{n}_times": figures[f"scale_{n}"] / figures["scale_1"] for n in (2, 4)}


PARTS = ("loop", "ring", "latency", "join", "scale")


async def measure(servers: str, parts: Sequence[str], quick: bool, console: Console) -> dict[str, float]:
    figures: dict[str, float] = {}
    if "loop" in parts:
        figures |= await loops(servers, 50_000 if quick else 200_000, 1 if quick else 3, console)
    if "ring" in parts:
        figures |= await ring(servers, 20_000 if quick else 100_000, console)
    if "latency" in parts:
        figures |= await latency(servers, 10_000 if quick else 30_000, console)
    if "join" in parts:
        figures |= await join(servers, 100_000, console)
    if "scale" in parts:
        figures |= await scale(servers, 4_000 if quick else 8_000, console)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", help="a cluster that is there; otherwise a broker is started from KAFKA_HOME")
    parser.add_argument("--part", choices=PARTS, action="append", help="only this part; may be given again")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    console = screen(stderr=options.json)
    parts = options.part or PARTS
    if options.servers:
        figures = anyio.run(measure, options.servers, parts, options.quick, console)
    else:
        sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
        from brokers import Broker, kafka_home

        home = kafka_home()
        if home is None:
            parser.error("set KAFKA_HOME to an unpacked Apache Kafka, or give --servers")
        with tempfile.TemporaryDirectory() as folder:
            broker = Broker(home, Path(folder) / "kafka")
            broker.start()
            try:
                figures = anyio.run(measure, broker.servers, parts, options.quick, console)
            finally:
                broker.stop()
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
