"""docker-compose.yml and what it mounts, checked as far as it can be without an engine."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from compose_spec import PyOptions

from contraflow.cli import main
from contraflow.configuration import load_experiment
from contraflow.pipeline import decoder_of, services_of

ROOT = Path(__file__).parents[2]
TEXT = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "docker-compose.yml").read_text())
"""With the variables' defaults, as an engine reads it."""
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {name: s for name, s in SERVICES.items() if s["image"].startswith("contraflow-")}


def words(name: str) -> list[str]:
    return shlex.split(OURS[name]["command"])


def options(name: str) -> dict[str, Any]:
    """What the real command line makes of a container's command."""
    group, *rest = words(name)
    return main.commands[group].make_context(group, rest).params


def test_the_compose_specification_allows_it() -> None:
    compose = PyOptions(apply_merge=True).from_yaml(TEXT)
    compose.validate()  # whatever a service names is declared
    assert compose.service_names() == list(SERVICES)


def test_every_image_has_an_exact_version() -> None:
    for name, service in SERVICES.items():
        assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+\.\d+", service["image"]), name
    assert {service["image"].partition(":")[2] for service in OURS.values()} == {version("contraflow")}


def test_nothing_is_open_to_the_world() -> None:
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        # without a port of its own it is on the inner network alone
        assert ("outside" in service["networks"]) == ("ports" in service), name
        assert service.get("privileged") is None and service.get("network_mode") is None
    assert COMPOSE["networks"]["ring"] == {"internal": True}
    for service in OURS.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_no_secret_is_in_the_file() -> None:
    for service in SERVICES.values():
        names = service.get("environment", {})
        assert not [name for name in names if re.search("PASSWORD|SECRET|TOKEN|API_KEY", name)]


def test_what_is_mounted_is_there_and_what_the_project_ships_is_read_only() -> None:
    for name, service in SERVICES.items():
        for mount in service["volumes"]:
            source, target, *mode = mount.split(":")
            assert target.startswith("/")
            if source.startswith("./"):
                assert (ROOT / source).exists() and mode == ["ro"], name
            else:
                assert source in COMPOSE["volumes"]


def test_it_runs_every_service_of_the_ring_and_each_arm_has_a_decoder() -> None:
    run = {decoder_of(o["arm"]) if o["name"] == "decoder" else o["name"] for o in map(options, OURS)}
    for example in (ROOT / "examples").glob("*.yaml"):
        assert run == set(services_of(tuple(load_experiment(example, ()).experiment.arms))), example


@pytest.mark.parametrize("name", OURS)
def test_a_containers_command_is_one_that_the_command_line_takes(name: str) -> None:
    given = options(name)
    assert name == "-".join(filter(None, (given["name"], given["arm"])))
    mounted = given["experiment"].relative_to("/experiments")
    loaded = load_experiment(ROOT / "examples" / mounted, given["overrides"])
    assert loaded.experiment.log.kafka == "kafka:9092"  # type: ignore[union-attr]  # it is not embedded
    assert re.fullmatch(rf"{loaded.experiment.experiment}-\d+", given["run"])
    assert given["metrics"] == ("0.0.0.0", 9100)
    assert f"runs:{given['runs']}" in OURS[name]["volumes"]


def test_only_what_may_have_replicas_has_them() -> None:
    assert {options(name)["name"] for name, s in OURS.items() if "deploy" in s} == {"decoder", "embedder"}


def test_a_service_that_ends_well_is_not_started_again() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == "on-failure", name  # an exit with 0 says that it is done, or was replaced


def test_every_container_has_a_healthcheck() -> None:
    checks = {name: service["healthcheck"]["test"] for name, service in SERVICES.items()}
    assert all(check[0] == "CMD" for check in checks.values())
    listeners = SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"RING://{checks['kafka'][-1]}," in listeners
    assert checks["prometheus"][-1] == "http://127.0.0.1:9090/-/healthy"
    assert checks["grafana"][-1] == "http://127.0.0.1:3000/api/health"


@contextmanager
def endpoint(status: int) -> Iterator[int]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "well"), [(200, True), (503, False)])
def test_a_services_healthcheck_does_what_healthz_says(status: int, well: bool) -> None:
    ((kind, python, *arguments),) = {tuple(service["healthcheck"]["test"]) for service in OURS.values()}
    assert (kind, python) == ("CMD", "python")
    with endpoint(status) as port:
        command = [sys.executable, *(argument.replace(":9100/", f":{port}/") for argument in arguments)]
        assert f":{port}/healthz" in command[-1]
        assert (subprocess.run(command, capture_output=True, timeout=15).returncode == 0) == well


def test_prometheus_asks_every_replica_of_every_service() -> None:
    (job,) = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert set(found["names"]) == set(OURS)
    assert (found["type"], found["port"]) == ("A", 9100)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (of Prometheus) is not installed")
def test_prometheus_takes_its_configuration() -> None:
    subprocess.run(["promtool", "check", "config", str(ROOT / "deploy" / "prometheus.yml")], check=True, timeout=15)


def test_grafana_is_given_the_datasource_and_the_folder_that_are_mounted() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "contraflow.yml").read_text())["providers"]
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (ROOT / "deploy" / "grafana" / "dashboards" / home.name).exists()


def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=15)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_image_is_exact_and_its_user_is_not_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+", bases[0])
    for stage in "\n".join(lines).split("\nFROM ")[1:]:
        users = re.findall(r"^USER (.*)$", stage, re.MULTILINE)
        assert int(users[-1]) > 0
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
    assert {stage["build"]["target"] for stage in OURS.values()} <= set(re.findall(r" AS (\w+)", "\n".join(lines)))
