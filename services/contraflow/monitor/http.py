"""``/metrics`` for Prometheus and ``/healthz`` for whoever restarts services: a server as small as that needs."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import NamedTuple

import anyio
import anyio.to_thread
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from prometheus_client.exposition import choose_encoder

from contraflow.errors import ConfigurationError
from contraflow.log.protocol import Log
from contraflow.monitor.endpoint import Address
from contraflow.monitor.health import health
from contraflow.runtime.beside import beside
from contraflow.runtime.metrics import Metrics

__all__ = ["serve_metrics"]

logger = logging.getLogger(__name__)

_LIMIT = 10.0
"""Seconds that one exchange may take."""
_LONGEST = 16 << 10
"""Bytes that the head of a request may have."""


class _Answer(NamedTuple):
    status: HTTPStatus
    content_type: str
    body: bytes


@asynccontextmanager
async def serve_metrics(address: Address, metrics: Metrics, log: Log) -> AsyncIterator[str]:
    """Serve while the block runs; gives the URL. Port 0 takes a free one.

    :raises ConfigurationError: if the address cannot be used.
    """
    host, port = address
    try:
        listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    except OSError as error:
        raise ConfigurationError(
            f"--metrics: {host}:{port} cannot be used ({error.strerror or error}). Choose another port, or 0 for a free one."
        ) from error
    async with listener, beside(partial(listener.serve, _Server(metrics, log).attend)):
        chosen = listener.extra(SocketAttribute.local_port)
        yield f"http://{f'[{host}]' if ':' in host else host}:{chosen}"


class _Server:
    def __init__(self, metrics: Metrics, log: Log) -> None:
        self._metrics = metrics
        self._log = log

    async def attend(self, stream: SocketStream) -> None:
        """One exchange; whatever goes wrong in it is no matter of the run's."""
        try:
            async with stream:
                with anyio.move_on_after(_LIMIT):
                    head = await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", _LONGEST)
                    await stream.send(await self._response(head.decode("latin-1")))
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound):
            pass  # whoever asked is gone, or speaks something else
        except Exception:
            logger.exception("a request for metrics could not be answered")

    async def _response(self, head: str) -> bytes:
        request, *fields = head.split("\r\n")
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        answer = await self._answer(method, path, _field(fields, "accept"))
        told = (
            f"HTTP/1.1 {answer.status} {answer.status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
        ).encode("latin-1")
        return told if method == "HEAD" else told + answer.body

    async def _answer(self, method: str, path: str, accept: str) -> _Answer:
        if method not in ("GET", "HEAD"):
            return _Answer(HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", b"only GET is answered here\n")
        if path == "/metrics":
            return await self._exposition(accept)
        if path == "/healthz":
            return await self._health()
        return _Answer(HTTPStatus.NOT_FOUND, "text/plain", b"here are /metrics and /healthz\n")

    async def _exposition(self, accept: str) -> _Answer:
        for meter in self._metrics.meters.values():
            meter.publish()
        encode, content_type = choose_encoder(accept)
        # off the loop: it reads /proc, and takes a few milliseconds
        body = await anyio.to_thread.run_sync(encode, self._metrics.registry)
        return _Answer(HTTPStatus.OK, content_type, body)

    async def _health(self) -> _Answer:
        well, told = await health(self._metrics, self._log)
        status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
        return _Answer(status, "application/json", json.dumps(told).encode() + b"\n")


def _field(fields: list[str], name: str) -> str:
    for field in fields:
        key, _, value = field.partition(":")
        if key.strip().lower() == name:
            return value.strip()
    return ""
