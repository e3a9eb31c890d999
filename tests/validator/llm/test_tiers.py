"""Tiers in the experiment file: what is wrong is named by its key, and what is right is priced."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import contraflow
from contraflow.configuration import experiment_from, load_experiment
from contraflow.configuration.tiers import LLMTier, judged_pairs, read_tiers
from contraflow.errors import ConfigurationError, FormatTooNew, LogError
from contraflow.llm.opening import check, open_clients, provider_of
from contraflow.llm.prices import PICO, Price, known, models, pico
from contraflow.llm.store import Store
from contraflow.validator.judges import build

EXAMPLES = Path(__file__).parents[3] / "examples"


def read(*entries: object) -> LLMTier:
    tiers, problems = read_tiers(entries)
    assert not problems
    assert isinstance(tiers[-1], LLMTier)
    return tiers[-1]


@pytest.mark.parametrize(
    ("entry", "key", "what"),
    [
        ("oracle", "0", 'unknown tier "oracle"'),
        ("keyword", "0", 'did you mean "keywords"'),
        ("gemini", "0", r"gemini needs a model: {gemini: gemini-2\.5-flash-lite}"),
        (7, "0", "a tier is one provider with its model"),
        ({"gemini": "a", "openai": "b"}, "0", "a tier is one provider with its model"),
        ({"gemeni": "gemini-flash"}, "0.gemeni", 'did you mean "gemini"'),
        ({"openai": "gpt-9"}, "0.openai.price", 'no price is known for "gpt-9".*gpt-4.1-nano.*price: '),
        ({"openai": {"model": "gpt-4o", "base_url": "http://me/v1"}}, "0.openai.price", "the vendor's own address"),
        ({"my:judge": "x"}, "0.my:judge.price", "missing; write price: "),
        ({"openai": {"model": "gpt-4o", "price": [1]}}, "0.openai.price", "expected 2 values; got 1"),
        ({"openai": {"model": "gpt-4o", "price": [-1, 0]}}, "0.openai.price.0", "at least 0"),
        ({"openai": {"model": "gpt-4o", "price": "cheap"}}, "0.openai.price", "expected"),
        ({"openai": {"model": "gpt-4o", "budget": -1}}, "0.openai.budget", "at least 0"),
        ({"openai": {"model": "gpt-4o", "prise": [1, 2]}}, "0.openai.prise", 'did you mean "price"'),
        ({"openai": {"budget": 1}}, "0.openai.model", "missing"),
        ({"openai": ""}, "0.openai.model", "missing"),
        ({"openai": None}, "0.openai.model", "missing"),
        ({"openai": {"model": "gpt-4o", "key": "sk-123"}}, "0.openai.key", "env:NAME"),
        ({"openai": {"model": "gpt-4o", "base_url": "me:80", "price": [0, 0]}}, "0.openai.base_url", "no address"),
        ({"gemini": {"model": "gemini-flash", "structured": "json"}}, "0.gemini.structured", "only read by openai"),
        (
            {"gemini": {"model": "gemini-flash", "timeout": 60, "patience": 30}},
            "0.gemini.timeout",
            "more than the 30 s",
        ),
        ({"gemini": {"model": "gemini-flash", "concurrency": 0}}, "0.gemini.concurrency", "at least 1"),
    ],
)
def test_what_is_wrong_is_named_by_its_key(entry: object, key: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=f"validation.tiers.{key}: .*{what}"):
        build([entry], _no_vectors)


async def _no_vectors(texts: object) -> Any:
    raise AssertionError


def test_everything_wrong_is_said_at_once_with_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "experiment: mine\narms: {a: {}, b: {}}\ngenerator: {backend: scripted}\nvalidation:\n  tiers:\n"
        "    - keywords\n    - openai: gpt-9\n    - gemini: {model: gemini-flash, key: AIza123}\n"
    )
    with pytest.raises(ConfigurationError) as error:
        load_experiment(file)
    assert "AIza123" not in str(error.value)
    assert "mine.yaml:8: validation.tiers.2.gemini.key: a secret does not belong in the file" in str(error.value)
    file.write_text(file.read_text().replace("AIza123", "env:MY_KEY"))
    with pytest.raises(
        ConfigurationError, match=r"mine\.yaml:7: validation\.tiers\.1\.openai\.price: no price is known"
    ):
        load_experiment(file)


def test_two_tiers_of_one_model_need_names(experiment: Callable[..., dict[str, Any]]) -> None:
    tiers = [{"gemini": "gemini-flash"}, {"gemini": {"model": "gemini-flash", "options": {"seed": 1}}}]
    with pytest.raises(ConfigurationError, match=r'a tier "gemini:gemini-3\.8-flash" already; give this one a name'):
        experiment_from(experiment(validation={"tiers": tiers}))
    tiers[1]["gemini"]["name"] = "again"  # type: ignore[index]  # it is the one that is a mapping
    assert experiment_from(experiment(validation={"tiers": tiers})).validation.tiers == tuple(tiers)


def test_a_price_in_the_file_comes_before_the_table_and_zero_is_a_price() -> None:
    assert read({"openai": "gpt-4.1-nano"}).price == Price(100_000, 400_000)
    assert read({"openai": {"model": "gpt-4.1-nano", "price": [0.2, 0.8]}}).price == Price(200_000, 800_000)
    assert read({"openai": {"model": "gpt-4.1-nano", "price": [0, 0]}}).price == Price(0, 0)


def test_a_language_model_among_the_tiers_has_more_pairs_unless_the_experiment_says_how_many(
    experiment: Callable[..., dict[str, Any]],
) -> None:
    def pairs(**validation: object) -> int:
        return judged_pairs(experiment_from(experiment(validation=validation)).validation)

    assert pairs(tiers=["keywords"]) == 100
    assert pairs(tiers=["keywords", {"openai": "gpt-4.1"}]) == 300
    assert pairs(tiers=["keywords", {"openai": "gpt-4.1"}], pairs=7) == 7


def test_a_name_of_ours_stands_for_one_model_of_the_vendor() -> None:
    tier = read({"gemini": "gemini-flash"})
    assert (tier.name, tier.model) == ("gemini:gemini-3.8-flash", "gemini-3.8-flash")
    assert tier.options == {"thinking_config": {"thinking_level": "minimal"}}
    assert tier.max_tokens == 64 + 1024


def test_prices_are_exact_and_change_when_the_vendor_said_so() -> None:
    assert Price.per_million(0.075, 0.3).of(1, 1) == 375_000
    assert Price.per_million(0.0375, 0).of(2, 0) == 75_000
    assert pico(0.1) + pico(0.2) == pico(0.3) == 3 * PICO // 10
    before, after = (known("gemini", "gemini-3.8-flash", datetime.date(*day)) for day in ((2026, 12, 31), (2027, 1, 1)))
    assert before is not None
    assert after is not None
    assert after.price == Price(2 * before.price.read, 2 * before.price.written)
    assert known("openai", "gpt-9") is None
    assert {"gemini", "openai"} == {name for name in ("gemini", "openai", "my:judge") if models(name)}


# keys and packages


@pytest.mark.parametrize("provider", ["openai", "gemini", "google-generativeai"])
def test_a_missing_key_says_which_variable_to_set(provider: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    tier = {provider: {"model": "x", "price": [1, 2]}}
    with pytest.raises(
        ConfigurationError, match=rf"validation\.tiers\.0\.{provider}: no key; set (OPENAI|GEMINI)_API_KEY"
    ):
        provider_of(read(tier))
    named = {provider: {"model": "x", "price": [1, 2], "key": "env:NO_SUCH_KEY"}}
    with pytest.raises(ConfigurationError, match=rf"validation\.tiers\.0\.{provider}\.key: .*NO_SUCH_KEY is not set"):
        provider_of(read(named))


@pytest.mark.parametrize("key", ["", "  \n", "sk-with a space", "sk-schlüssel"])
def test_what_cannot_be_a_key_is_refused_before_anybody_is_called(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigurationError, match=r"no key|holds characters that no key has") as error:
        check([{"openai": "gpt-4.1"}])
    assert not key.strip() or key not in str(error.value)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-as-it-was-pasted\n")
    check([{"openai": "gpt-4.1"}])


def test_a_run_does_not_start_without_its_keys(
    experiment: Callable[..., dict[str, Any]], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    tiers = [{"openai": "gpt-4.1"}, {"gemini": "gemini-flash"}]
    with pytest.raises(ConfigurationError) as error:
        contraflow.run(experiment(validation={"tiers": tiers}), runs=runs)
    assert "validation.tiers.0.openai: no key" in str(error.value)
    assert "validation.tiers.1.gemini: no key" in str(error.value)
    assert not runs.exists()


@pytest.mark.parametrize(
    ("provider", "module"),
    [("openai", "openai"), ("gemini", "google.genai"), ("google-generativeai", "google.generativeai")],
)
def test_a_missing_package_says_what_to_install(provider: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    if module.startswith("google.") and "google" in sys.modules:
        monkeypatch.delattr(sys.modules["google"], module.partition(".")[2], raising=False)
    tier = read({provider: {"model": "x", "price": [1, 2], "base_url": "http://127.0.0.1:1"}})
    with pytest.raises(ConfigurationError, match=rf"pip install 'contraflow\[{provider}\]'"):
        provider_of(tier)
    with pytest.raises(ConfigurationError, match=rf"pip install 'contraflow\[{provider}\]'"):
        check([{provider: {"model": "x", "price": [1, 2], "base_url": "http://127.0.0.1:1"}}])


async def test_a_vendors_key_is_not_sent_to_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai", reason="needs pip install 'contraflow[openai]'")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai-alone")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere.example/v1")
    mine: Any = provider_of(read({"openai": {"model": "x", "price": [0, 0], "base_url": "http://127.0.0.1:1/v1"}}))
    theirs: Any = provider_of(read({"openai": "gpt-4.1-nano"}))
    assert (mine._server.client.api_key, mine.host) == ("none", "http://127.0.0.1:1/v1")
    assert (theirs._server.client.api_key, str(theirs._server.client.base_url)) == (
        "sk-for-openai-alone",
        "https://api.openai.com/v1/",
    )
    await mine.close()
    await theirs.close()


def test_a_function_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"validation\.tiers\.0\.no_such:judge: cannot import 'no_such:judge'"):
        provider_of(read({"no_such:judge": {"model": "x", "price": [0, 0]}}))


async def test_without_a_language_model_nothing_is_opened(tmp_path: Path) -> None:
    async with open_clients([], "run-1", 50.0, folder=tmp_path / "answers") as clients:
        assert clients == {}
    assert not (tmp_path / "answers").exists()


@pytest.mark.parametrize("name", ["gemini", "openai"])
def test_the_examples_are_ready_to_run(name: str) -> None:
    experiment = load_experiment(EXAMPLES / f"{name}.yaml").experiment
    tiers, problems = read_tiers(experiment.validation.tiers)
    assert not problems
    assert {tier.provider for tier in tiers if isinstance(tier, LLMTier)} == {name}


# the store


async def test_what_was_put_is_there_after_a_restart_and_grows_past_its_map(tmp_path: Path) -> None:
    with Store(tmp_path, map_size=1 << 17) as store:
        for i in range(40):
            await store.put([(b"key-%03d" % i, bytes(10_000))])
        store.put_later([(b"later", b"x")])
    with Store(tmp_path) as store:
        assert len(store.under(b"key-")) == 40
        assert store.get(b"key-007") == bytes(10_000)
        assert store.get(b"later") == b"x"
        assert store.get(b"nothing") is None


def test_a_newer_or_damaged_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with Store(tmp_path / "new") as store:
        store.put_now([(b"contraflow-format", b"99")])
    with pytest.raises(FormatTooNew, match=r"format 99.*CONTRAFLOW_ANSWERS"):
        Store(tmp_path / "new")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(LogError, match="choose another folder with CONTRAFLOW_ANSWERS"):
        Store(tmp_path / "bad")
    assert (tmp_path / "bad" / "data.mdb").read_bytes() == b"no database" * 1000
