"""``@consumer``: what a function reads and writes, told by its annotations and checked when its module is imported."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, Generic, NoReturn, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from contraflow.configuration.typed import nearest
from contraflow.errors import ConsumerError
from contraflow.events import EVENTS, tag_of
from contraflow.topics import SERVICES, TOPICS

__all__ = ["Batch", "Consumer", "Output", "check_name", "consumer"]

E = TypeVar("E", bound=msgspec.Struct)
P = TypeVar("P")
R = TypeVar("R")

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,47}")
_TAG = re.compile(r"[a-z][a-z0-9_-]*\.v[0-9]+")
"""Groups of a run that are contraflow's own."""


@dataclass(frozen=True, slots=True)
class Batch(Generic[E]):
    """Events of one partition in its order, and where they lie; ``timestamps`` are in ms since the epoch.

    After a crash the next batch starts at the same ``first_offset``, or at that of an earlier one, and may end elsewhere.
    """

    run: str
    topic: str
    partition: int
    events: list[E]
    offsets: list[int]
    timestamps: list[int]

    @property
    def first_offset(self) -> int:
        """The offset of the first event."""
        return self.offsets[0]

    @property
    def last_offset(self) -> int:
        """The offset of the last event."""
        return self.offsets[-1]


@dataclass(frozen=True, slots=True)
class Output:
    """What a consumer writes: to ``topic`` (without the run), one ``event`` an input, or, ``keyed``, (key, event)s."""

    topic: str
    event: type[msgspec.Struct]
    keyed: bool

    def __str__(self) -> str:
        kind = self.event.__name__
        return f"list[tuple[str, {kind}]]" if self.keyed else f"list[{kind}]"


@dataclass(frozen=True, slots=True)
class Consumer(Generic[P, R]):
    """A function and what ``@consumer`` says of it. Calling it calls the function."""

    name: str
    function: Callable[[P], R]
    topic: str
    event: type[msgspec.Struct]
    whole: bool
    """Whether the function takes a Batch, and not the events alone."""
    output: Output | None
    batch: int
    limit: float
    gather: float

    def __call__(self, argument: P) -> R:
        """What the function returns."""
        return self.function(argument)


def consumer(
    *,
    topic: str,
    output: str | None = None,
    name: str | None = None,
    batch: int = 256,
    limit: float = 60.0,
    gather: float = 0.0,
) -> Callable[[Callable[[P], R]], Consumer[P, R]]:
    """Make a function a consumer of a topic of a run.

    The function takes a ``list`` of the topic's events, or a ``Batch`` of them, and is ``async``, or plain: a plain one
    is called in a thread of its own, once at a time. With ``output`` it returns a list of its own ``msgspec.Struct``
    (tagged, such as ``tag="score.v1"``), one for each event in their order, or a list of ``(key, event)`` tuples, as
    many as it likes; without ``output`` it returns None.

    ``name`` (the function's, unless given) names its place in the topic. It is called with up to ``batch`` events of
    one partition, at most ``limit`` seconds. With ``gather``, fewer than ``batch`` wait until the oldest is ``gather``
    seconds old.

    :raises ConsumerError: if the declaration cannot work; the message says what to change.
    """

    def declare(function: Callable[[P], R]) -> Consumer[P, R]:
        called = name or str(getattr(function, "__name__", function))
        checks = _Checks(called)
        checks.numbers(batch, limit, gather)
        event, whole = checks.takes(function, topic)
        return Consumer(called, function, topic, event, whole, checks.gives(function, output), batch, limit, gather)

    return declare


def check_name(name: str) -> None:
    """Refuse a name that no consumer can have.

    :raises ConsumerError: if it is malformed, or a service's of the ring.
    """
    if not _NAME.fullmatch(name):
        raise ConsumerError(
            f"consumer {name!r}: a name is a lower-case letter and up to 47 letters, digits, - or _; "
            'name it with @consumer(name="...")'
        )
    if name in SERVICES:
        raise ConsumerError(f"consumer {name!r}: that is the name of a service of contraflow; choose another")


