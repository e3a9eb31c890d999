"""Records that cannot be processed, and the limit past which a service stops rather than empty a topic into them."""

from __future__ import annotations

from collections import deque

from contraflow.errors import ContraflowError
from contraflow.log.protocol import Outgoing, Record
from contraflow.topics import dead_letters

__all__ = ["DeadLetterLimit", "TooManyDeadLetters", "dead_letter"]


class TooManyDeadLetters(ContraflowError):
    """So many records failed that something is wrong with the service, and not with the records."""


class DeadLetterLimit:
    """Stops a service after ``run`` failures in a row, or more than ``share`` of the last ``window`` records."""

    def __init__(self, topic: str, *, share: float = 0.1, window: int = 500, run: int = 50) -> None:
        self._topic = topic
        self._share = share
        self._run = run
        self._recent: deque[bool] = deque(maxlen=window)
        self._in_a_row = 0

    def passed(self, records: int = 1) -> None:
        """Note records that were processed."""
        self._in_a_row = 0
        self._recent.extend([False] * min(records, self._recent.maxlen or records))

    def failed(self, error: BaseException | str) -> None:
        """Note a record that goes to the dead letters.

        :raises TooManyDeadLetters: if that is one too many; nothing of the batch may be committed then.
        """
        self._in_a_row += 1
        self._recent.append(True)
        full = len(self._recent) == self._recent.maxlen
        if self._in_a_row >= self._run or (full and sum(self._recent) > self._share * len(self._recent)):
            raise TooManyDeadLetters(
                f"{sum(self._recent)} of the last {len(self._recent)} records of {self._topic} could not be processed "
                f"({self._in_a_row} in a row); the last one: {error}. Nothing was committed of this batch; mend the "
                "cause and run the same command again."
            )


def dead_letter(record: Record, error: BaseException | str, topic: str | None = None) -> Outgoing:
    """The record as it came, for ``topic`` (or its own topic's dead letters), its origin and the error in the headers."""
    origin = {
        "contraflow-origin-topic": record.topic.encode(),
        "contraflow-origin-partition": str(record.partition).encode(),
        "contraflow-origin-offset": str(record.offset).encode(),
        "contraflow-error": (str(error) or repr(error)).encode()[:4096],
    }
    return Outgoing(topic or dead_letters(record.topic), 0, record.key, record.value, {**record.headers, **origin})
