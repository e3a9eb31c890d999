from __future__ import annotations

import re
import types
from enum import Enum
from typing import Any, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraflow import events
from contraflow.events import EVENTS, Event, EventError, Evidence, decode, encode, tag_of
from contraflow.schema_examples import EXAMPLES

_LEAVES: dict[Any, st.SearchStrategy[Any]] = {
    str: st.text(max_size=20),
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    type(None): st.none(),
}


def of(kind: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that events use."""
    if kind in _LEAVES:
        return _LEAVES[kind]
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return st.one_of([of(one) for one in args])
    if origin is dict:
        return st.dictionaries(of(args[0]), of(args[1]), max_size=3)
    if origin is tuple and args[-1] is ...:
        return st.lists(of(args[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(of(one) for one in args))
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    return st.builds(kind, **{field.name: of(field.type) for field in msgspec.structs.fields(kind)})


any_event = st.one_of([of(kind) for kind in EVENTS])


@given(any_event)
def test_an_event_comes_back_from_messagepack_as_it_was(event: msgspec.Struct) -> None:
    assert decode(encode(event), type(event)) == event


@given(any_event)
def test_an_event_comes_back_from_json_as_it_was(event: msgspec.Struct) -> None:
    assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event


@given(st.binary(max_size=200))
def test_garbage_is_never_an_event(garbage: bytes) -> None:
    for kind in EVENTS:
        with pytest.raises(EventError, match=re.escape(tag_of(kind))):
            decode(garbage, kind)


@given(st.sampled_from(EVENTS), st.data())
def test_a_damaged_event_is_refused_or_read_as_an_event(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    whole = bytearray(encode(EXAMPLES[kind][0]))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        event = decode(bytes(whole), kind)
    except EventError:
        return
    assert type(event) is kind


@pytest.mark.parametrize("kind", EVENTS, ids=tag_of)
def test_an_event_cut_short_is_refused(kind: type[msgspec.Struct]) -> None:
    whole = encode(EXAMPLES[kind][0])
    for length in range(len(whole)):
        with pytest.raises(EventError):
            decode(whole[:length], kind)


def test_text_that_is_not_utf8_is_refused() -> None:
    damaged = encode(EXAMPLES[Evidence][0]).replace(b"tuned", b"tun\xffd")
    with pytest.raises(EventError, match=r"evidence\.v1"):
        decode(damaged, Evidence)


def test_an_event_of_another_topic_is_refused() -> None:
    with pytest.raises(EventError, match=r"text\.v1"):
        decode(encode(EXAMPLES[Evidence][0]), events.Text)


def test_a_field_that_a_later_version_added_is_ignored() -> None:
    example = EXAMPLES[Evidence][0]
    later = msgspec.msgpack.decode(encode(example)) | {"colour": ["new", {"and": "nested"}]}
    assert decode(msgspec.msgpack.encode(later), Evidence) == example


def test_defaults_do_not_travel() -> None:
    text = EXAMPLES[events.Text][-1]
    travelled = "type seq request_id text_id arm prompt_id prompt text origin finish_reason"
    assert set(msgspec.msgpack.decode(encode(text))) == set(travelled.split())


@pytest.mark.parametrize("kind", EVENTS, ids=tag_of)
def test_an_event_cannot_be_changed(kind: type[msgspec.Struct]) -> None:
    event = EXAMPLES[kind][0]
    with pytest.raises(AttributeError):
        setattr(event, event.__struct_fields__[0], None)


def test_every_event_has_a_tag_of_its_own_with_a_version() -> None:
    tags = [tag_of(kind) for kind in EVENTS]
    assert len(set(tags)) == len(tags)
    assert tags == [f"{kind.__name__.lower()}.v1" for kind in EVENTS]
    assert get_args(Event) == EVENTS


def test_ids_depend_on_places_and_never_on_texts() -> None:
    request = events.request_id("kitchen-1", 417)
    assert request == "kitchen-1:417"
    assert events.text_id(request, "tuned") == "kitchen-1:417:tuned"
    assert events.hypothesis_id(23, "tuned", 1) == "c23:tuned:1"
