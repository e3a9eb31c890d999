"""Where real sentences come from, what is kept of them, and what is said when there are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from contraflow.errors import ConfigurationError
from worlds.corpus import NEAR, Corpus, load_corpus

Load = Callable[[], Corpus]

LISTED = """\
Package: 0ad
Description: Real-time strategy game
Section: games
Tag: game::strategy,
 interface::graphical

Package: amd64-microcode
Description-en: Processor microcode
Section: non-free-firmware/admin

Package: 0ad-data
Description: Real-time strategy game
Section: doc

Package: nothing
Section: misc
"""
NOUNS = """\
  1 This software and database is being provided | to you
00001740 05 n 01 dog 0 003 ~ 00001930 n 0000 | a domestic animal; "the dog barked"; "walk the dog"
"""
OTHERS = "00001740 30 v 01 bark 0 000 | utter a sharp cry\n"


@pytest.fixture
def debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-cache that lists a few packages, and a WordNet of a few synsets."""
    command = tmp_path / "bin" / "apt-cache"
    command.parent.mkdir()
    command.write_text(f"#!/bin/sh\n[ $1 = dumpavail ] && cat {tmp_path}/listed\n")
    command.chmod(0o755)
    (tmp_path / "listed").write_text(LISTED)
    for part in ("noun", "verb", "adj", "adv"):
        (tmp_path / f"data.{part}").write_text(NOUNS if part == "noun" else OTHERS)
    monkeypatch.delenv("CONTRAFLOW_CORPUS", raising=False)
    monkeypatch.setenv("PATH", f"{command.parent}:/usr/bin:/bin")
    monkeypatch.setenv("WNSEARCHDIR", str(tmp_path))
    monkeypatch.setenv("CONTRAFLOW_CACHE", str(tmp_path / "cache"))
    load_corpus.cache_clear()
    return tmp_path


def test_descriptions_have_their_section_and_glosses_their_file_and_equal_texts_are_kept_once(debian: Path) -> None:
    corpus = load_corpus("hashed")
    assert Counter(corpus.names[label] for label in corpus.labels) == {
        "games": 1,
        "admin": 1,
        "noun.05": 3,
        "verb.30": 1,
    }


def test_without_package_lists_the_message_says_what_to_do(debian: Path) -> None:
    (debian / "listed").write_text("")
    with pytest.raises(ConfigurationError, match=r"(?s)dumpavail.*no packages.*apt-get update.*set CONTRAFLOW_CORPUS"):
        load_corpus("hashed")


def test_without_wordnet_the_message_says_what_to_do(debian: Path) -> None:
    (debian / "data.noun").unlink()
    with pytest.raises(ConfigurationError, match=r"(?s)no WordNet in .*apt-get install wordnet-base"):
        load_corpus("hashed")


def test_a_line_without_a_label_is_named(corpus: Load, tmp_path: Path) -> None:
    (tmp_path / "corpus.tsv").write_text("a\tone text\nanother text\n")
    with pytest.raises(ConfigurationError, match=r"CONTRAFLOW_CORPUS: .*corpus\.tsv, line 2: expected a label"):
        corpus()


def test_a_file_that_is_not_there_is_named(corpus: Load, tmp_path: Path) -> None:
    (tmp_path / "corpus.tsv").unlink()
    with pytest.raises(ConfigurationError, match=r"CONTRAFLOW_CORPUS: .*corpus\.tsv cannot be read: No such file"):
        corpus()


def test_texts_are_encoded_once_and_again_only_when_they_change(
    corpus: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = corpus()
    assert "encoding, once" in capsys.readouterr().err
    load_corpus.cache_clear()
    again = corpus()
    assert capsys.readouterr().err == ""
    assert (again.vectors == first.vectors).all()
    assert (again.near == first.near).all()
    with (tmp_path / "corpus.tsv").open("a") as file:
        file.write("\nlabel00\tone more text")
    load_corpus.cache_clear()
    assert len(corpus().labels) == len(first.labels) + 1
    assert "encoding, once" in capsys.readouterr().err


def test_near_are_the_nearest_texts_of_the_same_label(corpus: Load) -> None:
    here = corpus()
    cosines = here.vectors.astype(np.float32) @ here.vectors.astype(np.float32).T
    for text in range(0, len(here.labels), 97):
        members = np.flatnonzero(here.labels == here.labels[text])
        wanted = np.sort(cosines[text, members])[-NEAR:]
        assert np.sort(cosines[text, here.near[text]]) == pytest.approx(wanted, abs=1e-5)
        assert (here.labels[here.near[text]] == here.labels[text]).all()
