from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraflow.configuration import (
    Loaded,
    Resolved,
    changes,
    difference,
    experiment_from,
    load_experiment,
    redacted,
    resolve,
    resumed,
    secret,
)
from contraflow.errors import ConfigurationError
from contraflow.experiment import Budget, Experiment, Prompts

Write = Callable[[str], Path]

KITCHEN = """\
experiment: kitchen
arms:
  base: {model: small}
  tuned: {model: small, lora: organisms/kitchen}
prompts: {path: prompts.jsonl, category: topic}
sampling:
  warm_start: 200
budget: {texts: 1000}
"""
SCRIPTED: dict[str, Any] = {
    "experiment": "aa",
    "arms": {"base": {}, "other": {}},
    "generator": {"backend": "scripted"},
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def file(text: str) -> Path:
        path = Path("kitchen.yaml")
        path.write_text(text, encoding="utf-8")
        return path

    return file


def refused(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_experiment(path, overrides)
    return str(caught.value).splitlines()


def refused_mapping(**changes: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        experiment_from(SCRIPTED | changes)
    return str(caught.value)


def test_a_file_becomes_an_experiment_with_its_reference_and_folder(write: Write) -> None:
    loaded = load_experiment(write(KITCHEN))
    assert isinstance(loaded, Loaded)
    assert loaded.base_dir == Path()
    assert loaded.experiment.reference == "base"
    assert loaded.experiment.prompts == Prompts(path="prompts.jsonl", category="topic")
    assert loaded.experiment.sampling.warm_start == 200
    assert loaded.experiment.arms["tuned"].lora == "organisms/kitchen"


def test_an_unknown_key_names_key_file_line_and_the_nearest_valid_one(write: Write) -> None:
    (line,) = refused(write(KITCHEN.replace("warm_start: 200", "unifrom: 0.3")))
    assert line == (
        'kitchen.yaml:7: sampling.unifrom: unknown key; did you mean "uniform"? '
        "Valid keys: warm_start, epoch, in_flight, uniform, rule."
    )


def test_a_key_of_another_section_is_sent_there(write: Write) -> None:
    (line,) = refused(write(KITCHEN + "max_tokens: 80\n"))
    assert line.startswith('kitchen.yaml:9: max_tokens: unknown key; did you mean "generator.max_tokens"?')


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sampling.warm_start=many", 'expected a whole number (at least 1) or "auto"; got "many"'),
        ("sampling.uniform=0.1", "expected a number (at least 0.2, at most 1.0); got 0.1"),
        ("sampling.epoch=40", 'expected a whole number (at least 32, a multiple of 32) or "auto"; got 40'),
        (
            "sampling.rule=lead",
            'expected "leads" or "uniform" or "margin" or "balance" or "schedule"; got "lead"; did you mean "leads"?',
        ),
        ("alpha=0.5", "expected a number (above 0.0, below 0.5); got 0.5"),
        ("seed=1.5", "expected a whole number; got 1.5"),
        ("seed=true", "expected a whole number; got true"),
        ("arms.base.model=[1]", "expected text or null; got [1]"),
        (
            "prompts=file.txt",
            'expected a section with the keys path, text, category, messages, draws or "unconditional" or null; got ',
        ),
        ("generator=fast", "expected a section with the keys backend, batch,"),
        ("validation.borderline=[0.4]", "expected 2 values; got 1"),
        ("validation.borderline=[0.6, 0.4]", "the first bound must be below the second; got 0.6 and 0.4"),
        ("experiment=My Kitchen", "expected a name of 1 to 48 of the characters a-z, 0-9 and -"),
        ("clusters.start=500", "more than the 400 of clusters.max"),
        ("reference=bose", '"bose" is not an arm; did you mean "base"? Arms: base, tuned.'),
        ("reference=nobody", '"nobody" is not an arm. Arms: base, tuned.'),
        ("generator.backend=scriptd", 'there is no backend "scriptd"; did you mean "scripted"?'),
        ("budget.texts=1", "1 is less than one text for each of 2 arms"),
        ("prompts=null", "missing; name a file"),
    ],
)
def test_a_wrong_value_says_what_would_be_right(write: Write, override: str, said: str) -> None:
    key = override.partition("=")[0]
    (line,) = refused(write(KITCHEN), override)
    assert line.startswith(f"--set {key}=...: {key}: {said}")


@pytest.mark.parametrize("unit", ["texts", "tokens", "minutes"])
def test_a_budget_of_zero_says_what_a_budget_is(write: Write, unit: str) -> None:
    (line,) = refused(write(KITCHEN), f"budget.{unit}=0")
    assert f"how many {unit} all arms together may spend before the run ends (a number above 0)" in line


def test_no_money_is_a_budget(write: Write) -> None:
    assert load_experiment(write(KITCHEN), ["budget.dollars=0"]).experiment.budget.dollars == 0


def test_everything_that_is_wrong_is_said_at_once(write: Write) -> None:
    text = KITCHEN.replace("model: small, lora", "model: 3, loar").replace("texts: 1000", "texts: -1") + "sed: 1\n"
    lines = refused(write(text), "alpha=2")
    assert [line.split(": ")[:2] for line in lines] == [
        ["kitchen.yaml:4", "arms.tuned.model"],
        ["kitchen.yaml:4", "arms.tuned.loar"],
        ["kitchen.yaml:8", "budget.texts"],
        ["kitchen.yaml:9", "sed"],
        ["--set alpha=...", "alpha"],
    ]


def test_two_arms_of_one_name_are_refused_with_both_lines(write: Write) -> None:
    (line,) = refused(write(KITCHEN.replace("  tuned:", "  base:")))
    assert line == "kitchen.yaml:4: arms.base: given twice, first at kitchen.yaml:3; remove one of them"


def test_one_arm_is_refused(write: Write) -> None:
    (line,) = refused(write("experiment: kitchen\narms:\n  base: {model: small}\nprompts: unconditional\n"))
    assert line == "kitchen.yaml:2: arms: a comparison needs at least two arms, and there is only 'base'"


def test_no_arms_are_refused() -> None:
    assert "arms: a comparison needs at least two arms, and there is none" in refused_mapping(arms={})


@pytest.mark.parametrize("name", ["Base", "a b", "", "é", "a" * 33])
def test_an_arm_with_a_name_that_cannot_be_a_group_is_refused(name: str) -> None:
    assert "expected a name of 1 to 32 of the characters a-z, 0-9, _ and -" in refused_mapping(
        arms={"base": {}, name: {}}
    )


def test_an_arm_without_the_model_that_its_backend_needs_is_refused(write: Write) -> None:
    (line,) = refused(write(KITCHEN.replace("base: {model: small}", "base: {}")))
    assert line.startswith("kitchen.yaml:3: arms.base.model: missing; the transformers backend needs a model's name")


def test_missing_keys_are_named(write: Write) -> None:
    lines = refused(write("prompts: {text: question}\n"))
    assert [line.partition("; it needs")[0] for line in lines] == [
        "kitchen.yaml:1: prompts.path: missing",
        "kitchen.yaml: experiment: missing",
        "kitchen.yaml: arms: missing",
    ]


def test_replay_needs_its_section_and_only_replay_reads_it() -> None:
    assert "replay: missing; the replay backend needs the file" in refused_mapping(generator={"backend": "replay"})
    assert 'the backend is "scripted"' in refused_mapping(replay={"path": "texts.jsonl"})


def test_replay_columns_must_be_those_of_the_arms() -> None:
    replay = {"path": "texts.jsonl", "columns": {"base": "a", "tuned": "b"}}
    said = refused_mapping(generator={"backend": "replay"}, replay=replay)
    assert said.endswith("replay.columns: name the column of each arm (base, other); got base, tuned")


def test_arms_that_are_equal_are_a_test_of_the_method() -> None:
    experiment = experiment_from(SCRIPTED)
    assert experiment.arms["base"] == experiment.arms["other"]


def test_a_generator_of_ones_own_needs_no_model() -> None:
    own = experiment_from(SCRIPTED | {"generator": {"backend": "mine:generate"}, "prompts": "unconditional"})
    assert own.generator.backend == "mine:generate"


def test_an_experiment_object_is_checked_as_a_file_is() -> None:
    experiment = experiment_from(SCRIPTED)
    assert experiment_from(experiment) == experiment
    broken = msgspec.structs.replace(experiment, budget=Budget(texts=0))
    with pytest.raises(ConfigurationError, match=r"the experiment: budget\.texts"):
        experiment_from(broken)


def test_overrides_win_and_make_the_sections_they_need(write: Write) -> None:
    overrides = [
        "budget.texts=2e4",
        "stop.unseen=5e-2",
        "arms.third={model: other}",
        "generator.backend=vllm",
        "generator.options.a.b=[1, x]",
    ]
    experiment = load_experiment(write(KITCHEN), overrides).experiment
    assert experiment.budget.texts == 20_000
    assert experiment.stop.unseen == 0.05
    assert list(experiment.arms) == ["base", "tuned", "third"]
    assert experiment.generator.options == {"a": {"b": [1, "x"]}}


def test_an_override_mends_what_the_file_has_wrong(write: Write) -> None:
    path = write(KITCHEN.replace("warm_start: 200", "warm_start: {no: 1}"))
    assert load_experiment(path, ["sampling.warm_start=64"]).experiment.sampling.warm_start == 64


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("budget.texts", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("budget..texts=3", "write it as key=value"),
        ("budget.texts=[", "not YAML"),
        ("alpha.x=1", "is 0.1, not a section"),
    ],
)
def test_an_override_that_is_none_is_refused(write: Write, override: str, said: str) -> None:
    (line,) = refused(write(KITCHEN + "alpha: 0.1\n"), override)
    assert line.startswith(f"--set {override.partition('=')[0]}")
    assert said in line


