"""What a consumer declares is checked when its module is imported; each refusal says what to write."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contraflow import Batch, Cluster, ConsumerError, Text, consumer
from contraflow.consumers.finding import find
from contraflow.consumers.placing import read_start


class Score(msgspec.Struct, frozen=True, tag="score.v1"):
    text_id: str
    value: float


class Untagged(msgspec.Struct):
    value: float


class Stolen(msgspec.Struct, tag="text.v1"):
    value: float


def scores(texts: list[Text]) -> list[Score]:
    return []


def test_a_consumer_is_what_its_annotations_say() -> None:
    @consumer(topic="texts", output="scores", batch=16, limit=5.0, gather=1.0)
    async def toxicity(texts: list[Text]) -> list[Score]:
        return [Score(texts[0].text_id, 0.5)]

    assert (toxicity.name, toxicity.topic, toxicity.event, toxicity.whole) == ("toxicity", "texts", Text, False)
    assert toxicity.output is not None
    assert (toxicity.output.topic, toxicity.output.event, toxicity.output.keyed) == ("scores", Score, False)
    assert (toxicity.batch, toxicity.limit, toxicity.gather) == (16, 5.0, 1.0)


def test_other_topics_whole_batches_keys_and_sinks_are_declared_the_same_way() -> None:
    @consumer(topic="clusters", name="sink-of-clusters")
    def sink(batch: Batch[Cluster]) -> None: ...

    @consumer(topic="texts", output="pairs")
    def pairs(texts: Sequence[Text]) -> Sequence[tuple[str, Score]]:
        return []

    assert (sink.name, sink.event, sink.whole, sink.output) == ("sink-of-clusters", Cluster, True, None)
    assert pairs.output is not None and pairs.output.keyed


def test_a_consumer_can_be_called_as_the_function_that_it_is() -> None:
    decorated = consumer(topic="texts", output="scores")(scores)
    assert decorated([]) == []


def none(texts: list[Text]) -> None: ...
def of_clusters(texts: list[Cluster]) -> None: ...
def bare(texts) -> None: ...  # type: ignore[no-untyped-def]  # what a user may write
def plain_list(texts: list) -> None: ...  # type: ignore[type-arg]  # what a user may write
def two(texts: list[Text], more: int) -> None: ...
def says_nothing(texts: list[Text]): ...  # type: ignore[no-untyped-def]  # what a user may write
def strings(texts: list[Text]) -> list[str]: ...  # type: ignore[empty-body]  # never called
def untagged(texts: list[Text]) -> list[Untagged]: ...  # type: ignore[empty-body]  # never called
def stolen(texts: list[Text]) -> list[Stolen]: ...  # type: ignore[empty-body]  # never called
def unknown(texts: list[Nowhere]) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # what a user may write
def yields(texts: list[Text]):  # type: ignore[no-untyped-def]  # what a user may write
    yield None


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (none, {"topic": "text"}, r"topic: there is no topic 'text' .*did you mean \"texts\""),
        (none, {"topic": "state-sampler"}, r"no topic 'state-sampler'"),
        (of_clusters, {}, r"texts is annotated list.*Cluster.*, and texts carries Text; write list\[Text\] or Batch"),
        (bare, {}, r"texts has no annotation; write `texts: list\[Text\]`"),
        (plain_list, {}, r"texts is annotated list, and texts carries Text"),
        (two, {}, r"it takes 2 parameters"),
        (unknown, {}, r"'Nowhere' is not defined.*imported, or defined above"),
        (yields, {}, r"it yields; return a list"),
        (says_nothing, {}, r"what it returns has no annotation"),
        (scores, {}, r"returns list.*and names no output; add output=..., or return None"),
        (none, {"output": "scores"}, r"it returns None; with an output write"),
        (strings, {"output": "scores"}, r"YourEvent is a msgspec.Struct"),
        (untagged, {"output": "scores"}, r"Untagged has no tag.*write `class Untagged\(.*tag=\"untagged.v1\"\)`"),
        (stolen, {"output": "scores"}, r"'text.v1', which is an event of contraflow's own"),
        (scores, {"output": "verdicts"}, r"output: 'verdicts' is a topic of the ring"),
        (scores, {"output": "My.Scores"}, r"output: a lower-case letter"),
        (none, {"name": "embedder"}, r"name of a service of contraflow"),
        (none, {"name": "Not this"}, r"a name is a lower-case letter"),
        (none, {"batch": 0}, r"batch: a number of events from 1 on; got 0"),
        (none, {"limit": 0.0}, r"limit: seconds above 0"),
        (none, {"gather": -1.0}, r"gather: seconds from 0 on"),
    ],
)
def test_what_cannot_work_is_refused(function: Callable[..., Any], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConsumerError, match=words) as refused:
        consumer(**{"topic": "texts", **options})(function)
    assert str(refused.value).startswith("consumer ")


MODULE = """
import msgspec
from contraflow import Text, consumer

@consumer(topic="texts")
def sink(texts: list[Text]) -> None: ...

def bare(texts): ...
"""


def test_a_consumer_is_found_in_the_current_folder_by_module_and_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found_here.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", sys.path.copy())
    assert find("found_here:sink").name == "sink"
    with pytest.raises(ConsumerError, match=r"found_here:bare is a function without @consumer"):
        find("found_here:bare")
    with pytest.raises(ConsumerError, match=r"cannot import found_here:missing"):
        find("found_here:missing")
    with pytest.raises(
        ConsumerError, match=r"cannot import nothing_here:at_all: No module named 'nothing_here'.*module:function"
    ):
        find("nothing_here:at_all")
    with pytest.raises(ConsumerError, match=r"cannot import ::: Empty module name"):
        find("::")


def install(folder: Path, package: str, value: str) -> None:
    info = folder / f"{package}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[contraflow.consumers]\nsink = {value}\n")


def test_an_installed_consumer_is_found_by_its_name_and_no_other_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "installed_sink.py").write_text(MODULE)
    install(tmp_path, "sinks", "installed_sink:sink")
    (tmp_path / "other-1.dist-info").mkdir()
    (tmp_path / "other-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (tmp_path / "other-1.dist-info" / "entry_points.txt").write_text(
        "[contraflow.consumers]\nbroken = no_such_module:f\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert find("sink").name == "sink"
    with pytest.raises(ConsumerError, match=r"no consumer 'sunk' is installed \(there: broken, sink\)"):
        find("sunk")
    with pytest.raises(ConsumerError, match=r"cannot import no_such_module:f"):
        find("broken")
    install(tmp_path / "more", "sinks_again", "elsewhere:sink")
    monkeypatch.syspath_prepend(tmp_path / "more")
    with pytest.raises(ConsumerError, match=r"several packages \(sinks, sinks_again\)"):
        find("sink")


def test_a_place_is_read_from_words() -> None:
    assert read_start("beginning") == "beginning"
    assert read_start("offset:12") == 12
    assert read_start("2026-11-25T14:00+00:00").timestamp() == 1795615200  # type: ignore[union-attr]  # a time
    for wrong in ("yesterday", "offset:", "offset:-1", "offset:x", ""):
        with pytest.raises(ConsumerError, match="neither beginning, end, offset:N nor a time"):
            read_start(wrong)
