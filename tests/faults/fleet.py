"""Every service of a run in processes of its own, started again when they die, as a supervisor of containers would."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Fleet", "Member"]


@dataclass
class Member:
    """One process of a service. ``expected`` says that it was asked to end."""

    name: str
    service: tuple[str, ...]
    process: subprocess.Popen[bytes]
    frozen: bool = False
    expected: bool = False


class Fleet:
    """The processes of one run, by name: the service, its arm, and a number."""

    def __init__(self, file: Path, run: str, runs: Path, options: Sequence[str]) -> None:
        self._file = file
        self._fixed = ("--run", run, "--runs", str(runs), *options)
        self._folder = runs.parent / "fleet"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._number = 0
        self.members: dict[str, Member] = {}
        self.restarts = 0

    def add(self, *service: str) -> Member:
        """Start one more process of a service, such as ``add("decoder", "--arm", "base")``."""
        self._number += 1
        name = f"{'-'.join(word for word in service if word != '--arm')}.{self._number}"
        member = Member(name, service, self._start(name, service))
        self.members[name] = member
        return member

    def _start(self, name: str, service: Sequence[str]) -> subprocess.Popen[bytes]:
        kind, *options = service
        command = [sys.executable, "-m", "contraflow", "service", kind, str(self._file), *options, *self._fixed]
        with (self._folder / f"{name}.log").open("ab") as said:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def said(self, member: Member) -> str:
        return (self._folder / f"{member.name}.log").read_text(errors="replace")

    def of(self, *kinds: str) -> list[Member]:
        """The members of these services that are up and not frozen."""
        return [m for m in self.members.values() if m.service[0] in kinds and not m.frozen and m.process.poll() is None]

    def tend(self) -> None:
        """Start again what has died; one that ended with 0 stays away."""
        for member in self.members.values():
            if member.process.poll() not in (None, 0) and not member.expected:
                assert member.process.returncode < 0 or self._was_away(member), (
                    f"{member.name} gave up: {self.said(member)[-2000:]}"
                )
                member.process = self._start(member.name, member.service)
                member.frozen = False
                self.restarts += 1

    def _was_away(self, member: Member) -> bool:
        """Whether it ended because no broker answered, which it says in words; a traceback ends with 1 as well."""
        last = (self.said(member).splitlines() or [""])[-1]
        return member.process.returncode == 1 and last.startswith("error: ") and "the cluster does not answer" in last

    @property
    def done(self) -> bool:
        """Whether every member has ended with 0; one that was asked to leave while it started ends with the signal."""
        return all(self._ended(member) for member in self.members.values())

    def _ended(self, member: Member) -> bool:
        code = member.process.poll()
        return code == 0 or (member.expected and code is not None and code < 0)

    def kill(self, member: Member) -> None:
        member.process.kill()

    def remove(self, member: Member) -> None:
        """Ask a member to drain and leave."""
        member.expected = True
        member.process.terminate()

    def freeze(self, member: Member) -> None:
        member.frozen = True
        member.process.send_signal(signal.SIGSTOP)

    def wake(self, member: Member) -> None:
        member.process.send_signal(signal.SIGCONT)  # if it has not ended of itself meanwhile
        member.frozen = False

    def stop(self) -> None:
        """End everything, whatever it does."""
        for member in self.members.values():
            member.process.kill()
            member.process.wait()

    def wait(self, limit: float) -> None:
        """Tend until every member has ended with 0."""
        deadline = time.monotonic() + limit
        while not self.done:
            left = [m for m in self.members.values() if m.process.poll() is None]
            assert time.monotonic() < deadline, "still there: " + "".join(
                f"\n{m.name}: {self.said(m)[-600:]}" for m in left
            )
            self.tend()
            time.sleep(0.1)