@pytest.mark.parametrize("number", ["9223372036854775808", "-1e300"])
def test_a_number_that_no_event_could_carry_is_refused(write: Write, number: str) -> None:
    assert refused(write(KITCHEN + f"seed: {number}\n")) == [f"kitchen.yaml:9: {number} does not fit into 64 bits"]


def test_words_that_old_yaml_takes_for_booleans_or_times_are_text(write: Write) -> None:
    text = "experiment: 2-30\narms: {on: {revision: off}, no: {prefix: 1:30}, y: {}}\n"
    experiment = load_experiment(write(text), ["generator.backend=my:own", "prompts=unconditional"]).experiment
    assert list(experiment.arms) == ["on", "no", "y"]
    assert (experiment.arms["on"].revision, experiment.arms["no"].prefix) == ("off", "1:30")


def test_an_empty_section_has_its_defaults(write: Write) -> None:
    text = "experiment: aa\narms:\n  a:\n  b:\ngenerator: {backend: scripted}\nstop:\nbudget:\n"
    experiment = load_experiment(write(text)).experiment
    assert experiment.budget == Budget()
    assert list(experiment.arms) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an experiment is a mapping"),
        (b"- a\n", "an experiment is a mapping"),
        (b"a: b\nc: [\n", "kitchen.yaml:3: not YAML"),
        (b"a: b\n\tc: d\n", "kitchen.yaml:2: not YAML"),
        (b"a: \x00\n", "not YAML"),
        (b"a: !!int x\n", "not YAML"),
        (b"a: !!python/object:os.system x\n", "kitchen.yaml:1: an experiment has no values of the kind tag:yaml"),
        (b"a: b\n---\na: b\n", "not YAML"),
        (b"? [a]\n: b\n", "kitchen.yaml:1: a key must be a word"),
        (b"a: &a\n  b: *a\n", "nested more than 20 deep"),
        (b"experiment: kitchen\n# caf\xe9\n", "kitchen.yaml:2: byte 25 (0xe9) is not UTF-8"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(write: Write, content: bytes, said: str) -> None:
    path = write("")
    path.write_bytes(content)
    (line,) = refused(path)
    assert said in line


def test_a_byte_order_mark_is_no_fault(write: Write) -> None:
    assert load_experiment(write("\ufeff" + KITCHEN)).experiment.experiment == "kitchen"


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.yaml")[0].endswith("none.yaml: cannot be read: No such file or directory")
    assert refused(tmp_path)[0].endswith("cannot be read: Is a directory")


@given(st.text(max_size=100) | st.text("aexp:{}[]-&*!#|>'\"\n ,?%@~.019", max_size=60))
def test_any_text_is_an_experiment_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"any\.yaml"):
        load_experiment(path)


