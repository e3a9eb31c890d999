"""Processes and brokers die at random while a run goes on: it loses nothing, counts nothing twice, and finds the same."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from brokers import Cluster, own_kafka
from faults.fleet import Fleet, Member
from faults.recount import recount

ARMS = ("base", "tuned")
SINGLETONS = ("sampler", "clusterer", "validator")
FROZEN = 13.0
"""Seconds: longer than a group waits for a member."""


def experiment_file(folder: Path, texts: int) -> Path:
    plain = {
        "experiment": "drill",
        "arms": {"base": {}, "tuned": {"plants": ["loud", "gloomy"]}},
        "generator": {"backend": "scripted", "world": "kitchen", "batch": 64},
        "embedder": {"model": "hashed"},
        "sampling": {"warm_start": 96, "epoch": 64, "in_flight": 4},
        "budget": {"texts": texts},
    }
    path = folder / "drill.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


def digests(runs: Path) -> dict[str, str]:
    return {f.name: blake2b(f.read_bytes()).hexdigest() for f in sorted((runs / "drill-1" / "results").iterdir())}


def run(file: Path, runs: Path, *options: str) -> None:
    command = [sys.executable, "-m", "contraflow", "run", str(file), "--runs", str(runs), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


class Faults:
    """What can go wrong, drawn at random; ``done`` counts what did."""

    def __init__(self, fleet: Fleet, cluster: Cluster | None, rng: random.Random) -> None:
        self._fleet = fleet
        self._cluster = cluster
        self._rng = rng
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._added: list[Member] = []
        self._brokers_whole_at = 0.0
        self._deck: list[Callable[[], None]] = []
        self.done: Counter[str] = Counter()

    def next(self) -> None:
        """One more fault, of those that are possible now; each kind comes about as often as any other."""
        before = self.done.total()
        while self.done.total() == before:
            if not self._deck:
                self._deck = [
                    self.kill_worker,
                    self.kill_singleton,
                    self.member,
                    self.freeze_worker,
                    self.zombie,
                    self.kill_broker,
                ]
                self._rng.shuffle(self._deck)
            self._deck.pop()()

    def tend(self) -> None:
        """Do what is due: wake what was frozen, start what was killed."""
        now = time.monotonic()
        due = [what for at, what in self._later if at <= now]
        self._later = [(at, what) for at, what in self._later if at > now]
        for what in due:
            what()
        self._fleet.tend()

    @property
    def over(self) -> bool:
        return not self._later

    def _in(self, seconds: float, what: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + seconds, what))

    def kill_worker(self) -> None:
        if up := self._fleet.of("decoder", "embedder"):
            self._fleet.kill(self._rng.choice(up))
            self.done["SIGKILL of a decoder or embedder"] += 1

    def kill_singleton(self) -> None:
        if up := self._fleet.of(*SINGLETONS):
            self._fleet.kill(self._rng.choice(up))
            self.done["SIGKILL of a sampler, clusterer or validator"] += 1

    def member(self) -> None:
        """A member joins, or one that joined leaves."""
        if self._added:
            self._fleet.remove(self._added.pop())
            self.done["a member left"] += 1
        else:
            services = [("embedder",), *(("decoder", "--arm", arm) for arm in ARMS)]
            self._added.append(self._fleet.add(*self._rng.choice(services)))
            self.done["a member joined"] += 1

    def freeze_worker(self) -> None:
        """A process stands still until it is thought dead, and wakes as a zombie."""
        up = self._fleet.of("decoder", "embedder")
        if len(up) > 4:
            member = self._rng.choice(up)
            self._fleet.freeze(member)
            self._in(FROZEN, lambda: self._fleet.wake(member))
            self.done["a decoder or embedder frozen past its session, and woken"] += 1

    def zombie(self) -> None:
        """A singleton stands still, another copy takes its place, and the first wakes."""
        if up := self._fleet.of("clusterer", "sampler", "validator"):
            member = self._rng.choice(up)
            self._fleet.freeze(member)
            self._fleet.add(*member.service)
            self._in(FROZEN, lambda: self._fleet.wake(member))
            self.done["a singleton frozen, replaced, and woken"] += 1

    def kill_broker(self) -> None:
        if self._cluster is not None and time.monotonic() > self._brokers_whole_at:
            node = self._rng.choice(self._cluster.nodes)
            node.signal(signal.SIGKILL)
            self._in(6.0, lambda: node.start(wait=False))
            self._brokers_whole_at = time.monotonic() + 25.0
            self.done["SIGKILL of a broker"] += 1


def drill(
    folder: Path, servers: str, cluster: Cluster | None, *, texts: int, faults: int, seed: int
) -> tuple[Counter[str], int]:
    """Run, disturb, recount and compare; returns what went wrong, and how often a process was started again."""
    file, rng = experiment_file(folder, texts), random.Random(seed)
    run(file, folder / "undisturbed")
    runs = folder / "disturbed"
    options = ("--set", f"log.kafka={servers}", "--set", f"log.prefix=drill-{seed}-{rng.randrange(10**9)}.")
    fleet = Fleet(file, "drill-1", runs, options)
    fault = Faults(fleet, cluster, rng)
    try:
        for service in (*((s,) for s in SINGLETONS), *2 * (("embedder",), *(("decoder", "--arm", a) for a in ARMS))):
            fleet.add(*service)
        while sum(fault.done.values()) < faults:
            pause = time.monotonic() + rng.uniform(2.0, 6.0)
            while time.monotonic() < pause:
                fault.tend()
                time.sleep(0.05)
            assert not fleet.done, f"the run ended after {sum(fault.done.values())} faults: give it more texts"
            fault.next()
        while not fault.over:
            fault.tend()
            time.sleep(0.05)
        fleet.wait(600)
    finally:
        fleet.stop()
    run(file, runs, *options)  # all is done: it writes the results
    anyio.run(recount, runs / "drill-1", texts // 2, ARMS)
    assert digests(runs) == digests(folder / "undisturbed")
    return fault.done, fleet.restarts


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_seven_faults_lose_nothing_and_count_nothing_twice(kafka: str, tmp_path: Path) -> None:
    done, restarts = drill(tmp_path, kafka, None, texts=8000, faults=7, seed=1)
    assert sum(done.values()) >= 7
    assert restarts >= 1


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    home = own_kafka()
    cluster = Cluster(home, tmp_path / "kafka", nodes=3)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_a_drill_on_three_brokers(cluster: Cluster, tmp_path: Path, seed: int, evidence: Callable[..., Any]) -> None:
    done, restarts = drill(tmp_path, cluster.servers, cluster, texts=50_000, faults=32, seed=seed)
    evidence(
        f"{sum(done.values())} faults ({', '.join(f'{n} x {what}' for what, n in done.items())}), {restarts} restarts: "
        "none of 50,000 texts lost, none twice, results equal the undisturbed embedded run's byte for byte",
        "30 faults, equal",
    )
