"""Bad input on Kafka through the command line: an error that names the field and what to do, and nothing is lost."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from click.testing import CliRunner
from rich.console import Console

import contraflow
from brokers import Broker, own_kafka
from contraflow.cli import main
from contraflow.configuration import Loaded, experiment_from
from contraflow.log.opening import open_log
from contraflow.results import read_topic
from contraflow.runner import execute
from contraflow.runs import RunFolder
from contraflow.runtime.drain import Drain
from contraflow.wire import Wire

Make = Callable[..., dict[str, Any]]
Refused = Callable[..., str]

SHORT = {"texts": 200}
kafka_test = pytest.mark.kafka
slow = pytest.mark.timeout(120)


@pytest.fixture
def refused(tmp_path: Path, experiment: Make, runs: Path) -> Refused:
    """Runs an experiment with a section ``log`` that must be refused; returns what was said. No run is left behind."""

    def run(**log: Any) -> str:
        path = tmp_path / "experiment.yaml"
        path.write_text(yaml.safe_dump(experiment(budget=SHORT, log=log)))
        result = CliRunner().invoke(main, ["run", str(path), "--runs", str(runs)])
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
        assert result.stderr.startswith("error: ")
        assert not list(runs.glob("*"))
        return result.stderr

    return run


def prefix() -> str:
    return f"t-{uuid4().hex[:12]}-"


# what needs no broker


def test_an_address_where_nothing_listens_is_told_at_once(refused: Refused) -> None:
    started = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said = refused(kafka=f"127.0.0.1:{port}")
    assert f"connecting on Kafka at 127.0.0.1:{port}: nothing listens there. Is it running" in said
    assert time.monotonic() - started < 5


def test_a_service_whose_broker_is_away_can_be_started_again(
    experiment: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(experiment(log={"kafka": f"127.0.0.1:{port}"})))
    result = CliRunner().invoke(main, ["service", "sampler", str(path), "--run", "small-1", "--runs", str(tmp_path)])
    assert result.exit_code == 1, "a supervisor does not start again what ends with 2"
    assert "nothing listens there" in result.stderr


@pytest.mark.long
@pytest.mark.timeout(40)
def test_an_address_that_does_not_answer_is_told_in_bounded_time(refused: Refused) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        started = time.monotonic()
        said = refused(kafka=f"127.0.0.1:{mute.getsockname()[1]}")
    assert "the cluster does not answer. Is it running" in said
    assert time.monotonic() - started < 15


def test_a_host_that_nobody_knows(refused: Refused) -> None:
    said = refused(kafka="no-such-host.invalid:9092")
    assert "no host of that name is known here. Check log.kafka" in said


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ({"kafka": "localhost:port"}, 'log.kafka: "localhost:port" is no address; write host:port'),
        ({"security": "SASL_SSL", "password": "env:SECRET"}, "log.username: missing; security SASL_SSL needs it"),
        ({"security": "SASL_SSL", "username": "a"}, "log.password: missing; security SASL_SSL needs it: env:NAME"),
        ({"username": "a"}, "log.username: only read with security SASL_PLAINTEXT or SASL_SSL, and it is PLAINTEXT"),
        ({"ca_file": "ca.pem"}, "log.ca_file: only read with security SSL or SASL_SSL, and it is PLAINTEXT"),
        (
            {"security": "SSL", "ca_file": "none.pem"},
            "log.ca_file: 'none.pem' cannot be used (No such file or directory)",
        ),
        ({"security": "SSL", "ca_file": __file__}, "Give the PEM file with the certificate of the authority"),
        ({"security": "TLS"}, "log.security"),
        ({"prefix": "a b"}, "log.prefix"),
    ],
)
def test_what_cannot_be_a_connection(refused: Refused, log: dict[str, Any], words: str) -> None:
    assert words in refused(**{"kafka": "localhost:9092", **log})


def test_a_password_is_named_by_its_variable_and_never_written_out(
    refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAFKA_SECRET", raising=False)
    sasl = {"kafka": "localhost:9092", "security": "SASL_SSL", "username": "alice"}
    said = refused(**sasl, password="env:KAFKA_SECRET")
    assert "the environment variable KAFKA_SECRET is not set" in said
    said = refused(**sasl, password="wonder")
    assert "log.password" in said
    assert "env:" in said
    assert "wonder" not in said


# credentials and certificates, on a broker that asks for them


CREDENTIALS = """\
listener.name.client.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.client.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="wonder";
listener.name.client.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.client.ssl.keystore.type=PEM
listener.name.client.ssl.keystore.location={keystore}
"""


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def make_certificates(folder: Path) -> Path:
    """A certificate of 127.0.0.1 in server.pem, signed by ca.pem and not by other.pem."""
    folder.mkdir()
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for authority in ("ca", "other"):
        named = ("-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-subj", f"/CN={authority}", "-days", "2")
        openssl(folder, "req", "-x509", *key, *named, "-addext", "basicConstraints=critical,CA:TRUE")
    asked = ("-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
    openssl(folder, "req", *key, *asked, "-addext", "subjectAltName=IP:127.0.0.1")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-copy_extensions", "copy")
    openssl(folder, "x509", "-req", "-in", "server.csr", "-out", "server.crt", *signed)
    (folder / "server.pem").write_text((folder / "server.key").read_text() + (folder / "server.crt").read_text())
    return folder


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, Path]]:
    """A broker that asks for credentials over TLS, and the folder of its certificates."""
    home = own_kafka()
    if shutil.which("openssl") is None:
        pytest.skip("it makes certificates with openssl, which is not here")
    folder = tmp_path_factory.mktemp("secured")
    certificates = make_certificates(folder / "tls")
    extra = CREDENTIALS.format(keystore=certificates / "server.pem")
    broker = Broker(home, folder / "kafka", extra=extra, security="SASL_SSL")
    broker.start()
    try:
        user = ("--entity-type", "users", "--entity-name", "bob")
        broker.tool("kafka.admin.ConfigCommand", "--alter", "--add-config", "SCRAM-SHA-256=[password=hatter]", *user)
        yield broker, certificates
    finally:
        broker.stop()


@pytest.fixture
def sasl(secured: tuple[Broker, Path], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What lets alice in."""
    broker, certificates = secured
    monkeypatch.setenv("RIGHT", "wonder")
    monkeypatch.setenv("HATTER", "hatter")
    monkeypatch.setenv("WRONG", "guessed")
    trust = {"security": "SASL_SSL", "ca_file": str(certificates / "ca.pem")}
    return {"kafka": broker.secured, "prefix": prefix(), "username": "alice", "password": "env:RIGHT", **trust}


