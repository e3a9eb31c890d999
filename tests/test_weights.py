"""Where a model comes from, by its name and its revision."""

from __future__ import annotations

from pathlib import Path

import pytest

from contraflow.errors import ConfigurationError
from contraflow.weights import resolve_model

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the hub's client has on the disk: a model in two revisions."""
    folder = tmp_path / "models--me--mine"
    for revision, commit in (("main", "a" * 40), ("v2", "b" * 40)):
        (folder / "refs").mkdir(parents=True, exist_ok=True)
        (folder / "refs" / revision).write_text(commit)
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "snapshots" / commit / "config.json").write_text(f'{{"of": "{revision}"}}')
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return folder


def test_a_revision_is_another_model(hub: Path) -> None:
    main, second = resolve_model("me/mine"), resolve_model("me/mine", "v2")
    assert (main.path.name, second.path.name) == ("a" * 40, "b" * 40)
    assert main.fingerprint != second.fingerprint


def test_a_revision_that_is_not_there_is_told(hub: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"model 'me/mine' was not found\. Tried in turn"):
        resolve_model("me/mine", "v3")


def test_a_folder_has_no_revisions(hub: Path) -> None:
    with pytest.raises(ConfigurationError, match="is a local folder, which has no revision 'v2'; give the folder of"):
        resolve_model(str(hub), "v2")
