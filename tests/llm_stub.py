"""A server on loopback that speaks the wire formats of Gemini and of OpenAI, and misbehaves as it is told to."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = [
    "Asked",
    "Behave",
    "Does",
    "Stub",
    "answer",
    "completes",
    "drip",
    "fails",
    "fenced",
    "hang",
    "malformed",
    "models",
    "stub",
    "tell",
    "truncated",
]


class Asked(NamedTuple):
    """A request: ``number`` counts from 0; ``gemini`` is its dialect; ``user`` is what the model is asked."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    gemini: bool
    user: str


class Does(NamedTuple):
    """What the server does: ``body`` with ``status`` after ``delay`` seconds, and then perhaps something amiss."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    amiss: str = ""


Behave = Callable[[Asked], Does]


def answer(
    asked: Asked, text: str, *, tokens: tuple[int, int] | None = (100, 10), finish: str = "", delay: float = 0.0
) -> Does:
    """A well-formed reply in the dialect of the request, charged at ``tokens``."""
    make = _gemini if asked.gemini else _openai
    return Does(body=json.dumps(make([text], tokens, finish)).encode(), delay=delay)


def models(*names: str, **details: Any) -> Does:
    """The list of what a server has, in OpenAI's dialect."""
    listed = [{"id": name, "object": "model", "created": 1, "owned_by": "stub", **details} for name in names]
    return Does(body=json.dumps({"object": "list", "data": listed}).encode())


def completes(asked: Asked, text: str, *, delay: float = 0.0, finish: str = "stop", **reply: Any) -> Does:
    """What a model of OpenAI's dialect writes: in a chat, or behind a plain prompt."""
    made = _openai([text], (9, len(text.split())), finish)
    if "prompt" in asked.body:
        made["object"] = "text_completion"
        made["choices"] = [{"index": 0, "text": text, "finish_reason": finish}]
    return Does(body=json.dumps({**made, "model": asked.body["model"], **reply}).encode(), delay=delay)


def tell(asked: Asked, texts: list[str]) -> Does:
    """A reply with several candidates, or none."""
    make = _gemini if asked.gemini else _openai
    return Does(body=json.dumps(make(texts, (100, 10), "")).encode())


def _gemini(texts: list[str], tokens: tuple[int, int] | None, finish: str) -> dict[str, Any]:
    candidates = [
        {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": finish or "STOP", "index": i}
        for i, text in enumerate(texts)
    ]
    reply: dict[str, Any] = {"candidates": candidates, "modelVersion": "stub"}
    if tokens:
        read, written = tokens
        reply["usageMetadata"] = {
            "promptTokenCount": read,
            "candidatesTokenCount": written,
            "totalTokenCount": read + written,
        }
    return reply


def _openai(texts: list[str], tokens: tuple[int, int] | None, finish: str) -> dict[str, Any]:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": finish or "stop"}
        for i, text in enumerate(texts)
    ]
    reply: dict[str, Any] = {"id": "x", "object": "chat.completion", "created": 1, "model": "stub", "choices": choices}
    if tokens:
        read, written = tokens
        reply["usage"] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return reply


def fails(
    asked: Asked, status: int, message: str = "no", *, headers: dict[str, str] | None = None, **extra: Any
) -> Does:
    """An error in the dialect of the request."""
    error: dict[str, Any] = {"message": message, **extra}
    if asked.gemini:
        error = {"code": status, "status": "FAILED", **error}
    return Does(status, json.dumps({"error": error}).encode(), tuple((headers or {}).items()))


def truncated(asked: Asked) -> Does:
    """The connection closes in the middle of a reply."""
    return answer(asked, '{"answer": "first"}')._replace(amiss="cut")


def malformed(asked: Asked) -> Does:
    """A reply that is no JSON."""
    return Does(body=b'{"choices": [{"mess', amiss="malformed")


def drip(asked: Asked) -> Does:
    """A reply of which a byte comes now and then, so that no time limit between bytes ends it."""
    return answer(asked, '{"answer": "first"}')._replace(amiss="drip")


def hang(asked: Asked) -> Does:
    """Never a reply."""
    return Does(amiss="hang")


@dataclass
class Stub:
    """What was ``asked``, how often each question was ``answered`` in full, and how many were in flight at once at most."""

    behave: Behave
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    most_in_flight: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Every request of one connection."""
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
        path = first.split(" ")[1]
        asked = Asked(len(self.asked), path, headers, body, ":generateContent" in path, _user(body))
        self.asked.append(asked)
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        try:
            return await self._do(self.behave(asked), asked, writer)
        finally:
            self.in_flight -= 1

    async def _do(self, does: Does, asked: Asked, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(does.delay)
        if does.amiss == "hang":
            await asyncio.sleep(3600)
        if does.amiss == "drop":
            return False
        extra = "".join(f"{name}: {value}\r\n" for name, value in does.headers)
        head = f"HTTP/1.1 {does.status} X\r\ncontent-type: application/json\r\ncontent-length: {len(does.body)}\r\n{extra}\r\n"
        writer.write(head.encode())
        if does.amiss == "cut":
            writer.write(does.body[: len(does.body) // 2])
            await writer.drain()
            return False
        if does.amiss == "drip":
            for byte in does.body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        else:
            writer.write(does.body)
            await writer.drain()
        if does.status == 200 and does.amiss != "malformed":
            self.answered[asked.user] += 1
        return True


def _user(body: dict[str, Any]) -> str:
    if "messages" in body:
        return str(body["messages"][-1]["content"])
    if "prompt" in body:
        return str(body["prompt"])
    contents = body.get("contents") or [{"parts": [{"text": ""}]}]
    return "".join(part.get("text", "") for part in contents[-1]["parts"])


def fenced(user: str) -> list[str]:
    """The property and both texts of a question, as the fence holds them."""
    marker = user.split("\n")[0].removeprefix("The marker is ")
    return user.split(f"\n{marker}\n")[1:6:2]


@asynccontextmanager
async def stub(behave: Behave) -> AsyncIterator[Stub]:
    """The server, on a free port, while the block runs."""
    serving = Stub(behave)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serving.serve(reader, writer)
        except asyncio.CancelledError:  # the end of the block; asyncio would log it as an error
            pass
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 24)
    serving.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield serving
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
