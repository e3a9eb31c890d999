"""What an engine starts ends with the process that started it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")

PROGRAM = """
import multiprocessing, sys, time
from contraflow.decoder.vllm.ending import Ending

def start():
    process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    process.start()
    return process

if __name__ == "__main__":
    other = start()
    ending = Ending()
    ending.begin()
    ending.look()
    engine = start()
    ending.look()
    if "closed" in sys.argv:
        ending.close()
    print(other.pid, engine.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["killed", "closed"])
def test_what_was_started_ends_with_a_process_that_is_killed_unless_it_was_told_to_leave_it(
    tmp_path: Path, how: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with subprocess.Popen([sys.executable, str(program), how], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        other, engine = map(int, process.stdout.readline().split())
        process.kill()
    try:
        until = time.monotonic() + 5
        while runs(engine) and time.monotonic() < until and how == "killed":
            time.sleep(0.02)
        assert runs(engine) == (how == "closed")
        assert runs(other), "it was there before"
    finally:
        for pid in (other, engine):
            subprocess.run(["kill", "-9", str(pid)], check=False, stderr=subprocess.DEVNULL)


def runs(pid: int) -> bool:
    """Whether it does; one that has ended and was not waited for does not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status