@kafka_test
@slow
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"password": "env:WRONG"}, "it refused the credentials. Check log.username, log.mechanism and the variable"),
        ({"mechanism": "SCRAM-SHA-256", "username": "bob", "password": "env:WRONG"}, "it refused the credentials"),
        ({"mechanism": "SCRAM-SHA-256", "username": "nobody"}, "it refused the credentials"),
        ({"mechanism": "SCRAM-SHA-512", "username": "bob"}, "it refused the credentials"),
        ({"ca_file": None}, "its certificate is not trusted, or is not for that host. Set log.ca_file"),
        ({"security": "SSL", "username": None, "password": None}, "does that listener speak what log.security says?"),
        (
            {"security": "PLAINTEXT", "username": None, "password": None, "ca_file": None},
            "does that listener speak what log.security says?",
        ),
    ],
)
def test_who_is_not_let_in_is_told_why(
    sasl: dict[str, Any], refused: Refused, wrong: dict[str, Any], words: str
) -> None:
    started = time.monotonic()
    said = refused(**{**sasl, **wrong})
    assert words in said
    assert sasl["kafka"] in said
    assert "guessed" not in said
    assert time.monotonic() - started < 15


@kafka_test
@slow
def test_a_certificate_of_another_authority_is_not_trusted(
    sasl: dict[str, Any], secured: tuple[Broker, Path], refused: Refused
) -> None:
    said = refused(**{**sasl, "ca_file": str(secured[1] / "other.pem")})
    assert "its certificate is not trusted" in said
    assert "Set log.ca_file to the certificate of the authority that signed it" in said


@kafka_test
@slow
@pytest.mark.parametrize(
    "account",
    [
        pytest.param({}, marks=pytest.mark.long),
        {"mechanism": "SCRAM-SHA-256", "username": "bob", "password": "env:HATTER"},
    ],
)
def test_a_run_over_tls_with_credentials_goes_to_its_end(
    sasl: dict[str, Any], experiment: Make, runs: Path, account: dict[str, Any]
) -> None:
    results = contraflow.run(experiment(budget=SHORT, partitions=2, log={**sasl, **account}), runs=runs)
    assert results.why == "budget: 200 texts"
    assert len(results.assignments) == 100
    kept = (results.folder.path / "config.json").read_text()
    assert "wonder" not in kept
    assert "hatter" not in kept


# topics, records and positions that are not as they must be


def create(servers: str, *topics: NewTopic) -> None:
    async def go() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=servers)
        await admin.start()
        try:
            await admin.create_topics(list(topics))
            while len(await admin.describe_topics([t.name for t in topics])) < len(topics):  # noqa: ASYNC110
                await anyio.sleep(0.05)
        finally:
            await admin.close()

    anyio.run(go)


@kafka_test
@slow
@pytest.mark.parametrize(
    ("topic", "partitions", "words"),
    [
        ("texts", 2, "exists with 2 partitions and clean-up 'delete'; asked for 8 and 'delete'"),
        ("clusters", 1, "exists with 1 partitions and clean-up 'delete'; asked for 1 and 'compact'"),
        ("texts", 8, "exists and takes records of 1,048,588 bytes; contraflow may write"),
    ],
)
def test_a_topic_that_was_made_otherwise(
    kafka: str, experiment: Make, runs: Path, topic: str, partitions: int, words: str
) -> None:
    ours = prefix()
    create(kafka, NewTopic(f"{ours}small-1.{topic}", partitions, 1))
    with pytest.raises(contraflow.ContraflowError) as refused:
        contraflow.run(experiment(budget=SHORT, log={"kafka": kafka, "prefix": ours}), runs=runs)
    said = str(refused.value)
    assert f"topic '{ours}small-1.{topic}' {words}" in said
    assert "delete the topic if nothing needs it" in said


