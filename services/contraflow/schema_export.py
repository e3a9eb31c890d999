"""Writes ``schemas/``, the contract for programs in other languages; tells what would break a reader."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from contraflow.events import EVENTS, tag_of
from contraflow.schema_examples import EXAMPLES
from contraflow.topics import TOPICS, TopicSpec

__all__ = ["breaking_changes", "json_schema", "write_schemas"]

_OWNERS = {
    "sampler": ("requests", "steering", "state-sampler"),
    "decoder": ("texts", "requests.dead"),
    "embedder": ("embeddings", "texts.dead"),
    "clusterer": ("assignments", "regions", "clusters", "evidence", "state-clusterer", "embeddings.dead"),
    "validator": ("hypotheses", "judgments", "verdicts", "state-validator"),
    "sampler, validator": ("control",),
}
_FOR_PEOPLE = ("$ref", "$schema", "$defs", "title", "description")
_README = """\
# The events of contraflow, for programs in other languages

`contraflow schemas --write schemas` writes this folder from the code; a test fails when the two differ.

- `topics.yaml`: every topic of a run, its key, its partitions (`P` is the experiment's `partitions`), how
  it is kept, the event that it carries and the service that writes it. On the log a topic is called
  `<run>.<topic>`.
- `<event>.schema.json`: a JSON Schema (2020-12) for each event, as it looks in JSON.
- `golden/<event>.json` and `.msgpack`: the same list of examples in both formats, the last one with
  nothing but the required fields. A reader that understands these understands the topic.

{topics}

## On the log: MessagePack
The value of a record is one MessagePack map with text keys. `type` names the event and its version
(`text.v1`). Bytes (`vector`, `centroid`) are MessagePack's `bin`; a vector is `dim` float32 values,
little-endian, one after the other: `numpy.frombuffer(event["vector"], "<f4")`. Tuples are arrays. A field
that has its default is left out; the schema says what the default is. Keys of records are UTF-8 text,
`epoch` and `cluster_id` in decimal. A record of `requests`, `texts`, `embeddings` and `assignments` is in
partition `seq mod P`. The values of `state-*` are private to their service. A dead letter (`*.dead`) is
the record as it came.

## In JSON
The same map, with bytes as base64 text (RFC 4648, with padding; `contentEncoding` in the schema).

## Headers
| header | on | value |
|---|---|---|
| `content-type` | every event | `application/msgpack` |
| `contraflow-schema` | every event | the event and its version: `text.v1` |
| `contraflow-run` | every event | the run: `kitchen-1` |
| `contraflow-arm` | texts, embeddings | the arm: `tuned` |
| `contraflow-origin-topic`, `-partition`, `-offset` | dead letters | where the record came from |
| `contraflow-error` | dead letters | why it could not be processed |

## What a version promises
Within a version fields are only added, always with a default: ignore the fields that you do not know. A
change of a field's name, type, default or values, or a field without a default, is a new version with a
new tag (`text.v2`). contraflow reads every version that it ever released. Until the first release version
1 may still change. Inside contraflow each record is processed exactly once. A program of your own that
crashes between its work and its commit sees a record again: drop it by its id (`request_id` and `arm`,
`hypothesis_id`), which never changes.
"""


def write_schemas(folder: Path) -> None:
    """Write topics, JSON Schemas, golden examples and a README; the same code writes the same bytes.

    Files of tags that the code no longer writes are left as they are: they must stay readable.
    """
    golden = folder / "golden"
    golden.mkdir(parents=True, exist_ok=True)
    (folder / "topics.yaml").write_bytes(_topics().encode())
    (folder / "README.md").write_bytes(_README.format(topics=_table()).encode())
    for kind in EVENTS:
        tag, examples = tag_of(kind), EXAMPLES[kind]
        (folder / f"{tag}.schema.json").write_bytes(_pretty(json_schema(kind)))
        (golden / f"{tag}.json").write_bytes(_pretty(examples))
        (golden / f"{tag}.msgpack").write_bytes(msgspec.msgpack.encode(examples))


def json_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of an event as it looks in JSON."""
    schema = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(kind)))
    for definition in schema["$defs"].values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _pretty(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _topics() -> str:
    head = "# The topics of a run, on the log named <run>.<topic>. Written by `contraflow schemas --write`.\n"
    topics = {"topics": {name: _topic(spec) for name, spec in TOPICS.items()}}
    return head + yaml.safe_dump(topics, sort_keys=False, allow_unicode=True, width=110)


def _topic(spec: TopicSpec) -> dict[str, Any]:
    return {
        "description": spec.description,
        "event": tag_of(spec.event) if spec.event else None,
        "key": spec.key,
        "partitions": "P" if spec.partitioned else 1,
        "cleanup": spec.cleanup,
        "owner": next(owner for owner, topics in _OWNERS.items() if spec.name in topics),
    }


def _table() -> str:
    tags = {name: tag_of(spec.event) for name, spec in TOPICS.items() if spec.event}
    rows = [f"| {name} | [{tag}]({tag}.schema.json) | {TOPICS[name].description} |" for name, tag in tags.items()]
    return "\n".join(["| topic | event | what it carries |", "|---|---|---|", *rows])


def breaking_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What would break readers of the schema ``old`` on new records, or those of ``new`` on old ones.

    A new field with a default breaks neither. A changed default breaks both, as defaults are not written.
    """
    return list(_changes(old, new, (old["$defs"], new["$defs"]), "event"))


_Definitions = tuple[dict[str, Any], dict[str, Any]]


def _changes(old: Any, new: Any, definitions: _Definitions, at: str) -> Iterator[str]:
    old, new = _named(old, definitions[0]), _named(new, definitions[1])
    yield from _fields(old, new, definitions, at)
    for keyword in sorted((old.keys() | new.keys()) - {"properties", "required"}):
        before, after = old.get(keyword), new.get(keyword)
        if keyword in ("items", "additionalProperties") and isinstance(before, dict) and isinstance(after, dict):
            yield from _changes(before, after, definitions, f"{at}[]")
        elif keyword in ("anyOf", "prefixItems") and before and after and len(before) == len(after):
            for one, other in zip(before, after, strict=True):
                yield from _changes(one, other, definitions, at)
        elif before != after:
            yield f"{at}: {keyword} changed from {before!r} to {after!r}"


def _named(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    named = definitions[node["$ref"].rpartition("/")[2]] if "$ref" in node else {}
    return {keyword: value for keyword, value in {**named, **node}.items() if keyword not in _FOR_PEOPLE}


def _fields(old: dict[str, Any], new: dict[str, Any], definitions: _Definitions, at: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed_before, needed_after = old.get("required", ()), new.get("required", ())
    for name in before:
        if name not in after:
            yield f"{at}.{name}: removed or renamed"
            continue
        if name in needed_before and name not in needed_after:
            yield f"{at}.{name}: no longer required, and readers of the version before need it"
        if name in needed_after and name not in needed_before:
            yield f"{at}.{name}: now required, and old records may lack it"
        yield from _changes(before[name], after[name], definitions, f"{at}.{name}")
    for name in after:
        if name not in before and name in needed_after:
            yield f"{at}.{name}: added without a default, and old records lack it"
