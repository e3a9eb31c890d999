from __future__ import annotations

import re

from contraflow.events import EVENTS, tag_of
from contraflow.topics import TOPICS, dead_letters, qualified, specs


def test_every_event_has_exactly_one_topic() -> None:
    carried = [spec.event for spec in TOPICS.values() if spec.event]
    assert sorted(carried, key=tag_of) == sorted(EVENTS, key=tag_of)


def test_every_key_is_a_field_of_its_event() -> None:
    assert [spec.name for spec in TOPICS.values() if spec.event and spec.key not in spec.event.__struct_fields__] == []


def test_topics_that_follow_a_request_share_its_partitions() -> None:
    assert [name for name, spec in TOPICS.items() if spec.partitioned] == [
        "requests",
        "texts",
        "embeddings",
        "assignments",
    ]
    assert {TOPICS[name].partitions(16) for name in ("requests", "texts", "embeddings", "assignments")} == {16}
    assert TOPICS["regions"].partitions(16) == 1


def test_what_must_be_read_again_as_a_state_is_compacted() -> None:
    compacted = {name for name, spec in TOPICS.items() if spec.cleanup == "compact"}
    states = {"state-sampler", "state-clusterer", "state-validator"}
    assert compacted == {"clusters", "hypotheses", "verdicts", "control"} | states


def test_dead_letters_have_a_topic_for_each_that_is_consumed_and_are_never_compacted() -> None:
    for name in ("requests", "texts", "embeddings"):
        assert TOPICS[dead_letters(name)].cleanup == "delete"
        assert dead_letters(qualified("kitchen-1", name)) == qualified("kitchen-1", dead_letters(name))


def test_names_on_the_log_are_valid_for_kafka_and_begin_with_the_run() -> None:
    names = [name for name, _, _ in specs("a" * 48 + "-12")]
    assert len(names) == len(set(names)) == len(TOPICS)
    assert all(re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", name) and name.startswith("a" * 48 + "-12.") for name in names)


def test_specs_tell_partitions_and_clean_up() -> None:
    told = {name: (partitions, cleanup) for name, partitions, cleanup in specs("kitchen-1", 4)}
    assert told["kitchen-1.texts"] == (4, "delete")
    assert told["kitchen-1.clusters"] == (1, "compact")