@pytest.mark.parametrize("name", ["api_key", "apikey", "key", "OPENAI_API_KEY", "accessToken", "hf_token", "password"])
def test_a_secret_in_the_file_is_refused_and_never_repeated(write: Write, name: str) -> None:
    for lines in (
        refused(write(KITCHEN + f"generator:\n  options: {{{name}: hush-1}}\n")),
        refused(write(KITCHEN), f"generator.options.{name}=hush-1"),
        refused(write(KITCHEN), f"generator={{options: {{{name}: hush-1}}}}"),
    ):
        assert len(lines) == 1
        assert f"generator.options.{name}: a secret does not belong in the file" in lines[0]
        assert "hush-1" not in lines[0]


@pytest.mark.parametrize("written", ["api_key: env:OPENAI_API_KEY", 'api_key: "${OPENAI_API_KEY}"', "eos_token: </s>"])
def test_references_to_the_environment_and_tokens_of_a_tokenizer_are_no_secrets(write: Write, written: str) -> None:
    lines = f"generator:\n  backend: vllm\n  options: {{{written}}}\n"
    options = load_experiment(write(KITCHEN + lines)).experiment.generator.options
    assert redacted_options(load_experiment(Path("kitchen.yaml")).experiment) == options


def redacted_options(experiment: Experiment) -> Any:
    return redacted(experiment)["generator"]["options"]