class _Checks:
    def __init__(self, name: str) -> None:
        check_name(name)
        self._name = name

    def _refuse(self, what: str) -> NoReturn:
        raise ConsumerError(f"consumer {self._name}: {what}")

    def numbers(self, batch: int, limit: float, gather: float) -> None:
        if batch < 1:
            self._refuse(f"batch: a number of events from 1 on; got {batch}")
        if limit <= 0:
            self._refuse(f"limit: seconds above 0; got {limit}")
        if gather < 0:
            self._refuse(f"gather: seconds from 0 on; got {gather}")

    def takes(self, function: Callable[..., Any], topic: str) -> tuple[type[msgspec.Struct], bool]:
        """The event that the function takes, and whether in a Batch."""
        carried = {name: spec.event for name, spec in TOPICS.items() if spec.event}
        if topic not in carried:
            there = ", ".join(carried)
            self._refuse(f"topic: there is no topic {topic!r} (there are {there}){nearest(topic, list(carried))}")
        event = carried[topic]
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            self._refuse("it yields; return a list instead")
        parameters = list(inspect.signature(function).parameters.values())
        if len(parameters) != 1:
            self._refuse(f"it takes {len(parameters)} parameters; write one, such as `events: list[{event.__name__}]`")
        hint = self._hints(function).get(parameters[0].name)
        if hint is None:
            self._refuse(
                f"{parameters[0].name} has no annotation; write `{parameters[0].name}: list[{event.__name__}]`"
            )
        if get_origin(hint) not in (list, Sequence, Batch) or get_args(hint) != (event,):
            self._refuse(
                f"{parameters[0].name} is annotated {_shown(hint)}, and {topic} carries {event.__name__}; write "
                f"list[{event.__name__}] or Batch[{event.__name__}]"
            )
        return event, get_origin(hint) is Batch

    def gives(self, function: Callable[..., Any], topic: str | None) -> Output | None:
        """What the function returns."""
        hints = self._hints(function)
        if "return" not in hints:
            self._refuse(
                "what it returns has no annotation; write `-> list[YourEvent]`, or `-> None` without an output"
            )
        hint = hints["return"]
        if topic is None:
            if hint is not NoneType:
                self._refuse(f"it returns {_shown(hint)} and names no output; add output=..., or return None")
            return None
        if not _NAME.fullmatch(topic):
            self._refuse(f"output: a lower-case letter and up to 47 letters, digits, - or _; got {topic!r}")
        if topic in TOPICS:
            self._refuse(
                f"output: {topic!r} is a topic of the ring, which nobody else may write to; choose another name"
            )
        (item,) = get_args(hint) if get_origin(hint) in (list, Sequence) else (None,)
        keyed = get_origin(item) is tuple and get_args(item)[:1] == (str,) and len(get_args(item)) == 2
        event = get_args(item)[1] if keyed else item
        if not (isinstance(event, type) and issubclass(event, msgspec.Struct)):
            self._refuse(
                f"it returns {_shown(hint)}; with an output write `-> list[YourEvent]` or "
                "`-> list[tuple[str, YourEvent]]`, where YourEvent is a msgspec.Struct"
            )
        self._tagged(event)
        return Output(topic, event, keyed)

    def _tagged(self, event: type[msgspec.Struct]) -> None:
        tag, name = event.__struct_config__.tag, event.__name__
        if not (isinstance(tag, str) and _TAG.fullmatch(tag)):
            wanted = f'class {name}(msgspec.Struct, frozen=True, tag="{name.lower()}.v1")'
            self._refuse(f"{name} has no tag of a name and a version; write `{wanted}`")
        if event not in EVENTS and tag in map(tag_of, EVENTS):
            self._refuse(f"{name} has the tag {tag!r}, which is an event of contraflow's own; choose another")

    def _hints(self, function: Callable[..., Any]) -> dict[str, Any]:
        try:
            return get_type_hints(function)
        except (NameError, TypeError) as error:
            self._refuse(f"an annotation cannot be read ({error}); its types must be imported, or defined above it")


def _shown(hint: Any) -> str:
    if hint is NoneType:
        return "None"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)
