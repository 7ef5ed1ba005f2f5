"""The command line, the environment and a file say the same things, in that order of strength."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_mlx.cli.flags import flag_of, flags_of, variable_of
from vllm_mlx.cli.main import build_parser
from vllm_mlx.cli.serve import configuration
from vllm_mlx.cli.sources import BadSource
from vllm_mlx.config import Config, Setting, settings


def configured(*words: str, environment: dict[str, str] | None = None) -> Config:
    return configuration(build_parser().parse_strictly(["serve", *words]), environment or {})


def value_of(config: Config, one: Setting) -> Any:
    return getattr(getattr(config, one.area), one.name)


def written(value: Any) -> str:
    """As one text, on the command line or in the environment."""
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def another(one: Setting) -> Any:
    """A valid value that is not the default."""
    if one.many:
        values = {"allowed_origins": ("http://a:1", "app://b")}
        return values.get(one.name, ("other", "others"))
    if one.kind is bool:
        return one.default if one.rule.always_on else not one.default
    if one.kind is str:
        return '{"a": 1}' if one.rule.json_object else (one.rule.choices or ("other",))[-1]
    return one.kind(7 if one.rule.maximum is None or one.rule.maximum > 7 else one.rule.maximum)


# The key file is read at once and has tests of its own.
EVERY = pytest.mark.parametrize(
    "one", [one for one in settings() if one.name != "api_key_file"], ids=lambda one: one.name
)


@pytest.mark.requirement(6)
def test_no_word_at_all_serves_the_bundled_model_locally() -> None:
    assert configured() == Config()


@EVERY
def test_a_setting_can_be_given_as_a_flag(one: Setting) -> None:
    value = another(one)
    if one.name == "model":
        words = [value]
    elif one.kind is bool:
        words = [flag_of(one.name)] if value else [flags_of(one)[1 + len(one.rule.aliases)]]
    else:
        words = [flag_of(one.name), written(value)]
    assert value_of(configured(*words), one) == value


@EVERY
def test_a_setting_can_be_given_in_the_environment(one: Setting) -> None:
    value = another(one)
    assert value_of(configured(environment={variable_of(one.name): written(value)}), one) == value


@EVERY
def test_a_setting_can_be_given_in_a_file(one: Setting, tmp_path: Path) -> None:
    value = another(one)
    file = tmp_path / "server.yaml"
    text = f"'{value}'" if isinstance(value, str) else str(value).lower()
    if isinstance(value, tuple):
        text = json.dumps(value)
    file.write_text(f"{flag_of(one.name)[2:]}: {text}\n")
    assert value_of(configured("--config", str(file)), one) == value


def test_the_flag_beats_the_environment_and_that_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("port: 1\nmax_queue: 1\ntimeout: 1\n")
    environment = {
        "VLLM_MLX_CONFIG": str(file),
        "VLLM_MLX_PORT": "2",
        "VLLM_MLX_MAX_QUEUE": "2",
    }
    config = configured("--port", "3", environment=environment)
    assert (config.server.port, config.engine.max_queue, config.engine.timeout) == (3, 2, 1)


@pytest.mark.parametrize(
    ("flag", "area", "name"),
    [
        ("--completion-batch-size", "engine", "max_num_seqs"),
        ("--max-kv-size", "engine", "max_model_len"),
        ("--chunked-prefill-tokens", "engine", "prefill_step_size"),
        ("--paged-cache-block-size", "cache", "block_size"),
    ],
)
def test_the_names_of_the_reference_are_understood(flag: str, area: str, name: str) -> None:
    assert getattr(getattr(configured(flag, "48"), area), name) == 48


def test_the_smaller_of_two_batch_limits_counts_in_either_order() -> None:
    for words in (
        ("--max-num-seqs", "32", "--completion-batch-size", "16"),
        ("--completion-batch-size", "16", "--max-num-seqs", "32"),
    ):
        assert configured(*words).engine.max_num_seqs == 16


def test_the_prefix_cache_is_switched_off_by_either_name() -> None:
    assert not configured("--disable-prefix-cache").cache.enable_prefix_cache
    assert not configured("--no-enable-prefix-cache").cache.enable_prefix_cache


def test_a_file_may_hold_template_variables_as_a_mapping(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("default-chat-template-kwargs:\n  enable_thinking: false\n")
    kwargs = configured("--config", str(file)).model.default_chat_template_kwargs
    assert kwargs == '{"enable_thinking": false}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot: 8001", "has no setting prot; did you mean port?"),
        ("port: high", "port in .* must be a whole number, not 'high'"),
        ("port: 99999", "port in .* must be from 0 to 65535"),
        ("- port", "must hold `name: value` lines"),
        ("port: [", "is not valid YAML"),
        ("port: !!python/object:os.system", "is not valid YAML"),
    ],
)
def test_a_mistake_in_a_file_names_the_file(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(text)
    with pytest.raises(BadSource, match=says):
        configured("--config", str(file))


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    file.write_text("# nothing yet\n")
    assert configured("--config", str(file)) == Config()


@pytest.mark.parametrize(("name", "value"), [("PORT", "x"), ("PORT", "-1"), ("OFFLINE", "maybe")])
def test_a_mistake_in_the_environment_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(BadSource, match=f"VLLM_MLX_{name} must be"):
        configured(environment={f"VLLM_MLX_{name}": value})


@pytest.mark.requirement(80)
def test_a_list_is_given_with_commas_by_repeating_the_flag_or_as_a_list(tmp_path: Path) -> None:
    names = ("--served-model-name", "a, b", "--served-model-name", "c")
    assert configured(*names).model.served_model_name == ("a", "b", "c")
    file = tmp_path / "server.yaml"
    file.write_text("served-model-name: [a, 'b,c']\nallowed-hosts: x.example\n")
    config = configured("--config", str(file))
    assert config.model.served_model_name == ("a", "b,c")
    assert config.access.allowed_hosts == ("x.example",)


@pytest.mark.requirement(80)
def test_keys_of_a_file_join_the_others_and_are_shown_nowhere(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("from-file-1\r\n\n  schlüssel-2 \n")
    words = ("--api-key", "k1", "--api-key", "k2", "--api-key-file", str(file))
    config = configured(*words)
    assert config.access.api_key == ("k1", "k2", "from-file-1", "schlüssel-2")
    assert not [key for key in config.access.api_key if key in repr(config)]
    assert configured(environment={"VLLM_MLX_API_KEY": "a,b"}).access.api_key == ("a", "b")


@pytest.mark.requirement(80)
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"\n \n", "has no key in it"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"two words", "has a key that cannot be one: each"),
    ],
)
def test_a_key_file_that_would_let_anybody_in_is_refused(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadSource) as caught:
        configured("--api-key-file", str(file))
    assert str(caught.value).startswith(f"--api-key-file: {file} {says}")
    assert "two words" not in str(caught.value)


@pytest.mark.requirement(80)
@pytest.mark.parametrize("key", ["", "a,,b", "tab\tin", "line\nbreak", "\udcff"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(BadSource, match="VLLM_MLX_API_KEY must") as caught:
        configured(environment={"VLLM_MLX_API_KEY": key})
    assert not key or key not in str(caught.value)


def test_a_number_as_a_key_is_refused_and_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    for value in ("[123456]", "123456"):
        file.write_text(f"api-key: {value}\n")
        with pytest.raises(BadSource, match=r"api_key in .* must be") as caught:
            configured("--config", str(file))
        assert "123456" not in str(caught.value)