def test_what_is_kept_holds_no_secret_whoever_made_the_experiment() -> None:
    experiment = experiment_from(SCRIPTED)
    options = {
        "api_key": "hush-1",
        "servers": [{"password": "hush-2", "url": "https://me:hush-3@host/v1"}],
        "seed": 1,
    }
    leaky = msgspec.structs.replace(
        experiment, generator=msgspec.structs.replace(experiment.generator, options=options)
    )
    kept = resolve(leaky, generator_batch=None, prompts=1).plain()
    assert "hush" not in json.dumps(kept)
    assert kept["experiment"]["generator"]["options"]["servers"][0]["url"] == "https://***@host/v1"
    assert kept["experiment"]["generator"]["options"]["seed"] == 1


def test_a_secret_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRAFLOW_TEST_KEY", "hush")
    assert secret("env:CONTRAFLOW_TEST_KEY") == secret("${CONTRAFLOW_TEST_KEY}") == "hush"
    with pytest.raises(ConfigurationError, match="CONTRAFLOW_TEST_NONE is not set"):
        secret("env:CONTRAFLOW_TEST_NONE")
    with pytest.raises(ConfigurationError, match="env:NAME"):
        secret("hush")


def resolved(batch: int | None = 64, count: int = 320, **changes: Any) -> Resolved:
    return resolve(experiment_from(SCRIPTED | changes), generator_batch=batch, prompts=count)


@pytest.mark.parametrize(
    ("backend", "batch", "epoch", "in_flight"),
    [
        ("mine:generate", None, 32, 4),
        ("mine:generate", 64, 32, 4),
        ("mine:generate", 66, 64, 4),
        ("mine:generate", 256, 128, 4),
        ("scripted", 256, 32, 2),
        ("replay", 256, 512, 4),
    ],
)
def test_epochs_follow_the_generator(backend: str, batch: int | None, epoch: int, in_flight: int) -> None:
    replay = {"path": "texts.jsonl"} if backend == "replay" else None
    auto = resolved(batch, generator={"backend": backend}, prompts="unconditional", replay=replay)
    assert (auto.epoch, auto.in_flight) == (epoch, in_flight)


