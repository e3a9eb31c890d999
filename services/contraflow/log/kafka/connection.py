"""How a Kafka cluster is reached, and what its client's errors mean in words."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiokafka.errors as kafka

from contraflow.errors import ConfigurationError, Fenced, LogError
from contraflow.log.limits import MAX_RECORD

__all__ = ["LIMIT", "KafkaConnection", "in_words"]

LIMIT = 30.0
"""Seconds that any one exchange with the cluster may take: the loss of a coordinator alone takes 6 to 10."""

_MARGIN = 64 << 10
"""What a batch adds around its one largest record."""


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """A cluster (``host:port``, several separated by commas), and who asks.

    ``prefix`` goes before the name of every topic, group and transactional id, so that a shared cluster can grant one
    prefix. ``security`` is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL. ``replication`` is of new topics; None is three,
    or as many brokers as there are.
    """

    servers: str
    prefix: str = ""
    security: str = "PLAINTEXT"
    mechanism: str = "PLAIN"
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    replication: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options that every client of aiokafka takes.

        :raises ConfigurationError: if ``ca_file`` cannot be used.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers,
            "security_protocol": self.security,
            "request_timeout_ms": 10_000,
        }
        if self.security.endswith("SSL"):
            options["ssl_context"] = _trust(self.ca_file)
        if self.security.startswith("SASL"):
            options["sasl_mechanism"] = self.mechanism
            options["sasl_plain_username"] = self.username
            options["sasl_plain_password"] = self.password
        return options

    @property
    def topic_options(self) -> dict[str, str]:
        """What every topic is created with: nothing is forgotten before the run is purged."""
        return {"max.message.bytes": str(MAX_RECORD + _MARGIN), "retention.ms": "-1"}

    @property
    def max_request(self) -> int:
        """What a producer may send at once."""
        return MAX_RECORD + _MARGIN


def _trust(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigurationError(
            f"log.ca_file: {ca_file!r} cannot be used ({error.strerror or error}). Give the PEM file with the certificate of "
            "the authority that signed the brokers' certificates."
        ) from error


_WORDS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((ConnectionRefusedError,), "nothing listens there. Is it running, and is that its address as seen from here?"),
    ((socket.gaierror,), "no host of that name is known here. Check log.kafka."),
    (
        (ssl.SSLCertVerificationError,),
        "its certificate is not trusted, or is not for that host. Set log.ca_file to the certificate of the authority that "
        "signed it, and use the name that it was made for.",
    ),
    (
        (ssl.SSLError, ConnectionResetError),
        "it ended the connection at once. Does that listener speak what log.security says?",
    ),
    (
        (
            kafka.KafkaConnectionError,
            kafka.NodeNotReadyError,
            kafka.RequestTimedOutError,
            kafka.KafkaTimeoutError,
            TimeoutError,
        ),
        "the cluster does not answer. Is it running, is that its address as seen from here, and does that listener speak "
        "what log.security says?",
    ),
    (
        (kafka.AuthenticationFailedError, kafka.SaslAuthenticationFailed, kafka.UnsupportedSaslMechanismError),
        "it refused the credentials. Check log.username, log.mechanism and the variable that holds the password.",
    ),
    (
        (
            kafka.TopicAuthorizationFailedError,
            kafka.GroupAuthorizationFailedError,
            kafka.ClusterAuthorizationFailedError,
            kafka.TransactionalIdAuthorizationFailed,
        ),
        "its access rules forbid this. Topics, groups and transactional ids begin with log.prefix: grant that prefix.",
    ),
    ((kafka.UnknownTopicOrPartitionError,), "it has no such topic or partition. Was the topic deleted?"),
    (
        (kafka.UnsupportedVersionError, kafka.IncompatibleBrokerVersion),
        "it is too old: contraflow needs transactions and stable offsets (Apache Kafka 2.5 or newer).",
    ),
    (
        (kafka.NotEnoughReplicasError, kafka.NotEnoughReplicasAfterAppendError, kafka.InvalidReplicationFactorError),
        "it has too few brokers for the replication that is asked for. Start them, or lower log.replication.",
    ),
    (
        (kafka.MessageSizeTooLargeError,),
        "a record is larger than its topic takes. Raise the topic's max.message.bytes.",
    ),
)


@contextmanager
def in_words(connection: KafkaConnection, doing: str) -> Iterator[None]:
    """Turns the client's errors into a LogError that says what was being done and what to do next.

    :raises Fenced: if a newer owner of the transactional id has started.
    :raises LogError: for every other error of the client.
    """
    try:
        yield
    except LogError:
        raise
    except (kafka.ProducerFenced, kafka.InvalidProducerEpoch) as error:
        raise Fenced(f"{doing}: a newer owner of the same transactional id has started, so this one stops") from error
    except (kafka.KafkaError, TimeoutError, OSError, AssertionError) as error:
        raise LogError(f"{doing} on Kafka at {connection.servers}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    for kinds, words in _WORDS:
        if isinstance(error, kinds):
            return words
    cause = f" ({error.__cause__!r})" if error.__cause__ else ""
    return f"{error!r}{cause}"
