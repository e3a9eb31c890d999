from __future__ import annotations

import json
import types
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import msgspec
import pytest
import yaml

from contraflow.events import EVENTS, tag_of
from contraflow.schema_examples import EXAMPLES, minimal
from contraflow.schema_export import breaking_changes, json_schema, write_schemas
from contraflow.topics import TOPICS

SCHEMAS = Path(__file__).parents[1] / "schemas"
BY_TAG = {tag_of(kind): kind for kind in EVENTS}
GOLDEN = sorted(path.stem for path in (SCHEMAS / "golden").glob("*.json"))

events = pytest.mark.parametrize("kind", EVENTS, ids=tag_of)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_committed_is_what_the_code_generates(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    committed, generated = contents(SCHEMAS), contents(tmp_path)
    differ = sorted(name for name, content in generated.items() if committed.get(name) != content)
    assert not differ, f"schemas/ is out of date in {differ}; run: contraflow schemas --write schemas"


def test_generating_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    first = contents(tmp_path)
    write_schemas(tmp_path)
    assert contents(tmp_path) == first


@events
def test_no_change_since_the_committed_schema_breaks_a_reader(kind: type[msgspec.Struct]) -> None:
    committed = json.loads((SCHEMAS / f"{tag_of(kind)}.schema.json").read_text(encoding="utf-8"))
    changes = breaking_changes(committed, json_schema(kind))
    assert not changes, f"{tag_of(kind)} needs a new version: {changes}"


@pytest.mark.parametrize("tag", GOLDEN)
def test_golden_json_is_read_by_the_code_of_today_and_written_back_alike(tag: str) -> None:
    golden = (SCHEMAS / "golden" / f"{tag}.json").read_bytes()
    read = msgspec.json.decode(golden, type=types.GenericAlias(list, BY_TAG[tag]))
    assert msgspec.json.format(msgspec.json.encode(read), indent=2) + b"\n" == golden


@pytest.mark.parametrize("tag", GOLDEN)
def test_golden_messagepack_is_read_by_the_code_of_today_and_written_back_alike(tag: str) -> None:
    golden = (SCHEMAS / "golden" / f"{tag}.msgpack").read_bytes()
    read = msgspec.msgpack.decode(golden, type=types.GenericAlias(list, BY_TAG[tag]))
    assert msgspec.msgpack.encode(read) == golden
    assert read == EXAMPLES[BY_TAG[tag]]


@events
def test_examples_validate_against_the_schema(kind: type[msgspec.Struct]) -> None:
    schema = json.loads((SCHEMAS / f"{tag_of(kind)}.schema.json").read_text(encoding="utf-8"))
    examples = json.loads((SCHEMAS / "golden" / f"{tag_of(kind)}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for example in examples:
        validator.validate(example)
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({**example, "type": "another.v1"})


@events
def test_examples_together_show_every_field_and_the_last_only_what_is_required(
    kind: type[msgspec.Struct],
) -> None:
    fields = {field.name for field in msgspec.structs.fields(kind)} | {"type"}
    required = {field.name for field in msgspec.structs.fields(kind) if field.required} | {"type"}
    shown = [set(msgspec.to_builtins(example)) for example in EXAMPLES[kind]]
    assert set().union(*shown) == fields
    assert shown[-1] == required
    assert minimal(EXAMPLES[kind][0]) == EXAMPLES[kind][-1]


def test_topics_tell_event_key_partitions_cleanup_and_owner() -> None:
    topics = yaml.safe_load((SCHEMAS / "topics.yaml").read_text(encoding="utf-8"))["topics"]
    assert list(topics) == list(TOPICS)
    assert topics["texts"] == {
        "description": "what the arms answered",
        "event": "text.v1",
        "key": "request_id",
        "partitions": "P",
        "cleanup": "delete",
        "owner": "decoder",
    }
    assert topics["state-clusterer"]["event"] is None
    assert topics["clusters"]["partitions"] == 1


class Part(msgspec.Struct):
    n: int
    note: str = ""


class Old(msgspec.Struct, tag="thing.v1"):
    seq: int
    part: Part
    parts: dict[str, tuple[Part, ...]]
    title: str = ""
    size: Annotated[int, msgspec.Meta(ge=0)] | None = None
    order: tuple[str, str] = ("a", "b")


def later(**changes: Any) -> dict[str, Any]:
    """The schema of ``Old`` with fields replaced, or removed where the change is None."""
    fields: dict[str, tuple[Any, ...]] = {
        "seq": (int,),
        "part": (Part,),
        "parts": (dict[str, tuple[Part, ...]],),
        "title": (str, ""),
        "size": (Annotated[int, msgspec.Meta(ge=0)] | None, None),
        "order": (tuple[str, str], ("a", "b")),
    }
    kept = {name: definition for name, definition in (fields | changes).items() if definition is not None}
    return json_schema(msgspec.defstruct("Old", [(n, *d) for n, d in kept.items()], tag="thing.v1", kw_only=True))


class NestedRemoved(msgspec.Struct):
    note: str = ""


class NestedGrown(msgspec.Struct):
    n: int
    note: str = ""
    colour: str | None = None


def test_the_same_schema_breaks_nobody() -> None:
    assert breaking_changes(json_schema(Old), later()) == []


def test_words_for_people_may_change() -> None:
    reworded = deepcopy(json_schema(Old))
    reworded["$defs"]["Old"]["description"] = "Another sentence."
    assert breaking_changes(json_schema(Old), reworded) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": (str | None, None)},
        {"part": (NestedGrown,)},
        {"parts": (dict[str, tuple[NestedGrown, ...]],)},
    ],
    ids=["top", "nested", "in a list"],
)
def test_an_added_field_with_a_default_breaks_nobody(changes: dict[str, Any]) -> None:
    assert breaking_changes(json_schema(Old), later(**changes)) == []


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"seq": None}, "event.seq: removed or renamed"),
        ({"title": None}, "event.title: removed or renamed"),
        ({"title": None, "heading": (str, "")}, "event.title: removed or renamed"),
        ({"colour": (str,)}, "event.colour: added without a default"),
        ({"title": (str,)}, "event.title: now required"),
        ({"seq": (int, 0)}, "event.seq: no longer required"),
        ({"seq": (str,)}, "event.seq: type changed from 'integer' to 'string'"),
        ({"seq": (int | None,)}, "event.seq: anyOf changed"),
        ({"title": (str, "none")}, "event.title: default changed from '' to 'none'"),
        (
            {"size": (Annotated[int, msgspec.Meta(ge=1)] | None, None)},
            "event.size: minimum changed from 0 to 1",
        ),
        ({"order": (tuple[str, int], ("a", 1))}, "event.order: type changed from 'string' to 'integer'"),
        ({"part": (NestedRemoved,)}, "event.part.n: removed or renamed"),
        ({"parts": (dict[str, tuple[NestedRemoved, ...]],)}, "event.parts[][].n: removed or renamed"),
    ],
)
def test_a_change_that_breaks_a_reader_is_found(changes: dict[str, Any], found: str) -> None:
    assert any(change.startswith(found) for change in breaking_changes(json_schema(Old), later(**changes)))


def test_a_new_tag_or_a_new_enum_value_is_found() -> None:
    old = json_schema(BY_TAG["request.v1"])
    new = deepcopy(old)
    new["$defs"]["Request"]["properties"]["type"]["enum"] = ["request.v2"]
    new["$defs"]["Origin"]["enum"].append("whim")
    changes = breaking_changes(old, new)
    assert [change.partition(":")[0] for change in changes] == ["event.type", "event.origin"]