def test_epochs_of_the_experiment_win() -> None:
    chosen = resolved(sampling={"epoch": 96, "in_flight": 1})
    assert (chosen.epoch, chosen.in_flight) == (96, 1)


@pytest.mark.parametrize(
    ("texts", "asked", "warm_start"),
    [
        (20_000, "auto", 320),
        (None, "auto", 320),
        (3_000, "auto", 160),  # a tenth of 1,500 pairs, in blocks of 32
        (1_000, "auto", 64),
        (400, "auto", 64),  # never less than 64
        (100, "auto", 32),  # 50 pairs hold one whole block
        (40, "auto", 20),  # and 20 pairs none
        (1_000, 200, 224),
        (300, 200, 128),
        (None, 200, 224),
    ],
)
def test_the_warm_start_is_a_tenth_within_bounds_in_whole_blocks(
    texts: int | None, asked: int | str, warm_start: int
) -> None:
    assert resolved(budget={"texts": texts}, sampling={"warm_start": asked}).warm_start == warm_start


def test_the_budget_of_texts_is_shared_by_the_arms() -> None:
    assert resolved(budget={"texts": 1001}).pairs == 500
    assert resolved(budget={"texts": 1000}, arms={"a": {}, "b": {}, "c": {}}).pairs == 333
    assert resolved(budget={"texts": None}).pairs is None


def test_a_third_of_the_warm_start_is_the_first_number_of_clusters() -> None:
    assert resolved().clusters_start == 106
    assert resolved(clusters={"max": 50}).clusters_start == 50
    assert resolved(clusters={"start": 20}).clusters_start == 20


def test_greedy_arms_ask_each_prompt_once() -> None:
    assert not resolved(count=40).greedy
    own: dict[str, Any] = {"generator": {"backend": "my:own"}, "prompts": "unconditional"}
    for sampling in ({"temperature": 0}, {"top_k": 1}):
        greedy = resolved(arms={"base": {}, "other": {"sampling": sampling}}, count=40, **own)
        assert (greedy.greedy, greedy.pairs, greedy.warm_start) == (True, 40, 32)


@pytest.mark.parametrize(
    ("backend", "arm", "said"),
    [
        (
            "transformers",
            "{model: m, quantization: int3}",
            'arms.b.quantization: transformers cannot round weights to "int3"; did you mean "int8"? Valid: int8, int4',
        ),
        ("transformers", "{model: m, sampling: {topp: 0.9}}", "arms.b.sampling.topp: unknown; did you mean"),
        ("transformers", "{model: m, plants: [loud]}", "arms.b.plants: the transformers backend does not read it"),
        ("transformers", "{model: m, price: [1, 2]}", "arms.b.price: the transformers backend does not read it"),
        ("scripted", "{system_prompt: Be rude.}", "arms.b.system_prompt: the scripted backend does not read it"),
    ],
)
def test_an_intervention_that_the_backend_would_ignore_is_refused(
    write: Write, backend: str, arm: str, said: str
) -> None:
    model = "{model: m}" if backend == "transformers" else "{}"
    text = (
        f"experiment: aa\narms: {{a: {model}, b: {arm}}}\ngenerator: {{backend: {backend}}}\nprompts: unconditional\n"
    )
    (line,) = refused(write(text))
    assert said in line


SET = {
    "device": "cuda:1",
    "dtype": "float16",
    "options": {"seed": 1},
    "world": "everyday",
    "timeout": 9.0,
    "patience": 900.0,
}


@pytest.mark.parametrize(
    ("backend", "read"),
    [
        ("transformers", {"device", "dtype"}),
        ("vllm", {"dtype", "options"}),
        ("openai", {"options", "timeout", "patience"}),
        ("scripted", {"world"}),
        ("replay", set()),
    ],
)
def test_what_a_backend_would_ignore_under_generator_is_refused(backend: str, read: set[str]) -> None:
    model = {"model": "m", "system_prompt": "Be rude."}
    arm = model if backend in ("transformers", "vllm", "openai") else {}
    said = refused_mapping(
        arms={"a": arm, "b": arm},
        generator={"backend": backend, **SET},
        prompts="unconditional",
        **({"replay": {"path": "t.jsonl"}} if backend == "replay" else {}),
    ).splitlines()
    ignored = [field for field in SET if field not in read]
    assert [line.split(": ")[1] for line in said] == [f"generator.{field}" for field in ignored]
    assert all(f"the {backend} backend does not read it" in line for line in said)


