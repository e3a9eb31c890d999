"""Records that cannot be processed, and the limit past which a service stops rather than empty a topic into them."""

from __future__ import annotations

from collections import deque

from contraflow.errors import ContraflowError
from contraflow.log.protocol import Outgoing, Record
from contraflow.topics import dead_letters

__all__ = ["DeadLetterError", "DeadLetterLimit", "TooManyDeadLetters", "as_it_came", "dead_letter", "error_of"]

_TOPIC, _PARTITION = "contraflow-origin-topic", "contraflow-origin-partition"
_OFFSET, _TIMESTAMP = "contraflow-origin-offset", "contraflow-origin-timestamp"
_ERROR = "contraflow-error"


class TooManyDeadLetters(ContraflowError):
    """So many records failed that something is wrong with the service, and not with the records."""


class DeadLetterError(ContraflowError):
    """There is no such dead letter, or it cannot be replayed."""


class DeadLetterLimit:
    """Stops a service after ``run`` failures in a row, or more than ``share`` of the last ``window`` records."""

    def __init__(self, topic: str, *, share: float = 0.1, window: int = 500, run: int = 50) -> None:
        self._topic = topic
        self._share = share
        self._window = window
        self._run = run
        self._seen = self._in_a_row = 0
        self._failures: deque[int] = deque()

    def passed(self, records: int = 1) -> None:
        """Note records that were processed."""
        self._in_a_row = 0
        self._seen += records

    def failed(self, error: BaseException | str) -> None:
        """Note a record that goes to the dead letters.

        :raises TooManyDeadLetters: if that is one too many; nothing of the batch may be committed then.
        """
        self._in_a_row += 1
        self._seen += 1
        self._failures.append(self._seen)
        while self._failures[0] <= self._seen - self._window:
            self._failures.popleft()
        failed, recent = len(self._failures), min(self._seen, self._window)
        if self._in_a_row >= self._run or (recent == self._window and failed > self._share * recent):
            raise TooManyDeadLetters(
                f"{failed} of the last {recent} records of {self._topic} could not be processed "
                f"({self._in_a_row} in a row); the last one: {error}. Nothing was committed of this batch; mend the "
                "cause and run the same command again."
            )


def dead_letter(record: Record, error: BaseException | str, topic: str | None = None) -> Outgoing:
    """The record as it came, for ``topic`` (or its own topic's dead letters), its origin and the error in the headers."""
    origin = {
        _TOPIC: record.topic.encode(),
        _PARTITION: str(record.partition).encode(),
        _OFFSET: str(record.offset).encode(),
        _TIMESTAMP: str(record.timestamp).encode(),
        _ERROR: (str(error) or repr(error)).encode()[:4096],
    }
    return Outgoing(topic or dead_letters(record.topic), 0, record.key, record.value, {**record.headers, **origin})


def as_it_came(letter: Record) -> Record:
    """The record that became a dead letter, as its topic has it.

    :raises DeadLetterError: if the letter does not say where it came from.
    """
    headers = dict(letter.headers)
    headers.pop(_ERROR, None)
    try:
        topic, partition = headers.pop(_TOPIC).decode(), int(headers.pop(_PARTITION))
        offset, timestamp = int(headers.pop(_OFFSET)), int(headers.pop(_TIMESTAMP))
    except (KeyError, ValueError) as error:
        raise DeadLetterError(
            f"{letter.topic}: the record at offset {letter.offset} does not say where it came from ({error!r}), so it was "
            "not contraflow that wrote it"
        ) from error
    return Record(topic, partition, offset, letter.key, letter.value, headers, timestamp)


def error_of(letter: Record) -> str:
    """Why a record became a dead letter."""
    return letter.headers.get(_ERROR, b"unknown").decode(errors="replace")