@kafka_test
@slow
def test_a_new_run_does_not_go_on_from_the_topics_of_an_old_one(kafka: str, experiment: Make, runs: Path) -> None:
    log = {"kafka": kafka, "prefix": prefix()}
    plain = experiment(budget=SHORT, partitions=2, log=log)
    folder = contraflow.run(plain, runs=runs).folder.path
    (folder / "done").unlink()
    assert contraflow.run(plain, runs=runs).folder.path == folder, "an unfinished run is resumed"
    folder.rename(runs.with_name("away"))
    with pytest.raises(contraflow.ContraflowError) as refused:
        contraflow.run(plain, runs=runs)
    said = str(refused.value)
    assert "small-1 would be a new run, and the log holds" in said
    assert (
        "Name the experiment differently, set another log.prefix, or delete the topics that begin with small-1." in said
    )
    assert not list(runs.glob("*")), "the next attempt is a new one, too"
    with pytest.raises(contraflow.ContraflowError, match="would be a new run"):
        contraflow.run(plain, runs=runs)


@kafka_test
@slow
def test_positions_that_the_cluster_has_forgotten(secured: tuple[Broker, Path], experiment: Make, runs: Path) -> None:
    broker, _ = secured
    ours = prefix()
    log = {"kafka": broker.servers, "prefix": ours}
    plain = experiment(budget={"texts": 4000}, partitions=2, log=log)
    anyio.run(run_a_part, plain, runs)
    groups = ("--group", f"{ours}small-1.embedder", "--group", f"{ours}small-1.clusterer")
    broker.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--delete", *groups)
    with pytest.raises(contraflow.ContraflowError) as refused:
        contraflow.run(plain, runs=runs)
    assert "the embedder stopped: small-1.embedder has written output, and its positions in small-1.texts" in str(
        refused.value
    )
    assert "offsets.retention.minutes" in str(refused.value)


async def run_a_part(plain: dict[str, Any], runs: Path) -> None:
    drain = Drain()

    async def stop_in_the_middle() -> None:
        folder = RunFolder(runs / "small-1")
        while not (folder.path / "config.json").exists():  # noqa: ASYNC110  # files tell nobody
            await anyio.sleep(0.01)
        async with open_log(folder) as log:
            while not await read_topic(log, Wire(folder.run, 2), "assignments"):  # noqa: ASYNC110
                await anyio.sleep(0.01)
        drain.request("test")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stop_in_the_middle)
        loaded = Loaded(experiment_from(plain), Path(), Path("small.yaml"))
        outcome = await execute(loaded, runs, new=False, console=Console(quiet=True), drain=drain)
    assert not outcome.done


GENERATOR = """
def long(prompts):
    return ["x" * 9_000_000 if p.endswith(" 7") else f"{p}, answered" for p in prompts]
"""


@slow
@pytest.mark.parametrize("log", ["embedded", pytest.param("kafka", marks=kafka_test)])
def test_an_answer_that_no_log_takes_closes_its_pair(
    request: pytest.FixtureRequest, tmp_path: Path, experiment: Make, runs: Path, log: str
) -> None:
    (tmp_path / f"own_{log}.py").write_text(GENERATOR)
    (tmp_path / "prompts.txt").write_text("\n".join(f"question number {i}" for i in range(50)))
    section = {"kafka": request.getfixturevalue("kafka"), "prefix": prefix()} if log == "kafka" else log
    own = {"backend": f"own_{log}:long", "batch": 32}
    plain = experiment(arms={"base": {}, "tuned": {}}, generator=own, prompts={"path": "prompts.txt"}, budget=SHORT)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({**plain, "log": section}))
    results = contraflow.run(path, runs=runs)
    failed = [t for answers in results.texts.values() for t in answers.values() if t.error]
    assert failed
    assert {t.prompt for t in failed} == {"question number 7"}
    assert all("bytes; the limit is 8,388,608" in str(t.error) for t in failed)
    assert sum(a.failed for a in results.assignments) == len(failed) / 2


@pytest.mark.long
@kafka_test
@slow
def test_a_cluster_that_can_do_no_transactions(
    tmp_path: Path, experiment: Make, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = own_kafka()
    broker = Broker(home, tmp_path / "kafka", extra="transaction.state.log.replication.factor=3\n")
    broker.start()
    monkeypatch.setattr("contraflow.log.kafka.coordinators.LIMIT", 5.0)
    try:
        with pytest.raises(contraflow.ContraflowError) as refused:
            contraflow.run(experiment(budget=SHORT, log={"kafka": broker.servers}), runs=runs)
    finally:
        broker.stop()
    assert f"Kafka at {broker.servers} has no coordinator for transactions, which contraflow needs" in str(
        refused.value
    )
    assert "transaction.state.log.replication.factor" in str(refused.value)