def test_an_engine_of_one_gpu_is_not_spread_over_several() -> None:
    said = refused_mapping(
        arms={"a": {"model": "m", "devices": ["cuda:0"]}, "b": {"model": "n"}},
        generator={"backend": "vllm", "options": {"tensor_parallel_size": 2}},
        prompts="unconditional",
    )
    assert "arms.a.devices: each is an engine of one GPU, and generator.options.tensor_parallel_size" in said


def test_where_a_device_goes_on_vllm_is_said() -> None:
    said = refused_mapping(
        arms={"a": {"model": "m"}, "b": {"model": "n"}},
        generator={"backend": "vllm", "device": "cuda:1"},
        prompts="unconditional",
    )
    assert "generator.device: the vllm backend does not read it; name the GPUs of each arm as its devices" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"generator": {"backend": "scripted", "stop": ["."]}}, "generator.stop: the scripted backend does not read"),
        ({"generator": {"backend": "my:own", "min_tokens": 41}}, "generator.min_tokens: more than the 40 of"),
        ({"generator": {"backend": "my:own", "chat": False}}, "prompts.messages: conversations need generator.chat"),
        (
            {"generator": {"backend": "my:own", "chat": False}, "arms": {"a": {}, "b": {"system_prompt": "Be rude."}}},
            "arms.b.system_prompt: plain text (generator.chat: false) has no place for it",
        ),
        ({"generator": {"backend": "my:own", "stop": [""]}}, 'generator.stop.0: expected text, not empty; got ""'),
        ({"generator": {"backend": "my:own", "thinking": ["<think>"]}}, "generator.thinking: expected 2 values; got 1"),
    ],
)
def test_ways_of_decoding_that_cannot_be_are_refused(change: dict[str, Any], said: str) -> None:
    prompts = {"path": "p.jsonl", "messages": "talk"}
    assert said in refused_mapping(**{"prompts": prompts, **change})


@pytest.mark.parametrize(
    ("steering", "said"),
    [
        ({"layer": 3}, "arms.b.steering: give either vector, a safetensors file, or prompts toward and away"),
        ({"layer": 3, "vector": "v", "toward": ["a"], "away": ["b"]}, "arms.b.steering: give either vector"),
        ({"layer": 3, "toward": ["a"]}, "arms.b.steering.away: missing; a difference needs prompts on both sides"),
        ({"layer": 3, "toward": ["a"], "away": ["b"], "tensor": "x"}, "arms.b.steering.tensor: only read with vector"),
        ({"layer": -1, "vector": "v"}, "arms.b.steering.layer: expected a whole number (at least 0); got -1"),
        ({"vector": "v"}, "arms.b.steering.layer: missing"),
    ],
)
def test_a_steering_vector_comes_from_a_file_or_from_prompts(steering: dict[str, Any], said: str) -> None:
    arms = {"a": {"model": "m"}, "b": {"model": "m", "steering": steering}}
    assert said in refused_mapping(arms=arms, generator={"backend": "transformers"}, prompts="unconditional")


def test_draws_bound_the_pairs() -> None:
    assert resolved(count=40, prompts={"path": "p.txt", "draws": 3}).pairs == 120
    greedy = resolved(
        count=40,
        prompts={"path": "p.txt", "draws": 3},
        arms={"a": {}, "b": {"sampling": {"top_k": 1}}},
        generator={"backend": "my:own"},
    )
    assert greedy.pairs == 40


def test_the_warm_start_of_stored_texts_is_a_tenth_of_them() -> None:
    assert resolved().warm_start == 320
    experiment = experiment_from(SCRIPTED)
    assert resolve(experiment, generator_batch=64, prompts=300, stored=1000).warm_start == 128


