"""A process that judges pairs until it is done, out of money, or killed: ``python llm_asker.py '{...}'``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import anyio

from contraflow.errors import BudgetSpent, ProviderDown
from contraflow.llm.failures import failure
from contraflow.llm.provider import Reply, Transient
from contraflow.validator.judges import open_judges
from contraflow.validator.types import Statement

PIRATE = Statement("sounds like a pirate", {}, ())
ADDRESS = ""


def texts(i: int) -> tuple[str, str]:
    """The pair with this number."""
    return f"arr number {i}, matey", f"good morning, number {i}"


async def ask(system: str, user: str, schema: dict[str, Any], model: str) -> Reply:
    """A provider without a package: chat completions over a connection of its own."""
    request = {"model": model, "messages": [{"role": "user", "content": user}]}
    body = json.dumps(request).encode()
    host, port = ADDRESS.removeprefix("http://").split(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except OSError as error:
        raise Transient(str(error)) from None
    try:
        writer.write(b"POST /chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        content = await reader.readexactly(int(headers["content-length"]))
    except (OSError, asyncio.IncompleteReadError) as error:
        raise Transient(str(error), billed=True) from None
    finally:
        writer.close()
    status = int(head[0].split()[1])
    if status != 200:
        raise failure(status, "failed", headers)
    try:
        reply = json.loads(content)
        usage = reply["usage"]
        return Reply(reply["choices"][0]["message"]["content"], usage["prompt_tokens"], usage["completion_tokens"])
    except (ValueError, LookupError) as error:
        raise Transient(str(error), billed=True) from None


async def main(told: dict[str, Any]) -> None:
    """Judge pairs 0 to ``pairs``; prints a line for each, and what ended it."""
    ended = "done"

    async def worker(judge: Any, left: list[int]) -> None:
        nonlocal ended
        while left and ended == "done":
            i = left.pop(0)
            try:
                answer = await judge.judge(PIRATE, *texts(i))
            except BudgetSpent:
                ended = "spent"
            except ProviderDown:
                left.append(i)
                await anyio.sleep(0.2)
            else:
                print(i, answer.choice, flush=True)

    async def no_vectors(texts: object) -> Any:
        raise AssertionError

    async with open_judges([told["tier"]], no_vectors, "run-1", told["dollars"], folder=Path(told["folder"])) as (
        judges,
        _,
    ):
        left = list(range(told["pairs"]))
        async with anyio.create_task_group() as group:
            for _ in range(told["workers"]):
                group.start_soon(worker, judges[0], left)
    print(ended, flush=True)


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    ADDRESS = told["address"]
    sys.modules["llm_asker"] = sys.modules["__main__"]
    asyncio.run(main(told))
