"""Metrics and health, asked for over HTTP: they agree with the topics, and say when a service is not well."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from brokers import Broker, own_kafka
from contraflow.conductor import conduct, fingerprint
from contraflow.configuration import Loaded, experiment_from
from contraflow.errors import ConfigurationError, Fenced, LogError
from contraflow.log.embedded import EmbeddedLog
from contraflow.log.kafka import KafkaConnection, KafkaLog
from contraflow.log.metered import MeteredLog
from contraflow.log.opening import open_log
from contraflow.log.protocol import Log, Outgoing, Record
from contraflow.monitor.endpoint import open_metrics
from contraflow.pipeline import open_ring
from contraflow.results import read_topic
from contraflow.runner import prepare
from contraflow.runs import join_run
from contraflow.runtime.drain import Drain
from contraflow.runtime.lanes import run_lanes
from contraflow.runtime.metrics import Metrics
from contraflow.runtime.singleton import Singleton
from contraflow.runtime.supervisor import RunStopped, Supervisor
from contraflow.topics import TOPICS, specs
from contraflow.wire import Wire

Make = Callable[..., dict[str, Any]]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

FREE = ("127.0.0.1", 0)
RUN = "small-1"


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=15) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def asked(url: str) -> tuple[int, str]:
    return await anyio.to_thread.run_sync(get, url)


async def health_at(url: str) -> tuple[int, dict[str, Any]]:
    status, body = await asked(f"{url}/healthz")
    return status, json.loads(body)


async def scraped(url: str) -> Samples:
    status, body = await asked(f"{url}/metrics")
    assert status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    found = [value for (n, given), value in samples.items() if n == name and labels.items() <= dict(given).items()]
    assert found, f"{name} {labels} is not there"
    return sum(found)


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    while not await true():  # noqa: ASYNC110 - what it waits for is told over the network
        await anyio.sleep(0.02)


async def is_well(url: str) -> bool:
    return (await health_at(url))[0] == 200


async def written(log: Log, count: int) -> bool:
    return len(await read_topic(log, Wire(RUN, 2), "embeddings")) == count


@asynccontextmanager
async def metrics_of(log: Log, run: str = RUN) -> AsyncIterator[tuple[Metrics, str]]:
    said: list[str] = []
    async with open_metrics(FREE, run, log, said.append) as metrics:
        assert metrics is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", said[0])
        assert found is not None
        yield metrics, found[0]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    opened = await EmbeddedLog.open(tmp_path / "log")
    await opened.create_topics(specs(RUN, 2))
    yield opened
    await opened.close()


@pytest.mark.parametrize(
    "where", ["embedded", pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.timeout(90)])]
)
async def test_what_a_run_counts_is_what_its_topics_hold(
    where: str, experiment: Make, runs: Path, request: pytest.FixtureRequest
) -> None:
    on = {"kafka": request.getfixturevalue("kafka"), "prefix": f"t-{uuid4().hex[:12]}-"} if where == "kafka" else where
    loaded = Loaded(experiment_from(experiment(log=on)), Path(), Path("experiment"))
    wanted, resolved = await prepare(loaded)
    folder, resolved = join_run(runs, RUN, resolved, wanted.digest)
    drain = Drain()
    async with open_log(folder) as log, metrics_of(log) as (metrics, url):
        started = anyio.current_time()
        async with open_ring(log, RUN, resolved, wanted, Path(), drain, metrics=metrics) as ring:
            await conduct(log, ring.wire, ring.services, drain, Supervisor(drain), fingerprint(resolved, wanted))
        elapsed = anyio.current_time() - started
        samples = await scraped(url)
        status, _ = await health_at(url)
        topics = {name: await read_topic(log, ring.wire, name) for name in TOPICS}
    topics["control"] = topics["control"][1:]  # the first declares the run, which no service does
    assert status == 200  # a service that came to its end is well
    assert len(topics["texts"]) == 1000
    for name, records in topics.items():
        if records:
            size = sum(len(r.key) + len(r.value or b"") for r in records)
            assert total(samples, "contraflow_records_out_total", topic=name) == len(records), name
            assert total(samples, "contraflow_bytes_out_total", topic=name) == size, name
    for service, name in (("embedder", "texts"), ("clusterer", "embeddings"), ("validator", "assignments")):
        assert total(samples, "contraflow_records_in_total", service=service, topic=name) == len(topics[name])
    for arm in ("base", "tuned"):
        asked_for = total(samples, "contraflow_records_in_total", service="decoder", arm=arm, topic="requests")
        assert asked_for == len(topics["requests"])
        assert total(samples, "contraflow_tokens_total", arm=arm, kind="completion") > 500
    vectors = total(samples, "contraflow_embedding_cache_hits_total")
    assert vectors + total(samples, "contraflow_embedding_cache_misses_total") >= 1000
    for meter in metrics.meters.values():
        who = {"service": meter.service, "arm": meter.arm}
        assert 0.5 * elapsed < total(samples, "contraflow_time_seconds_total", **who) <= elapsed
        assert total(samples, "contraflow_commit_seconds_count", **who) > 0
    assert total(samples, "contraflow_time_seconds_total", service="sampler", state="blocked") > 0


class Upper:
    """Turns records to upper case; one that says ``bad`` cannot be processed."""

    async def process(self, records: Sequence[Record]) -> list[Outgoing]:
        await anyio.sleep(0.05)
        if any(b"bad" in (r.value or b"") for r in records):
            raise ValueError("bad record")
        return [Outgoing(f"{RUN}.embeddings", r.partition, r.key, (r.value or b"").upper()) for r in records]

    def failed(self, record: Record, error: BaseException) -> list[Outgoing]:
        return []


async def test_dead_letters_are_counted_by_the_topic_that_they_came_from(log: EmbeddedLog) -> None:
    await log.append([Outgoing(f"{RUN}.texts", 0, str(i), b"bad" if i == 3 else b"good") for i in range(20)])
    drain = Drain()
    async with metrics_of(log) as (metrics, url):
        counted = MeteredLog(log, metrics.of("embedder"))
        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(run_lanes, counted, f"{RUN}.embedder", f"{RUN}.texts", Upper(), drain))
                await until(lambda: written(log, 19))
                drain.request("test")
        samples = await scraped(url)
    assert total(samples, "contraflow_dead_letters_total", service="embedder", topic="texts") == 1
    assert total(samples, "contraflow_records_out_total", topic="texts.dead") == 1
    assert total(samples, "contraflow_time_seconds_total", service="embedder", state="processing") > 0.1


async def test_restarts_are_counted_and_a_failed_service_is_not_well(log: EmbeddedLog) -> None:
    async def fail() -> None:
        raise LogError("the disk is full")

    async with metrics_of(log) as (metrics, url):
        supervisor = Supervisor(Drain(), restarts=2)
        with pytest.raises(RunStopped):
            await supervisor.run({"embedder": lambda: metrics.of("embedder").run(fail)})
        assert total(await scraped(url), "contraflow_restarts_total", service="embedder") == 2
        status, told = await health_at(url)
    assert status == 503
    (service,) = told["services"]
    assert (service["status"], service["why"]) == ("failed", "the disk is full")


async def test_a_process_is_not_well_before_its_log_has_answered_its_service(log: EmbeddedLog) -> None:
    async with metrics_of(log) as (metrics, url):
        assert (await health_at(url))[0] == 503
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(metrics.of("embedder").run, anyio.sleep_forever)
            await anyio.wait_all_tasks_blocked()
            status, told = await health_at(url)
            assert (status, told["services"][0]["status"]) == (503, "starting")
            await MeteredLog(log, metrics.of("embedder")).join(f"{RUN}.embedder", f"{RUN}.texts")
            assert (await health_at(url))[0] == 200  # a member without partitions stands by, and is well
            tasks.cancel_scope.cancel()


async def test_a_fenced_service_is_not_well(log: EmbeddedLog) -> None:
    async def work(log: Log) -> None:
        singleton = Singleton(log, Wire(RUN, 2), "sampler", ["regions"], "requests")
        _, reader = await singleton.start()
        try:
            while True:
                await singleton.commit([], {}, 0)
                await anyio.sleep(0.01)
        finally:
            await reader.close()
            await singleton.close()

    async with metrics_of(log) as (metrics, url):
        meter = metrics.of("sampler")
        async with anyio.create_task_group() as tasks:

            async def first() -> None:
                with pytest.raises(Fenced):
                    await meter.run(partial(work, MeteredLog(log, meter)))
                tasks.cancel_scope.cancel()

            tasks.start_soon(first)
            await until(lambda: is_well(url))
            await work(log)
        status, told = await health_at(url)
    assert status == 503
    assert told["services"][0]["status"] == "fenced"


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.timeout(90)
async def test_a_service_whose_broker_is_gone_is_not_well(tmp_path: Path) -> None:
    home = own_kafka()
    broker = Broker(home, tmp_path / "broker")
    await anyio.to_thread.run_sync(broker.start)
    try:
        log = await KafkaLog.open(KafkaConnection(broker.servers))
        await log.create_topics(specs(RUN, 2))
        async with metrics_of(log) as (metrics, url):
            meter = metrics.of("embedder")
            lanes = partial(run_lanes, MeteredLog(log, meter), f"{RUN}.embedder", f"{RUN}.texts", Upper(), Drain())
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(meter.run, lanes)
                await until(lambda: is_well(url))
                await anyio.to_thread.run_sync(broker.stop)
                status, told = await health_at(url)
                assert status == 503
                assert "answer" in told["log"] or "reach" in told["log"], told
                tasks.cancel_scope.cancel()
        await log.close()
    finally:
        broker.stop()


async def test_what_is_no_request_for_metrics_gets_an_answer_or_nothing(log: EmbeddedLog) -> None:
    async with metrics_of(log) as (_, url):
        assert (await asked(f"{url}/"))[0] == 404
        host, port = url.removeprefix("http://").split(":")
        for request, answer in (
            (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 "),
            (b"HEAD /metrics?x=1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 "),
            (b"\r\n\r\n", b"HTTP/1.1 405 "),
            (b"x" * 100_000, b""),
        ):
            async with await anyio.connect_tcp(host, int(port)) as stream:
                await stream.send(request)
                got = b""
                try:
                    while part := await stream.receive():
                        got += part
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    pass
            assert got.startswith(answer) and bool(got) == bool(answer)
            if request.startswith(b"HEAD"):
                assert got.endswith(b"\r\n\r\n")
        assert (await asked(f"{url}/metrics"))[0] == 200  # and it goes on


async def test_an_address_in_use_is_told(log: EmbeddedLog) -> None:
    async with metrics_of(log) as (_, url):
        port = int(url.rpartition(":")[2])
        with pytest.raises(ConfigurationError, match=rf"--metrics: 127\.0\.0\.1:{port} cannot be used .*another port"):
            async with open_metrics(("127.0.0.1", port), RUN, log, print):
                pass


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", ["run", "service"])
def test_the_command_line_prints_where_its_metrics_are(command: str, experiment: Make, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(experiment(budget={"texts": 100_000})))
    words = ["run", str(path)] if command == "run" else ["service", "sampler", str(path), "--run", RUN]
    process = subprocess.Popen(
        [sys.executable, "-m", "contraflow", *words, "--runs", str(tmp_path / "runs"), "--metrics", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = next(found for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        while get(f"{found[0]}/healthz")[0] != 200:
            time.sleep(0.05)
        assert f'contraflow_run_info{{run="{RUN}"' in get(f"{found[0]}/metrics")[1]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == (130 if command == "run" else 0)


UNITS = ("seconds", "bytes", "records", "letters", "tokens", "hits", "misses", "restarts", "in", "out", "info")
"""What the last word of a name may be: a base unit, or what is counted."""


def test_names_have_base_units_and_help_and_labels_have_few_values() -> None:
    metrics = Metrics(RUN)
    ours = {family.name: family for family in metrics.registry.collect() if family.name.startswith("contraflow_")}
    assert len(ours) == 12
    for name, family in ours.items():
        assert re.fullmatch(r"contraflow(_[a-z]+)+", name)
        words = name.split("_")
        assert words[-1] in UNITS or (family.type == "info" and words[-1] == "run"), name
        assert not {"total", "ms", "milliseconds", "minutes", "kilobytes", "percent"} & set(words)
        assert family.documentation[:1].isupper() and family.documentation.endswith("."), name
    for metric in vars(metrics).values():
        labels = set(getattr(metric, "_labelnames", ()))  # no public name tells them
        assert labels <= {"service", "arm", "topic", "state", "kind"}