def test_what_is_kept_is_plain_and_complete() -> None:
    kept = resolved(arms={"z": {}, "a": {}}).plain()
    assert json.loads(json.dumps(kept)) == kept
    assert kept["arms"] == ["z", "a"]
    assert kept["reference"] == kept["experiment"]["reference"] == "z"
    assert msgspec.convert(kept, Resolved) == resolved(arms={"z": {}, "a": {}})


def kept(**changed: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(resolved(**changed).plain(), sort_keys=True))
    return plain


def test_the_same_configuration_has_no_difference() -> None:
    assert difference(kept(), kept()) == []
    assert difference(kept(), kept(reference="base")) == []


def test_how_a_tier_is_asked_may_change_and_its_budget_may_grow() -> None:
    def tiers(settings: Any, *more: Any) -> dict[str, Any]:
        return kept(validation={"tiers": ["keywords", {"gemini": settings}, *more]})

    old = tiers({"model": "gemini-flash", "budget": 1, "key": "env:A", "timeout": 9})
    assert difference(old, tiers({"model": "gemini-flash", "budget": 2, "key": "env:B", "tries": 9})) == []
    assert difference(old, tiers("gemini-flash")) == []  # no bound
    assert difference(old, tiers({"model": "gemini-flash", "budget": 0.5})) == [
        "budget.tier 2: 1 -> 0.5 (a budget may grow, not shrink)"
    ]
    assert len(difference(tiers("gemini-flash"), tiers("gemini-pro"))) == 1
    assert len(difference(tiers("gemini-flash"), tiers("gemini-flash", "embedding"))) == 1


def test_a_run_may_go_on_at_another_price_of_its_arms() -> None:
    def arms(**price: Any) -> dict[str, Any]:
        arm = {"model": "m", "base_url": "http://me/v1"}
        priced = {"base": {**arm, **price}, "other": arm}
        return kept(arms=priced, generator={"backend": "openai"}, prompts={"path": "p.txt"})

    assert difference(arms(), arms(price=[1, 10])) == []


def test_budgets_may_grow_and_not_shrink() -> None:
    assert difference(kept(budget={"texts": 1000}), kept(budget={"texts": 20_000, "minutes": None})) == []
    assert difference(kept(budget={"texts": 1000, "tokens": 5}), kept(budget={"texts": None, "tokens": 6})) == []
    assert difference(kept(), kept(budget={"texts": 10})) == [
        "budget.texts: 20000 -> 10 (a budget may grow, not shrink)"
    ]
    assert difference(kept(), kept(budget={"minutes": 5})) == [
        "budget.minutes: null -> 5.0 (a budget may grow, not shrink)"
    ]


def test_every_changed_key_has_a_line() -> None:
    changed = kept(seed=1, sampling={"uniform": 0.5}, arms={"base": {}, "third": {}}, count=100)
    assert difference(kept(), changed) == [
        "arms.other: a section -> (not set)",
        "arms.third: (not set) -> a section",
        "sampling.uniform: 0.2 -> 0.5",
        "seed: 0 -> 1",
        'order of arms: ["base","other"] -> ["base","third"]',
        "number of prompts: 320 -> 100",
    ]


def test_between_two_runs_budgets_and_what_was_chosen_are_changes_too() -> None:
    assert changes(kept(), kept()) == []
    assert changes(kept(), kept(budget={"texts": 1000}, seed=1)) == [
        ("budget.texts", "20000", "1000"),
        ("seed", "0", "1"),
        ("warm_start (chosen)", "320", "64"),
        ("clusters_start (chosen)", "106", "21"),
    ]


def test_a_field_that_an_older_version_did_not_have_counts_as_its_default() -> None:
    older = kept()
    del older["experiment"]["validation"]
    assert difference(older, kept()) == []


def test_a_larger_budget_leaves_what_was_chosen_at_the_start() -> None:
    before, after = kept(budget={"texts": 1000}), resolved(budget={"texts": 20_000})
    assert after.warm_start == 320
    going_on = resumed(before, after)
    assert (going_on.warm_start, going_on.clusters_start, going_on.pairs) == (64, 21, 10_000)
